"""A speaker that hangs or dies has its routes taken back, and a relay that only slept does not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping

import pytest

from integration.bgp_speaker import Speaker, route
from integration.lab import Bird, Lab, Peer, UpdateTap, until
from integration.test_bgp_sessions import HOST4, VIP4, peer, two

LEASE = 2.0
IN_TIME = 3 * LEASE  # seconds for the lease to run out and ExaBGP to end, generously
LIVES: list[Mapping[str, float]] = [{"lease": LEASE}, {"lease": LEASE, "graceful_restart": 120}]
IDS = ["plain", "graceful-restart"]


def announced(lab: Lab, life: Mapping[str, float]) -> tuple[Bird, Speaker]:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST4, 65001)])
    speaker = Speaker(host, peer(), life=life)
    speaker.set([route(VIP4)])
    bird.wait_route(VIP4)
    speaker.wait_settled()
    return bird, speaker


@pytest.mark.parametrize("life", LIVES, ids=IDS)
def test_a_stopped_speaker_loses_its_routes_after_the_lease_and_has_them_again_when_it_goes_on(
    lab: Lab, life: Mapping[str, float]
) -> None:
    bird, speaker = announced(lab, life)
    began = time.monotonic()
    speaker.process.pause()
    bird.wait_routes(set(), deadline=IN_TIME)
    assert time.monotonic() - began > LEASE / 2
    bird.process.wait_line("Received: Administrative shutdown")
    speaker.process.resume()
    bird.wait_route(VIP4, deadline=20)
    speaker.process.wait_line("drift: ExaBGP has ended: this process stood still for . s, longer than bgp.lease")
    assert speaker.call("repairs")["exabgp"] == 1


def test_a_speaker_whose_hub_is_busy_loses_its_routes_too(lab: Lab) -> None:
    bird, speaker = announced(lab, {"lease": LEASE})
    with pytest.raises(TimeoutError):
        speaker.call("hang", IN_TIME, timeout=0.1)
    bird.wait_routes(set(), deadline=IN_TIME)
    bird.wait_route(VIP4, deadline=20)


@pytest.mark.parametrize("life", LIVES, ids=IDS)
def test_a_killed_speaker_loses_its_routes_at_once(lab: Lab, life: Mapping[str, float]) -> None:
    bird, speaker = announced(lab, life)
    speaker.process.kill()
    bird.wait_routes(set(), deadline=1.0)


def test_the_relay_ends_an_exabgp_that_was_stopped_and_its_peers_drop_the_routes(lab: Lab) -> None:
    """Stopped, it cannot see that the daemon dies; the relay lets it go on for that."""
    bird, speaker = announced(lab, LIVES[1])
    exabgp = speaker.exabgp()
    assert exabgp is not None
    os.kill(exabgp, signal.SIGSTOP)
    speaker.process.kill()
    bird.wait_routes(set(), deadline=2.0)


def test_without_the_relay_the_parents_death_is_enough(lab: Lab) -> None:
    bird, speaker = announced(lab, LIVES[1])
    relay = speaker.relay()
    assert relay is not None
    os.kill(relay, signal.SIGSTOP)
    speaker.process.kill()
    bird.wait_routes(set(), deadline=1.0)


def test_a_relay_that_slept_for_longer_than_the_lease_ends_nobody(lab: Lab) -> None:
    bird, speaker = announced(lab, {"lease": LEASE})
    first, relay = speaker.exabgp(), speaker.relay()
    assert relay is not None
    os.kill(relay, signal.SIGSTOP)
    time.sleep(2 * LEASE)
    os.kill(relay, signal.SIGCONT)
    time.sleep(LEASE)
    with UpdateTap(bird.host) as tap:
        speaker.set([route(VIP4), route("198.18.0.1/32")])
        tap.wait("198.18.0.1/32")
        assert tap.count(VIP4) == 0
    assert (speaker.exabgp(), speaker.relay()) == (first, relay)


def test_speaker_and_relay_that_slept_together_go_on(lab: Lab) -> None:
    """As when the whole host was paused: nobody was left to see the silence."""
    bird, speaker = announced(lab, {"lease": LEASE})
    first, relay = speaker.exabgp(), speaker.relay()
    assert relay is not None
    os.kill(relay, signal.SIGSTOP)
    speaker.process.pause()
    time.sleep(2 * LEASE)
    os.kill(relay, signal.SIGCONT)
    time.sleep(0.3)  # the relay looks first
    speaker.process.resume()
    time.sleep(LEASE)
    assert (speaker.exabgp(), speaker.relay()) == (first, relay)
    assert VIP4 in bird.routes()


def test_an_idle_exabgp_that_hangs_is_found_out_and_replaced(lab: Lab) -> None:
    bird, speaker = announced(lab, {})
    first = speaker.exabgp()
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    until(lambda: speaker.exabgp() not in (first, None), 40, "another ExaBGP")
    bird.wait_route(VIP4, deadline=20)
    speaker.process.wait_line("drift: ExaBGP has ended: no answer for 10 s")
    assert speaker.call("repairs")["exabgp"] == 1
