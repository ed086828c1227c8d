"""Copies bytes between ExaBGP, whose child this is, and the daemon's unix socket; both ways, knowing nothing of them.

Run by ExaBGP as ``python -IS relay.py SOCKET LEASE``. It stands between the two because ExaBGP writes to its API
process with blocking writes: a reader that stops would stop ExaBGP, its keepalives and so its sessions. And because it
is the one who surely sees the daemon die, or hang: then it ends ExaBGP, and the peers drop the routes.

A daemon that lives says something at least every quarter of the lease, a NUL byte if there is nothing else; those end
here. After ``LEASE`` seconds of silence it counts as hung; 0: never.
"""

from __future__ import annotations

import os
import select
import sys
import time

TYPE_CHECKING = False  # as typing has it
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Callable
else:
    # Their halves in C: with the others come enum, re and collections, 1 MiB and 20 ms in which nothing is announced.
    import _signal as signal
    import _socket as socket

_CHUNK = 65536
_LAST_WORDS = 1.0  # seconds for the daemon to take what ExaBGP said last
_BACKLOG = 16 * 2**20  # bytes that either side may leave unread before it counts as dead
_LATE = 0.5  # seconds; who wakes that much too late has stood still itself
_END = 0.6  # seconds for ExaBGP to say farewell to its peers; it needs 0.2


class Lease:
    """How long the daemon may be silent. Times are seconds of the monotonic clock."""

    def __init__(self, length: float, now: float) -> None:
        self._length = length
        self._until = now + length

    def renew(self, now: float) -> None:
        """The daemon has said something."""
        self._until = now + self._length

    def left(self, now: float) -> float | None:
        """Seconds until it is over; None if it never is."""
        return max(0.0, self._until - now) if self._length else None

    def over(self, now: float) -> bool:
        """Tell whether it is over. Nothing more must wait to be read.

        Who comes much too late to look has stood still, and so may the daemon have, with all of the host: it then
        gets time to say so.
        """
        if not self._length or now < self._until:
            return False
        if now - self._until > _LATE:
            self._until = now + self._length / 2
            return False
        return True


def _exabgp() -> int:
    """Open a pidfd of ExaBGP. Should it be dead already, our parent is somebody else, who must not be harmed."""
    parent = int(os.environ["CONSULCAST_EXABGP_PID"])
    pidfd = os.pidfd_open(parent)
    if os.getppid() != parent:
        sys.exit("ExaBGP is gone")
    return pidfd


def _copy(daemon: socket.socket, lease: Lease) -> bool:
    """Copy until one side closes. Returns whether it was the daemon's, or the daemon hangs.

    What either does not take is held here: so ExaBGP is read at any time, and so is the daemon, whose sign of life
    must not wait behind a command that ExaBGP does not read.
    """
    commands, events = sys.stdout.fileno(), sys.stdin.fileno()
    daemon.setblocking(False)
    os.set_blocking(commands, False)
    to_daemon, to_exabgp = bytearray(), bytearray()
    poll = select.poll()
    poll.register(events, select.POLLIN)
    while len(to_daemon) < _BACKLOG and len(to_exabgp) < _BACKLOG:
        poll.register(daemon, select.POLLIN | select.POLLOUT * bool(to_daemon))
        poll.register(commands, select.POLLOUT * bool(to_exabgp))
        left = lease.left(time.monotonic())
        ready = dict(poll.poll(None if left is None else left * 1000 + 1))
        if ready.get(commands, 0) & select.POLLERR:
            return True
        if events in ready:
            chunk = os.read(events, _CHUNK)
            if not chunk:
                _say_last(daemon, to_daemon)
                return False
            to_daemon += chunk
        try:
            if ready.get(daemon.fileno(), 0) & (select.POLLIN | select.POLLHUP):
                chunk = daemon.recv(_CHUNK)
                if not chunk:
                    return True
                lease.renew(time.monotonic())
                to_exabgp += chunk.replace(b"\0", b"")
            elif lease.over(time.monotonic()):
                return True
            _write(daemon.send, to_daemon)
            _write(lambda chunk: os.write(commands, chunk), to_exabgp)
        except OSError:  # either is gone, or going
            return True
    return True


def _write(write: Callable[[bytearray], int], unsent: bytearray) -> None:
    """Write what is taken now, and forget it."""
    if not unsent:
        return
    try:
        del unsent[: write(unsent)]
    except BlockingIOError:
        return


def _say_last(daemon: socket.socket, words: bytearray) -> None:
    """Give the daemon some time to take what ExaBGP said last."""
    try:
        daemon.settimeout(_LAST_WORDS)
        daemon.sendall(words)
    except OSError:
        return


def _end(exabgp: int) -> None:
    """End ExaBGP: in order, so that its peers drop the routes whatever they agreed upon, else by force.

    It is read meanwhile, or it could wait for us. When it has closed its sessions, it ends us.
    """
    signal.pidfd_send_signal(exabgp, signal.SIGCONT)  # were it stopped, it could not end in order
    signal.pidfd_send_signal(exabgp, signal.SIGTERM)
    poll = select.poll()
    poll.register(exabgp, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN)
    deadline = time.monotonic() + _END
    while (left := deadline - time.monotonic()) > 0:
        ready = dict(poll.poll(left * 1000))
        if exabgp in ready:
            return
        if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), _CHUNK):
            poll.unregister(sys.stdin)
    signal.pidfd_send_signal(exabgp, signal.SIGKILL)


def main() -> None:
    """Connect, copy, and end ExaBGP if the daemon went."""
    exabgp = _exabgp()
    try:
        daemon = socket.socket(socket.AF_UNIX)
        daemon.connect(sys.argv[1])
        daemon_gone = _copy(daemon, Lease(float(sys.argv[2]), time.monotonic()))
    except OSError:
        daemon_gone = True
    if daemon_gone:
        try:
            _end(exabgp)
        except ProcessLookupError:
            return  # it has ended by itself


if __name__ == "__main__":
    main()
