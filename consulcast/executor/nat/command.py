"""A short-lived child: its input given, its end awaited, its output taken; no greenlet but the caller's waits.

Input and output are memory files, not pipes: nothing has to be fed or drained while the child runs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence

from gevent.event import Event
from msgspec import Struct

from consulcast.capabilities import Capability
from consulcast.spawn import spawn

_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG")
_NEEDED = (Capability.NET_ADMIN, Capability.NET_RAW)  # the second by legacy iptables alone, which has a raw socket
_ADMINISTRATION = "/usr/sbin:/sbin"  # where these tools are; a daemon's PATH may lack it


class CommandError(Exception):
    """The child could not be started, or did not end in time."""


class Finished(Struct, frozen=True):
    """A child that has ended: its exit status (negative for a signal) and what it said."""

    status: int
    output: str
    errors: str

    @property
    def why(self) -> str:
        """Word a failure: the first line of what it said, or how it ended."""
        first = next((line.strip() for line in self.errors.splitlines() if line.strip()), "")
        how = f"exit status {self.status}" if self.status >= 0 else f"killed by {signal.Signals(-self.status).name}"
        return first or how


def find(program: str) -> str | None:
    """Find a program where a daemon's PATH, or an administrator's, leads."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_ADMINISTRATION}")


def run(command: Sequence[str], stdin: str, timeout: float, environment: Mapping[str, str] | None = None) -> Finished:
    """Run a program (given by its path) to its end. Raises ``CommandError``, after ``timeout`` seconds too.

    Without an ``environment`` it gets little of ours, in which Consul's token may stand.
    """
    with contextlib.ExitStack() as stack:
        files = []
        for name in ("stdin", "stdout", "stderr"):
            files.append(os.memfd_create(name, os.MFD_CLOEXEC))
            stack.callback(os.close, files[-1])
        os.write(files[0], stdin.encode())
        os.lseek(files[0], 0, os.SEEK_SET)
        status = _wait(command, files, timeout, environment)
        output, errors = (_content(file) for file in files[1:])
        return Finished(os.waitstatus_to_exitcode(status), output, errors)


def _wait(command: Sequence[str], files: list[int], timeout: float, environment: Mapping[str, str] | None) -> int:
    ended = Event()
    status = 0

    def collect(how: int) -> None:
        nonlocal status
        status = how
        ended.set()

    given = _own_environment() if environment is None else environment
    duplicates = [(os.POSIX_SPAWN_DUP2, file, target) for target, file in enumerate(files)]
    try:
        pid = spawn(command, given, duplicates, collect, _NEEDED)
    except OSError as error:
        raise CommandError(f"cannot start {command[0]}: {error}") from None
    try:
        in_time = ended.wait(timeout)
    finally:  # also when the waiting greenlet is killed
        if not ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
    if not in_time:
        ended.wait(1.0)
        raise CommandError(f"{os.path.basename(command[0])} did not end within {timeout:.0f} s and was killed")
    return status


def _own_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def _content(file: int) -> str:
    size = os.lseek(file, 0, os.SEEK_END)
    return os.pread(file, size, 0).decode(errors="replace")
