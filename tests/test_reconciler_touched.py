"""Looking only at what something has happened to comes to the same as looking at everything, each time."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gevent
from hypothesis import given, settings
from hypothesis import strategies as st

from consulcast import notation
from consulcast.executor.protocols import PeerStatus, SessionState
from consulcast.latency import Cause
from consulcast.model import Intent, Prefix, Reason, Route, Vip
from consulcast.repairs import Kind
from tests.test_reconciler import FakeSpeaker, World, drained, intent, pending

# Two in one prefix, one address as two VIPs, a whole prefix, and some with nothing in common.
VIPS = ("10.0.0.5/24", "10.0.0.6/24", "10.0.0.5/32", "10.1.0.0/24", "203.0.113.10/32", "203.0.113.11/32")

ROUTER, HOST = ipaddress.ip_address("198.51.100.2"), ipaddress.ip_address("198.51.100.1")


class HintingSpeaker(FakeSpeaker):
    """One whose acknowledgements come when they are told to, and that tells exactly which routes have moved."""

    hints = True

    def __init__(self, world: World) -> None:
        super().__init__(world.script)
        self._world = world
        self._moved: set[Prefix] | None = None

    def set(self, wanted: Mapping[Prefix, Route]) -> None:
        either = self.routes.keys() | wanted.keys()
        changed = {prefix for prefix in either if self.routes.get(prefix) != wanted.get(prefix)}
        super().set(wanted)
        self.unacknowledged |= changed
        if self._moved is not None:
            self._moved |= changed
        if self.acknowledges:
            for prefix in sorted(changed):
                self.acknowledge(prefix)

    def acknowledge(self, prefix: Prefix) -> None:
        if prefix in self.unacknowledged:
            self.unacknowledged.discard(prefix)
            self._world.latency.acknowledged(prefix, self.routes.get(prefix), self._world.now, heard=self.carried)
            if self._moved is not None:
                self._moved.add(prefix)
            self._world.reconciler.wake()

    def turn(self, carried: bool) -> None:
        """All sessions come up, or go down."""
        self.carried, self._moved = carried, None
        state = SessionState.UP if carried else SessionState.DOWN
        self.sessions = (PeerStatus(*(ROUTER, 65010, 65001, HOST), state, self._world.now),)
        self._world.reconciler.wake()

    def moved(self) -> Collection[Prefix] | None:  # type: ignore[override]
        moved, self._moved = self._moved, set()
        return moved if self.hints else None


class Side(World):
    """A world that knows what was asked of it."""

    def __init__(self) -> None:
        super().__init__(drain_time=1.0)
        self.asked: dict[Vip, Intent] = {}
        self.complete = False
        self.speaker: HintingSpeaker = HintingSpeaker(self)
        self.reconciler._speaker = self.reconciler._routes._speaker = self.speaker


Step = Callable[[Side, Any], None]


def wants(world: Side, asked: Mapping[int, str]) -> None:
    """Something else is wanted of some VIPs, by an event."""
    intents = dict(world.asked)
    for number, kind in asked.items():
        if kind:
            made = MADE[VIPS[number], kind]
            intents[made.vip] = made
        else:
            intents.pop(notation.vip(VIPS[number]), None)
    world.latency.happened(Cause.CONSUL, world.now)
    world.latency.planned()
    world.asked = intents
    world.reconciler.set(intents, world.complete)


def complete(world: Side, is_so: bool) -> None:
    """Every source has answered, or one that is new has not."""
    world.complete = is_so
    world.reconciler.set(world.asked, is_so)


def wants_meanwhile(world: Side, asked: Mapping[int, str]) -> None:
    """Something else is wanted the next time that the kernel adds addresses, before it has answered."""

    def meanwhile() -> None:
        world.addresses.during_add = lambda: None
        wants(world, asked)

    world.addresses.during_add = meanwhile


KINDS: Mapping[str, Callable[[str], Intent]] = {
    "up": intent,
    "tagged": lambda vip: intent(vip, communities="65000:1"),
    "nat": lambda vip: intent(vip, nats=(53,)),
    "other nat": lambda vip: intent(vip, nats=(853,)),
    "failing": lambda vip: intent(vip, announce=False),
    "failing nat": lambda vip: intent(vip, announce=False, nats=(53,)),
    "cleaned up": lambda vip: intent(vip, announce=False, address=False),
    "pending": pending,
    "lowered": lambda vip: drained(announce=True, vip=vip),
    "drained": lambda vip: drained(vip=vip),
    "drained nat": lambda vip: drained(nats=(53,), vip=vip),
}
MADE = {(vip, kind): make(vip) for vip in VIPS for kind, make in KINDS.items()}


def take_away(world: Side, asked: tuple[int, bool]) -> None:
    """Somebody removes an address; an event tells of it, or is lost."""
    number, told = asked
    world.addresses.ours.discard(notation.vip(VIPS[number]).local)
    if told:
        world.reconciler.disturbed(Kind.ADDRESS)


def put(world: Side, number: int) -> None:
    """Somebody adds an address."""
    local = notation.vip(VIPS[number]).local
    if local not in world.addresses.ours:
        world.addresses.foreign.add(local)
    world.reconciler.disturbed(Kind.ADDRESS)


def device(world: Side, down: bool) -> None:
    world.addresses.trouble = "device lo is down" if down else ""
    world.reconciler.disturbed(Kind.DEVICE)


def refuse_addresses(world: Side, why: str) -> None:
    world.addresses.refuse = why


def refuse_nat(world: Side, why: str) -> None:
    world.nat.refuse = why
    if not world.nat.slow:
        world.nat.acts()
    world.reconciler.wake()


def slow_nat(world: Side, slow: bool) -> None:
    world.nat.slow = slow
    if not slow:
        world.nat.acts()


def nat_acts(world: Side, _: None) -> None:
    world.nat.acts()


def flush_nat(world: Side, _: None) -> None:
    world.nat.there = frozenset()
    world.reconciler.wake()


def acknowledging(world: Side, at_once: bool) -> None:
    world.speaker.acknowledges = at_once


def acknowledge(world: Side, _: None) -> None:
    for prefix in sorted(world.speaker.unacknowledged):
        world.speaker.acknowledge(prefix)


def sessions(world: Side, up: bool) -> None:
    world.speaker.turn(up)


def flows(world: Side, asked: tuple[int, int]) -> None:
    number, count = asked
    world.flows.counts[notation.vip(VIPS[number]).local] = count
    world.reconciler.wake()


def waits(world: Side, seconds: float) -> None:
    world.now += seconds
    world.reconciler.wake()


def step(act: Step, argument: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Step, Any]]:
    return st.tuples(st.just(act), argument)


numbers = st.integers(0, len(VIPS) - 1)
kinds = st.sampled_from(("", *KINDS))
asked = st.one_of(st.dictionaries(numbers, kinds, max_size=2), st.dictionaries(numbers, kinds))
whys = st.sampled_from(("", "no"))
steps = st.one_of(
    *[step(wants, asked)] * 4,
    step(wants_meanwhile, asked),
    step(complete, st.booleans()),
    step(take_away, st.tuples(numbers, st.booleans())),
    step(put, numbers),
    step(device, st.booleans()),
    step(refuse_addresses, whys),
    step(refuse_nat, whys),
    step(slow_nat, st.booleans()),
    step(nat_acts, st.none()),
    step(flush_nat, st.none()),
    step(acknowledging, st.booleans()),
    *[step(acknowledge, st.none())] * 2,
    step(sessions, st.booleans()),
    step(flows, st.tuples(numbers, st.integers(0, 2))),
    *[step(waits, st.sampled_from((0.1, 1.0, 5.0)))] * 2,
    step(waits, st.sampled_from((5.0, 31.0))),
)


@contextmanager
def worlds() -> Iterator[tuple[Side, Side]]:
    """One that looks at what is touched, and one that looks at everything."""
    made = Side(), Side()
    made[1].speaker.hints = False
    for world in made:
        world.begin()
    try:
        yield made
    finally:
        for world in made:
            assert world.reconciler._greenlet is not None
            world.reconciler._greenlet.kill()


def settle(world: Side) -> None:
    for _ in range(4):
        gevent.sleep(0)
    assert not world.reconciler._greenlet.dead  # type: ignore[union-attr]


def go(world: Side, *history: tuple[Step, Any]) -> None:
    for act, argument in history:
        act(world, argument)
        settle(world)


def state(world: Side) -> dict[str, object]:
    """All that anybody can see of it."""
    return {
        "status": world.reconciler.status(),
        "counts": dict(world.reconciler.reasons()),
        "routes": world.speaker.routes,
        "addresses": world.addresses.ours,
        "nat": (world.nat.wanted, world.nat.there),
        "flows": world.flows.watched,
        "served": sorted(world.served),
        "repairs": world.repairs.counts,
        "complete": (world.reconciler.ever_complete, world.speaker.completed),
        "next": world.reconciler._next_deadline() > world.now,
    }


UP: tuple[Step, Any] = (wants, dict.fromkeys(range(len(VIPS)), "up"))


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.lists(steps, max_size=40))
def test_what_is_touched_is_enough_to_look_at(at_once: bool, history: list[tuple[Step, Any]]) -> None:
    with worlds() as (some, whole):
        for act, argument in (UP, (complete, True), (acknowledging, at_once), *history):
            for world in (some, whole):
                world.script.clear()
                act(world, argument)
                settle(world)
            assert sorted(some.script) == sorted(whole.script)
            assert state(some) == state(whole)


def test_what_no_hint_told_of_is_found_by_the_sweep() -> None:
    with worlds() as (world, _):
        go(world, UP, (complete, True), (acknowledging, False), (wants, {0: "tagged"}), (waits, 0.1))
        vip = notation.vip(VIPS[0])
        world.speaker.unacknowledged.clear()  # and no word of it
        go(world, (waits, 1.0))
        assert world.reconciler.status()[vip].reason is Reason.ANNOUNCING
        go(world, (waits, 31.0))
        assert world.reconciler.status()[vip].reason is Reason.ANNOUNCED


def test_what_is_not_wanted_goes_as_soon_as_every_source_has_answered() -> None:
    with worlds() as (world, _):
        go(world, UP, (wants, {5: ""}), (waits, 5.0))
        assert "remove 203.0.113.11/32" not in world.script
        go(world, (complete, True), (waits, 1.0))
        assert "remove 203.0.113.11/32" in world.script


def test_two_vips_of_one_prefix_do_not_take_turns_while_one_cannot_be_had() -> None:
    with worlds() as (world, _):
        go(world, (complete, True), (wants, {1: "tagged"}), (refuse_addresses, "no"), (wants, {0: "up"}))
        world.script.clear()
        go(world, *[(waits, 0.1)] * 5)
        assert world.script == []


def test_sweep_that_falls_due_during_a_pass_is_made_whole_by_the_next() -> None:
    with worlds() as (world, _):
        go(world, UP, (complete, True), (acknowledging, False), (wants, {0: "tagged"}), (waits, 0.1))
        world.speaker.unacknowledged.clear()  # and no word of it
        sweep_at = world.reconciler._sweep_at
        world.now = sweep_at - 0.1
        early = world.reconciler._routes.early

        def takes_its_time(vips: Iterable[Vip]) -> list[Prefix]:
            world.now = max(world.now, sweep_at)
            return early(vips)

        world.reconciler._routes.early = takes_its_time  # type: ignore[method-assign]
        go(world, *[(waits, 0.0)] * 2)
        assert world.reconciler.status()[notation.vip(VIPS[0])].reason is Reason.ANNOUNCED
