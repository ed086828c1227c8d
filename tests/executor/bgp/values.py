"""Peers and routes for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from consulcast.executor.bgp.peer import Peer
from consulcast.model import Community, CommunityKind, Prefix, Route

NEXT_HOP4 = IPv4Address("198.51.100.1")
NEXT_HOP6 = IPv6Address("2001:db8::1")


def peer(address: str = "198.51.100.2", **more: Any) -> Peer:
    """A plain eBGP peer."""
    local = "2001:db8::1" if ":" in address else "198.51.100.1"
    values: dict[str, Any] = {
        "peer_as": 65010,
        "local_as": 65001,
        "local_address": ip_address(local),
        "router_id": NEXT_HOP4,
        "next_hop4": NEXT_HOP4,
        "next_hop6": NEXT_HOP6,
    }
    return Peer(ip_address(address), **{**values, **more})


def route(prefix: str, *communities: str) -> Route:
    """A route with standard communities."""
    found = tuple(Community(CommunityKind.STANDARD, text) for text in communities)
    return Route(ip_network(prefix), found)


def by_prefix(routes: Iterable[Route]) -> dict[Prefix, Route]:
    """A whole table of routes; the later of two for one prefix counts."""
    return {each.prefix: each for each in routes}
