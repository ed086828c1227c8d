"""What becomes of our routes at the peers when we stop, hang, die or are started again; and our signs of life."""

from __future__ import annotations

import signal

from msgspec import Struct

_LONGEST_PAUSE = 2.5  # seconds between two signs of life
_JUST_NOW = 1.0  # seconds


class Life(Struct, frozen=True):
    """How long we may be silent before the routes are taken back, and how long peers keep them over a restart.

    ``lease``: seconds, 0 for ever. ``graceful_restart``: seconds (RFC 4724, up to 4095), 0 for not at all.
    """

    lease: float = 10.0
    graceful_restart: int = 0

    @property
    def pause(self) -> float:
        """Seconds between two signs of life."""
        return min(self.lease / 4, _LONGEST_PAUSE) if self.lease else _LONGEST_PAUSE

    @property
    def death_signal(self) -> signal.Signals:
        """What the kernel sends ExaBGP when we die.

        With graceful restart a connection that just closes would leave our routes at the peers; so ExaBGP must have
        the time to say farewell, and the relay looks whether it does. Without, nothing is surer than SIGKILL.
        """
        return signal.SIGTERM if self.graceful_restart else signal.SIGKILL


class Heart:
    """Notices that this process stood still for longer than the lease. Times are of the monotonic clock."""

    def __init__(self, lease: float, now: float) -> None:
        self._lease = lease
        self._last = now
        self._missed, self._missed_until = 0.0, now

    def beat(self, now: float) -> None:
        """Take in that we are alive."""
        if self._lease and now - self._last > self._lease:
            self._missed, self._missed_until = now - self._last, now + _JUST_NOW
        self._last = now

    def missed(self, now: float) -> float:
        """For how many seconds we have just stood still, if longer than the lease; else 0."""
        if self._lease and now - self._last > self._lease:
            return now - self._last
        return self._missed if now < self._missed_until else 0.0
