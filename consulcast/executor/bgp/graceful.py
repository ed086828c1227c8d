"""Graceful restart (RFC 4724), as the speaker that restarts: who still waits for End-of-RIB, and what peers may hold.

A peer whose session breaks without a NOTIFICATION keeps our routes until it has our End-of-RIB over the next session,
or until the restart time is over. Of these routes no withdrawal can be told, so whoever waits for a route to be gone
must wait for that.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from msgspec import Struct, field

from consulcast.model import IPAddress, Prefix


class _Held(Struct):
    """What a peer may hold of a session before. ``until``: infinity while it waits for End-of-RIB."""

    until: float
    anything: bool = False  # what a former run has announced, nobody knows
    prefixes: set[Prefix] = field(default_factory=set)


class GracefulRestart:
    """The books about it. Times are seconds of the monotonic clock; a ``time`` of 0 turns all of it off."""

    def __init__(self, time: float, peers: Iterable[IPAddress], now: float) -> None:
        self._time = time
        self._held = {peer: _Held(now + time, anything=True) for peer in peers} if time else {}
        self._due: dict[IPAddress, set[int]] = {}  # IP versions whose End-of-RIB a session still waits for
        self._complete = False

    def complete(self) -> bool:
        """All that should be announced is: End-of-RIB may be said. Returns whether that is news."""
        news, self._complete = not self._complete, True
        return news

    def up(self, peer: IPAddress, versions: Iterable[int]) -> None:
        """A session has begun, over which prefixes of these IP versions pass."""
        if not self._time:
            return
        self._due[peer] = set(versions)
        if not self._due[peer]:
            self._held.pop(peer, None)  # stale routes of a family that is not agreed upon any more are dropped
        elif peer in self._held:
            self._held[peer].until = math.inf

    def down(self, peer: IPAddress, prefixes: Collection[Prefix], now: float) -> None:
        """A session has ended, over which these were announced."""
        self._due.pop(peer, None)
        if self._time:
            held = self._held.setdefault(peer, _Held(now))
            held.until = now + self._time
            held.prefixes.update(prefixes)

    def removed(self, peer: IPAddress, now: float) -> None:
        """A peer is spoken to no more. A session ends with a NOTIFICATION; one that broke before may be remembered."""
        self._due.pop(peer, None)
        if peer in self._held:
            self._held[peer].until = min(self._held[peer].until, now + self._time)

    def next(self) -> tuple[IPAddress, int] | None:
        """The peer and the IP version whose End-of-RIB is to be said, once all routes are acknowledged."""
        if self._complete:
            for peer, versions in self._due.items():
                for version in sorted(versions):
                    return peer, version
        return None

    def said(self, peer: IPAddress, version: int, ok: bool) -> None:
        """End-of-RIB was acknowledged; or refused, because the session had gone: the next one gets it."""
        if not ok:
            self._due.pop(peer, None)
        elif peer in self._due:
            self._due[peer].discard(version)
            if not self._due[peer]:
                self._held.pop(peer, None)

    def holds(self, prefix: Prefix, now: float) -> bool:
        """Whether any peer may still hold ``prefix`` of a session before."""
        return any(held.until > now and (held.anything or prefix in held.prefixes) for held in self._held.values())

    def next_deadline(self, now: float) -> float:
        """When a peer will have dropped what it holds; infinity if that is not known, or nothing is held."""
        return min((held.until for held in self._held.values() if held.until > now), default=math.inf)

    def let_go(self) -> None:
        """Wait no more for what cannot be told: everything ends now."""
        self._held.clear()
