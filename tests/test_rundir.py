"""The run directory is private and one daemon's alone."""

from __future__ import annotations

import os
import subprocess
import sys
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


def test_lock_file_of_a_daemon_that_is_gone_keeps_nobody_out(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    (directory / "lock").write_text("4194304999\n" * 3)
    run_dir = RunDir(str(directory))
    assert (directory / "lock").read_text() == f"{os.getpid()}\n"
    run_dir.close()


def test_daemon_killed_gives_its_lock_back(tmp_path: Path) -> None:
    path = str(tmp_path / "run")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder, holder.stdout:
        holder.stdout.readline()
        with pytest.raises(RunDirError, match=f"in use by process {holder.pid}"):
            RunDir(path)
        holder.kill()
    RunDir(path).close()


def test_link_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to("elsewhere")
    with pytest.raises(RunDirError, match="not a directory of uid"):
        RunDir(str(tmp_path / "run"))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(RunDirError, match="not a directory of uid"):
        RunDir(str(tmp_path / "run"))


def test_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    (tmp_path / "precious").write_text("keep")
    (directory / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(RunDirError, match="cannot be used"):
        RunDir(str(directory))
    assert (tmp_path / "precious").read_text() == "keep"


HOLDER = """
import sys, time
from consulcast.rundir import RunDir
held = RunDir(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""
