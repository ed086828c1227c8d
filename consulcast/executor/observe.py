"""What acts while the daemon only observes: nothing. Each keeps what it was told, and says that it was.

No address, no NAT rule, no BGP session: nothing on this host or at a router is touched (`consulcast run --observe`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping

from consulcast.difference import differing
from consulcast.executor.bgp.events import Session
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.bgp.told import Told
from consulcast.executor.protocols import Added, Found, PeerStatus, RouteState, SessionState
from consulcast.model import Interface, IPAddress, Prefix, Route, Translation

OBSERVING = "observing: no session is opened"


class NoAddresses:
    """Addresses that are said to be there, as somebody else's, so that none is ever said to be removed."""

    def __init__(self) -> None:
        self._said: set[Interface] = set()

    def look(self) -> Found:
        """Tell what was added, as if it were there."""
        return Found(present=frozenset(self._said))

    def add(self, addresses: Mapping[Interface, str]) -> Added:
        """Take it as done."""
        self._said |= addresses.keys()
        return Added(frozenset(), {})

    def remove(self, addresses: Collection[Interface]) -> dict[Interface, str]:
        """Take it as done."""
        self._said -= set(addresses)
        return {}

    def owned(self) -> frozenset[Interface]:
        """None of them is ours."""
        return frozenset()


class NoNat:
    """NAT rules that are said to stand."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._said: frozenset[Translation] = frozenset()

    def set(self, translations: Collection[Translation]) -> None:
        """Take it as done."""
        before, self._said = self._said, frozenset(translations)
        if before != self._said:
            self._changed()

    def standing(self) -> frozenset[Translation]:
        """Tell what was asked for."""
        return self._said

    def failures(self) -> Mapping[Translation, str]:
        """Nothing was tried."""
        return {}

    def sweep(self) -> None:
        """There is nothing to look at."""

    def start(self) -> None:
        """There is nothing to start."""

    def stop(self, remove: bool = True) -> None:
        """There is nothing to remove."""


class NoSpeaker:
    """Routes that are announced to nobody."""

    def __init__(self, peers: Iterable[Peer], changed: Callable[[], None]) -> None:
        self._peers, self._changed = tuple(peers), changed
        self._since = time.monotonic()
        self._routes: Mapping[Prefix, Route] = {}
        self._moved: set[Prefix] | None = set()

    def set(self, routes: Mapping[Prefix, Route]) -> None:
        """Keep them, and tell nobody."""
        moved, self._routes = differing(self._routes, routes), routes
        if moved:
            if self._moved is not None:
                self._moved.update(moved)
            self._changed()

    def moved(self) -> Collection[Prefix] | None:
        """Tell of what is set anew, and of all when the peers are others."""
        moved, self._moved = self._moved, set()
        return moved

    def set_peers(self, peers: Iterable[Peer]) -> None:
        """Replace those who would be told."""
        self._peers, self._moved = tuple(peers), None

    def route_state(self, prefix: Prefix) -> RouteState:
        """Tell whether it would be announced."""
        if prefix not in self._routes:
            return RouteState.CLEAR
        hops = any(peer.next_hop(prefix) is not None for peer in self._peers)
        return RouteState.OBSERVED if hops else RouteState.NO_NEXT_HOP

    def peers(self) -> tuple[PeerStatus, ...]:
        """Tell of every peer that there is no session with it."""
        return tuple(
            PeerStatus(
                *(peer.address, peer.peer_as, peer.local_as, peer.local_address, SessionState.DOWN, self._since),
                last_error=OBSERVING,
            )
            for peer in self._peers
        )

    def look(self, peer: IPAddress, timeout: float = 1.0) -> None:
        """There is no session to look at."""

    def told(self, prefix: Prefix, timeout: float = 1.0) -> tuple[Told, ...]:
        """No peer is told anything."""
        return ()

    def seen(self) -> Mapping[IPAddress, Session]:
        """No session is up."""
        return {}

    def configured(self) -> tuple[Peer, ...]:
        """Those who would be told."""
        return self._peers

    @property
    def child_trouble(self) -> str:
        """There is no ExaBGP."""
        return ""

    def complete(self) -> None:
        """Nobody waits for that."""

    def start(self) -> None:
        """There is nothing to start."""

    def let_go(self) -> None:
        """Nobody holds anything."""

    def leave(self, timeout: float) -> None:
        """There is nothing to leave."""

    def stop(self, timeout: float) -> None:
        """There is nothing to stop."""
