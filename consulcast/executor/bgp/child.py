"""ExaBGP as a supervised child: started, started again when it ends, and ended with us in whatever way we end."""

from __future__ import annotations

import logging
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import gevent
from gevent import socket as gevent_socket
from gevent.event import Event

from consulcast.executor.bgp import interpreter
from consulcast.executor.bgp.life import Heart, Life
from consulcast.executor.bgp.run_directory import RunDirectory
from consulcast.repairs import Kind, Repairs
from consulcast.spawn import spawn

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0  # seconds between two starts
_STEADY = 30.0  # seconds of running after which the pauses begin small again
_FRESH = 2.0  # seconds after we stood still: for verdicts that are old by then to be looked at again
_CONNECT = 20.0  # seconds that a new ExaBGP has to start the relay
_LOOK_AT_LOG = 600.0  # seconds between two looks at the size of ExaBGP's log
_LAUNCHER = "consulcast.executor.bgp.launcher"
_RELAY = Path(__file__).with_name("relay.py")
_PASSED_ON = ("PATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH", "TZ")


# Starts a greenlet: `gevent.spawn`, or something that watches over what it starts.
Spawn: TypeAlias = "Callable[..., gevent.Greenlet[..., Any]]"


def next_pause(last: float, ran: float) -> float:
    """How long to wait before the next start, after a pause of ``last`` and ``ran`` seconds of running."""
    return min(last * 2, _LONGEST_PAUSE) if last and ran < _STEADY else _FIRST_PAUSE


class Child:
    """Runs ExaBGP.

    ``on_connect`` is called with every connection that ExaBGP's relay makes, ``on_end`` with the reason whenever
    ExaBGP has ended. Must be started in the main thread: the kernel kills ExaBGP when the thread that started it ends.
    """

    def __init__(
        self,
        directory: RunDirectory,
        on_connect: Callable[[gevent_socket.socket], None],
        on_end: Callable[[str], None],
        spawn: Spawn,
        life: Life,
        heart: Heart,
        repairs: Repairs,
    ) -> None:
        self._directory = directory
        self._life, self._heart, self._repairs = life, heart, repairs
        self._on_connect = on_connect
        self._on_end = on_end
        self._spawn_greenlet = spawn
        self._greenlets: list[gevent.Greenlet[..., Any]] = []
        self._listener: gevent_socket.socket | None = None
        self._stopping = Event()
        self._connected = Event()
        self._ended = Event()
        self._status = 0
        self._kill_reason = ""
        self.pid: int | None = None
        self.last_error = ""
        self.ended_at = 0.0  # when it last ended, its sessions with it

    @staticmethod
    def relay_command(directory: RunDirectory, life: Life) -> tuple[str, ...]:
        """The command line of the relay, for ExaBGP's configuration."""
        return (os.path.abspath(sys.executable), "-IS", str(_RELAY), str(directory.socket), f"{life.lease:g}")

    def start(self) -> None:
        """Listen for the relay and start ExaBGP, whose configuration is in the directory already.

        It may have been stopped before.
        """
        self._stopping.clear()
        self._directory.socket.unlink(missing_ok=True)
        self._listener = gevent_socket.socket(gevent_socket.AF_UNIX)
        self._listener.bind(str(self._directory.socket))
        self._directory.socket.chmod(0o600)
        self._listener.listen()
        self._greenlets = [self._spawn_greenlet(self._accept, self._listener), self._spawn_greenlet(self._supervise)]

    def kill(self, reason: str) -> None:
        """Kill ExaBGP, which is then started again."""
        self._signal(signal.SIGKILL, reason)

    def stop(self, timeout: float, silently: bool = False) -> None:
        """End ExaBGP in order, or after ``timeout`` seconds by force.

        In order, every session ends with a Cease; ``silently``, with nothing but a closed connection.
        """
        self._stopping.set()
        self._signal(signal.SIGKILL if silently else signal.SIGTERM, "stopped")
        if self.pid is not None and not self._ended.wait(timeout):
            log.warning("ExaBGP did not end in %.1f s and is killed", timeout, extra={"reason": "exabgp-killed"})
            self._signal(signal.SIGKILL, "stopped")
            self._ended.wait()
        if self._listener is not None:
            self._listener.close()
        gevent.joinall(self._greenlets[1:], timeout=1)
        gevent.killall(self._greenlets)
        self._directory.clear()

    def _signal(self, number: signal.Signals, reason: str) -> None:
        if self.pid is not None:  # not collected yet, so the number is still its own
            self._kill_reason = reason
            os.kill(self.pid, number)

    def _supervise(self) -> None:
        pause, said, again = 0.0, "", False
        while not self._stopping.is_set():
            started = time.monotonic()
            self._connected.clear()
            try:
                self._start(again)
            except OSError as error:
                reason = f"cannot start {sys.executable}: {error}"
            else:
                if not self._wait_connected():
                    self.kill(f"its relay did not connect within {_CONNECT:.0f} s")
                while not self._ended.wait(_LOOK_AT_LOG):
                    self._directory.trim_log()
                reason = self._reason()
            stood_still = self._heart.missed(time.monotonic())
            if self._stopping.is_set():
                log.info("ExaBGP has ended", extra={"reason": "exabgp-ended"})
            else:
                if stood_still:
                    reason = f"this process stood still for {stood_still:.0f} s, longer than bgp.lease"
                self.last_error = reason
                again, said = reason == said, reason
                self._repairs.found(Kind.EXABGP, f"ExaBGP has ended: {reason}", again=again)
            self._on_end(reason)
            self.ended_at = time.monotonic()
            pause = next_pause(pause, time.monotonic() - started)
            self._stopping.wait(_FRESH if stood_still else pause)

    def _start(self, again: bool) -> None:
        """Start it; ``again``: it ends over and over for the same reason, which is not worth a line each time."""
        self._ended.clear()
        self._kill_reason = ""
        self._directory.begin_log()
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        files = (str(self._directory.configuration), str(self._directory.settings))
        arguments = (str(os.getpid()), str(int(self._life.death_signal)), *files)
        command, environment["PYTHONPATH"] = interpreter.command(_LAUNCHER, arguments, os.environ.get("PYTHONPATH", ""))
        log_flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self._directory.log), log_flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        self.pid = spawn(command, environment, actions, self._collect)
        extra = {"pid": self.pid, "reason": "exabgp-started"}
        log.log(logging.DEBUG if again else logging.INFO, "ExaBGP started, pid %d", self.pid, extra=extra)

    def _collect(self, status: int) -> None:
        """Take in that the child has ended; called by the hub."""
        self.pid = None
        self._status = status
        self._ended.set()
        self._connected.set()

    def _wait_connected(self) -> bool:
        return bool(self._connected.wait(_CONNECT))

    def _reason(self) -> str:
        code = os.waitstatus_to_exitcode(self._status)
        how = f"exit status {code}" if code >= 0 else signal.Signals(-code).name
        return ", ".join(filter(None, (self._kill_reason or how, self._directory.last_log_line())))

    def _accept(self, listener: gevent_socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                if self._stopping.is_set():
                    return
                raise
            if self._is_ours(connection):
                self._connected.set()
                self._on_connect(connection)
            else:
                connection.close()

    def _is_ours(self, connection: gevent_socket.socket) -> bool:
        """Whether it is the relay of the ExaBGP that runs now, not of one before, and not another user."""
        credentials = connection.getsockopt(gevent_socket.SOL_SOCKET, gevent_socket.SO_PEERCRED, 12)
        pid, uid, _ = struct.unpack("3i", credentials)
        if uid != os.geteuid():
            extra = {"reason": "foreign-process"}
            log.warning("a process of user %d was refused at %s", uid, self._directory.socket, extra=extra)
            return False
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False  # it has ended; ExaBGP starts another
        return int(status.rpartition(")")[2].split()[1]) == self.pid
