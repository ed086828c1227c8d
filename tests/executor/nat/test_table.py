"""What the NAT table makes of what is wanted, with the back end played by a set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Set

import gevent
import pytest

from consulcast.executor.nat import rules, table
from consulcast.executor.nat.choice import Backends
from consulcast.executor.nat.conntrack import changed
from consulcast.executor.nat.table import NatTable
from consulcast.model import NatKey, Translation
from consulcast.repairs import Kind, Repairs
from tests.executor.nat.fakes import FakeBackend

ONE = rules.read("203.0.113.10/32 udp 53 198.51.100.1 8053")
MOVED = rules.read("203.0.113.10/32 udp 53 198.51.100.1 9053")
TWO = rules.read("203.0.113.11/32 udp 53 198.51.100.1 8053")
SIX = rules.read("2001:db8:53::10/128 udp 53 2001:db8::1 8053")


class World:
    def __init__(self) -> None:
        self.backend = FakeBackend()
        self.other = FakeBackend("iptables")
        self.moved: list[NatKey] = []
        self.changes = 0
        backends = Backends("nft", self.backend, self.other)
        self.now = 0.0
        self.repairs = Repairs()
        self.table = NatTable(
            backends, self.changed, drop_flows=self.drop, repairs=self.repairs, clock=lambda: self.now
        )

    def changed(self) -> None:
        self.changes += 1

    def drop(self, before: Collection[Translation], now: Collection[Translation]) -> int:
        self.moved += changed(before, now)
        return 0

    def set(self, *translations: Translation) -> list[str]:
        """Say what is wanted, let it act, and return what the back end did."""
        self.backend.did.clear()
        self.moved.clear()
        self.table.set(translations)
        return self.acts()

    def standing(self) -> Set[Translation]:
        """What the table tells."""
        return set(self.table.standing() or ())

    def there(self) -> Set[Translation]:
        """What the kernel has."""
        return set(self.backend.there or ())

    def acts(self, seconds: float = 0.0) -> list[str]:
        gevent.sleep(seconds)
        gevent.sleep(0)
        assert self.table._greenlet is None or not self.table._greenlet.exception
        return list(self.backend.did)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(table, "RETRY_MIN", 0.02)
    made = World()
    yield made
    made.table.stop(remove=False)


def test_host_without_nat_pays_nothing(world: World) -> None:
    world.table.start()
    assert world.set() == []
    world.table.sweep()
    assert world.acts() == []
    world.table.stop()
    assert world.backend.did == []
    assert world.standing() == set()


def test_what_is_wanted_stands_after_one_application_and_is_told(world: World) -> None:
    world.table.start()
    assert world.set(ONE, TWO) == ["read", "read", "apply"]
    assert world.standing() == {ONE, TWO}
    changes = world.changes
    assert world.set(TWO, ONE) == []
    assert world.changes == changes


def test_flows_of_changed_keys_alone_are_dropped_before_the_change_is_told(world: World) -> None:
    world.table.start()
    world.set(ONE, TWO)
    world.set(MOVED, TWO)
    assert world.moved == [ONE.key]
    world.set(TWO)
    assert world.moved == [ONE.key]


def test_leftover_that_is_wanted_is_not_made_again_and_no_flow_is_dropped(world: World) -> None:
    world.backend.there = frozenset({ONE})
    world.table.start()
    assert world.acts() == ["read", "read"]
    assert world.standing() == {ONE}
    assert world.set(ONE) == []
    assert world.moved == []


def test_leftover_stays_until_somebody_says_what_is_wanted(world: World) -> None:
    world.backend.there = frozenset({ONE})
    world.table.start()
    world.acts(0.05)
    assert world.there() == {ONE}
    assert world.set() == ["apply"]
    assert world.there() == set()


def test_rules_removed_by_somebody_else_come_back_at_the_event_or_the_sweep(world: World) -> None:
    world.table.start()
    world.set(ONE)
    looks: list[Callable[[], None]] = [lambda: world.backend.on_change(False), world.table.sweep]
    for look in looks:
        world.backend.did.clear()
        world.backend.there = frozenset()
        look()
        assert world.acts() == ["read", "apply"]
        assert world.standing() == {ONE}
    world.backend.did.clear()
    world.backend.there = None  # something of it stands, but not as we make it
    world.backend.on_change(False)
    assert world.acts() == ["read", "apply"]


def test_drift_is_counted_once_whether_rules_are_missing_or_others_among_them(world: World) -> None:
    world.table.start()
    world.set(ONE, TWO)
    world.backend.there = frozenset()
    world.backend.on_change(False)
    world.acts()
    assert world.repairs.counts[Kind.NAT] == 2
    world.backend.there = frozenset({ONE, TWO, SIX})
    world.table.sweep()
    world.acts()
    assert world.repairs.counts[Kind.NAT] == 3
    world.table.sweep()
    world.acts()
    assert world.repairs.counts[Kind.NAT] == 3
    assert world.there() == {ONE, TWO}


def test_what_a_former_run_left_is_no_drift(world: World) -> None:
    world.backend.there = frozenset({ONE})
    world.table.start()
    world.set(TWO)
    assert world.repairs.counts[Kind.NAT] == 0


def test_events_that_were_lost_are_counted_and_the_table_is_looked_at(world: World) -> None:
    world.table.start()
    world.set(ONE)
    world.backend.did.clear()
    world.backend.on_change(True)
    assert world.acts() == ["read"]
    assert world.repairs.counts[Kind.NETLINK] == 1


def test_somebody_who_flushes_again_and_again_is_not_outrun(world: World) -> None:
    world.table.start()
    world.set(ONE)
    for _ in range(20):
        world.backend.there = frozenset()
        world.backend.on_change(False)
        world.acts()
    assert world.backend.did.count("apply") == 4
    assert "again and again" in world.table.failures()[ONE]
    world.now += 31.0
    world.table.sweep()
    world.acts()
    assert world.standing() == {ONE}
    assert dict(world.table.failures()) == {}


def test_event_of_our_own_change_costs_one_look(world: World) -> None:
    world.table.start()
    world.set(ONE)
    world.backend.did.clear()
    world.backend.on_change(False)
    assert world.acts() == ["read"]


def test_failure_is_told_of_what_does_not_stand_and_tried_again(world: World) -> None:
    world.table.start()
    world.set(ONE)
    world.backend.error = "Operation not permitted"
    world.set(ONE, TWO)
    assert world.standing() == {ONE}
    assert dict(world.table.failures()) == {TWO: "Operation not permitted"}
    world.backend.error = ""
    world.acts(0.1)
    assert world.standing() == {ONE, TWO}
    assert dict(world.table.failures()) == {}


def test_failure_that_nobody_wants_any_more_is_forgotten(world: World) -> None:
    world.backend.error = "no"
    world.table.start()
    world.set(ONE)
    assert world.table.failures()
    world.set()
    assert not world.table.failures()


def test_one_family_that_fails_does_not_hold_up_the_other(world: World) -> None:
    world.table.start()
    world.backend.refuse_version = 6
    world.set(ONE, SIX)
    assert world.standing() == {ONE}
    assert dict(world.table.failures()) == {SIX: "not this family"}
    world.backend.refuse_version = 0
    world.acts(0.1)
    assert world.standing() == {ONE, SIX}


def test_conntrack_that_cannot_be_asked_does_not_keep_a_rule_from_standing(world: World) -> None:
    def drop(before: Collection[Translation], now: Collection[Translation]) -> int:
        raise OSError(93, "Protocol not supported")

    world.table._drop_flows = drop
    world.table.start()
    world.set(ONE)
    assert world.standing() == {ONE}


def test_stop_leaves_nothing_or_all_for_the_next_start(world: World) -> None:
    world.table.start()
    world.set(ONE)
    world.table.stop(remove=False)
    assert world.there() == {ONE}
    world.table.stop()
    assert world.there() == set()
