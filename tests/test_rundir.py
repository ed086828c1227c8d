"""The run directory is private and one daemon's alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from consulcast.rundir import RunDir, RunDirError


def test_directory_is_made_private(tmp_path: Path) -> None:
    RunDir(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_second_daemon_is_told_who_holds_it(tmp_path: Path) -> None:
    first = RunDir(str(tmp_path))
    with pytest.raises(RunDirError, match=f"in use by process {os.getpid()}"):
        RunDir(str(tmp_path))
    first.close()
    RunDir(str(tmp_path)).close()


def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError, match=r"cannot be used.*set agent\.run_dir"):
        RunDir(str(tmp_path / "file" / "dir"))
