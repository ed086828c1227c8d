"""What one daemon has to itself: its run directory, and the mark of its addresses."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path

SOCKET = "api.sock"  # in the run directory: where root, and the daemon's own user, reach it whatever else is configured


class RunDirError(Exception):
    """The run directory cannot be used; the message says why and what to do."""


class InUse(RunDirError):
    """Another daemon that runs has it."""


class RunDir:
    """A locked directory. The kernel gives the lock back when the daemon ends, in whatever way."""

    def __init__(self, path: str) -> None:
        """Make and lock ``path``. Raises ``RunDirError``, which names the process that holds it."""
        self.path = Path(path)
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise RunDirError(
                    f"{path} is not a directory of uid {os.geteuid()} alone (mode 0700): "
                    "give agent.run_dir one that does not exist yet"
                )
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise RunDirError(f"{path} cannot be used: {error.strerror}: set agent.run_dir") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._lock, 32).decode("ascii", "replace").strip() or "?"
            os.close(self._lock)
            raise InUse(
                f"{path} is in use by process {holder}: stop that one, or give this one its own agent.run_dir"
            ) from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, f"{os.getpid()}\n".encode())

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._lock)


def claim_mark(device: str, mark: int) -> socket.socket:
    """Claim the addresses on ``device`` that carry ``mark``, until the socket that is returned is closed.

    Two daemons with one mark would remove each other's addresses. The claim is an abstract unix socket, which
    belongs to the network namespace as the addresses do (unix(7)). Raises ``RunDirError``.
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0consulcast/{device}/{mark}")
    except OSError:
        claim.close()
        raise InUse(
            f"another daemon on this host owns the addresses marked {mark} on {device}: "
            "stop it, or give this one its own agent.owner_mark (and tag_prefix)"
        ) from None
    return claim
