from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gevent import socket

_RELAY = Path(__file__).parents[3] / "consulcast" / "executor" / "bgp" / "relay.py"

# Stands for ExaBGP: starts the relay, and then does as told.
_PARENT = """
    import os, signal, subprocess, sys
    if sys.argv[5] == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    environment = {"CONSULCAST_EXABGP_PID": sys.argv[3] if sys.argv[3] != "own" else str(os.getpid())}
    relay = subprocess.Popen(
        [sys.executable, "-IS", sys.argv[1], sys.argv[2], sys.argv[4]],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
    )
    for line in relay.stdout:
        words = line.split()
        if words[0] == b"say":
            relay.stdin.write(b"x" * int(words[1]) + b"\\n")
            relay.stdin.flush()
        elif words[0] == b"close":
            break
        else:
            relay.stdin.write(line)
            relay.stdin.flush()
    relay.stdin.close()
    sys.exit(relay.wait() + 10)
"""


class Link:
    """A running parent with its relay, and the daemon's end of the connection."""

    def __init__(self, directory: Path, pid: str = "own", lease: float = 0, deaf: bool = False) -> None:
        self.path = directory / "s"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        program = textwrap.dedent(_PARENT)
        arguments = [str(_RELAY), str(self.path), pid, str(lease), "deaf" if deaf else ""]
        self.parent = subprocess.Popen([sys.executable, "-c", program, *arguments])

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            self.parent.kill()
        self.parent.wait()
        self.listener.close()

    def accept(self) -> socket.socket:
        """The connection of the relay."""
        self.listener.settimeout(20)
        connection, _ = self.listener.accept()
        connection.settimeout(20)
        return connection


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Link]:
    made = Link(tmp_path)
    yield made
    made.close()


def read(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(65536)
        assert chunk
        data += chunk
    return bytes(data)


@pytest.fixture
def leased(tmp_path: Path) -> Iterator[Link]:
    """A link whose daemon may be silent for a second."""
    made = Link(tmp_path, lease=1.0)
    yield made
    made.close()


def test_signs_of_life_do_not_reach_exabgp_and_keep_it_alive(leased: Link) -> None:
    with leased.accept() as daemon:
        began = time.monotonic()
        while time.monotonic() - began < 2.5:
            daemon.sendall(b"\0")
            time.sleep(0.1)
        daemon.sendall(b"o\0ne\n\0")
        assert read(daemon, 4) == b"one\n"


def test_exabgp_is_ended_when_the_daemon_is_silent_for_longer_than_the_lease(leased: Link) -> None:
    with leased.accept():
        began = time.monotonic()
        assert leased.parent.wait(20) == -15
        assert time.monotonic() - began > 0.5


def test_an_exabgp_that_will_not_end_is_killed(tmp_path: Path) -> None:
    link = Link(tmp_path, lease=0.5, deaf=True)
    with link.accept():
        assert link.parent.wait(20) == -9
    link.close()


def test_a_daemon_is_heard_though_exabgp_reads_nothing(leased: Link) -> None:
    with leased.accept() as daemon:
        os.kill(leased.parent.pid, signal.SIGSTOP)
        began = time.monotonic()
        while time.monotonic() - began < 2.5:  # three times what the pipe holds, and longer than the lease
            daemon.sendall(b"x" * 8191 + b"\n")
            time.sleep(0.1)
        os.kill(leased.parent.pid, signal.SIGCONT)
        daemon.sendall(b"close\n")
        while daemon.recv(65536):
            pass
        assert leased.parent.wait(20) == 10


def test_bytes_are_copied_both_ways_as_they_are(link: Link) -> None:
    with link.accept() as daemon:
        daemon.sendall(b"one \xff\n" + b"two\n")
        assert read(daemon, 10) == b"one \xff\ntwo\n"


def test_exabgp_is_ended_when_the_daemon_goes(link: Link) -> None:
    link.accept().close()
    assert link.parent.wait(20) == -15


def test_exabgp_is_read_though_the_daemon_does_not(link: Link) -> None:
    with link.accept() as daemon:
        daemon.sendall(b"say 5000000\nsay 5000000\n")
        daemon.sendall(b"close\n")
        # It got rid of ten million bytes: else it would never come to the end. The relay ended with it.
        assert len(read(daemon, 10_000_002)) == 10_000_002
        assert link.parent.wait(20) in (10, -15)


def test_the_relay_ends_when_exabgp_does(link: Link) -> None:
    with link.accept() as daemon:
        daemon.sendall(b"close\n")
        assert daemon.recv(1) == b""


def test_a_process_that_is_not_exabgp_is_never_killed(tmp_path: Path) -> None:
    link = Link(tmp_path, pid=str(os.getpid()))
    assert link.parent.wait(20) == 11
    link.close()


def test_exabgp_is_ended_when_there_is_no_daemon_at_all(tmp_path: Path) -> None:
    link = Link(tmp_path)
    link.path.unlink(missing_ok=True)
    link.listener.close()
    assert link.parent.wait(20) == -15
