from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import pytest

from consulcast.executor.bgp.errors import PeerError
from tests.executor.bgp.values import NEXT_HOP4, NEXT_HOP6, peer


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"local_address": ip_address("2001:db8::1")}, "another family"),
        ({"peer_as": 0}, "AS number 0"),
        ({"peer_as": 2**32}, "AS number"),
        ({"local_as": -1}, "local AS number"),
        ({"port": 0}, "port 0"),
        ({"hold_time": 2}, "hold time"),
        ({"hold_time": 65536}, "hold time"),
        ({"ttl": 256}, "TTL"),
        ({"ttl": 2, "ttl_security": 1}, "exclude each other"),
        ({"next_hop4": IPv6Address("2001:db8::1")}, "extended_next_hop"),
        ({"password": ""}, "password"),
        ({"password": "a" * 81}, "password"),
        ({"password": 'say "please"'}, "password"),
        ({"password": "it's"}, "password"),
        ({"password": "two\nlines"}, "password"),
        ({"password": "gr\u00fcn"}, "password"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_with_the_peers_address(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(PeerError, match=said) as refused:
        peer(**settings)
    assert "198.51.100.2" in str(refused.value)


def test_a_refused_password_is_not_told() -> None:
    with pytest.raises(PeerError) as refused:
        peer(password='sec"ret')
    assert "sec" not in str(refused.value)


def test_link_local_peers_are_refused() -> None:
    with pytest.raises(PeerError, match="link-local"):
        peer("fe80::1", local_address=ip_address("fe80::2"))


def test_the_next_hop_is_of_the_prefix_family_whatever_the_session_runs_over() -> None:
    assert peer().next_hop(ip_network("2001:db8:1::/64")) == NEXT_HOP6
    assert peer("2001:db8::2").next_hop(ip_network("203.0.113.1/32")) == NEXT_HOP4


def test_only_families_with_a_next_hop_are_carried() -> None:
    assert peer().versions == (4, 6)
    assert peer(next_hop6=None).versions == (4,)
    assert peer(next_hop4=None).versions == (6,)


def test_a_peer_without_any_next_hop_still_has_the_family_of_its_session() -> None:
    assert peer(next_hop4=None, next_hop6=None).versions == (4,)
    assert peer("2001:db8::2", next_hop4=None, next_hop6=None).versions == (6,)


def test_the_addresses_of_a_peer_are_those_that_were_given_and_hash_as_they_do_though_only_once() -> None:
    for given in (ip_address("198.51.100.2"), ip_address("2001:db8::2")):
        local = ip_address("198.51.100.1" if given.version == 4 else "2001:db8::1")
        found = peer(str(given), local_address=local).address
        assert (found, str(found)) == (given, str(given))
        assert {given: 1}[found] == 1
        assert hash(found) == hash(given) == vars(found)["_once"]
    assert peer().next_hop(ip_network("203.0.113.1/32")) == NEXT_HOP4
    zoned = IPv6Address("fe80::1%7")
    assert peer(next_hop6=zoned).next_hop(ip_network("2001:db8:1::/64")) == zoned, "a zone is not lost"
