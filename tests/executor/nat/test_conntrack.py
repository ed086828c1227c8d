"""Which flows are asked for, and which of them are wrong."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest

from consulcast.executor.nat import rules
from consulcast.executor.nat.conntrack import Port, changed
from consulcast.executor.nat.netlink import attribute, nested
from consulcast.executor.netlink import attributes

OLD = rules.read("203.0.113.10/32 udp 53 198.51.100.1 8053")
NEW = rules.read("203.0.113.10/32 udp 53 198.51.100.1 9053")
OTHER = rules.read("203.0.113.11/32 udp 53 198.51.100.1 8053")


def end(source: str, port: int, destination: str, to: int, protocol: int = socket.IPPROTO_UDP) -> bytes:
    """One direction of a flow, as the kernel tells of it."""
    first, second = (1, 2) if ":" not in source else (3, 4)
    addresses = [ipaddress.ip_address(item).packed for item in (source, destination)]
    return nested(1, attribute(first, addresses[0]), attribute(second, addresses[1])) + nested(
        2, attribute(1, bytes([protocol])), attribute(2, struct.pack(">H", port)), attribute(3, struct.pack(">H", to))
    )


def flow(vip: str, port: int, source: str, from_port: int, protocol: int = socket.IPPROTO_UDP) -> dict[int, bytes]:
    """A flow from a client to ``vip`` whose answers come from ``source``."""
    client = "2001:db8::2" if ":" in vip else "198.51.100.2"
    original = end(client, 40000, vip, port, protocol)
    reply = end(source, from_port, client, 40000, protocol)
    return attributes(nested(1, original) + nested(2, reply))


def wrong(strange: dict[int, bytes], vip: str, *now: str) -> bool:
    """Whether a flow to udp port 53 is wrong when the rules of ``vip`` have changed to what ``now`` says."""
    interface = ipaddress.ip_interface(vip)
    return Port(interface.version, "udp", 53, [interface], map(rules.read, now)).is_wrong(strange)


def test_only_keys_that_lead_elsewhere_have_changed() -> None:
    assert changed([OLD, OTHER], [NEW, OTHER]) == {OLD.key}
    assert changed([OLD], [OLD, OTHER]) == {OTHER.key}
    assert changed([OLD], []) == {OLD.key}
    assert changed([OLD], [OLD]) == set()


@pytest.mark.parametrize(
    ("to_port", "source", "port", "expected"),
    [
        (9053, "198.51.100.1", 8053, True),  # began under the old rule
        (9053, "203.0.113.10", 53, True),  # began under none
        (9053, "198.51.100.1", 9053, False),  # right already
        (0, "198.51.100.1", 8053, True),  # the rule is gone
        (0, "203.0.113.10", 53, False),
    ],
)
def test_flow_whose_answers_come_from_elsewhere_is_wrong(to_port: int, source: str, port: int, expected: bool) -> None:
    now = [f"203.0.113.10/32 udp 53 198.51.100.1 {to_port}"] if to_port else []
    assert wrong(flow("203.0.113.10", 53, source, port), "203.0.113.10/32", *now) is expected


def test_flow_of_another_key_is_never_wrong() -> None:
    for strange in (
        flow("203.0.113.11", 53, "198.51.100.1", 8053),
        flow("203.0.113.10", 54, "198.51.100.1", 8053),
        flow("203.0.113.10", 53, "198.51.100.1", 8053, socket.IPPROTO_TCP),
    ):
        assert not wrong(strange, "203.0.113.10/32")


def test_flow_to_any_address_of_a_whole_prefix_counts() -> None:
    prefix = "2001:db8:7::/64"
    assert wrong(flow("2001:db8:7::99", 53, "2001:db8::1", 8053), prefix)
    assert not wrong(flow("2001:db8:7::99", 53, "2001:db8:7::99", 53), prefix)
    assert not wrong(flow("2001:db8:8::99", 53, "2001:db8::1", 8053), prefix)
    assert not wrong(flow("2001:db8:7::99", 53, "2001:db8::1", 9053), prefix, f"{prefix} udp 53 2001:db8::1 9053")


def test_single_address_within_a_prefix_leads_where_its_own_rule_says() -> None:
    now = (
        "198.18.0.0/16 udp 53 198.51.100.1 1",
        "198.18.7.0/24 udp 53 198.51.100.1 2",
        "198.18.7.7/32 udp 53 198.51.100.1 3",
    )
    for address, port in (("198.18.1.1", 1), ("198.18.7.1", 2), ("198.18.7.7", 3)):
        assert not wrong(flow(address, 53, "198.51.100.1", port), "198.18.0.0/16", *now)
        assert wrong(flow(address, 53, "198.51.100.1", port + 1), "198.18.0.0/16", *now)


def questions(*vips: str) -> list[dict[int, bytes]]:
    interfaces = [ipaddress.ip_interface(vip) for vip in vips]
    return [attributes(item) for item in Port(interfaces[0].version, "udp", 53, interfaces, ()).questions()]


def test_kernel_filters_by_protocol_and_port_and_by_a_few_ipv4_addresses() -> None:
    asked = questions("203.0.113.10/32", "203.0.113.11/32")
    assert {attributes(attributes(item[1])[1])[2] for item in asked} == {b"\xcb\x00\x71\x0a", b"\xcb\x00\x71\x0b"}
    assert {attributes(item[25])[1] for item in asked} == {struct.pack("=I", 0b101010)}
    for vips in (["198.18.7.0/24"], ["2001:db8::10/128"], [f"198.18.0.{number}/32" for number in range(9)]):
        (item,) = questions(*vips)
        assert attributes(item[25])[1] == struct.pack("=I", 0b101000)
        assert attributes(attributes(item[1])[2]) == {1: b"\x11", 3: b"\x00\x35"}
