"""Copies bytes between ExaBGP, whose child this is, and the daemon's unix socket; both ways, knowing nothing of them.

Run by ExaBGP as ``python -IS relay.py SOCKET LEASE``. It stands between the two because ExaBGP writes to its API
process with blocking writes: a reader that stops would stop ExaBGP, its keepalives and so its sessions. And because it
is the one who surely sees the daemon die, or hang: then it kills ExaBGP, which closes the sessions, and the peers drop
the routes.

A daemon that hangs keeps its socket open. So it sends a sign of life, a NUL, three times in ``LEASE`` seconds; commands
have none. Without any byte for that long it counts as dead. 0: it never does.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time

SIGN_OF_LIFE = b"\0"
_CHUNK = 65536
_LAST_WORDS = 1.0  # seconds for the daemon to take what ExaBGP said last
_BACKLOG = 16 * 2**20  # bytes that the daemon may leave unread before it counts as dead


def _exabgp() -> int:
    """Open a pidfd of ExaBGP. Should it be dead already, our parent is somebody else, who must not be harmed."""
    parent = int(os.environ["CONSULCAST_EXABGP_PID"])
    pidfd = os.pidfd_open(parent)
    if os.getppid() != parent:
        sys.exit("ExaBGP is gone")
    return pidfd


def _copy(daemon: socket.socket, lease: float) -> bool:
    """Copy until one side closes, or the lease ends. Returns whether it was the daemon's doing.

    What the daemon does not take is held here, so that ExaBGP is read at any time; what ExaBGP does not take is left
    with the daemon, whose window of commands under way is small.
    """
    commands, events = sys.stdout.fileno(), sys.stdin.fileno()
    daemon.setblocking(False)
    os.set_blocking(commands, False)
    to_daemon, to_exabgp = bytearray(), bytearray()
    poll = select.poll()
    poll.register(events, select.POLLIN)
    heard = time.monotonic()
    while len(to_daemon) < _BACKLOG:
        listening = not to_exabgp
        poll.register(daemon, select.POLLIN * listening | select.POLLOUT * bool(to_daemon))
        poll.register(commands, select.POLLOUT * bool(to_exabgp))
        left = heard + lease - time.monotonic() if lease and listening else None
        ready = dict(poll.poll(None if left is None else max(0.0, left) * 1000))
        # What waits in the socket counts, however late: it may have been us who stood still.
        if left is not None and left <= 0 and not ready.get(daemon.fileno(), 0) & (select.POLLIN | select.POLLHUP):
            return True
        if ready.get(commands, 0) & select.POLLERR:
            return True
        if events in ready:
            chunk = os.read(events, _CHUNK)
            if not chunk:
                daemon.settimeout(_LAST_WORDS)
                with contextlib.suppress(OSError):
                    daemon.sendall(to_daemon)
                return False
            to_daemon += chunk
        try:
            if ready.get(daemon.fileno(), 0) & (select.POLLIN | select.POLLHUP):
                chunk = daemon.recv(_CHUNK)
                if not chunk:
                    return True
                heard = time.monotonic()
                to_exabgp += chunk.replace(SIGN_OF_LIFE, b"")
            if to_daemon:
                with contextlib.suppress(BlockingIOError):
                    del to_daemon[: daemon.send(to_daemon)]
            if to_exabgp:
                with contextlib.suppress(BlockingIOError):
                    del to_exabgp[: os.write(commands, to_exabgp)]
        except OSError:  # either is gone, or going
            return True
    return True


def main() -> None:
    """Connect, copy, and end ExaBGP if the daemon went, or hangs."""
    exabgp = _exabgp()
    try:
        daemon = socket.socket(socket.AF_UNIX)
        daemon.connect(sys.argv[1])
        daemon_gone = _copy(daemon, float(sys.argv[2]))
    except OSError:
        daemon_gone = True
    if daemon_gone:
        signal.pidfd_send_signal(exabgp, signal.SIGKILL)


if __name__ == "__main__":
    main()
