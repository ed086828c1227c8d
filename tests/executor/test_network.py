"""Gaps in the network are filled later; what was found stands."""

from __future__ import annotations

import ipaddress
from typing import Any, cast

from consulcast.config import PeerConfig
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.kernel import Kernel, Path
from consulcast.executor.network import Network, filled, look
from consulcast.executor.protocols import KernelError
from consulcast.model import IPAddress


def peer(number: int, **more: Any) -> Peer:
    address = ipaddress.IPv4Address(f"198.51.100.{number}")
    local = ipaddress.IPv4Address("198.51.100.1")
    return Peer(address, 65010, 65001, local, local, **{"next_hop4": local, **more})


def network(*gaps: str, nat_to: tuple[str, ...] = (), **found: Peer) -> Network:
    return Network(found, gaps, tuple(map(ipaddress.ip_address, nat_to)), frozenset())


def test_peers_that_the_file_names_are_no_vips_though_nobody_can_speak_to_them_yet() -> None:
    class Nowhere:
        """A kernel without a route."""

        def path(self, destination: IPAddress) -> Path:
            raise KernelError(f"no route to {destination}")

        def device(self, name: str) -> int:
            return 1

        def own_addresses(self, other_than: int) -> frozenset[IPAddress]:
            return frozenset([ipaddress.ip_address("198.51.100.1")])

        def gateways(self) -> frozenset[IPAddress]:
            return frozenset([ipaddress.ip_address("198.51.100.254")])

    away = PeerConfig("bgp.peers[0]", ipaddress.ip_address("203.0.113.1"), 65010, 65001)
    found = look([away], ipaddress.IPv4Address("192.0.2.1"), cast(Kernel, Nowhere()), "lo")
    assert found.peers == ()
    assert set(map(str, found.reserved)) == {"198.51.100.1", "198.51.100.254", "203.0.113.1", "192.0.2.1"}


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
