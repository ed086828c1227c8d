from __future__ import annotations

import os
from pathlib import Path

import pytest

from consulcast.executor.bgp.errors import RunDirectoryError
from consulcast.executor.bgp.run_directory import RunDirectory


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    made = RunDirectory(tmp_path / "a" / "run")
    made.create()
    return made


def test_nobody_else_can_look_into_it_or_read_the_configuration(directory: RunDirectory) -> None:
    directory.write_configuration("secret")
    assert directory.path.stat().st_mode & 0o777 == 0o700
    assert directory.configuration.stat().st_mode & 0o777 == 0o600


def test_what_is_written_replaces_what_was_there_and_leaves_nothing_beside_it(directory: RunDirectory) -> None:
    directory.configuration.with_suffix(".new").write_text("left behind by a crash")
    directory.write_configuration("one")
    directory.write_configuration("two")
    assert directory.configuration.read_text() == "two"
    assert {path.name for path in directory.path.iterdir()} == {"exabgp.conf", "exabgp.env"}


def test_a_private_directory_is_taken_over(directory: RunDirectory) -> None:
    RunDirectory(directory.path).create()


def test_a_directory_that_others_can_look_into_is_refused(directory: RunDirectory) -> None:
    directory.path.chmod(0o750)
    with pytest.raises(RunDirectoryError, match="0700"):
        directory.create()


def test_a_link_is_refused(directory: RunDirectory, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(directory.path)
    with pytest.raises(RunDirectoryError, match="0700"):
        RunDirectory(link).create()


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunDirectoryError, match="run directory"):
        RunDirectory(tmp_path / "run").create()


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="too long"):
        RunDirectory(tmp_path / ("x" * 100)).create()


def test_a_large_log_is_emptied_and_a_small_one_is_not(directory: RunDirectory) -> None:
    directory.trim_log()
    directory.log.write_text("small")
    directory.trim_log()
    assert directory.log.read_text() == "small"
    os.truncate(directory.log, 2**21)
    directory.trim_log()
    assert directory.log.stat().st_size == 0


def test_the_last_words_are_read_and_the_log_before_is_kept(directory: RunDirectory) -> None:
    assert directory.last_log_line() == ""
    directory.log.write_text("one\nlast words\n\n")
    assert directory.last_log_line() == "last words"
    directory.log.write_text("peer  refused\noutgoing-20     --------\n")
    assert directory.last_log_line() == "peer  refused"
    directory.log.write_text("one\nlast words\n\n")
    directory.begin_log()
    assert directory.last_log_line() == ""
    assert directory.log.with_suffix(".log.1").read_text() == "one\nlast words\n\n"


def test_secrets_are_removed_in_the_end(directory: RunDirectory) -> None:
    directory.write_configuration("secret")
    directory.log.write_text("kept")
    directory.clear()
    assert {path.name for path in directory.path.iterdir()} == {"exabgp.log"}
