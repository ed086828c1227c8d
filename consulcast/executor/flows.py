"""How many flows to a VIP are open: connections of this host's own sockets, and what NAT leads elsewhere.

Asked only while somebody wants to know, in a greenlet of its own, and at most once a second.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain

import gevent
from gevent.event import Event

from consulcast.executor import sockets
from consulcast.executor.bgp.child import Spawn
from consulcast.executor.nat import conntrack
from consulcast.hub import breathe
from consulcast.model import Interface

log = logging.getLogger(__name__)

PAUSE = 1.0  # seconds between two looks
_FEW = 8  # VIPs that the kernel compares itself: each question is a walk through all connections

Count = Callable[[Collection[Interface]], Mapping[Interface, int]]


def count(vips: Collection[Interface]) -> Mapping[Interface, int]:
    """Count the open flows to each VIP. Others get their turn meanwhile. Raises ``OSError``."""
    found: Counter[bytes] = Counter()
    for version in {vip.version for vip in vips}:
        of_version = [vip for vip in vips if vip.version == version]
        for portion in chain(_sockets(of_version, version), conntrack.open_to(of_version, version)):
            found.update(portion)
            breathe()
    return {vip: sum(found[address] for address in _addresses(vip, found)) for vip in vips}


def _sockets(vips: Collection[Interface], version: int) -> Iterator[list[bytes]]:
    if len(vips) > _FEW:
        yield from sockets.open_at(None, version)
        return
    networks = ipaddress.collapse_addresses(vip.network for vip in vips)  # type: ignore[type-var]  # of one version
    for network in networks:  # so that none is told of twice
        yield from sockets.open_at(network, version)


def _addresses(vip: Interface, found: Iterable[bytes]) -> Iterable[bytes]:
    """Which of the addresses are the VIP's, as it stands on the host: one, or a whole prefix."""
    network = vip.network
    if network.prefixlen == network.max_prefixlen:
        return (network.network_address.packed,)
    size, rest = network.max_prefixlen // 8, network.max_prefixlen - network.prefixlen
    begin = int(network.network_address) >> rest
    return [each for each in found if len(each) == size and int.from_bytes(each, "big") >> rest == begin]


class OpenFlows:
    """Counts while there is something to watch; ``changed`` is called when a count is another than before."""

    def __init__(
        self,
        changed: Callable[[], None],
        spawn: Spawn = gevent.spawn,
        count: Count = count,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = gevent.sleep,
    ) -> None:
        self._changed, self._spawn, self._count, self._clock, self._sleep = changed, spawn, count, clock, sleep
        self._vips: frozenset[Interface] = frozenset()
        self._found: dict[Interface, int] = {}
        self._wake = Event()
        self._greenlet: gevent.Greenlet[..., None] | None = None

    def watch(self, vips: Collection[Interface]) -> None:
        """Replace the whole set of VIPs that are counted. Returns at once."""
        vips = frozenset(vips)
        if vips == self._vips:
            return
        self._vips = vips
        self._found = {vip: number for vip, number in self._found.items() if vip in vips}
        if vips and self._greenlet is None:
            self._greenlet = self._spawn(self._run)
        self._wake.set()

    def open(self, vip: Interface) -> int | None:
        """Tell how many were open when they were last counted; ``None``: not counted since it is watched."""
        return self._found.get(vip)

    def stop(self) -> None:
        """Count no more."""
        if self._greenlet is not None:
            self._greenlet.kill()

    def _run(self) -> None:
        told = False
        while True:
            if not self._vips:
                self._wake.wait()
            self._wake.clear()
            vips, began = self._vips, self._clock()
            try:
                found = self._count(vips) if vips else {}
                told = False
            except OSError as error:
                if not told:
                    extra = {"reason": "flows-unseen", "detail": str(error)}
                    text = "open flows cannot be counted, so that all of drain.flows is waited for: %s"
                    log.warning(text, error, extra=extra)
                found, told = {}, True
            now = {vip: number for vip, number in found.items() if vip in self._vips}
            before, self._found = self._found, now
            if now != before:
                self._changed()
            if vips:
                self._sleep(max(PAUSE, self._clock() - began))  # half of the time at most
