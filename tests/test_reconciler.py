"""The order in which things are made true, with the kernel and the routers played by fakes."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Iterator

import gevent
import pytest

from consulcast import notation
from consulcast.executor.protocols import Added, KernelError, PeerStatus, RouteState, SessionState
from consulcast.model import Intent, Interface, Prefix, Reason, Route
from consulcast.reconciler import BATCH, Reconciler

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
        self.during_add: Callable[[], object] = lambda: None  # what others do while the kernel works

    def present(self) -> frozenset[Interface]:
        if self.unreadable:
            raise KernelError("no")
        return frozenset(self.ours | self.foreign)

    def owned(self) -> frozenset[Interface]:
        return frozenset(self.ours)

    def add(self, addresses: Collection[Interface]) -> Added:
        self.during_add()
        if self.refuse:
            return Added(frozenset(), dict.fromkeys(addresses, self.refuse))
        self.script.extend(f"add {address}" for address in addresses)
        mine = frozenset(addresses) - self.foreign
        self.ours |= mine
        return Added(mine, {})

    def remove(self, addresses: Collection[Interface]) -> dict[Interface, str]:
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

    def set(self, routes: Iterable[Route]) -> None:
        wanted = {route.prefix: route for route in routes}
        for prefix in self.routes.keys() - wanted.keys():
            self.script.append(f"withdraw {prefix}")
            if not self.acknowledges:
                self.unacknowledged.add(prefix)
        for prefix, route in wanted.items():
            if self.routes.get(prefix) != route:
                self.script.append(f"announce {prefix}")
        self.routes = wanted

    def route_state(self, prefix: Prefix) -> RouteState:
        if prefix in self.unacknowledged:
            return RouteState.PENDING
        if prefix not in self.routes:
            return RouteState.CLEAR
        return RouteState.ANNOUNCED if self.carried else RouteState.HANDED_OVER

    def peers(self) -> tuple[PeerStatus, ...]:
        return self.sessions


class World:
    def __init__(self, drain_time: float = 0.0) -> None:
        self.script = Script()
        self.addresses = FakeAddresses(self.script)
        self.speaker = FakeSpeaker(self.script)
        self.now = 0.0
        self.reconciler = Reconciler(self.addresses, self.speaker, drain_time, clock=lambda: self.now)

    def begin(self) -> World:
        self.reconciler.start()
        gevent.sleep(0)
        return self

    def wants(self, *intents: Intent, complete: bool = True) -> list[str]:
        """Say what should be, let it act, and return what it did."""
        self.script.clear()
        self.reconciler.set(intents, complete)
        return self.acts()

    def acts(self, seconds: float = 0.0) -> list[str]:
        self.now += seconds
        self.reconciler.wake()
        gevent.sleep(0)
        assert not self.reconciler._greenlet.dead  # type: ignore[union-attr]
        return list(self.script)

    def reason(self, vip: str = VIP) -> Reason:
        return self.reconciler.status()[notation.vip(vip)].reason


def intent(vip: str = VIP, announce: bool = True, address: bool = True, communities: str = "") -> Intent:
    parsed = notation.vip(vip)
    wanted = notation.communities(communities) if communities else ()
    reason = Reason.ANNOUNCED if announce else Reason.MONITOR_FAILING
    return Intent(parsed, Route(parsed.prefix, wanted), address, announce, reason)


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
    world.addresses.during_add = lambda: world.reconciler.set((intent(other, announce=False),), True)
    assert world.wants(intent(), intent(other)) == [f"add {other}", f"withdraw {VIP}", f"remove {VIP}"]


def test_many_addresses_do_not_hold_up_a_withdrawal(make: Make) -> None:
    world = make().begin()
    world.wants(intent())
    many = [intent(f"198.18.{number // 250}.{number % 250}/32") for number in range(300)]
    calls: list[int] = []

    def fails() -> None:
        calls.append(len(world.script))
        if len(calls) == 2:
            world.reconciler.set((intent(announce=False), *many), True)

    world.addresses.during_add = fails
    world.wants(intent(), *many)
    for _ in range(10):
        done = world.acts()
    withdrawn = done.index(f"withdraw {VIP}")
    assert sum(line.startswith("add") for line in done[:withdrawn]) <= 2 * BATCH
    assert sum(line.startswith("announce") for line in done) == 300


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
