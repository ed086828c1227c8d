"""Gaps in the network are filled later; what was found stands."""

from __future__ import annotations

import ipaddress
from typing import Any

from consulcast.executor.bgp.peer import Peer
from consulcast.executor.network import Network, filled


def peer(number: int, **more: Any) -> Peer:
    address = ipaddress.IPv4Address(f"198.51.100.{number}")
    local = ipaddress.IPv4Address("198.51.100.1")
    return Peer(address, 65010, 65001, local, local, **{"next_hop4": local, **more})


def network(*gaps: str, nat_to: tuple[str, ...] = (), **found: Peer) -> Network:
    return Network(found, gaps, tuple(map(ipaddress.ip_address, nat_to)), frozenset())


HOP6 = ipaddress.IPv6Address("2001:db8::1")


def test_peer_that_was_away_is_added_and_the_others_stand() -> None:
    merged = filled(network("b is away", a=peer(2)), network(a=peer(2), b=peer(3)))
    assert merged.peers == (peer(2), peer(3))
    assert merged.gaps == ()
    assert ipaddress.ip_address("198.51.100.3") in merged.reserved


def test_next_hop_that_came_later_is_taken() -> None:
    merged = filled(network("no hop", a=peer(2)), network(a=peer(2, next_hop6=HOP6), nat_to=("2001:db8::1",)))
    assert merged.peers == (peer(2, next_hop6=HOP6),)
    assert merged.nat_to == (HOP6,)


def test_what_is_away_for_a_moment_stands() -> None:
    before = network(a=peer(2, next_hop6=HOP6), b=peer(3), nat_to=("198.51.100.1", "2001:db8::1"))
    merged = filled(before, network("b is away", a=peer(2)))
    assert merged.peers == before.peers
    assert merged.nat_to == before.nat_to
