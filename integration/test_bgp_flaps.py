"""Many routes, and routes that change faster than they can be sent."""

from __future__ import annotations

import itertools
import random
from typing import Any

from integration.bgp_speaker import Speaker, route
from integration.lab import Bird, Lab, Peer, until
from integration.test_bgp_sessions import HOST4, peer, two

PREFIXES = [f"203.0.113.{n}/32" for n in range(12)] + [f"2001:db8:1::{n:x}/128" for n in range(1, 5)]
COMMUNITIES = [(), ("65000:1",), ("65000:2",)]


def tables(chance: random.Random, count: int) -> list[list[dict[str, Any]]]:
    """Random tables, one after the other."""
    return [
        [route(prefix, *chance.choice(COMMUNITIES)) for prefix in PREFIXES if chance.random() < 0.5]
        for _ in range(count)
    ]


def flaps(made: list[list[dict[str, Any]]]) -> int:
    """How many changes of a prefix there are from table to table."""
    known = [{told["prefix"]: told["communities"] for told in table} for table in made]
    changes = 0
    for before, after in itertools.pairwise(known):
        changes += sum(before.get(prefix) != after.get(prefix) for prefix in before.keys() | after.keys())
    return changes


def assert_arrives(bird: Bird, speaker: Speaker, table: list[dict[str, Any]]) -> None:
    """BIRD has exactly that table, as soon as everything is acknowledged and sent."""
    wanted = {told["prefix"]: tuple(told["communities"]) for told in table}

    def right() -> bool:
        return {prefix: found.communities for prefix, found in bird.routes().items()} == wanted

    speaker.wait_settled()
    until(right, 5, f"BIRD has {wanted}, after {speaker.process.text()[-500:]}")


def test_prefixes_that_change_within_milliseconds_end_right_every_time(lab: Lab) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST4, 65001)])
    speaker = Speaker(host, peer())
    speaker.wait_up()
    chance = random.Random(20)
    changed = 0
    for _ in range(40):
        made = tables(chance, 30)
        speaker.burst(made, [chance.choice([0, 0, 0, 0.0005, 0.001, 0.003, 0.01]) for _ in made])
        assert_arrives(bird, speaker, made[-1])
        changed += flaps(made)
    assert changed >= 1000


def test_prefixes_that_change_while_the_peer_is_down_end_right_every_time(lab: Lab) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST4, 65001)])
    speaker = Speaker(host, peer())
    speaker.wait_up()
    chance = random.Random(21)
    changed = 0
    for _ in range(6):
        bird.disable()
        until(lambda: speaker.peers()[0]["state"] == "down", 10, "the session is down")
        made = tables(chance, 30)
        # The pauses are long enough for ExaBGP to take each change in by itself.
        speaker.burst(made, [chance.choice([0, 0.002, 0.02]) for _ in made])
        bird.enable()
        speaker.wait_up()
        assert_arrives(bird, speaker, made[-1])
        changed += flaps(made)
    assert changed >= 1000


def test_prefixes_that_change_while_the_session_comes_and_goes_end_right(lab: Lab) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST4, 65001)])
    speaker = Speaker(host, peer())
    speaker.wait_up()
    chance = random.Random(22)
    for turn in range(6):
        made = tables(chance, 60)
        speaker.set(made[0])
        bird.command("disable " + bird.peer().session) if turn % 2 else bird.command("restart " + bird.peer().session)
        speaker.burst(made[:30], [0.001] * 30)
        bird.enable()
        speaker.burst(made[30:], [0.03] * 30)
        speaker.wait_up()
        assert_arrives(bird, speaker, made[-1])


def test_ten_thousand_routes_are_handed_over_changed_and_withdrawn_without_a_hang(lab: Lab) -> None:
    host, tor = two(lab)
    bird = Bird(tor, 65010, [Peer(HOST4, 65001)])
    speaker = Speaker(host, peer())
    speaker.wait_up()
    prefixes = [f"198.18.{n // 250}.{n % 250}/32" for n in range(9_000)]
    prefixes += [f"2001:db8:1::{n:x}/128" for n in range(1_000)]
    speaker.set(route(prefix) for prefix in prefixes)
    until(lambda: len(bird.routes()) == 10_000, 60, "10,000 routes at BIRD", every=0.3)
    speaker.wait_settled(60)
    speaker.set(route(prefix, "65000:1") for prefix in prefixes[::2])

    def halved() -> bool:
        found = bird.routes()
        return len(found) == 5_000 and all(each.communities == ("65000:1",) for each in found.values())

    until(halved, 60, "half of them, with a community", every=0.3)
    speaker.set([])
    until(lambda: not bird.routes(), 60, "none is left", every=0.3)
    speaker.wait_settled(60)
    assert speaker.peers()[0]["flaps"] == "0"
