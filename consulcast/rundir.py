"""The run directory: private to its owner, and one daemon's alone."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class RunDirError(Exception):
    """The run directory cannot be used; the message says why and what to do."""


class RunDir:
    """A locked directory. The kernel gives the lock back when the daemon ends, in whatever way."""

    def __init__(self, path: str) -> None:
        """Make and lock ``path``. Raises ``RunDirError``, which names the process that holds it."""
        self.path = Path(path)
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.path.stat()
            if found.st_uid != os.geteuid():
                raise RunDirError(f"{path} belongs to uid {found.st_uid}, not to this daemon's: set agent.run_dir")
            self.path.chmod(0o700)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RunDirError(f"{path} cannot be used: {error.strerror}: set agent.run_dir") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._lock, 32).decode("ascii", "replace").strip() or "?"
            os.close(self._lock)
            raise RunDirError(
                f"{path} is in use by process {holder}: stop that one, or give this one its own agent.run_dir"
            ) from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, f"{os.getpid()}\n".encode())

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._lock)
