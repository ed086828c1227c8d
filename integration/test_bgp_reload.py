"""Peers that are added, removed and changed while the others go on; and what each router sees of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from integration.bgp_speaker import Speaker, route
from integration.lab import Bird, Lab, Peer, UpdateTap, until

ROUTES = [route(f"203.0.113.{n}/32", "65000:1") for n in range(50)]
PREFIXES = {told["prefix"] for told in ROUTES}
MARK = "192.0.2.1/32"  # announced last, to show that what was sent before it has been seen


def ours(number: int) -> str:
    """Our address toward router ``number``."""
    return f"198.18.{number}.1"


def peer(number: int, **more: Any) -> dict[str, Any]:
    """The settings of router ``number``."""
    return {
        "address": f"198.18.{number}.2",
        "peer_as": 65010 + number,
        "local_as": 65001,
        "local_address": ours(number),
        "router_id": "198.51.100.1",
        "next_hop4": ours(number),
        "next_hop6": None,
        **more,
    }


class World:
    """A host with four routers, each on a link of its own."""

    def __init__(self, lab: Lab) -> None:
        self.host = lab.host("host")
        self.tors = [lab.host(f"tor{number}") for number in range(4)]
        for number, tor in enumerate(self.tors):
            lab.link(self.host, tor, f"{ours(number)}/24", f"198.18.{number}.2/24")

    def bird(self, number: int) -> Bird:
        """Start the BIRD of a router."""
        return Bird(self.tors[number], 65010 + number, [Peer(ours(number), 65001)], router_id=f"198.18.{number}.2")

    def speaker(self, *peers: dict[str, Any], env: Mapping[str, str] | None = None) -> Speaker:
        """A speaker with ROUTES, that the routers which are up have."""
        speaker = Speaker(self.host, *peers, env=env)
        speaker.set(ROUTES)
        speaker.wait_settled()
        return speaker


@pytest.fixture
def world(lab: Lab) -> World:
    return World(lab)


@contextmanager
def untouched(speaker: Speaker, *birds: Bird) -> Iterator[None]:
    """What is done inside is not seen by ``birds``: no UPDATE, no reset."""

    def shown(bird: Bird) -> tuple[str, ...]:
        return tuple(line for line in bird.command("show protocols") if "BGP" in line)

    def known(bird: Bird) -> dict[str, Any]:
        address = bird.peer().address.removesuffix("1") + "2"
        return next(each for each in speaker.peers() if each["address"] == address)

    before = {bird: (shown(bird), known(bird), bird.counters()) for bird in birds}
    with ExitStack() as stack:
        taps = {bird: stack.enter_context(UpdateTap(bird.host)) for bird in birds}
        yield
        speaker.wait_settled()
        speaker.set([*ROUTES, route(MARK)])
        for bird, tap in taps.items():
            tap.wait(MARK)
            assert [update.announced | update.withdrawn for update in tap.updates()] == [{MARK}]
            assert tap.lost() == 0
            assert (shown(bird), known(bird)) == before[bird][:2]
            assert (bird.counters() - before[bird][2]).updates == 1
            assert set(bird.routes()) == PREFIXES | {MARK}
        speaker.set(ROUTES)
        speaker.wait_settled()


def test_an_added_peer_gets_the_whole_table_and_the_others_see_nothing(world: World) -> None:
    first, second = world.bird(0), world.bird(1)
    speaker = world.speaker(peer(0))
    first.wait_routes(PREFIXES)
    with untouched(speaker, first):
        speaker.set_peers(peer(0), peer(1))
        second.wait_routes(PREFIXES)
    assert [each["state"] for each in speaker.peers()] == ["up", "up"]


def test_a_removed_peer_ends_with_a_reason_and_the_others_see_nothing(world: World) -> None:
    first, second = world.bird(0), world.bird(1)
    speaker = world.speaker(peer(0), peer(1))
    first.wait_routes(PREFIXES)
    second.wait_routes(PREFIXES)
    with untouched(speaker, first):
        speaker.set_peers(peer(0))
        assert [each["address"] for each in speaker.peers()] == ["198.18.0.2"]
        second.wait_routes(set())
    second.process.wait_line("Received: Peer de-configured")
    assert not second.established()


@pytest.mark.parametrize(
    ("changed", "theirs"),
    [
        ({"password": "s3cret"}, {"password": "s3cret"}),
        ({"hold_time": 9}, {}),
        ({"ttl": 5}, {}),
        ({"local_as": 65002}, {"asn": 65002}),
        ({"router_id": "198.51.100.99"}, {}),
        ({"next_hop6": "2001:db8::1"}, {}),  # another family
    ],
    ids=["password", "hold-time", "ttl", "as", "router-id", "families"],
)
def test_a_changed_peer_is_reset_alone(world: World, changed: dict[str, Any], theirs: dict[str, Any]) -> None:
    first, second = world.bird(0), world.bird(1)
    speaker = world.speaker(peer(0), peer(1))
    first.wait_routes(PREFIXES)
    second.wait_routes(PREFIXES)
    with untouched(speaker, first):
        speaker.set_peers(peer(0), peer(1, **changed))
        until(lambda: speaker.peers()[1]["flaps"] == "1", 5, "the reset")
        second.process.wait_line("Received: Peer de-configured")
        if theirs:
            second.configure([Peer(ours(1), **{"asn": 65001, **theirs})])
        second.wait_routes(PREFIXES, deadline=20)


def test_another_next_hop_is_announced_to_that_peer_over_the_session_that_is_there(world: World) -> None:
    first, second = world.bird(0), world.bird(1)
    speaker = world.speaker(peer(0), peer(1))
    first.wait_routes(PREFIXES)
    second.wait_routes(PREFIXES)
    with untouched(speaker, first):
        speaker.set_peers(peer(0), peer(1, next_hop4="198.18.1.77"))
        until(lambda: {each.next_hop for each in second.routes().values()} == {"198.18.1.77"}, 5, "the new next hop")
    assert [each["flaps"] for each in speaker.peers()] == ["0", "0"]
    assert second.counters().withdraws == 1  # the mark's


def test_one_is_removed_one_added_one_changed_while_routes_wait_for_one_that_is_down(world: World) -> None:
    stays, goes, changes = world.bird(0), world.bird(1), world.bird(2)
    down = peer(3, peer_as=65013, port=1179)  # nobody listens there
    speaker = world.speaker(peer(0), peer(1), peer(2), down)
    exabgp = speaker.exabgp()
    for bird in (stays, goes, changes):
        bird.wait_routes(PREFIXES)
    with untouched(speaker, stays):
        speaker.set_peers(peer(0), peer(2, hold_time=9), down)
        goes.wait_routes(set())
        until(lambda: speaker.peers()[1]["flaps"] == "1", 5, "the reset")
        changes.wait_routes(PREFIXES, deadline=20)
        speaker.set_peers(peer(0), peer(1), peer(2, hold_time=9), down)
        goes.wait_routes(PREFIXES, deadline=20)
    assert speaker.exabgp() == exabgp
    last = world.bird(3)
    speaker.set_peers(peer(0), peer(3))  # the one that was down is at another port now
    last.wait_routes(PREFIXES, deadline=20)
    assert speaker.exabgp() == exabgp


def test_peers_that_change_while_routes_do_end_right(world: World) -> None:
    birds = [world.bird(number) for number in range(3)]
    speaker = world.speaker(peer(0), peer(1))
    birds[0].wait_routes(PREFIXES)
    for turn in range(12):
        speaker.set(ROUTES[turn:])
        speaker.set_peers(peer(0), peer(1 + turn % 2, hold_time=30 + turn // 4))
        speaker.set(ROUTES[turn + 1 :])
    speaker.set_peers(peer(0), peer(1), peer(2))
    for bird in birds:
        bird.wait_routes({told["prefix"] for told in ROUTES[12:]}, deadline=30)
    speaker.wait_settled()
    assert speaker.peers()[0]["flaps"] == "0"


@pytest.mark.parametrize("victim", ["relay", "exabgp"])
def test_other_peers_are_taken_over_though_something_is_killed_meanwhile(world: World, victim: str) -> None:
    first, second, third = world.bird(0), world.bird(1), world.bird(2)
    speaker = world.speaker(peer(0), peer(1))
    first.wait_routes(PREFIXES)
    pid = getattr(speaker, victim)()
    os.kill(pid, signal.SIGSTOP)
    speaker.set_peers(peer(0), peer(2))
    os.kill(pid, signal.SIGKILL)
    third.wait_routes(PREFIXES, deadline=20)
    first.wait_routes(PREFIXES, deadline=20)
    second.wait_routes(set())
    speaker.wait_settled()
    if victim == "relay":
        assert speaker.peers()[0]["flaps"] == "0"


@pytest.mark.parametrize("does", ["reactor.signal.received = reactor.signal.RELOAD", "pass"])
def test_an_exabgp_that_answers_a_reload_and_forgets_it_is_told_again_and_in_the_end_started_again(
    world: World, lab: Lab, does: str
) -> None:
    """As it comes, it forgets it while routes wait for a peer that is down; told often enough it finds a moment."""
    first, second = world.bird(0), world.bird(1)
    forgetful = lab.dir / "forgetful"
    forgetful.mkdir()
    (forgetful / "sitecustomize.py").write_text(_FORGETFUL.format(does=does))
    speaker = world.speaker(peer(0), peer(3, port=1179), env={"PYTHONPATH": str(forgetful)})
    first.wait_routes(PREFIXES)
    exabgp = speaker.exabgp()
    speaker.set([*ROUTES, route(MARK)])
    speaker.set_peers(peer(0), peer(1), peer(3, port=1179))
    if does == "pass":
        speaker.process.wait_line("drift: ExaBGP has ended: it did not take over its new peers in 5 s")
        assert speaker.exabgp() != exabgp
    second.wait_routes({*PREFIXES, MARK}, deadline=20)
    first.wait_routes({*PREFIXES, MARK}, deadline=20)


_FORGETFUL = """
from consulcast.executor.bgp import patches

def forgetful():
    from exabgp.reactor.api.command import Command
    def reload(self, reactor, service, line, use_json):
        {does}
        reactor.processes.answer_done(service)
        return True
    Command.callback["text"]["reload"] = reload

patches.reload_in_order = forgetful
"""


def test_exabgp_runs_only_while_there_are_peers(world: World) -> None:
    bird = world.bird(0)
    speaker = world.speaker()
    assert speaker.exabgp() is None
    for _ in range(2):
        speaker.set_peers(peer(0))
        bird.wait_routes(PREFIXES, deadline=20)
        bird.process.mark()
        speaker.set_peers()
        bird.process.wait_line("Received: Administrative shutdown")
        bird.wait_routes(set())
        until(lambda: speaker.exabgp() is None, 5, "its end")
        speaker.wait_settled()


def test_a_change_reaches_the_others_as_fast_when_one_is_down_or_removed(world: World) -> None:
    """ExaBGP alone would sleep 10 ms again and again once a session has ended."""
    first, second = world.bird(0), world.bird(1)
    speaker = world.speaker(peer(0), peer(1))
    first.wait_routes(PREFIXES)
    second.wait_routes(PREFIXES)

    def milliseconds() -> float:
        found: list[int] = []
        with UpdateTap(first.host) as tap:
            for turn in range(40):
                found.append(speaker.call("timed", [*ROUTES, route(MARK, f"65000:{turn + 2}")]))
                until(lambda turn=turn: len(tap.updates()) > turn, 5, "the UPDATE")  # type: ignore[misc]
            at = [update.at for update in tap.updates()]
        return float(sorted((end - start) / 1e6 for start, end in zip(found, at, strict=True))[20])

    second.stop()
    until(lambda: speaker.peers()[1]["state"] == "down", 5, "down")
    assert milliseconds() < 9
    speaker.set_peers(peer(0))
    speaker.wait_settled()
    assert milliseconds() < 9
