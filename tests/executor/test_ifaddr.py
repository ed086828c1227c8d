"""The kernel's messages about addresses and routes, written and read."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast.executor import ifaddr, routes
from consulcast.executor.netlink import attribute, attributes
from consulcast.model import Interface

ADDRESSES = st.one_of(
    st.builds(lambda ip, length: ipaddress.ip_interface((ip, length)), st.ip_addresses(v=4), st.integers(0, 32)),
    st.builds(lambda ip, length: ipaddress.ip_interface((ip, length)), st.ip_addresses(v=6), st.integers(0, 128)),
)


@given(ADDRESSES, st.integers(4, 255), st.integers(0, 255), st.sampled_from(["", "lo:consulcast"]))
def test_what_is_written_of_an_address_is_read_again(address: Interface, proto: int, scope: int, label: str) -> None:
    order = ifaddr.new(7, address, scope=scope, flags=0x202, proto=proto, label=label, preferred=0)
    said = ifaddr.read(order.body)
    assert said is not None
    assert said == ifaddr.IfAddress(address.packed, address.network.prefixlen, 7, scope, label, proto, 0)
    assert said.interface == address
    gone = ifaddr.read(ifaddr.delete(7, address).body)
    assert gone is not None
    assert (gone.interface, gone.device, gone.proto, gone.preferred) == (address, 7, None, ifaddr.FOR_EVER)


def test_new_address_is_to_be_made_and_never_to_replace_one() -> None:
    order = ifaddr.new(
        7, ipaddress.ip_interface("203.0.113.1/32"), scope=254, flags=0x200, proto=204, label="lo:dns", preferred=0
    )
    assert (order.kind, order.flags) == (20, 0x600)  # RTM_NEWADDR; NLM_F_CREATE | NLM_F_EXCL, not NLM_F_REPLACE
    assert order.body[:8] == struct.pack("=BBBBi", socket.AF_INET, 32, 0, 254, 7)
    assert attributes(order.body[8:]) == {
        1: b"\xcb\x00\x71\x01",  # IFA_ADDRESS
        2: b"\xcb\x00\x71\x01",  # IFA_LOCAL
        3: b"lo:dns\0",  # IFA_LABEL
        6: struct.pack("=IIII", 0, 0xFFFFFFFF, 0, 0),  # IFA_CACHEINFO
        8: struct.pack("=I", 0x200),  # IFA_FLAGS
        11: b"\xcc",  # IFA_PROTO
    }


def test_of_a_point_to_point_device_the_hosts_own_end_is_read() -> None:
    mine, theirs = bytes((198, 51, 100, 1)), bytes((198, 51, 100, 2))
    body = struct.pack("=BBBBi", socket.AF_INET, 32, 0, 0, 3) + attribute(1, theirs) + attribute(2, mine)
    said = ifaddr.read(body)
    assert said is not None
    assert str(said.interface) == "198.51.100.1/32"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        struct.pack("=BBBBi", socket.AF_INET, 32, 0, 0, 1),
        struct.pack("=BBBBi", socket.AF_INET, 33, 0, 0, 1) + attribute(2, bytes(4)),
        struct.pack("=BBBBi", socket.AF_INET6, 64, 0, 0, 1) + attribute(1, bytes(4)),
        struct.pack("=BBBBi", socket.AF_BRIDGE, 0, 0, 0, 1) + attribute(1, bytes(4)),
        (struct.pack("=BBBBi", socket.AF_INET, 32, 0, 0, 1) + attribute(2, bytes(4)))[:-1],
    ],
    ids=["empty", "no address", "no such length", "other family's address", "other family", "cut off"],
)
def test_what_is_no_address_is_none(body: bytes) -> None:
    assert ifaddr.read(body) is None


@given(st.sampled_from([socket.AF_INET, socket.AF_INET6, 7]), st.binary(max_size=120))
def test_garbage_is_read_as_something_or_as_none(family: int, data: bytes) -> None:
    for body in (data, bytes((family,)) + data):
        address, route = ifaddr.read(body), routes.read(body)
        assert address is None or address.interface.packed == address.packed
        assert route is None or not route.packed or route.prefix.packed == route.packed


@given(ADDRESSES, st.integers(4, 255))
def test_what_is_written_of_a_local_prefix_is_read_again(address: Interface, proto: int) -> None:
    prefix = ipaddress.ip_interface(address.network)
    for order, kind in ((routes.new_local(7, prefix, proto), 24), (routes.delete_local(7, prefix, proto), 25)):
        said = routes.read(order.body)
        assert said is not None
        assert (said.prefix, said.table, said.proto, said.kind, said.device) == (prefix, 255, proto, routes.LOCAL, 7)
        assert order.kind == kind


def test_table_beyond_a_byte_is_read_from_its_attribute() -> None:
    head = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 252, 3, 0, 1, 0)
    said = routes.read(head + attribute(15, struct.pack("=I", 10_000)))
    assert said is not None
    assert (said.table, said.packed) == (10_000, b"")


def path(gateway: str) -> bytes:
    said = attribute(5, ipaddress.ip_address(gateway).packed)
    return struct.pack("=HBBi", 8 + len(said), 0, 0, 2) + said


def test_route_of_several_paths_has_the_gateway_of_each_and_none_of_its_own() -> None:
    head = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0)
    several = attribute(9, path("198.51.100.1") + path("198.51.100.2"))
    said = routes.read(head + several + attribute(6, struct.pack("=I", 100)))
    assert said is not None
    assert (said.gateway, said.priority) == (b"", 100)
    assert [str(ipaddress.ip_address(each)) for each in said.gateways] == ["198.51.100.1", "198.51.100.2"]
    cut = routes.read(head + attribute(9, path("198.51.100.1") + path("198.51.100.2")[:9] + bytes(3)))
    assert cut is not None
    assert len(cut.gateways) == 1
    endless = routes.read(head + attribute(9, bytes(32)))
    assert endless is not None
    assert endless.gateways == ()


def test_way_has_its_source_its_device_and_its_gateway() -> None:
    head = struct.pack("=BBBBBBBBI", socket.AF_INET6, 128, 0, 0, 254, 3, 0, 1, 0)
    source, gateway = (ipaddress.ip_address(text).packed for text in ("2001:db8::1", "fe80::1"))
    body = (
        head
        + attribute(1, bytes(15) + b"\1")
        + attribute(4, struct.pack("=I", 7))
        + attribute(7, source)
        + attribute(5, gateway)
    )
    said = routes.read(body)
    assert said is not None
    assert (said.device, said.source, said.gateway, said.gateways) == (7, source, gateway, (gateway,))
    assert routes.is_default(struct.pack("=BB", socket.AF_INET6, 0)), "its prefix has no bit"
    assert not routes.is_default(body)
