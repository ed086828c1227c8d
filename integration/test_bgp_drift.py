"""What is changed in ExaBGP's table behind our back is found and put right, at the router."""

from __future__ import annotations

import pytest

from integration.bgp_speaker import Speaker, route
from integration.lab import Bird, Lab, Peer, UpdateTap, until
from integration.test_bgp_sessions import HOST4, HOST6, TOR4, VIP4, VIP6, peer, two

FOREIGN = "198.18.9.9/32"
ROUTES = [route(VIP4, "65000:1", "65000:2"), route(VIP6, "65000:1:2", "target:65000:7")]


@pytest.fixture
def bird_and_speaker(lab: Lab) -> tuple[Bird, Speaker]:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST4, 65001)])
    speaker = Speaker(host, peer())
    speaker.set(ROUTES)
    bird.wait_routes({VIP4, VIP6})
    speaker.wait_settled()
    return bird, speaker


def drift(speaker: Speaker) -> int:
    return int(speaker.call("repairs")["route"])


def test_a_table_that_was_cleared_is_told_again(bird_and_speaker: tuple[Bird, Speaker]) -> None:
    bird, speaker = bird_and_speaker
    speaker.say("clear adj-rib out")
    bird.wait_routes(set())
    speaker.call("sweep")
    bird.wait_routes({VIP4, VIP6})
    speaker.process.wait_line(r"drift: ExaBGP's table: .*203\.0\.113\.10/32 at 198\.51\.100\.2.* missing")
    assert drift(speaker) == 2


def test_a_route_that_we_never_announced_is_withdrawn(bird_and_speaker: tuple[Bird, Speaker]) -> None:
    bird, speaker = bird_and_speaker
    with UpdateTap(bird.host) as tap:
        speaker.say(f"neighbor {TOR4} announce route {FOREIGN} next-hop {HOST4}")
        bird.wait_routes({VIP4, VIP6, FOREIGN})
        speaker.call("sweep")
        bird.wait_routes({VIP4, VIP6})
        assert tap.count(VIP4) == tap.count(VIP6) == 0
    speaker.process.wait_line(r"drift: ExaBGP's table: 198\.18\.9\.9/32 at 198\.51\.100\.2 unknown to us$")
    assert drift(speaker) == 1


def test_a_route_with_other_attributes_is_announced_as_it_should_be(bird_and_speaker: tuple[Bird, Speaker]) -> None:
    bird, speaker = bird_and_speaker
    speaker.say(f"neighbor {TOR4} announce route {VIP6} next-hop {HOST6} community [ 65000:666 ]")
    until(lambda: bird.routes()[VIP6].communities == ("65000:666",), 5, "the other attributes")
    before = bird.counters()
    speaker.call("sweep")
    until(lambda: bird.routes()[VIP6].large == ("65000:1:2",), 10, "the right ones again")
    assert (bird.counters() - before).withdraws == 0
    assert drift(speaker) == 1


def test_the_same_route_in_other_words_is_no_drift_for_long_and_costs_no_update(
    bird_and_speaker: tuple[Bird, Speaker],
) -> None:
    bird, speaker = bird_and_speaker
    with UpdateTap(bird.host) as tap:
        words = f"next-hop {HOST4} community [ 65000:1 65000:2 ] origin igp"
        speaker.say(f"neighbor {TOR4} announce ipv4 unicast {VIP4} {words}")
        speaker.call("sweep")
        until(lambda: drift(speaker) == 1, 10, "it is looked at")
        speaker.call("sweep")
        speaker.say(f"neighbor {TOR4} announce route {FOREIGN} next-hop {HOST4}")
        until(lambda: drift(speaker) == 2, 10, "looked at again, and only the foreign one is found")
        tap.wait(FOREIGN, announced=False)
        assert tap.count(VIP4) == 0


def test_what_is_as_it_should_be_is_left_alone_at_any_size(lab: Lab) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST4, 65001)])
    other = peer("198.51.100.77")  # nobody is there
    speaker = Speaker(host, peer(), other)
    routes = [route(f"198.18.{n // 200}.{n % 200}/32", "65000:1") for n in range(1000)]
    speaker.set(routes)
    bird.wait_routes({told["prefix"] for told in routes})
    speaker.wait_settled()
    before = bird.counters()
    speaker.call("sweep")
    speaker.say(f"neighbor {TOR4} announce route {FOREIGN} next-hop {HOST4}")
    until(lambda: drift(speaker) == 1, 15, "the one that is foreign")
    bird.wait_route(FOREIGN, present=False)
    spent = bird.counters() - before
    assert (spent.updates, spent.withdraws) == (1, 1)
