"""GoCast's notation, what it means and what is refused."""

from __future__ import annotations

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast import notation
from consulcast.model import CommunityKind, MonitorSpec, NatRule
from consulcast.notation import BadValue


def test_host_bits_are_kept_address_alone_is_local_and_the_prefix_is_announced() -> None:
    vip = notation.vip("10.0.0.5/24")
    assert str(vip.local) == "10.0.0.5/32"
    assert str(vip.prefix) == "10.0.0.0/24"


def test_prefix_without_host_bits_is_local_whole() -> None:
    vip = notation.vip("10.0.0.0/24")
    assert str(vip.local) == "10.0.0.0/24"
    assert str(vip.prefix) == "10.0.0.0/24"


def test_ipv6_host_route() -> None:
    vip = notation.vip("2001:db8::10/128")
    assert str(vip.local) == str(vip.prefix) == "2001:db8::10/128"


@pytest.mark.parametrize(
    "text",
    [
        *("", "/32", "x/32", "203.0.113.10", "203.0.113.10/33", "203.0.113.10/", "203.0.113.10/255.255.255.255"),
        *("203.0.113.010/32", "fe80::1%eth0/128", "2001:db8::1/129", "203.0.113.10/-1", "203.0.113.10/٣"),
    ],
)
def test_vip_that_is_not_address_and_length_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="VIP"):
        notation.vip(text)


def test_vip_without_length_is_told_what_to_write() -> None:
    with pytest.raises(BadValue, match=r"write 203\.0\.113\.10/32"):
        notation.vip("203.0.113.10")


@pytest.mark.parametrize(
    ("text", "kind", "canonical"),
    [
        ("65000:1", CommunityKind.STANDARD, "65000:1"),
        ("065000:01", CommunityKind.STANDARD, "65000:1"),
        ("no-export", CommunityKind.STANDARD, "65535:65281"),
        ("NO_EXPORT", CommunityKind.STANDARD, "65535:65281"),
        ("graceful-shutdown", CommunityKind.STANDARD, "65535:0"),
        ("4200000000:1:2", CommunityKind.LARGE, "4200000000:1:2"),
        ("target:65000:100000", CommunityKind.EXTENDED, "target:65000:100000"),
        ("rt:4200000000:1", CommunityKind.EXTENDED, "target:4200000000:1"),
        ("origin:192.0.2.1:7", CommunityKind.EXTENDED, "origin:192.0.2.1:7"),
    ],
)
def test_communities_of_every_kind(text: str, kind: CommunityKind, canonical: str) -> None:
    community = notation.community(text)
    assert (community.kind, community.text) == (kind, canonical)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "1", "a:b", "asn:nnnn", "70000:1", "1:70000", "1:2:3:4", "1:2:4294967296", "target:1", "target:x:1"),
        *("target:4200000000:70000", "target:1.2.3.4:70000", "target:1:-1", "-1:1", "1: 2", "1:2\njson"),
    ],
)
def test_community_that_would_be_sent_as_another_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        notation.community(text)


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF))
def test_standard_community_is_sent_as_written_or_not_at_all(asn: int, value: int) -> None:
    if max(asn, value) <= 0xFFFF:
        assert notation.community(f"{asn}:{value}").text == f"{asn}:{value}"
    else:
        with pytest.raises(BadValue):
            notation.community(f"{asn}:{value}")


@given(st.text(max_size=20))
def test_any_text_is_a_value_or_a_bad_value(text: str) -> None:
    for read in (notation.vip, notation.communities, notation.monitor, notation.nat, notation.duration, notation.port):
        with contextlib.suppress(BadValue):
            read(text)


@given(st.ip_addresses(), st.data())
def test_vip_reads_back_as_itself(address: ipaddress.IPv4Address | ipaddress.IPv6Address, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, address.max_prefixlen))
    vip = notation.vip(f"{address}/{length}")
    assert vip.interface.ip == address
    assert vip.prefix.prefixlen == length
    assert address in vip.prefix


def test_monitors_may_hold_colons_quotes_and_equals_signs() -> None:
    assert notation.monitor("port:tcp:5000") == MonitorSpec("port", "tcp:5000")
    assert notation.monitor("exec:test 1 = 0 && curl http://[::1]:80/") == MonitorSpec(
        "exec", "test 1 = 0 && curl http://[::1]:80/"
    )
    assert notation.monitor("consul") == MonitorSpec("consul")


@pytest.mark.parametrize("text", ["", "prot:tcp:80", "consul:x", "port", "exec:"])
def test_unknown_or_empty_monitor_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="monitor"):
        notation.monitor(text)


def test_nat_rules() -> None:
    assert notation.nat("udp:53") == NatRule("udp", 53, 53)
    assert notation.nat("tcp:53:8053") == NatRule("tcp", 53, 8053)


@pytest.mark.parametrize("text", ["", "udp", "sctp:53", "udp:0", "udp:65536", "udp:53:99999", "udp:53:1:2", "udp:53;x"])
def test_nat_rule_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        notation.nat(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("15m", 900), ("1h30m", 5400), ("500ms", 0.5), ("1.5s", 1.5), ("0", 0)]
)
def test_go_durations(text: str, seconds: float) -> None:
    assert notation.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "9" * 400 + "h", "9000h", "10", "s", "10 s", "10x", "-1s", "1s2", "1..5s"])
def test_what_is_no_go_duration_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="duration"):
        notation.duration(text)
