"""What the daemon said last, kept for those who ask why it does not run: one line in its state directory.

There because it outlives the daemon: systemd removes the run directory with it, and the log may be anywhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

NAME = "last-words"
_LONGEST = 2000  # characters


def say(state_dir: str, words: str) -> None:
    """Keep why the daemon ends, or does not start. What cannot be kept is in the log all the same."""
    moment = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    line = " ".join(f"{moment} {words}".split())[:_LONGEST]
    path = Path(state_dir) / NAME
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(file, "w", encoding="utf-8", errors="replace") as out:
            out.write(f"{line}\n")


def forget(state_dir: str) -> None:
    """The daemon runs."""
    with contextlib.suppress(OSError):
        (Path(state_dir) / NAME).unlink()


class Trace(Struct, frozen=True):
    """What is seen of a daemon from outside. ``holder``: who holds its run directory; ``None``: nobody does.

    ``trouble``: why that cannot be told; ``words``: its last words, with their time.
    """

    holder: int | None = None
    trouble: str = ""
    words: str = ""


def trace(run_dir: str, state_dir: str) -> Trace:
    """Look who holds the run directory's lock, and what the daemon said last."""
    words = ""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        words = (Path(state_dir) / NAME).read_text(encoding="utf-8")[:_LONGEST].strip()
    try:
        lock = os.open(Path(run_dir) / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return Trace(words=words)
    except OSError as error:
        return Trace(trouble=f"{run_dir}/lock cannot be read: {error.strerror}", words=words)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(lock, 32).decode("ascii", "replace").strip()
        return Trace(holder=int(holder) if holder.isdigit() else 0, words=words)
    finally:
        os.close(lock)
    return Trace(words=words)
