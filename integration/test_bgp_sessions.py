"""Sessions of every kind with BIRD, and what arrives over them."""

from __future__ import annotations

from typing import Any

import pytest

from consulcast.model import Origin
from integration.bgp_speaker import Speaker, route
from integration.lab import Bird, Host, Lab, Peer, until

HOST4, TOR4 = "198.51.100.1", "198.51.100.2"
HOST6, TOR6 = "2001:db8::1", "2001:db8::2"
VIP4, VIP6 = "203.0.113.10/32", "2001:db8:1::10/128"


def two(lab: Lab) -> tuple[Host, Host]:
    """Make a host and its router, with IPv4 and IPv6 between them."""
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, f"{HOST4}/24", f"{TOR4}/24", f"{HOST6}/64", f"{TOR6}/64")
    return host, tor


def peer(address: str = TOR4, **more: Any) -> dict[str, Any]:
    """The settings of a peer that is a BIRD of AS 65010."""
    return {
        "address": address,
        "peer_as": 65010,
        "local_as": 65001,
        "local_address": HOST6 if ":" in address else HOST4,
        "router_id": HOST4,
        "next_hop4": HOST4,
        "next_hop6": HOST6,
        **more,
    }


@pytest.mark.parametrize("address", [TOR4, TOR6])
def test_prefixes_of_both_families_arrive_with_usable_next_hops_over_either(lab: Lab, address: str) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST6 if ":" in address else HOST4, 65001)])
    over6 = ":" in address
    speaker = Speaker(host, peer(address, extended_next_hop=over6))
    speaker.set([route(VIP4), route(VIP6)])
    found = bird.wait_routes({VIP4, VIP6})
    assert found[VIP4].next_hop == HOST4
    assert found[VIP6].next_hop == HOST6
    until(lambda: speaker.state(VIP4) == speaker.state(VIP6) == "announced", 5, "both are announced")


def test_an_ipv4_prefix_has_an_ipv6_next_hop_where_that_was_agreed_upon(lab: Lab) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST6, 65001)])
    speaker = Speaker(host, peer(TOR6, next_hop4=HOST6, extended_next_hop=True))
    speaker.set([route(VIP4)])
    found = bird.wait_route(VIP4)
    assert found is not None
    assert found.next_hop == HOST6


def test_as_numbers_of_four_bytes_communities_of_all_kinds_and_the_origin_arrive(lab: Lab) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 4200000099, [Peer(HOST4, 4200000001)])
    speaker = Speaker(host, peer(peer_as=4200000099, local_as=4200000001))
    told = ("65000:1", "65000:2", "65535:65281", "4200000001:1:2", "target:65000:7", "origin:65000:8")
    speaker.set([route(VIP4, *told, origin=Origin.INCOMPLETE), route(VIP6, *told)])
    for found in bird.wait_routes({VIP4, VIP6}).values():
        assert found.as_path == (4200000001,)
        assert set(found.communities) == {"65000:1", "65000:2", "65535:65281"}
        assert found.large == ("4200000001:1:2",)
        assert set(found.extended) == {"target:65000:7", "origin:65000:8"}
    assert bird.routes()[VIP4].origin == "incomplete"
    assert bird.routes()[VIP6].origin == "igp"


def test_a_changed_community_arrives_without_a_withdrawal(lab: Lab) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST4, 65001)])
    speaker = Speaker(host, peer())
    speaker.set([route(VIP4, "65000:1")])
    bird.wait_route(VIP4)
    before = bird.counters()
    speaker.set([route(VIP4, "65000:2")])
    until(lambda: bird.routes()[VIP4].communities == ("65000:2",), 5, "the new community")
    assert (bird.counters() - before).withdraws == 0
    assert (bird.counters() - before).updates == 1


def test_the_local_preference_arrives_at_an_internal_peer(lab: Lab) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 65001, [Peer(HOST4, 65001)])
    speaker = Speaker(host, peer(peer_as=65001))
    speaker.set([route(VIP4)])
    found = bird.wait_route(VIP4)
    assert found is not None
    assert (found.as_path, found.local_pref) == ((), 100)


@pytest.mark.parametrize(
    ("router", "speaker"),
    [
        ({"password": r"s3cret; {x} # \o [y]"}, {"password": r"s3cret; {x} # \o [y]"}),
        ({"password": "cafe0123"}, {"password": "cafe0123"}),  # could be taken for base64
        ({"port": 1179}, {"port": 1179}),
        ({"ttl_security": True}, {"ttl_security": 1}),
        ({"hold_time": 9}, {"hold_time": 3}),
        ({"multihop": 2}, {"ttl": 2}),
    ],
    ids=["md5", "md5-like-base64", "port", "gtsm", "hold-time", "ttl"],
)
@pytest.mark.parametrize("address", [TOR4, TOR6])
def test_a_route_arrives_over_a_session_with(
    lab: Lab, address: str, router: dict[str, Any], speaker: dict[str, Any]
) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST6 if ":" in address else HOST4, 65001, **router)])
    told = Speaker(host, peer(address, **speaker))
    told.set([route(VIP6)])
    bird.wait_route(VIP6)


def test_a_session_over_a_router_between_comes_up_with_a_ttl_and_not_without_enough(lab: Lab) -> None:
    host, between, tor = lab.host("host"), lab.host("between"), lab.host("tor")
    lab.link(host, between, f"{HOST4}/24", "198.51.100.254/24")
    lab.link(between, tor, "203.0.113.254/24", "203.0.113.2/24")
    between.sysctl("net.ipv4.ip_forward", 1)
    host.route("default", via="198.51.100.254")
    tor.route("default", via="203.0.113.254")
    bird = Bird(tor, 65010, [Peer(HOST4, 65001, multihop=2)])
    near = Speaker(host, peer("203.0.113.2", ttl=1), name="near")
    until(lambda: near.peers()[0]["last_error"], 10, "a reason why it is down")
    near.process.stop()
    speaker = Speaker(host, peer("203.0.113.2", ttl=2))
    speaker.wait_up()
    bird.wait_established()


def test_a_wrong_password_is_a_peer_that_stays_down_with_a_reason(lab: Lab) -> None:
    host, tor = two(lab)
    Bird(tor, 65010, [Peer(HOST4, 65001, password="one")])
    speaker = Speaker(host, peer(password="two"))
    speaker.set([route(VIP4)])
    until(lambda: speaker.state(VIP4) == "handed-over", 10, "handed over")
    assert speaker.peers()[0]["state"] == "down"


def test_the_peers_own_reason_is_told(lab: Lab) -> None:
    host, tor = two(lab)
    Bird(tor, 65010, [Peer(HOST4, 65002)])
    speaker = Speaker(host, peer())
    until(lambda: "bad peer AS (2/2)" in speaker.peers()[0]["last_error"], 10, "the reason")
    assert speaker.peers()[0]["last_error"].startswith("received ")


def test_our_own_reason_is_told(lab: Lab) -> None:
    host, tor = two(lab)
    Bird(tor, 65010, [Peer(HOST4, 65001)])
    speaker = Speaker(host, peer(peer_as=65011))
    until(lambda: "(2/2)" in speaker.peers()[0]["last_error"], 10, "the reason")


def test_a_prefix_of_a_family_that_the_peer_does_not_take_is_not_called_announced(lab: Lab) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST4, 65001, families=("ipv4",))])
    speaker = Speaker(host, peer())
    speaker.set([route(VIP4), route(VIP6)])
    bird.wait_routes({VIP4})
    until(lambda: speaker.state(VIP4) == "announced", 5, "announced")
    assert speaker.state(VIP6) == "handed-over"


def test_a_peer_without_a_next_hop_of_the_family_says_so_and_gets_the_other_prefixes(lab: Lab) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST4, 65001)])
    speaker = Speaker(host, peer(next_hop6=None))
    speaker.set([route(VIP4), route(VIP6)])
    bird.wait_routes({VIP4})
    assert speaker.state(VIP6) == "no-next-hop"


def test_several_peers_each_get_every_route_with_their_own_next_hop(lab: Lab) -> None:
    host, tor = two(lab)
    other = lab.host("tor2")
    lab.link(host, other, "203.0.113.1/24", "203.0.113.2/24")
    birds = Bird(tor, 65010, [Peer(HOST4, 65001)]), Bird(other, 65020, [Peer("203.0.113.1", 65001)])
    second = peer("203.0.113.2", peer_as=65020, local_address="203.0.113.1", next_hop4="203.0.113.1", next_hop6=None)
    speaker = Speaker(host, peer(), second)
    speaker.wait_up(2)
    speaker.set([route("198.18.0.1/32")])
    for bird, next_hop in zip(birds, (HOST4, "203.0.113.1"), strict=True):
        found = bird.wait_route("198.18.0.1/32")
        assert found is not None
        assert found.next_hop == next_hop
    birds[1].stop()
    until(lambda: [each["state"] for each in speaker.peers()] == ["up", "down"], 10, "one is down")
    assert speaker.state("198.18.0.1/32") == "announced"
    birds[0].stop()
    until(lambda: speaker.state("198.18.0.1/32") == "handed-over", 10, "no session is left")
    speaker.set([])
    until(lambda: speaker.state("198.18.0.1/32") == "clear", 5, "withdrawn though no peer is up")
