"""A file that is either as it was or as it should be, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_SIZE = 64 << 20  # bytes; more is not a file of ours


def read(path: Path) -> bytes | None:
    """Read the whole file; ``None`` where there is none. Raises ``OSError``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would block for ever
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError("not a regular file")
        if found.st_size > MAX_SIZE:
            raise OSError(f"{found.st_size} bytes, more than {MAX_SIZE}")
        return file.read(MAX_SIZE)


def write(path: Path, data: bytes) -> None:
    """Replace the file and make that last over a power cut. Raises ``OSError``; it blocks, so call it in a thread.

    After an error before the rename the former file stands; the directory's own fsync can fail after it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        new.rename(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def try_to_write(path: Path, data: bytes) -> OSError | None:
    """``write`` for a thread of a pool, which prints an error that leaves it: returns the error."""
    try:
        write(path, data)
    except OSError as error:
        return error
    return None


def is_full(error: OSError) -> bool:
    """Whether a write failed for want of room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def set_aside(path: Path) -> Path:
    """Rename the file to the first free ``.bad-N``, for somebody to look at. Raises ``OSError``."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.bad-{number}")):
        number += 1
    path.rename(aside)
    return aside
