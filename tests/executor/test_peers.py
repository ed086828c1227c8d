"""What the file leaves open about a peer, and what the kernel answers."""

from __future__ import annotations

import ipaddress
from typing import Any, cast

import pytest

from consulcast.config import PeerConfig
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.kernel import Kernel, Path
from consulcast.executor.peers import Unresolved, resolve
from consulcast.executor.protocols import KernelError
from consulcast.model import Interface, IPAddress


def ip(text: str) -> IPAddress:
    return ipaddress.ip_address(text)


class FakeKernel:
    """A host with one device; ``addresses`` are its global ones."""

    def __init__(self, *addresses: str, gateway: str = "", routes: bool = True) -> None:
        self.addresses = [ipaddress.ip_interface(address) for address in addresses]
        self.gateway, self.routes = gateway, routes

    def default_gateway(self) -> IPAddress | None:
        return ip(self.gateway) if self.gateway else None

    def path(self, destination: IPAddress) -> Path:
        source = next((a.ip for a in self.addresses if a.version == destination.version), None)
        if not self.routes or source is None:
            raise KernelError("Network is unreachable (errno 101)")
        return Path(source, 7)

    def global_addresses(self, device: int, version: int) -> tuple[Interface, ...]:
        assert device == 7
        return tuple(a for a in self.addresses if a.version == version)


def resolved(kernel: FakeKernel, router_id: str = "", **config: Any) -> Peer:
    given: dict[str, Any] = {"where": "bgp", "address": ip("198.51.100.2"), "peer_as": 65010, "local_as": 65001}
    identifier = ipaddress.IPv4Address(router_id) if router_id else None
    return resolve(PeerConfig(**{**given, **config}), identifier, cast(Kernel, kernel))


BOTH = FakeKernel("198.51.100.1/24", "2001:db8::1/64", gateway="198.51.100.254")


def test_address_toward_the_peer_and_next_hops_come_from_the_kernel() -> None:
    peer = resolved(BOTH)
    assert (peer.local_address, peer.next_hop4, peer.next_hop6) == (
        ip("198.51.100.1"),
        ip("198.51.100.1"),
        ip("2001:db8::1"),
    )
    assert peer.router_id == ip("198.51.100.1")


def test_peer_without_an_address_is_the_default_gateway() -> None:
    assert resolved(BOTH, address=None).address == ip("198.51.100.254")
    with pytest.raises(Unresolved, match="no default gateway"):
        resolved(FakeKernel("198.51.100.1/24"), address=None)


def test_ipv6_session_takes_its_router_id_from_ipv4_and_carries_both_families() -> None:
    peer = resolved(BOTH, address=ip("2001:db8::2"))
    assert (peer.local_address, peer.router_id, peer.next_hop4) == (
        ip("2001:db8::1"),
        ip("198.51.100.1"),
        ip("198.51.100.1"),
    )


def test_host_without_ipv4_needs_a_router_id() -> None:
    only6 = FakeKernel("2001:db8::1/64")
    with pytest.raises(Unresolved, match=r"set bgp\.router_id"):
        resolved(only6, address=ip("2001:db8::2"))
    peer = resolved(only6, "192.0.2.1", address=ip("2001:db8::2"))
    assert peer.next_hop4 is None
    extended = resolved(only6, "192.0.2.1", address=ip("2001:db8::2"), extended_next_hop=True)
    assert extended.next_hop4 == ip("2001:db8::1")


def test_configured_values_win() -> None:
    peer = resolved(
        BOTH,
        local_address=ip("198.51.100.9"),
        next_hop4=ip("198.51.100.10"),
        next_hop6=ip("2001:db8::10"),
        families=("ipv6",),
    )
    assert (peer.local_address, peer.next_hop4, peer.next_hop6) == (ip("198.51.100.9"), None, ip("2001:db8::10"))


def test_fully_configured_peer_needs_no_route_yet() -> None:
    nowhere = FakeKernel(routes=False)
    with pytest.raises(Unresolved, match="unreachable"):
        resolved(nowhere)
    peer = resolved(
        nowhere, local_address=ip("198.51.100.1"), next_hop4=ip("198.51.100.1"), next_hop6=ip("2001:db8::1")
    )
    assert peer.local_address == ip("198.51.100.1")


def test_ebgp_is_multihop_as_in_gocast_unless_ttl_security_is_asked_for() -> None:
    assert resolved(BOTH).ttl == 255
    assert resolved(BOTH, ttl=2).ttl == 2
    assert resolved(BOTH, ttl_security=1).ttl is None
    assert resolved(BOTH, peer_as=65001).ttl is None
