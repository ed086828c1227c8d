"""The daemon as its service manager sees it: ready, alive, how it is, reloading, stopping.

Ready is when the host was as it should be once: every source has answered, addresses and NAT rules stand, routes are
with ExaBGP; and when HTTP is answered. A peer that does not answer does not keep it from that, and neither does a
Consul that does not for long: what can be announced is announced, and a start that fails for it would withdraw that,
every minute and a half.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import gevent

from consulcast.executor.protocols import PeerStatus, SessionState
from consulcast.model import Reason
from consulcast.sd_notify import Notifier

if TYPE_CHECKING:
    from consulcast.consul.source import ConsulSource

READY_ANYWAY = 30.0  # seconds after the start of the parts; systemd gives up after 90


class Service:
    """Tells what is new, and a sign of life for as long as the reconcile loop turns."""

    def __init__(
        self,
        notifier: Notifier,
        complete: Callable[[], bool],
        text: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notifier, self._complete, self._text, self._clock = notifier, complete, text, clock
        self._ready = self._ending = False
        self._said = ""
        self._interval = None if notifier.watchdog is None else notifier.watchdog / 2
        self._beat_at = 0.0
        self._greenlet: gevent.Greenlet[..., Any] | None = None

    def start(self) -> None:
        """The parts are started."""
        self._notifier.starting(READY_ANYWAY * 2)
        self._greenlet = gevent.spawn_later(READY_ANYWAY, self._be_ready)

    def passed(self) -> float | None:
        """Take in that the reconcile loop has come round. Returns seconds until it must come again, if it must."""
        if self._complete():
            self._be_ready()
        self._tell()
        if self._interval is None:
            return None
        now = self._clock()
        if now >= self._beat_at:
            self._beat_at = now + self._interval
            self._notifier.alive()
        return self._beat_at - now

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Tell of a reload, in whatever way it ends."""
        if not self._ready:  # it would look like the end of the start
            yield
            return
        self._notifier.reloading()
        try:
            yield
        finally:
            if not self._ending:
                self._notifier.ready()

    def stopping(self, seconds: float) -> None:
        """Tell that the end has begun; it takes so long at most."""
        self._ending = True
        if self._greenlet is not None:
            self._greenlet.kill()
        self._notifier.stopping(seconds)
        self._notifier.status("withdrawing all")

    def _be_ready(self) -> None:
        if not self._ready and not self._ending:
            self._ready = True
            self._notifier.ready()

    def _tell(self) -> None:
        text = self._text()
        if text != self._said and not self._ending:
            self._said = text
            self._notifier.status(text)


def summary(vips: Mapping[Reason, int], peers: Iterable[PeerStatus], consul: str) -> str:
    """Word how things are: ``7 of 9 VIPs announced, 2 of 2 peers up; Consul fresh``.

    ``vips``: how many there are of each reason.
    """
    announced, would, asked = vips.get(Reason.ANNOUNCED, 0), vips.get(Reason.WOULD_ANNOUNCE, 0), sum(vips.values())
    if would:
        return f"observing: {would} of {asked} VIPs would be announced; {consul}"
    peers = tuple(peers)
    up = sum(peer.state is SessionState.UP for peer in peers)
    return f"{announced} of {asked} VIPs announced, {up} of {len(peers)} peers up; {consul}"


def consul_word(source: ConsulSource | None) -> str:
    """Word what is known of Consul, in a way that changes with its state and not with time."""
    if source is None:
        return "without Consul"
    if not source.state.synced:
        return "Consul has not answered yet"
    return "Consul fresh" if source.state.stale_since is None else f"Consul stale: {source.state.stale_reason}"
