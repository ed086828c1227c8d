"""What the daemon said last, and who runs."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from consulcast import last_words
from consulcast.last_words import Trace, forget, say, trace


def test_words_are_one_line_for_their_reader_alone_and_forgotten_when_it_runs(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    say(state, "cannot start:\n  because\x00")
    words = trace(str(tmp_path), state).words
    assert words.endswith("Z cannot start: because\x00")
    assert "\n" not in words
    assert (tmp_path / "state" / last_words.NAME).stat().st_mode & 0o777 == 0o600
    forget(state)
    forget(state)
    assert trace(str(tmp_path), state) == Trace()


def test_what_cannot_be_kept_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    say(str(tmp_path / "file"), "words")
    forget(str(tmp_path / "file"))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / last_words.NAME).symlink_to(tmp_path / "elsewhere")
    say(str(tmp_path), "words")
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_that_is_held_names_its_holder(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(f"{os.getpid()}\n")
    assert trace(str(tmp_path), "").holder is None
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert trace(str(tmp_path), "").holder == os.getpid()


def test_a_lock_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("nowhere")
    assert "lock cannot be read" in trace(str(tmp_path), "").trouble
