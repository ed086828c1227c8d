"""Graceful restart (RFC 4724) at the router: a restart costs not one withdrawal, everything else drops the routes."""

from __future__ import annotations

import os
import signal
import time

from integration.bgp_speaker import Speaker, route
from integration.lab import Bird, Frr, Lab, Peer, UpdateTap, until
from integration.test_bgp_sessions import HOST4, VIP4, VIP6, peer, two

LIFE = {"graceful_restart": 60}
OTHER = "198.18.0.1/32"
ROUTES = [route(VIP4, "65000:1"), route(VIP6), route(OTHER)]
PREFIXES = {told["prefix"] for told in ROUTES}


def ends(tap: UpdateTap, count: int) -> None:
    """Wait for so many End-of-RIB markers, of both families."""
    until(lambda: len(tap.ends_of_rib()) >= count, 10, f"{count} End-of-RIB markers")
    assert sorted(end.version for end in tap.ends_of_rib()) == sorted([4, 6] * (count // 2))


def begin(lab: Lab) -> tuple[Bird, Speaker]:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST4, 65001)])
    with UpdateTap(tor) as tap:
        speaker = Speaker(host, peer(), life=LIFE)
        speaker.set(ROUTES)
        bird.wait_routes(PREFIXES)
        speaker.wait_settled()
        assert tap.ends_of_rib() == []
        speaker.call("complete")
        ends(tap, 2)
    return bird, speaker


def again(speaker: Speaker) -> Speaker:
    """End it as if to be started again, and start it again."""
    speaker.leave()
    return Speaker(speaker.host, peer(), life=LIFE)


def stay(bird: Bird, prefixes: set[str], seconds: float) -> None:
    """See that the routes stay in the router's table, at every look."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert prefixes <= bird.routes().keys()
        time.sleep(0.02)


def test_a_restart_costs_no_withdrawal_and_end_of_rib_comes_when_all_is_said(lab: Lab) -> None:
    bird, speaker = begin(lab)
    with UpdateTap(bird.host) as tap:
        speaker.leave()
        stay(bird, PREFIXES, 1.0)
        speaker = Speaker(speaker.host, peer(), life=LIFE)
        speaker.wait_up()
        stay(bird, PREFIXES, 1.5)  # nothing is announced yet, nor called complete
        speaker.set(ROUTES)
        speaker.wait_settled()
        stay(bird, PREFIXES, 0.5)
        assert tap.ends_of_rib() == []
        speaker.call("complete")
        ends(tap, 2)
        stay(bird, PREFIXES, 0.5)
        assert [update for update in tap.updates() if update.withdrawn] == []


def test_what_is_not_announced_again_goes_with_end_of_rib(lab: Lab) -> None:
    bird, speaker = begin(lab)
    speaker = again(speaker)
    speaker.wait_up()
    assert speaker.state(OTHER) == "pending", "peers may have it"
    speaker.set(ROUTES[:2])
    speaker.wait_settled()
    assert OTHER in bird.routes()
    assert speaker.state(OTHER) == "pending"
    speaker.call("complete")
    bird.wait_routes({VIP4, VIP6})
    until(lambda: speaker.state(OTHER) == "clear", 5, "nobody can have it any more")


def test_a_stop_withdraws_all_and_says_farewell(lab: Lab) -> None:
    bird, speaker = begin(lab)
    with UpdateTap(bird.host) as tap:
        assert speaker.process.stop() == 0
        for prefix in PREFIXES:
            tap.wait(prefix, announced=False)
    bird.process.wait_line("Received: Administrative shutdown")
    assert bird.routes() == {}


def test_a_crash_of_exabgp_costs_nothing_and_what_was_dropped_meanwhile_is_held_until_it_is_gone(lab: Lab) -> None:
    bird, speaker = begin(lab)
    first = speaker.exabgp()
    assert first is not None
    with UpdateTap(bird.host) as tap:
        os.kill(first, signal.SIGKILL)
        speaker.set(ROUTES[:2])
        states = set()

        def gone() -> bool:
            states.add((OTHER in bird.routes(), speaker.state(OTHER)))
            return OTHER not in bird.routes()

        until(gone, 20, "dropped", every=0.005)
        until(lambda: speaker.state(OTHER) == "clear", 5, "nobody can have it any more")
        assert (True, "clear") not in states
        assert VIP4 in bird.routes()
        assert VIP6 in bird.routes()
        assert [update for update in tap.updates() if update.withdrawn] == []


def test_a_session_that_broke_holds_what_is_withdrawn_until_it_is_back(lab: Lab) -> None:
    bird, speaker = begin(lab)
    bird.kill()
    until(lambda: speaker.peers()[0]["state"] == "down", 10, "the session is down")
    speaker.set(ROUTES[:2])
    speaker.wait_settled()
    assert speaker.state(OTHER) == "pending", "the router may come back with it"
    bird.start()
    bird.wait_routes({VIP4, VIP6}, deadline=20)
    until(lambda: speaker.state(OTHER) == "clear", 10, "End-of-RIB was said")


def test_what_a_peer_that_does_not_come_back_holds_is_forgotten_with_the_restart_time(lab: Lab) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST4, 65001)])
    speaker = Speaker(host, peer(), life={"graceful_restart": 4})
    speaker.set(ROUTES)
    bird.wait_routes(PREFIXES)
    speaker.call("complete")
    bird.kill()
    until(lambda: speaker.peers()[0]["state"] == "down", 10, "the session is down")
    changes = speaker.call("changes")
    speaker.set([])
    speaker.wait_settled()
    assert speaker.state(OTHER) == "pending"
    until(lambda: speaker.state(OTHER) == "clear", 10, "the restart time is over")
    assert speaker.call("changes") > changes


def test_every_session_of_every_peer_and_family_gets_its_own_end_of_rib(lab: Lab) -> None:
    bird, speaker = begin(lab)
    with UpdateTap(bird.host) as tap:
        for count in (2, 4):
            bird.disable()
            until(lambda: speaker.peers()[0]["state"] == "down", 10, "the session is down")
            bird.enable()
            bird.wait_routes(PREFIXES, deadline=20)
            ends(tap, count)


def test_frr_keeps_the_routes_over_a_restart_too(lab: Lab) -> None:
    host, tor = two(lab)
    frr = Frr(tor, 65010, [Peer(HOST4, 65001)])
    speaker = Speaker(host, peer(), life=LIFE)
    speaker.set(ROUTES[:1])
    frr.wait_route(VIP4, deadline=20)
    speaker.call("complete")
    speaker.wait_settled()
    time.sleep(1.0)
    with UpdateTap(tor) as tap:
        speaker = again(speaker)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert VIP4 in frr.routes()
            time.sleep(0.1)
        speaker.set(ROUTES[:1])
        speaker.wait_up()
        speaker.call("complete")
        time.sleep(1.0)
        assert VIP4 in frr.routes()
        assert [update for update in tap.updates() if update.withdrawn] == []
    assert speaker.process.stop() == 0
    frr.wait_route(VIP4, present=False)
