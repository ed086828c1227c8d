"""A peer that takes nothing any more holds up neither the others nor the stop."""

from __future__ import annotations

import time

from integration.bgp_speaker import Speaker, route
from integration.lab import Bird, Lab, Peer, UpdateTap, until
from integration.test_bgp_sessions import HOST4, peer, two

MANY = [route(f"2001:db8:{n:x}::/128", *(f"65000:{c}" for c in range(60))) for n in range(1, 2001)]  # 300 bytes each
NEWS, LAST = "198.18.0.1/32", "198.18.0.2/32"
STOP = 8.0  # seconds; ExaBGP has 5 to end, and needs half of one


def test_a_peer_that_stops_reading_holds_up_neither_the_others_nor_the_stop(lab: Lab) -> None:
    host, tor = two(lab)
    other = lab.host("tor2")
    lab.link(host, other, "203.0.113.1/24", "203.0.113.2/24")
    for each in (host, other):
        each.sysctl("net.ipv4.tcp_rmem", "4096 8192 16384")
        each.sysctl("net.ipv4.tcp_wmem", "4096 8192 16384")
    bird, stuck = Bird(tor, 65010, [Peer(HOST4, 65001)]), Bird(other, 65020, [Peer("203.0.113.1", 65001)])
    second = peer("203.0.113.2", peer_as=65020, local_address="203.0.113.1", next_hop4="203.0.113.1", hold_time=90)
    speaker = Speaker(host, second, peer())
    speaker.wait_up(2)
    stuck.process.pause()
    with UpdateTap(other) as tap:
        speaker.set([*MANY, route(NEWS)])
        bird.wait_routes({told["prefix"] for told in MANY} | {NEWS}, deadline=30)
        speaker.wait_settled()
        assert len({prefix for update in tap.updates() for prefix in update.announced}) < len(MANY), "it is stuck"
    speaker.set([route(LAST)])
    bird.wait_routes({LAST}, deadline=20)
    assert [each["state"] for each in speaker.peers()] == ["up", "up"]
    assert speaker.state(LAST) == "announced"
    with UpdateTap(tor) as tap:
        began = time.monotonic()
        assert speaker.process.stop(timeout=STOP) == 0
        assert time.monotonic() - began < STOP
        tap.wait(LAST, announced=False)
    until(lambda: bird.routes() == {}, 5, "all is withdrawn")
    stuck.process.resume()
    stuck.wait_routes(set(), deadline=20)
