"""Tags that nearly are ours."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast.explain.tagging import NearMiss, mentions, near_misses


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        ("gocast-vip=203.0.113.10/32", "gocast_vip=203.0.113.10/32"),
        ("gocast.vip=203.0.113.10/32", "gocast_vip=203.0.113.10/32"),
        ("gocast_vip:203.0.113.10/32", "gocast_vip=203.0.113.10/32"),
        ("gocast_vip:2001:db8::1/128", "gocast_vip=2001:db8::1/128"),
        ("GoCast_VIP=203.0.113.10/32", "gocast_vip=203.0.113.10/32"),
        ("gocast_moniter=consul", "gocast_monitor=consul"),
        ("gocast_vip_community=65000:1", "gocast_vip_communities=65000:1"),
        ("gcoast_nat=tcp:443", "gocast_nat=tcp:443"),
        ("enable-gocast", "enable_gocast"),
        ("enable_gocast=true", "enable_gocast"),
        ("enabled_gocast", "enable_gocast"),
        ("gocast_enable", None),  # too far: nobody is told to write what he may not have meant
        (" enable_gocast", "enable_gocast"),
        (" gocast_vip=203.0.113.10/32 ", "gocast_vip=203.0.113.10/32"),
        ("gocast_vip=203.0.113.10/32", None),
        ("enable_gocast", None),
        ("http", None),
        ("traefik.enable=true", None),
        ("", None),
    ],
)
def test_what_was_meant(tag: str, meant: str | None) -> None:
    expected = (NearMiss(tag, meant),) if meant is not None else ()
    assert near_misses([tag], "gocast") == expected


def test_the_prefix_of_the_file_counts() -> None:
    assert near_misses(["anycast-vip=203.0.113.10/32"], "anycast")[0].meant == "anycast_vip=203.0.113.10/32"
    assert not near_misses(["gocast-vip=203.0.113.10/32"], "anycast")


@given(st.lists(st.text(max_size=30), max_size=5))
def test_whatever_stands_in_tags_is_read(tags: list[str]) -> None:
    for found in near_misses(tags, "gocast"):
        assert found.tag in tags
        assert str(found)
    for tag in tags:
        mentions(tag, ipaddress.ip_address("203.0.113.10"))
        mentions(tag, ipaddress.ip_address("2001:db8::1"))


@pytest.mark.parametrize(
    ("tag", "address", "found"),
    [
        ("gocast-vip=203.0.113.10/32", "203.0.113.10", True),
        ("gocast_vip:203.0.113.10/32", "203.0.113.10", True),
        ("gocast-vip=2001:0db8::10/128", "2001:db8::10", True),
        ("gocast-vip=203.0.113.100/32", "203.0.113.10", False),
        ("v1.2.3", "1.2.3.4", False),
    ],
)
def test_an_address_in_a_tag(tag: str, address: str, found: bool) -> None:
    assert mentions(tag, ipaddress.ip_address(address)) is found
