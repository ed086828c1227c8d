from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast.executor.bgp import commands
from consulcast.executor.bgp.errors import CommandError
from consulcast.model import Community, CommunityKind, Origin, Prefix, Route
from tests.executor.bgp.values import NEXT_HOP6, peer, route

STANDARD, LARGE, EXTENDED = CommunityKind.STANDARD, CommunityKind.LARGE, CommunityKind.EXTENDED
PREFIX = ip_network("203.0.113.10/32")


def test_an_ipv4_route_has_the_peers_own_next_hop() -> None:
    assert commands.announce(peer(), route("203.0.113.10/32")) == (
        "neighbor 198.51.100.2 announce route 203.0.113.10/32 next-hop 198.51.100.1 origin igp"
    )


def test_an_ipv6_route_over_an_ipv4_session_has_an_ipv6_next_hop() -> None:
    assert commands.announce(peer(), route("2001:db8:1::/64")) == (
        "neighbor 198.51.100.2 announce route 2001:db8:1::/64 next-hop 2001:db8::1 origin igp"
    )


def test_communities_of_each_kind_have_their_own_attribute_in_numeric_order() -> None:
    communities = (
        Community(LARGE, "4200000001:2:3"),
        Community(STANDARD, "65000:10"),
        Community(EXTENDED, "target:65000:7"),
        Community(STANDARD, "65000:9"),
        Community(STANDARD, "65535:65281"),  # no-export
        Community(EXTENDED, "origin:198.51.100.1:7"),
    )
    told = commands.announce(peer(), Route(PREFIX, communities, Origin.INCOMPLETE))
    assert told == (
        "neighbor 198.51.100.2 announce route 203.0.113.10/32 next-hop 198.51.100.1 origin incomplete"
        " community [ 65000:9 65000:10 65535:65281 ] large-community [ 4200000001:2:3 ]"
        " extended-community [ origin:198.51.100.1:7 target:65000:7 ]"
    )


def test_the_order_of_communities_makes_no_other_command() -> None:
    one = commands.announce(peer(), route("203.0.113.10/32", "65000:1", "65000:2"))
    assert one == commands.announce(peer(), route("203.0.113.10/32", "65000:2", "65000:1", "65000:2"))


def test_local_preference_is_told_to_internal_peers_only() -> None:
    assert " local-preference 100" in (commands.announce(peer(peer_as=65001), route("203.0.113.10/32")) or "")
    assert "local-preference" not in (commands.announce(peer(), route("203.0.113.10/32")) or "")


def test_a_peer_without_a_next_hop_of_the_family_is_told_nothing() -> None:
    assert commands.announce(peer(next_hop6=None), route("2001:db8:1::/64")) is None


def test_what_is_not_an_announcement_names_the_peer() -> None:
    assert commands.withdraw(peer(), PREFIX) == "neighbor 198.51.100.2 withdraw route 203.0.113.10/32"
    assert commands.end_of_rib(peer().address, 6) == "neighbor 198.51.100.2 announce eor ipv6 unicast"
    assert commands.table(peer().address, 1, 3) == "table 198.51.100.2 1 3"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (STANDARD, "no-export"),
        (STANDARD, "1:2 json"),
        (STANDARD, "1:2\nshutdown"),
        (STANDARD, "1:2:3"),
        (STANDARD, "\u0661:2"),
        (LARGE, "1:2"),
        (EXTENDED, "json:1:2"),
        (EXTENDED, "target:x:2"),
    ],
)
def test_a_community_that_is_not_canonical_never_becomes_a_command(kind: CommunityKind, text: str) -> None:
    with pytest.raises(CommandError, match=r"203\.0\.113\.10/32"):
        commands.announce(peer(), Route(PREFIX, (Community(kind, text),)))


@given(
    st.one_of(
        st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(lambda pair: IPv4Network(pair, strict=False)),
        st.tuples(st.ip_addresses(v=6), st.integers(0, 128)).map(lambda pair: IPv6Network(pair, strict=False)),
    ),
    st.lists(st.text(min_size=1)),
    st.sampled_from(CommunityKind),
)
def test_no_text_can_bring_a_command_about_that_harms_exabgp(
    prefix: Prefix, texts: list[str], kind: CommunityKind
) -> None:
    wild = Route(prefix, tuple(Community(kind, text) for text in texts))
    try:
        line = commands.announce(peer(address="2001:db8::2", local_address=NEXT_HOP6), wild)
    except CommandError:
        return
    assert line is not None
    assert line.isascii()
    assert line.isprintable()
    assert "json" not in line
    assert line.startswith(f"neighbor {ip_address('2001:db8::2')} announce route {prefix} next-hop ")


def test_med_and_a_longer_path_are_told_and_the_path_to_external_peers_alone() -> None:
    lower = Route(PREFIX, med=4294967295, prepend=2)
    assert commands.announce(peer(), lower) == (
        "neighbor 198.51.100.2 announce route 203.0.113.10/32 next-hop 198.51.100.1 origin igp"
        " med 4294967295 as-path [ 65001 65001 65001 ]"
    )
    assert "as-path" not in (commands.announce(peer(peer_as=65001), lower) or "")
    assert " med 0" in (commands.announce(peer(), Route(PREFIX, med=0)) or "")


def test_local_preference_of_a_route_is_told_to_internal_peers_only() -> None:
    lower = Route(PREFIX, local_preference=0)
    assert (commands.announce(peer(peer_as=65001), lower) or "").endswith("local-preference 0")
    assert "local-preference" not in (commands.announce(peer(), lower) or "")
