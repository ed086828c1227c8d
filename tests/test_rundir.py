"""The run directory is private and one daemon's alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from consulcast.rundir import RunDir, RunDirError


def test_directory_is_made_private(tmp_path: Path) -> None:
    RunDir(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_directory_of_others_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(RunDirError, match="one that does not exist yet"):
        RunDir(str(tmp_path))
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_second_daemon_is_told_who_holds_it(tmp_path: Path) -> None:
    path = str(tmp_path / "run")
    first = RunDir(path)
    with pytest.raises(RunDirError, match=f"in use by process {os.getpid()}"):
        RunDir(path)
    first.close()
    RunDir(path).close()


def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError, match=r"cannot be used.*set agent\.run_dir"):
        RunDir(str(tmp_path / "file" / "dir"))
