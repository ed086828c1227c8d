from __future__ import annotations

import os
import sys
from pathlib import Path

import exabgp
import pytest

from consulcast.executor.bgp import interpreter

OURS = str(Path(__file__).parents[3])
HOME = str(Path(exabgp.__file__).parents[1])


def test_exabgp_is_started_without_site_and_finds_its_modules() -> None:
    command, path = interpreter.command("a.module", ("1", "2"), "")
    assert command == [sys.executable, "-S", "-P", "-m", "a.module", "1", "2"]
    assert path == f"{OURS}{os.pathsep}{HOME}"


def test_directories_of_the_environment_come_before_exabgps() -> None:
    _, path = interpreter.command("a.module", (), f"/a{os.pathsep}/b")
    assert path.split(os.pathsep) == [OURS, "/a", "/b", HOME]


def test_whoever_has_customised_python_has_it_customised_for_exabgp_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    command, path = interpreter.command("a.module", (), "")
    assert command[1:] == ["-P", "-m", "a.module"]
    assert path == OURS


def test_an_exabgp_that_is_found_in_another_way_is_left_to_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "find_spec", lambda name: None)
    assert "-S" not in interpreter.command("a.module", (), "")[0]
