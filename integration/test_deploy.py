"""deploy/: systemd understands the unit and its drop-ins, and finds the daemon well shut in."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT, UNIT = Path(__file__).parents[1], "consulcast.service"
DEPLOY = PROJECT / "deploy"
DROP_INS = sorted((DEPLOY / "drop-ins").glob("*.conf"))
EXPOSURE = 2.0  # of 10; docs/privileges.md states what it is


def analyze(tmp_path: Path, *arguments: str, drop_in: Path | None = None) -> str:
    """Run systemd-analyze over the unit, whose program is this one's."""
    program = Path(sys.prefix, "bin", "consulcast")
    unit = (DEPLOY / UNIT).read_text().replace("/opt/consulcast/bin/consulcast", str(program))
    (tmp_path / UNIT).write_text(unit)
    if drop_in is not None:
        (tmp_path / f"{UNIT}.d").mkdir()
        (tmp_path / f"{UNIT}.d" / drop_in.name).write_text(drop_in.read_text())
    command = ["systemd-analyze", "--no-pager", *arguments, str(tmp_path / UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("drop_in", [None, *DROP_INS], ids=lambda path: path.stem if path else "alone")
def test_systemd_understands_every_line(tmp_path: Path, drop_in: Path | None) -> None:
    assert analyze(tmp_path, "verify", "--man=no", drop_in=drop_in) == ""


def test_exposure_is_low_and_the_page_states_it(tmp_path: Path) -> None:
    said = analyze(tmp_path, "security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}")
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert float(exposure) <= EXPOSURE
    assert f"`systemd-analyze security` says {exposure}" in (PROJECT / "docs/privileges.md").read_text()
