"""The order in which things are made true, with the kernel and the routers played by fakes."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Collection, Iterator, Mapping

import gevent
import pytest

from consulcast import notation
from consulcast.executor.protocols import Added, Found, KernelError, PeerStatus, RouteState, SessionState
from consulcast.latency import Cause, Latency, What
from consulcast.model import Draining, Intent, Interface, Prefix, Reason, Route, Translation, Vip
from consulcast.reconciler import PORTION, REMOVED, Reconciler
from consulcast.repairs import Kind, Repairs
from consulcast.values import replace
from consulcast.vip_addresses import BATCH
from consulcast.vip_status import DrainPhase, VipStatus

VIP = "203.0.113.10/32"


class Script(list[str]):
    """What was done, in order, by either fake."""


class FakeAddresses:
    def __init__(self, script: Script) -> None:
        self.script = script
        self.ours: set[Interface] = set()
        self.foreign: set[Interface] = set()
        self.refuse = ""
        self.unreadable = False
        self.trouble = ""
        self.looks = 0
        self.during_add: Callable[[], object] = lambda: None  # what others do while the kernel works
        self.during_remove: Callable[[], object] = lambda: None

    def look(self) -> Found:
        self.looks += 1
        if self.unreadable:
            raise KernelError("no")
        return Found(frozenset(self.ours | self.foreign), frozenset(self.ours), self.trouble)

    def add(self, addresses: Collection[Interface]) -> Added:
        self.during_add()
        if self.refuse:
            return Added(frozenset(), dict.fromkeys(addresses, self.refuse))
        self.script.extend(f"add {address}" for address in addresses)
        mine = frozenset(addresses) - self.foreign
        self.ours |= mine
        return Added(mine, {})

    def remove(self, addresses: Collection[Interface]) -> dict[Interface, str]:
        self.during_remove()
        self.script.extend(f"remove {address}" for address in addresses)
        self.ours -= set(addresses)
        return {}


class FakeSpeaker:
    def __init__(self, script: Script) -> None:
        self.script = script
        self.routes: dict[Prefix, Route] = {}
        self.acknowledges = True
        self.sessions: tuple[PeerStatus, ...] = ()
        self.carried = True
        self.unacknowledged: set[Prefix] = set()
        self.completed = False

    def complete(self) -> None:
        self.completed = True

    def moved(self) -> None:
        """It may be any."""

    def set(self, wanted: Mapping[Prefix, Route]) -> None:
        for prefix in self.routes.keys() - wanted.keys():
            self.script.append(f"withdraw {prefix}")
            if not self.acknowledges:
                self.unacknowledged.add(prefix)
        for prefix, route in wanted.items():
            if self.routes.get(prefix) != route:
                self.script.append(f"announce {prefix}")
        self.routes = dict(wanted)

    def route_state(self, prefix: Prefix) -> RouteState:
        if prefix in self.unacknowledged:
            return RouteState.PENDING
        if prefix not in self.routes:
            return RouteState.CLEAR
        return RouteState.ANNOUNCED if self.carried else RouteState.HANDED_OVER

    def peers(self) -> tuple[PeerStatus, ...]:
        return self.sessions


class FakeNat:
    def __init__(self, script: Script) -> None:
        self.script = script
        self.wanted: frozenset[Translation] = frozenset()
        self.there: frozenset[Translation] | None = frozenset()
        self.refuse = ""
        self.slow = False
        self.on_change: Callable[[], None] = lambda: None

    def set(self, translations: Collection[Translation]) -> None:
        self.wanted = frozenset(translations)
        if not self.slow:
            self.acts()

    def acts(self) -> None:
        assert self.there is not None
        if self.wanted == self.there or self.refuse:
            return
        self.script.extend(f"nat -{item.port}" for item in sorted(self.there - self.wanted, key=str))
        self.script.extend(f"nat +{item.port}" for item in sorted(self.wanted - self.there, key=str))
        self.there = self.wanted
        self.on_change()

    def standing(self) -> frozenset[Translation] | None:
        return self.there

    def failures(self) -> Mapping[Translation, str]:
        return dict.fromkeys(self.wanted - (self.there or frozenset()), self.refuse) if self.refuse else {}

    def sweep(self) -> None:
        pass


class FakeFlows:
    def __init__(self) -> None:
        self.counts: dict[Interface, int] = {}
        self.watched: frozenset[Interface] = frozenset()

    def watch(self, vips: Collection[Interface]) -> None:
        self.watched = frozenset(vips)

    def open(self, vip: Interface) -> int | None:
        return self.counts.get(vip) if vip in self.watched else None


class World:
    def __init__(self, drain_time: float = 0.0) -> None:
        self.script = Script()
        self.addresses = FakeAddresses(self.script)
        self.nat = FakeNat(self.script)
        self.speaker = FakeSpeaker(self.script)
        self.now = 0.0
        self.repairs = Repairs()
        self.served: list[tuple[What, Cause, float]] = []
        self.latency = Latency(lambda what, cause, seconds: self.served.append((what, cause, seconds)))
        self.flows = FakeFlows()
        self.reconciler = Reconciler(
            *(self.addresses, self.nat, self.speaker, drain_time),
            clock=lambda: self.now,
            repairs=self.repairs,
            latency=self.latency,
            flows=self.flows,
        )
        self.nat.on_change = self.reconciler.wake

    def begin(self) -> World:
        self.reconciler.start()
        gevent.sleep(0)
        return self

    def wants(self, *intents: Intent, complete: bool = True) -> list[str]:
        """Say what should be, let it act, and return what it did."""
        self.script.clear()
        self.reconciler.set(by_vip(*intents), complete)
        return self.acts()

    def acts(self, seconds: float = 0.0) -> list[str]:
        self.now += seconds
        self.reconciler.wake()
        for _ in range(3):  # what it did may wake it again
            gevent.sleep(0)
        assert not self.reconciler._greenlet.dead  # type: ignore[union-attr]
        return list(self.script)

    def reason(self, vip: str = VIP) -> Reason:
        return self.reconciler.status()[notation.vip(vip)].reason


def nat(vip: str, port: int, to_port: int = 8053) -> Translation:
    return Translation(notation.vip(vip).local, "udp", port, ipaddress.ip_address("198.51.100.1"), to_port)


def intent(
    vip: str = VIP, announce: bool = True, address: bool = True, communities: str = "", nats: tuple[int, ...] = ()
) -> Intent:
    parsed = notation.vip(vip)
    wanted = notation.communities(communities) if communities else ()
    reason = Reason.ANNOUNCED if announce else Reason.MONITOR_FAILING
    rules = tuple(nat(vip, port) for port in nats)
    return Intent(parsed, Route(parsed.prefix, wanted), address, announce, reason, nats=rules)


def by_vip(*intents: Intent) -> dict[Vip, Intent]:
    return {each.vip: each for each in intents}


@pytest.fixture
def make() -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def build(**arguments: float) -> World:
        worlds.append(World(**arguments))
        return worlds[-1]

    yield build
    for world in worlds:
        greenlet = world.reconciler._greenlet
        if greenlet is not None:
            greenlet.kill()


Make = Callable[..., World]


def test_address_stands_before_the_route_is_announced(make: Make) -> None:
    world = make().begin()
    assert world.wants(intent()) == [f"add {VIP}", f"announce {VIP}"]
    assert world.reason() is Reason.ANNOUNCED


def test_same_intents_again_do_nothing(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    assert world.wants(intent()) == []


def test_failing_app_loses_its_route_and_keeps_its_address(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    assert world.wants(intent(announce=False)) == [f"withdraw {VIP}"]
    assert world.wants(intent()) == [f"announce {VIP}"]


def test_failing_app_that_never_was_up_gets_no_address(make: Make) -> None:
    assert make().begin().wants(intent(announce=False)) == []


def test_after_cleanup_timer_the_address_goes_too(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    world.wants(intent(announce=False))
    assert world.wants(intent(announce=False, address=False)) == [f"remove {VIP}"]


def test_address_goes_after_the_withdrawal_is_acknowledged_and_the_drain_time_over(make: Make) -> None:
    world = make(drain_time=1.0).begin()
    world.wants(intent())
    world.speaker.acknowledges = False
    assert world.wants() == [f"withdraw {VIP}"]
    assert world.acts(60.0) == [f"withdraw {VIP}"]
    world.speaker.unacknowledged.clear()
    assert world.acts() == [f"withdraw {VIP}"]
    assert world.acts(0.9) == [f"withdraw {VIP}"]
    assert world.acts(0.2) == [f"withdraw {VIP}", f"remove {VIP}"]


def test_withdrawal_goes_before_another_vips_address_is_added(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    other = "203.0.113.11/32"
    done = world.wants(intent(announce=False), intent(other))
    assert done == [f"withdraw {VIP}", f"add {other}", f"announce {other}"]


def test_changed_community_is_announced_without_a_withdrawal(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    assert world.wants(intent(communities="65000:1")) == [f"announce {VIP}"]


def test_wanted_again_during_the_drain_the_address_never_went(make: Make) -> None:
    world = make(drain_time=1.0).begin()
    world.wants(intent())
    world.wants()
    world.acts(0.5)
    assert world.wants(intent()) == [f"announce {VIP}"]
    assert world.acts(5.0) == [f"announce {VIP}"]


def test_without_its_address_a_vip_is_not_announced_and_the_kernels_reason_is_told(make: Make) -> None:
    world = make().begin()
    world.addresses.refuse = "Operation not permitted (errno 1)"
    assert world.wants(intent()) == []
    status = world.reconciler.status()[notation.vip(VIP)]
    assert status.reason is Reason.ADDRESS_FAILED
    assert "Operation not permitted" in status.detail
    world.addresses.refuse = ""
    assert world.acts() == []  # not before its time
    assert world.acts(1.5) == [f"add {VIP}", f"announce {VIP}"]


def test_one_vip_that_cannot_be_had_does_not_hold_up_another(make: Make) -> None:
    world = make().begin()
    other = ipaddress.ip_interface("203.0.113.11/32")
    add = world.addresses.add
    world.addresses.add = lambda addresses: Added(  # type: ignore[method-assign]
        add([item for item in addresses if item == other]).ours, {item: "no" for item in addresses if item != other}
    )
    assert world.wants(intent(), intent(str(other))) == [f"add {other}", f"announce {other}"]


def test_leftover_of_a_former_run_stays_until_every_source_has_answered(make: Make) -> None:
    world = make(drain_time=1.0)
    world.addresses.ours.add(ipaddress.ip_interface(VIP))
    world.begin()
    assert world.wants(complete=False) == []
    assert world.wants(complete=True) == [f"remove {VIP}"]


def test_leftover_that_is_wanted_is_adopted(make: Make) -> None:
    world = make()
    world.addresses.ours.add(ipaddress.ip_interface(VIP))
    world.begin()
    assert world.wants(intent()) == [f"announce {VIP}"]


def test_stop_does_not_wait_for_rules_about_somebody_elses_address_that_never_stood(make: Make) -> None:
    world = make()
    world.addresses.foreign.add(ipaddress.ip_interface(VIP))
    world.nat.refuse = "no"
    world.begin()
    world.wants(intent(nats=(53,)))
    assert world.reason() is Reason.NAT_FAILED
    stopping = gevent.spawn(world.reconciler.stop, 10.0)  # of a clock that stands
    stopping.join(1.0)
    assert stopping.value is True


def test_address_of_somebody_else_is_used_and_never_removed(make: Make) -> None:
    world = make()
    world.addresses.foreign.add(ipaddress.ip_interface(VIP))
    world.begin()
    assert world.wants(intent()) == [f"announce {VIP}"]
    assert world.wants() == [f"withdraw {VIP}"]


def test_address_removed_by_hand_comes_back_by_the_sweep_without_a_withdrawal(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    world.addresses.ours.clear()
    assert world.acts(31.0)[-1:] == [f"add {VIP}"]
    assert "withdraw" not in " ".join(world.script)


def test_address_removed_by_hand_comes_back_by_the_event_and_is_counted_once(make: Make) -> None:
    world = make().begin()
    other = "203.0.113.11/32"
    world.wants(intent(), intent(other))
    world.addresses.ours.clear()
    world.script.clear()
    world.reconciler.disturbed(Kind.ADDRESS)
    assert sorted(world.acts()) == [f"add {VIP}", f"add {other}"]
    assert world.repairs.counts[Kind.ADDRESS] == 2
    world.acts(31.0)
    assert world.repairs.counts[Kind.ADDRESS] == 2


def test_address_that_nobody_wants_any_more_and_somebody_removed_is_no_drift(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    world.wants(intent(announce=False))
    world.addresses.ours.clear()
    world.reconciler.disturbed(Kind.ADDRESS)
    world.acts()
    assert world.repairs.counts[Kind.ADDRESS] == 0


def test_storm_of_events_is_one_look(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    looks = world.addresses.looks
    for _ in range(1000):
        world.reconciler.disturbed(Kind.ADDRESS)
    world.acts()
    assert world.addresses.looks == looks + 1


def test_events_that_come_during_every_look_do_not_keep_an_address_from_going(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    look = world.addresses.look
    removed: list[bool] = []

    def disturbed_look() -> Found:
        if len(removed) < 5:
            removed.append(f"remove {notation.vip(VIP).local}" in world.script)
            world.reconciler.disturbed(Kind.ADDRESS)
        return look()

    world.addresses.look = disturbed_look  # type: ignore[method-assign]
    world.reconciler.disturbed(Kind.ADDRESS)
    world.wants()
    assert removed[-1], "while they still came"


def test_device_that_is_down_withdraws_and_says_so_and_once_up_again_is_announced(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    world.script.clear()
    world.addresses.trouble = "device lo is down"
    world.addresses.ours.clear()  # as the kernel does with IPv6 ones
    world.reconciler.disturbed(Kind.DEVICE)
    assert world.acts() == [f"withdraw {VIP}"]
    status = world.reconciler.status()[notation.vip(VIP)]
    assert (status.reason, status.detail) == (Reason.ADDRESS_FAILED, "device lo is down")
    assert world.acts(31.0) == [f"withdraw {VIP}"], "nothing is added to a device that is down"
    world.addresses.trouble = ""
    world.reconciler.disturbed(Kind.DEVICE)
    assert world.acts()[1:] == [f"add {VIP}", f"announce {VIP}"]
    assert world.repairs.counts[Kind.DEVICE] == 1
    assert world.repairs.counts[Kind.ADDRESS] == 0


def test_device_that_goes_down_again_and_again_is_used_when_it_stays_up(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    for _ in range(20):
        for trouble in ("device lo is down", ""):
            world.addresses.trouble = trouble
            world.reconciler.disturbed(Kind.DEVICE)
            world.acts()
    assert world.script.count(f"withdraw {VIP}") == world.script.count(f"announce {VIP}") == 4
    assert world.reason() is Reason.ADDRESS_FAILED
    assert "when it has been up for 30 s" in world.reconciler.status()[notation.vip(VIP)].detail
    assert world.acts(29.0)[-1] == f"withdraw {VIP}"
    assert world.acts(1.1)[-1] == f"announce {VIP}"
    assert world.repairs.counts[Kind.DEVICE] == 4


def test_device_that_was_down_for_a_moment_loses_its_addresses_and_no_route(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    world.addresses.ours.clear()
    world.script.clear()
    world.reconciler.disturbed(Kind.DEVICE)
    assert world.acts() == [f"add {VIP}"]
    assert world.repairs.counts[Kind.DEVICE] == 1


def test_unwanted_address_goes_from_a_device_that_is_down(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    world.addresses.trouble = "device lo is down"
    world.reconciler.disturbed(Kind.DEVICE)
    world.acts()
    assert world.wants() == [f"remove {VIP}"]


def test_lost_events_are_counted_and_all_is_looked_at(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    world.addresses.ours.clear()
    world.script.clear()
    world.reconciler.disturbed(Kind.NETLINK)
    assert world.acts() == [f"add {VIP}"]
    assert world.repairs.counts[Kind.NETLINK] == 1


def test_somebody_who_removes_an_address_again_and_again_is_not_outrun_and_no_other_vip_suffers(make: Make) -> None:
    world = make().begin()
    other = "203.0.113.11/32"
    world.wants(intent(), intent(other))
    for _ in range(20):
        world.addresses.ours.discard(ipaddress.ip_interface(VIP))
        world.reconciler.disturbed(Kind.ADDRESS)
        world.acts()
    assert world.script.count(f"add {VIP}") == 4
    assert world.reason() is Reason.ADDRESS_FAILED
    assert world.reason(other) is Reason.ANNOUNCED
    assert world.acts(1.1)[-2:] == [f"add {VIP}", f"announce {VIP}"]
    assert f"withdraw {other}" not in world.script


def test_first_reconcile_is_complete_when_nothing_is_under_way_any_more(make: Make) -> None:
    world = make().begin()
    world.wants(intent(), complete=False)
    assert not world.reconciler.ever_complete
    pending = replace(intent(announce=False), reason=Reason.MONITOR_PENDING)
    world.wants(pending)
    assert not world.reconciler.ever_complete
    world.wants(intent())
    assert world.reconciler.ever_complete


def test_what_takes_too_long_does_not_keep_the_first_reconcile_from_being_complete(make: Make) -> None:
    world = make().begin()
    world.speaker.acknowledges = False
    world.wants(intent())
    world.speaker.unacknowledged.add(notation.vip(VIP).prefix)
    world.wants(intent(), complete=True)
    world.reconciler.ever_complete = False
    world.acts(9.0)
    assert not world.reconciler.ever_complete
    world.acts(2.0)
    assert world.reconciler.ever_complete


def test_each_pass_is_told_and_what_is_asked_back_wakes_the_loop(make: Make) -> None:
    world = make()
    passes: list[float] = []
    world.reconciler._clock = time.monotonic

    def passed() -> float:
        passes.append(time.monotonic())
        return 0.02

    world.reconciler.after_pass = passed
    world.begin()
    gevent.sleep(0.2)
    assert len(passes) >= 3


def test_what_need_not_be_in_time_is_done_when_the_routes_are_handed_over_and_before_anything_is_told(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "consulcast")
    world = make().begin()
    told: list[int] = []

    def before_telling() -> None:
        told.append(len(caplog.records))
        world.script.append("told")

    world.reconciler.before_telling = before_telling
    done = world.wants(intent())
    assert done.index(next(line for line in done if line.startswith("announce"))) < done.index("told")
    told.clear()
    done = world.wants(intent(announce=False))
    assert done[0].startswith("withdraw")
    lines = [record.getMessage() for record in caplog.records[told[0] :]]
    assert lines, "the line about the VIP comes after it"
    assert lines[0].startswith(f"vip {VIP}")


def test_more_addresses_than_one_pass_adds_do_not_keep_it_waiting(make: Make) -> None:
    world = make().begin()
    world.reconciler.before_telling = lambda: world.script.append("told")
    done = world.wants(*(intent(f"198.18.0.{number}/32") for number in range(1, BATCH + 2)))
    assert done.index("told") == BATCH


def test_kernel_that_cannot_be_read_withdraws_nothing(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    world.addresses.unreadable = True
    world.script.clear()
    assert world.acts(31.0) == []


def test_vip_moved_to_another_address_of_its_prefix_never_loses_the_route(make: Make) -> None:
    world = make().begin()
    world.wants(intent("10.0.0.5/24"))
    done = world.wants(intent("10.0.0.6/24"))
    assert "withdraw 10.0.0.0/24" not in done
    assert done == ["add 10.0.0.6/32", "remove 10.0.0.5/32"]


def test_what_is_said_while_the_kernel_works_is_obeyed_before_anything_else(make: Make) -> None:
    world = make().begin()
    other = "203.0.113.11/32"
    world.wants(intent())
    world.addresses.during_add = lambda: world.reconciler.set(by_vip(intent(other, announce=False)), True)
    assert world.wants(intent(), intent(other)) == [f"add {other}", f"withdraw {VIP}", f"remove {VIP}"]


def test_many_addresses_do_not_hold_up_a_withdrawal(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    many = [intent(f"198.18.{number // 250}.{number % 250}/32") for number in range(300)]
    calls: list[int] = []

    def fails() -> None:
        calls.append(len(world.script))
        if len(calls) == 2:
            world.reconciler.set(by_vip(intent(announce=False), *many), True)

    world.addresses.during_add = fails
    world.wants(intent(), *many)
    for _ in range(10):
        done = world.acts()
    withdrawn = done.index(f"withdraw {VIP}")
    assert sum(line.startswith("add") for line in done[:withdrawn]) <= 2 * BATCH
    assert sum(line.startswith("announce") for line in done) == 300


def test_many_addresses_that_go_do_not_hold_up_a_withdrawal(make: Make) -> None:
    world = make().begin()
    many = [intent(f"198.18.{number // 250}.{number % 250}/32") for number in range(3 * REMOVED)]
    world.wants(intent(), *many)
    while world.reconciler.reasons() != {Reason.ANNOUNCED: 3 * REMOVED + 1}:
        gevent.sleep(0.001)
    calls: list[int] = []

    def fails() -> None:
        calls.append(len(world.script))
        if len(calls) == 2:
            world.reconciler.set(by_vip(intent(announce=False)), True)

    world.addresses.during_remove = fails
    world.script.clear()
    world.reconciler.set(by_vip(intent()), True)
    while len(world.addresses.ours) > 1:
        gevent.sleep(0.001)
    withdrawn = world.script.index(f"withdraw {VIP}")
    assert sum(line.startswith("remove") for line in world.script[:withdrawn]) <= 2 * REMOVED
    assert sum(line.startswith("remove") for line in world.script) == 3 * REMOVED
    assert len(calls) == 3


def test_addresses_that_wait_for_their_removal_are_not_judged_in_each_pass(make: Make) -> None:
    world = make().begin()
    many = [intent(f"198.18.{number // 250}.{number % 250}/32") for number in range(8 * REMOVED)]
    world.wants(intent(), *many)
    while world.reconciler.reasons() != {Reason.ANNOUNCED: 8 * REMOVED + 1}:
        gevent.sleep(0.001)
    judged: list[Interface] = []
    may_go = world.reconciler._departures.may_go

    def judge(address: Interface, clear: bool, drain: Draining | None, now: float) -> bool:
        judged.append(address)
        return may_go(address, clear, drain, now)

    world.reconciler._departures.may_go = judge  # type: ignore[method-assign]
    world.speaker.moved = lambda: ()  # type: ignore[method-assign,assignment]
    world.reconciler.set(by_vip(intent()), True)
    while len(world.addresses.ours) > 1:
        gevent.sleep(0.001)
    assert len(set(judged)) == 8 * REMOVED
    assert len(judged) < 3 * 8 * REMOVED


def test_address_that_is_wanted_again_before_its_turn_to_be_removed_stays(make: Make) -> None:
    world = make().begin()
    many = [intent(f"198.18.{number // 250}.{number % 250}/32") for number in range(2 * REMOVED)]
    world.wants(*many)
    while world.reconciler.reasons() != {Reason.ANNOUNCED: 2 * REMOVED}:
        gevent.sleep(0.001)
    again: list[Intent] = []

    def comes_back() -> None:
        if not again:
            left = world.reconciler._going
            again.extend(each for each in many if each.vip.local in left)
            world.reconciler.set(by_vip(*again), True)

    world.addresses.during_remove = comes_back
    world.script.clear()
    world.reconciler.set({}, True)
    while world.reconciler.reasons() != {Reason.ANNOUNCED: REMOVED}:
        gevent.sleep(0.001)
    assert len(again) == REMOVED
    assert sum(line.startswith("remove") for line in world.script) == REMOVED
    assert world.addresses.ours == {each.vip.local for each in again}


def test_others_have_their_turn_while_many_vips_are_told_of(make: Make) -> None:
    world = make().begin()
    many = [f"198.18.{number // 250}.{number % 250}/32" for number in range(3 * PORTION)]
    world.wants(*map(intent, many))
    while world.reconciler.reasons() != {Reason.ANNOUNCED: len(many)}:
        gevent.sleep(0.001)
    world.reconciler.set(by_vip(*(intent(vip, announce=False) for vip in many)), True)
    seen = set()
    while Reason.ANNOUNCED in world.reconciler.reasons():
        gevent.sleep(0)
        seen.add(world.reconciler.reasons()[Reason.MONITOR_FAILING])
    assert len(seen) > 2


def test_route_at_no_peer_says_why(make: Make) -> None:
    world = make().begin()
    world.speaker.carried = False
    router, host = ipaddress.ip_address("198.51.100.2"), ipaddress.ip_address("198.51.100.1")
    down = PeerStatus(router, 65010, 65001, host, SessionState.DOWN, 0.0, last_error="received bad peer AS (2/2)")
    world.speaker.sessions = (down,)
    world.wants(intent())
    status = world.reconciler.status()[notation.vip(VIP)]
    assert (status.reason, status.detail) == (Reason.PEER_DOWN, "198.51.100.2: received bad peer AS (2/2)")
    world.speaker.sessions = (PeerStatus(router, 65010, 65001, host, SessionState.UP, 0.0),)
    world.acts()
    assert world.reason() is Reason.NOT_NEGOTIATED


def test_stop_withdraws_then_removes(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    world.script.clear()
    assert world.reconciler.stop(timeout=5.0)
    assert world.script == [f"withdraw {VIP}", f"remove {VIP}"]


def test_address_then_nat_rule_then_route(make: Make) -> None:
    world = make().begin()
    assert world.wants(intent(nats=(53,))) == [f"add {VIP}", "nat +53", f"announce {VIP}"]
    assert world.wants(intent(nats=(53,))) == []


def test_route_then_after_the_drain_time_nat_rule_then_address(make: Make) -> None:
    world = make(drain_time=1.0).begin()
    world.wants(intent(nats=(53,)))
    world.speaker.acknowledges = False
    assert world.wants() == [f"withdraw {VIP}"]
    assert world.acts(60.0) == [f"withdraw {VIP}"]
    world.speaker.unacknowledged.clear()
    assert world.acts() == [f"withdraw {VIP}"]
    assert world.acts(1.1) == [f"withdraw {VIP}", "nat -53", f"remove {VIP}"]


def test_failing_app_keeps_its_nat_rule_as_its_address_and_recovery_leaves_one(make: Make) -> None:
    world = make().begin()
    world.wants(intent(nats=(53,)))
    for _ in range(3):
        assert world.wants(intent(announce=False, nats=(53,))) == [f"withdraw {VIP}"]
        assert world.wants(intent(nats=(53,))) == [f"announce {VIP}"]
    world.wants(intent(announce=False, nats=(53,)))
    assert world.wants(intent(announce=False, address=False, nats=(53,))) == ["nat -53", f"remove {VIP}"]


def test_failing_app_that_never_was_up_gets_no_nat_rule(make: Make) -> None:
    assert make().begin().wants(intent(announce=False, nats=(53,))) == []


def test_changed_nat_tag_is_applied_without_a_withdrawal(make: Make) -> None:
    world = make().begin()
    world.wants(intent(nats=(53,)))
    assert world.wants(intent(nats=(853,))) == ["nat -53", "nat +853"]
    world.nat.slow = True
    assert world.wants(intent(nats=(53, 853))) == []
    assert world.reason() is Reason.ANNOUNCED
    world.nat.acts()
    assert world.acts() == ["nat +53"]
    world.nat.slow = False
    assert world.wants(intent()) == ["nat -53", "nat -853"]


def test_vip_waits_for_its_nat_rule_and_others_do_not_wait_with_it(make: Make) -> None:
    world = make().begin()
    world.nat.slow = True
    other = "203.0.113.11/32"
    done = world.wants(intent(nats=(53,)), intent(other))
    assert sorted(done) == [f"add {VIP}", f"add {other}", f"announce {other}"]
    assert world.reason() is Reason.ANNOUNCING
    world.nat.acts()
    assert world.acts()[-2:] == ["nat +53", f"announce {VIP}"]


def test_nat_rule_that_cannot_be_had_keeps_its_vip_from_the_peers_and_no_other(make: Make) -> None:
    world = make().begin()
    world.nat.refuse = "nft: Operation not permitted"
    other = "203.0.113.11/32"
    done = world.wants(intent(nats=(53,)), intent(other))
    assert f"announce {other}" in done
    assert f"announce {VIP}" not in done
    status = world.reconciler.status()[notation.vip(VIP)]
    assert (status.reason, status.detail) == (Reason.NAT_FAILED, "nft: Operation not permitted")
    world.nat.refuse = ""
    world.nat.acts()
    assert world.acts()[-2:] == ["nat +53", f"announce {VIP}"]


def test_nat_rules_lost_and_not_to_be_had_again_withdraw_the_route(make: Make) -> None:
    world = make().begin()
    other = "203.0.113.11/32"
    world.wants(intent(nats=(53,)), intent(other))
    world.script.clear()
    world.nat.slow = True
    world.nat.there = frozenset()  # flushed by somebody; on its way back
    assert world.acts() == []
    assert world.reason() is Reason.ANNOUNCED
    world.nat.refuse = "no"
    assert world.acts() == [f"withdraw {VIP}"]
    assert world.reason() is Reason.NAT_FAILED
    assert world.reason(other) is Reason.ANNOUNCED


def test_app_that_fails_while_its_nat_rule_is_on_its_way_settles(make: Make) -> None:
    world = make().begin()
    world.nat.slow = True
    world.wants(intent(nats=(53,)))
    world.wants(intent(announce=False, nats=(53,)))
    for _ in range(3):
        world.nat.acts()
        assert world.acts() == ["nat +53"]
    world.wants()
    world.nat.acts()
    assert world.acts() == ["nat -53", f"remove {VIP}"]


def test_nat_rule_of_a_former_run_stays_until_every_source_has_answered(make: Make) -> None:
    world = make(drain_time=1.0)
    world.nat.there = frozenset({nat(VIP, 53), nat(VIP, 54)})
    world.begin()
    assert world.wants(complete=False) == []
    assert world.wants(intent(nats=(53,)), complete=False) == [f"add {VIP}", f"announce {VIP}"]
    assert world.wants(intent(nats=(53,)), complete=True) == ["nat -54"]
    assert world.wants() == [f"withdraw {VIP}"]


def test_nothing_is_said_of_nat_rules_before_it_is_known_which_stand(make: Make) -> None:
    world = make()
    world.nat.there = None
    world.begin()
    assert world.wants(intent(nats=(53,))) == [f"add {VIP}"]
    assert world.nat.wanted == frozenset()
    world.nat.there = frozenset({nat(VIP, 53)})
    assert world.acts() == [f"add {VIP}", f"announce {VIP}"]


def test_stop_removes_nat_rules_between_routes_and_addresses(make: Make) -> None:
    world = make().begin()
    world.wants(intent(nats=(53,)))
    world.script.clear()
    assert world.reconciler.stop(timeout=5.0)
    assert world.script == [f"withdraw {VIP}", "nat -53", f"remove {VIP}"]


def pending(vip: str) -> Intent:
    """A VIP whose monitors have not looked yet."""
    return replace(intent(vip, announce=False), reason=Reason.MONITOR_PENDING)


def test_all_is_called_complete_when_every_source_and_monitor_has_answered_and_all_is_announced(make: Make) -> None:
    other = "203.0.113.11/32"
    world = make().begin()
    world.wants(intent(), complete=False)
    assert not world.speaker.completed
    world.wants(intent(), pending(other))
    assert not world.speaker.completed
    world.addresses.refuse = "not now"
    world.wants(intent(), intent(other))
    assert world.speaker.completed, "what cannot be is decided too"


def test_all_is_not_called_complete_while_a_route_is_on_its_way(make: Make) -> None:
    world = make().begin()
    world.speaker.unacknowledged.add(notation.vip(VIP).prefix)
    world.wants(intent())
    assert not world.speaker.completed
    world.speaker.unacknowledged.clear()
    world.acts()
    assert world.speaker.completed


def test_address_of_a_former_run_stays_while_peers_may_hold_its_route_and_for_the_drain_time(make: Make) -> None:
    world = make(drain_time=1.0)
    left = notation.vip(VIP).local
    world.addresses.ours.add(left)
    world.speaker.unacknowledged.add(notation.vip(VIP).prefix)
    world.begin()
    assert world.wants() == []
    assert world.acts(5.0) == []
    world.speaker.unacknowledged.clear()
    assert world.acts() == []
    assert world.acts(1.0) == [f"remove {VIP}"]


def test_left_as_it_is_nothing_is_taken_back(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    world.script.clear()
    world.reconciler.leave()
    world.reconciler.set({}, complete=True)
    gevent.sleep(0.01)
    assert world.script == []


def event(world: World) -> None:
    world.latency.happened(Cause.CONSUL, world.now)
    world.latency.planned()


def acknowledge(world: World) -> list[tuple[What, Cause, float]]:
    """Have the speaker acknowledge what it has; what was timed since the last time."""
    prefix = notation.vip(VIP).prefix
    world.latency.acknowledged(prefix, world.speaker.routes.get(prefix), world.now, heard=True)
    seen = world.served[:]
    world.served.clear()
    return seen


def test_event_goes_with_the_route_that_it_brings_about(make: Make) -> None:
    world = make().begin()
    event(world)
    world.wants(intent())
    world.now += 0.5
    assert acknowledge(world) == [(What.ANNOUNCE, Cause.CONSUL, 0.5)]
    event(world)
    world.wants(intent(communities="65000:1"))
    assert acknowledge(world) == [(What.CHANGE, Cause.CONSUL, 0.0)]
    world.wants(intent(announce=False))
    assert acknowledge(world) == [], "no event: time alone did it"


def test_wait_for_nat_rules_is_timed_and_that_for_another_try_of_an_address_is_not(make: Make) -> None:
    world = make().begin()
    world.nat.slow = True
    event(world)
    world.wants(intent(nats=(53,)))
    world.now += 0.25
    world.nat.acts()
    world.acts()
    assert acknowledge(world) == [(What.ANNOUNCE, Cause.CONSUL, 0.25)]
    other = make().begin()
    other.addresses.refuse = "no room"
    event(other)
    other.wants(intent())
    other.addresses.refuse = ""
    assert f"announce {VIP}" in other.acts(60.0)
    assert acknowledge(other) == []


def test_what_the_kernel_tells_is_timed(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    acknowledge(world)
    world.addresses.trouble = "device lo is down"
    world.reconciler.disturbed(Kind.DEVICE)
    assert f"withdraw {VIP}" in world.acts()
    assert acknowledge(world) == [(What.WITHDRAW, Cause.KERNEL, 0.0)]


# -- drains --------------------------------------------------------------------------------------------------------

LOCAL = notation.vip(VIP).local


def drained(announce: bool = False, flows: float = 30.0, nats: tuple[int, ...] = (), vip: str = VIP) -> Intent:
    """A VIP that drains: with the lower preference still, or withdrawn."""
    drain = Draining(0.0, 5.0, "graceful-shutdown", flows)
    plain = intent(vip, announce, announce, "65535:0", nats)
    return replace(plain, reason=Reason.DRAINING, detail="why", drain=drain)


def status(world: World) -> VipStatus:
    return world.reconciler.status()[notation.vip(VIP)]


def test_drain_lowers_withdraws_and_lets_flows_end_before_nat_and_address_go(make: Make) -> None:
    world = make(drain_time=1.0).begin()
    world.wants(intent(nats=(53,)))
    assert world.wants(drained(announce=True, nats=(53,))) == [f"announce {VIP}"]
    assert (status(world).reason, status(world).phase) == (Reason.DRAINING, DrainPhase.LOWERED)
    assert status(world).detail == "why; announced with graceful-shutdown"
    world.speaker.acknowledges = False
    world.wants(drained(nats=(53,)))
    assert status(world).phase is DrainPhase.WITHDRAWING
    assert world.acts(60.0) == [f"withdraw {VIP}"]
    assert world.flows.watched == frozenset()
    world.speaker.unacknowledged.clear()
    world.acts()
    assert status(world).phase is DrainPhase.FLOWS
    assert world.flows.watched == frozenset(), "the drain time comes first"
    world.acts(1.0)
    assert world.flows.watched == {LOCAL}
    world.flows.counts[LOCAL] = 2
    assert world.acts(20.0) == [f"withdraw {VIP}"]
    assert status(world).flows == 2
    world.flows.counts[LOCAL] = 0
    assert world.acts() == [f"withdraw {VIP}", "nat -53", f"remove {VIP}"]
    assert status(world).phase is DrainPhase.DRAINED
    assert world.flows.watched == frozenset()


@pytest.mark.parametrize("number", [None, 7])
def test_flows_that_do_not_end_or_are_not_known_are_waited_for_so_long_and_no_longer(
    make: Make, number: int | None
) -> None:
    world = make(drain_time=1.0).begin()
    world.wants(intent())
    world.wants(drained(flows=30.0))
    world.acts(1.0)
    if number is not None:
        world.flows.counts[LOCAL] = number
    assert world.acts(29.9) == [f"withdraw {VIP}"]
    assert world.acts(0.1) == [f"withdraw {VIP}", f"remove {VIP}"]


def test_flows_that_have_ended_are_not_asked_for_again_while_nat_takes_its_time(make: Make) -> None:
    world = make().begin()
    world.wants(intent(nats=(53,)))
    world.flows.counts[LOCAL] = 0
    world.nat.slow = True
    world.wants(drained(nats=(53,)))
    for _ in range(3):
        world.acts(0.1)
        assert world.flows.watched == frozenset()
        assert world.nat.wanted == frozenset()
    world.nat.acts()
    assert world.acts()[-1] == f"remove {VIP}"


def test_without_flows_to_wait_for_a_drain_ends_with_the_drain_time(make: Make) -> None:
    world = make(drain_time=1.0).begin()
    world.wants(intent())
    world.wants(drained(flows=0.0))
    assert world.acts(1.0) == [f"withdraw {VIP}", f"remove {VIP}"]


def test_drain_announces_nothing_that_was_not_announced(make: Make) -> None:
    world = make().begin()
    assert world.wants(drained(announce=True)) == []
    assert status(world).phase is DrainPhase.DRAINED
    world.addresses.refuse = "no"
    world.wants(intent())
    world.addresses.refuse = ""
    assert world.wants(drained(announce=True)) == []
    assert world.acts(60.0) == []


def test_address_that_somebody_removes_while_it_drains_is_put_back_and_the_route_stays(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    world.wants(drained(announce=True))
    world.addresses.ours.clear()
    world.script.clear()
    world.reconciler.disturbed(Kind.ADDRESS)
    assert world.acts() == [f"add {VIP}"]


def test_undrained_while_its_flows_end_it_is_announced_and_its_address_never_went(make: Make) -> None:
    world = make().begin()
    world.wants(intent(nats=(53,)))
    world.wants(drained(nats=(53,)))
    world.acts(1.0)
    assert world.flows.watched == {LOCAL}
    assert world.wants(intent(nats=(53,))) == [f"announce {VIP}"]
    assert world.flows.watched == frozenset()
    assert world.acts(60.0) == [f"announce {VIP}"]


def test_flows_of_one_vip_hold_up_no_other(make: Make) -> None:
    world = make().begin()
    other = "203.0.113.11/32"
    world.wants(intent(), intent(other))
    world.flows.counts = {LOCAL: 1, notation.vip(other).local: 0}
    world.wants(drained(), drained(vip=other))
    assert sorted(world.acts()) == [f"remove {other}", f"withdraw {VIP}", f"withdraw {other}"]


def test_stop_waits_for_no_flows(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    world.flows.counts[LOCAL] = 1
    world.wants(drained())
    assert world.wants() == [f"remove {VIP}"]


def test_waiting_for_flows_costs_no_passes(make: Make) -> None:
    world = make(drain_time=1.0).begin()
    world.wants(intent())
    world.wants(drained(flows=30.0))
    world.acts(1.0)
    assert world.reconciler._next_deadline() > world.now


def test_number_of_open_flows_is_shown_and_not_logged(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    world = make().begin()
    world.wants(intent())
    world.wants(drained())
    world.acts()
    with caplog.at_level("INFO"):
        for number in (3, 2, 1):
            world.flows.counts[LOCAL] = number
            world.acts(1.0)
            assert status(world).flows == number
    assert caplog.text == ""
