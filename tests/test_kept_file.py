"""A state file and its one writer; what the stores make of it is told in their own tests."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from consulcast import state_file
from consulcast.kept_file import RETRY, KeptFile


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(tmp_path: Path, clock: Clock) -> Iterator[KeptFile]:
    made = KeptFile(tmp_path / "state.json", clock)
    yield made
    made.close()


def broken(number: int = errno.EIO) -> OSError:
    return OSError(number, os.strerror(number))


def break_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, data: bytes) -> None:
        raise broken()

    monkeypatch.setattr(state_file, "write", write)


def test_what_is_written_is_read(kept: KeptFile) -> None:
    assert kept.read() is None
    assert kept.write(b"one") is None
    assert kept.read() == b"one"
    assert not kept.behind


def test_failed_write_is_due_again_after_a_while_and_told_once_until_it_goes_well(
    kept: KeptFile, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with monkeypatch.context() as disk:
        break_disk(disk)
        assert kept.write(b"one") is not None
        assert (kept.behind, kept.due()) == (True, False)
        clock.now += RETRY
        assert kept.due()
        assert kept.write(b"one") is not None
        assert not kept.due()
    assert kept.write(b"one") is None
    assert (kept.behind, kept.due()) == (False, False)
    assert [getattr(line, "reason", "") for line in caplog.records] == ["not-stored", "stored-again"]


def test_pause_ends_at_the_first_deadline_or_the_next_try(
    kept: KeptFile, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kept.pause([]) is None
    assert kept.pause([clock.now + 30, clock.now + 20]) == 20
    assert kept.pause([clock.now - 5]) == 0
    break_disk(monkeypatch)
    kept.write(b"one")
    assert kept.pause([]) == RETRY
    assert kept.pause([clock.now + 1]) == 1


@pytest.mark.parametrize(("number", "full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)])
def test_who_asked_is_told_what_holds_and_whether_the_disk_is_full(kept: KeptFile, number: int, full: bool) -> None:
    error = kept.not_stored("nothing is changed", broken(number))
    assert str(error) == f"nothing is changed: {kept} cannot be written: {os.strerror(number)}"
    assert error.full is full


def test_what_cannot_be_read_is_set_aside_under_the_first_free_name(kept: KeptFile) -> None:
    for number in (1, 2):
        kept.write(b"torn")
        aside = kept.path.with_name(f"{kept.path.name}.bad-{number}")
        assert kept.set_aside() == f"it is set aside as {aside}"
        assert aside.read_bytes() == b"torn"
    assert "it cannot be set aside: " in kept.set_aside()


def test_write_that_fails_half_way_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    state_file.write(path, b"former")
    with monkeypatch.context() as broken:

        def fsync(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        broken.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="Input/output"):
            state_file.write(path, b"latter")
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]
