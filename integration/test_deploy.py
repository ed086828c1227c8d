"""deploy/: systemd understands the unit and finds it well shut in; Compose and Nomad start it as it is tested."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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


def is_taken(*arguments: str) -> bool:
    """Whether the command line has these words; unknown ones are refused before the help is shown."""
    program = Path(sys.prefix, "bin", "consulcast")
    done = subprocess.run([program, *arguments, "--help"], capture_output=True, text=True, check=False)
    return done.returncode == 0


def test_compose_starts_it_as_the_image_is_tested() -> None:
    (service,) = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())["services"].values()
    assert (service["network_mode"], service["read_only"]) == ("host", True)
    assert (service["cap_drop"], service["cap_add"]) == (["ALL"], ["NET_ADMIN"])
    assert service["security_opt"] == ["no-new-privileges"]
    mounted = {volume.split(":")[1] for volume in service["volumes"]}
    assert {*service["tmpfs"], *mounted} == {"/run", "/tmp", "/var/lib/consulcast", "/etc/consulcast.yaml"}
    assert is_taken(*service["command"])
    assert not is_taken(*service["command"], "--no-such-option")


JOB = DEPLOY / "consulcast.nomad.hcl"


def test_the_job_is_hcl(tmp_path: Path) -> None:
    """Consul's parser is at hand, and knows a wrong letter from a key that is not its own."""

    def said(text: str) -> str:
        (tmp_path / "job.hcl").write_text(text)
        command = ["consul", "validate", "-config-format=hcl", str(tmp_path / "job.hcl")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert "invalid config key" in said(JOB.read_text())
    assert "invalid config key" not in said(JOB.read_text().replace("{", "", 1)[:-2])


def test_the_job_starts_it_as_the_image_is_tested() -> None:
    job = JOB.read_text()
    (words,) = re.findall(r"^ +args += \[(.*)\]$", job, re.MULTILINE)
    assert is_taken(*re.findall(r'"(.*?)"', words))
    for line in ('network_mode = "host"', 'cap_drop = ["all"]', 'cap_add = ["net_admin"]', "readonly_rootfs = true"):
        assert line in re.sub(r" +=", " =", job)
    (text,) = re.findall(r"<<EOF\n(.*?)^EOF$", job, re.DOTALL | re.MULTILINE)
    assert yaml.safe_load(text)["bgp"].keys() == {"local_as", "peer_as"}
