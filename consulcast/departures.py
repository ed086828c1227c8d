"""What leaves the host, and when: its routes are withdrawn and acknowledged, then the drain time, then its open flows.

Times are seconds of the monotonic clock, and passed in.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from msgspec import Struct

from consulcast.alarms import Alarms
from consulcast.executor.protocols import Flows
from consulcast.model import Draining, Interface, Prefix


class _Leaving(Struct):
    """An address that is not wanted any more: ours, or one that NAT rules of ours are about."""

    prefixes: frozenset[Prefix]  # the routes that lead to it
    drain: bool  # whether there was such a route
    clear_since: float | None = None
    trouble: str = ""  # why it could not be removed
    ended: bool = False  # its open flows have ended, or were waited for long enough


class Departures:
    """Keeps books on every address that leaves."""

    def __init__(self, drain_time: float, flows: Flows | None) -> None:
        self._drain_time, self._flows = drain_time, flows
        self._leaving: dict[Interface, _Leaving] = {}
        self._by_prefix: dict[Prefix, set[Interface]] = {}
        self._counted: set[Interface] = set()  # whose open flows are waited for
        self._told: set[Interface] = set()  # as was said to those who count them
        self.alarms: Alarms[Interface] = Alarms()

    def __bool__(self) -> bool:
        return bool(self._leaving)

    def __iter__(self) -> Iterator[Interface]:
        return iter(self._leaving)

    def from_within(self, prefix: Prefix) -> Collection[Interface]:
        """Tell which leave to which a route of this prefix led."""
        return self._by_prefix.get(prefix, ())

    @property
    def counted(self) -> Collection[Interface]:
        """Those whose open flows are waited for."""
        return self._counted

    def stays(self, address: Interface) -> None:
        """An address is wanted, or nothing of it is left."""
        leaving = self._leaving.pop(address, None)
        if leaving is None:
            return
        self._counted.discard(address)
        self.alarms.set(address, math.inf)
        for prefix in leaving.prefixes:
            self._by_prefix[prefix].discard(address)
            if not self._by_prefix[prefix]:
                del self._by_prefix[prefix]

    def waits(self, address: Interface) -> None:
        """It is not known yet whether an address may leave."""
        self._counted.discard(address)
        self.alarms.set(address, math.inf)

    def leave(self, address: Interface, led: Collection[Prefix]) -> Collection[Prefix]:
        """An address is not wanted; ``led``: the prefixes that this run announced for it.

        Returns the prefixes that may lead to it still.
        """
        leaving = self._leaving.get(address)
        if leaving is None:
            # of a former run nobody knows what led there, but the peers may still have it
            leaving = _Leaving(frozenset(led) or frozenset({address.network}), drain=bool(led))
            self._leaving[address] = leaving
            for prefix in leaving.prefixes:
                self._by_prefix.setdefault(prefix, set()).add(address)
        return leaving.prefixes

    def may_go(self, address: Interface, clear: bool, drain: Draining | None, now: float) -> bool:
        """Tell whether an address that leaves may go now. ``clear``: no peer has a route to it any more."""
        leaving = self._leaving[address]
        self._counted.discard(address)
        if not clear:
            leaving.clear_since = None
            leaving.drain, leaving.ended = True, False
            self.alarms.set(address, math.inf)
            return False
        if leaving.clear_since is None:
            leaving.clear_since = now if leaving.drain else now - self._drain_time
        drained_at = look_at = leaving.clear_since + self._drain_time
        if now >= drained_at and drain is not None and self._flows is not None and not leaving.ended:
            look_at += drain.flows
            leaving.ended = now >= look_at or self._flows.open(address) == 0
            if not leaving.ended:
                self._counted.add(address)
                self.alarms.set(address, look_at)
                return False
        may = now >= drained_at
        self.alarms.set(address, math.inf if may else look_at)  # what it waits for once it may go wakes us
        return may

    def watch(self) -> None:
        """Have the open flows counted that are waited for."""
        if self._flows is not None and self._counted != self._told:
            self._told = set(self._counted)
            self._flows.watch(frozenset(self._counted))

    def refused(self, address: Interface, why: str, again_at: float) -> bool:
        """An address could not be removed; it waits anew from that time on. Returns whether the reason is new."""
        leaving = self._leaving[address]
        news, leaving.trouble = why != leaving.trouble, why
        leaving.clear_since = again_at
        self.alarms.set(address, again_at + self._drain_time)
        return news
