"""From the event to the acknowledged UPDATE: which event, of which prefix, and what is not measured."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from consulcast.latency import Cause, Latency, What
from consulcast.model import Route

ONE, TWO = ip_network("203.0.113.1/32"), ip_network("203.0.113.2/32")


class World:
    """A book, and what it has observed."""

    def __init__(self) -> None:
        self.seen: list[tuple[What, Cause, float]] = []
        self.book = Latency(lambda what, cause, seconds: self.seen.append((what, cause, seconds)))

    def event(self, at: float, cause: Cause = Cause.CONSUL) -> None:
        self.book.happened(cause, at)
        self.book.planned()


@pytest.fixture
def world() -> World:
    return World()


def test_event_is_measured_until_its_route_is_acknowledged(world: World) -> None:
    world.event(10.0)
    world.book.begin()
    world.book.handed(ONE, None, Route(ONE))
    world.book.end(())
    world.book.acknowledged(ONE, Route(ONE), 10.25, heard=True)
    world.book.acknowledged(ONE, Route(ONE), 11.0, heard=True)
    assert world.seen == [(What.ANNOUNCE, Cause.CONSUL, 0.25)]
    assert not world.book.open


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [(None, Route(ONE), What.ANNOUNCE), (Route(ONE), None, What.WITHDRAW), (Route(TWO), Route(ONE), What.CHANGE)],
)
def test_it_is_told_apart_what_the_update_does(
    world: World, before: Route | None, after: Route | None, what: What
) -> None:
    world.event(1.0)
    world.book.begin()
    world.book.handed(ONE, before, after)
    world.book.acknowledged(ONE, after, 2.0, heard=True)
    assert world.seen == [(what, Cause.CONSUL, 1.0)]


def test_earliest_of_the_events_that_one_pass_serves_counts(world: World) -> None:
    world.book.happened(Cause.MONITOR, 2.0)
    world.event(3.0)
    world.event(1.0, Cause.HTTP)
    world.book.disturbed(4.0)
    world.book.begin()
    world.book.handed(ONE, None, Route(ONE))
    world.book.acknowledged(ONE, Route(ONE), 5.0, heard=True)
    assert world.seen == [(What.ANNOUNCE, Cause.HTTP, 4.0)]


def test_event_that_is_not_planned_for_yet_is_kept_for_the_pass_that_serves_it(world: World) -> None:
    world.book.happened(Cause.HTTP, 1.0)
    world.book.begin()  # of something else
    world.book.handed(TWO, None, Route(TWO))
    world.book.end(())
    world.book.planned()
    world.book.begin()
    world.book.handed(ONE, None, Route(ONE))
    for prefix in (ONE, TWO):
        world.book.acknowledged(prefix, Route(prefix), 3.0, heard=True)
    assert world.seen == [(What.ANNOUNCE, Cause.HTTP, 2.0)]


def test_what_time_alone_brings_about_is_not_measured(world: World) -> None:
    world.event(1.0)
    world.book.begin()
    world.book.end(())  # nothing came of it: damped, held, to be cleaned up later
    world.book.planned()
    world.book.begin()
    world.book.handed(ONE, None, Route(ONE))
    world.book.acknowledged(ONE, Route(ONE), 100.0, heard=True)
    assert world.seen == []


def test_route_that_waits_for_its_nat_rules_is_measured_from_its_own_event(world: World) -> None:
    world.event(1.0)
    world.book.begin()
    world.book.end([ONE])
    world.event(5.0, Cause.HTTP)  # another's
    world.book.begin()
    world.book.handed(ONE, None, Route(ONE))
    world.book.end(())
    world.book.acknowledged(ONE, Route(ONE), 6.0, heard=True)
    assert world.seen == [(What.ANNOUNCE, Cause.CONSUL, 5.0)]


def test_route_whose_address_failed_meanwhile_is_not_measured(world: World) -> None:
    world.event(1.0)
    world.book.begin()
    world.book.end([ONE])
    world.book.begin()
    world.book.end(())  # it waits no more: it is tried again later
    world.book.begin()
    world.book.handed(ONE, None, Route(ONE))
    world.book.acknowledged(ONE, Route(ONE), 60.0, heard=True)
    assert world.seen == []


def test_pass_that_was_broken_off_keeps_its_event(world: World) -> None:
    world.event(1.0)
    world.book.begin()
    world.book.begin()
    world.book.handed(ONE, None, Route(ONE))
    world.book.acknowledged(ONE, Route(ONE), 2.0, heard=True)
    assert world.seen == [(What.ANNOUNCE, Cause.CONSUL, 1.0)]


def test_acknowledgement_of_an_older_change_serves_nothing(world: World) -> None:
    world.event(1.0)
    world.book.begin()
    world.book.handed(ONE, None, Route(ONE))
    world.book.end(())
    world.event(2.0)
    world.book.begin()
    world.book.handed(ONE, Route(ONE), None)
    world.book.acknowledged(ONE, Route(ONE), 3.0, heard=True)
    assert world.seen == []
    world.book.acknowledged(ONE, None, 4.0, heard=True)
    assert world.seen == [(What.WITHDRAW, Cause.CONSUL, 3.0)], "since 1.0 the routers have not been told the truth"


def test_nothing_is_measured_that_no_peer_hears_or_that_needs_no_update(world: World) -> None:
    world.event(1.0)
    world.book.begin()
    for prefix in (ONE, TWO):
        world.book.handed(prefix, None, Route(prefix))
    world.book.acknowledged(ONE, Route(ONE), 2.0, heard=False)
    world.book.needless(TWO)
    world.book.acknowledged(TWO, Route(TWO), 3.0, heard=True)
    assert (world.seen, world.book.open) == ([], ())
