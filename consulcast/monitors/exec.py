"""Monitor ``exec``: passing while a command ends with status 0: one for bash, as in GoCast, or one that the file names.

The command leads a process group of its own, and nothing of the group outlives the look.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping

import gevent
from gevent import os as gevent_os
from gevent.event import Event

from consulcast.model import MonitorSpec
from consulcast.monitors import launch
from consulcast.monitors.command import Command, Programs
from consulcast.monitors.lanes import Lanes, Turn
from consulcast.monitors.launch import CannotStart
from consulcast.monitors.probe import Look
from consulcast.notation import BadValue
from consulcast.spawn import spawn

_TAIL = 1024  # bytes of the output that are kept, for its last line
_LINE = 200  # characters of that line
_FREELY = 1 << 18  # bytes that are read as fast as they come; after them 64 KiB every 10 ms
_LAST_OUTPUT = 0.05  # seconds for the rest of the output when the command has ended
_DEATH = 2.0  # seconds for a killed command to be gone


class ExecProbe:
    """Runs a command."""

    def __init__(self, spec: MonitorSpec, lanes: Lanes, programs: Programs) -> None:
        self._target, self._programs = spec.target, programs
        self._turn = Turn(lanes)

    def look(self, timeout: float) -> Look:
        """Run it once."""
        with self._turn:
            try:
                return Run(self._programs.current.find(self._target)).look(timeout)
            except OSError as error:
                return Look(None, f"the command could not be started: {error.strerror}")
            except (BadValue, CannotStart) as error:
                return Look(None, str(error))


class Run:
    """One run of a command, which reads ``given`` and has ``variables`` besides its environment.

    Starting it raises ``OSError`` and ``CannotStart``.
    """

    def __init__(self, command: Command, given: bytes = b"", variables: Mapping[str, str] | None = None) -> None:
        self._ended = Event()
        self._status = 0
        self._tail = b""
        self._output, theirs = os.pipe()
        try:
            os.set_blocking(self._output, False)
            with _readable(given) as theirs_to_read:
                self._pid = self._spawn(command, theirs_to_read, theirs, variables or {})
        except BaseException:
            os.close(self._output)
            raise
        finally:
            os.close(theirs)

    def look(self, timeout: float) -> Look:
        """Wait for its end, and see to it."""
        reader = gevent.spawn(self._read)
        try:
            in_time = self._ended.wait(timeout)
        finally:  # also when the waiting greenlet is killed
            self._kill()
            self._ended.wait(_DEATH)
            reader.join(_LAST_OUTPUT)
            reader.kill()
            os.close(self._output)
        code = os.waitstatus_to_exitcode(self._status)
        how = f"exit status {code}" if code >= 0 else f"killed by signal {-code}"
        if not in_time:
            how = f"did not end within {timeout:g} s and was killed"
        return Look(bool(in_time) and code == 0, ": ".join(filter(None, (how, self._last_line()))))

    def _spawn(self, command: Command, given: int, output: int, variables: Mapping[str, str]) -> int:
        line, environment = launch.line(command), {**launch.environment(command), **variables}
        actions = [
            (os.POSIX_SPAWN_DUP2, given, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ]
        launch.seal()
        words = [word.encode() for word in line]
        return spawn(words, environment, actions, self._collect, launch.lendings(command))

    def _collect(self, status: int) -> None:
        """Take in that the command has ended; called by the hub.

        What it has left in the background goes now: while some of it is there, the group's number is nobody else's.
        """
        self._status = status
        self._signal_group()
        self._ended.set()

    def _kill(self) -> None:
        if not self._ended.is_set():
            self._signal_group()

    def _signal_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)

    def _read(self) -> None:
        read = 0
        while chunk := gevent_os.nb_read(self._output, 1 << 16):
            self._tail = (self._tail + chunk)[-_TAIL:]
            read += len(chunk)
            if read > _FREELY:
                gevent.sleep(0.01)

    def _last_line(self) -> str:
        lines = self._tail.decode(errors="replace").strip().splitlines()
        line = "".join(letter if letter.isprintable() else " " for letter in lines[-1]) if lines else ""
        return line.strip()[:_LINE]


@contextlib.contextmanager
def _readable(given: bytes) -> Iterator[int]:
    """A descriptor to read from. Memory, not a pipe: it takes any size, and who does not read it holds up nobody."""
    descriptor = os.memfd_create("given") if given else os.open(os.devnull, os.O_RDONLY)
    try:
        if given:
            os.write(descriptor, given)
            os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
