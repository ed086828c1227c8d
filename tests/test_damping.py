"""What flaps is held back, and only that."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast import notation
from consulcast.damping import WITHDRAWAL, Damping, Limits, most_updates
from consulcast.model import Draining, Intent, Reason, Route, Vip
from consulcast.values import replace

LIMITS = Limits()
ONE, OTHER = "65000:1", "65000:2"
SAME = "same"
ABSENT, DOWN = "absent", "down"  # no app asks for it; one does, and fails. Anything else: up, with that community


@functools.cache
def wants(what: str) -> tuple[Intent, ...]:
    if what == ABSENT:
        return ()
    vip = notation.vip("203.0.113.10/32")
    up = what != DOWN
    route = Route(vip.prefix, notation.communities(what if up else ONE))
    reason = Reason.ANNOUNCED if up else Reason.MONITOR_FAILING
    return (Intent(vip, route, address=True, announce=up, reason=reason),)


def apply(
    damping: Damping, intents: Iterable[Intent], now: float, wall: float
) -> tuple[tuple[Intent, ...], float | None]:
    found, recheck_at = damping.apply({intent.vip: intent for intent in intents}, now, wall)
    return tuple(found.values()), recheck_at


@dataclass
class Peer:
    """A peer that counts its UPDATEs, behind a damping."""

    damping: Damping = field(default_factory=Damping)
    route: Route | None = None
    updates: int = 0
    intents: tuple[Intent, ...] = ()
    recheck_at: float | None = None

    def see(self, what: str, now: float) -> Intent | None:
        self.intents, self.recheck_at = apply(self.damping, wants(what), now, 1_000_000.0 + now)
        intent = next(iter(self.intents), None)
        route = intent.route if intent is not None and intent.announce else None
        if route != self.route:
            self.updates += 1
            self.route = route
        return intent

    def flap(self, times: int, now: float, gap: float = 0.1) -> float:
        for _ in range(times):
            self.see(DOWN, now)
            self.see(ONE, now + gap / 2)
            now += gap
        return now


def test_service_that_restarts_now_and_then_is_never_suppressed() -> None:
    peer = Peer()
    peer.see(ONE, 0)
    now = peer.flap(4, 10.0)
    assert peer.route is not None
    for _ in range(100):
        now = peer.flap(1, now + 50.0)
        assert peer.route is not None


def test_first_announcement_is_no_flap_and_unknown_at_start_costs_nothing() -> None:
    peer = Peer()
    for now in range(50):
        peer.see(ABSENT if now % 2 else DOWN, now)
    intent = peer.see(ONE, 60)
    assert intent == wants(ONE)[0]
    assert peer.recheck_at is None


def test_what_goes_on_flapping_is_suppressed_until_the_time_that_is_shown() -> None:
    peer = Peer()
    peer.see(ONE, 0)
    peer.flap(5, 10.0)
    intent = peer.see(ONE, 11.0)
    assert intent is not None
    assert (intent.announce, intent.address, intent.reason) == (False, True, Reason.SUPPRESSED)
    assert "flapped 5 times" in intent.detail
    assert peer.recheck_at is not None
    assert 180 < peer.recheck_at < 220  # from 5,000 to 1,500 in 1.7 half-lives
    assert peer.see(ONE, peer.recheck_at - 1) == intent, "the words do not change while nothing does"
    assert peer.see(ONE, peer.recheck_at) == wants(ONE)[0]


def test_flapping_while_suppressed_keeps_it_suppressed_and_no_longer_than_max_suppress() -> None:
    peer = Peer()
    peer.see(ONE, 0)
    end = peer.flap(1000, 10.0)
    assert peer.updates < 12
    intent = peer.see(ONE, end)
    assert intent is not None
    assert not intent.announce
    assert peer.recheck_at is not None
    assert end + LIMITS.max_suppress - 5 < peer.recheck_at <= end + LIMITS.max_suppress
    assert peer.see(ONE, end + LIMITS.max_suppress) == wants(ONE)[0]


def test_registering_and_deregistering_again_and_again_counts_too() -> None:
    peer = Peer()
    for now in range(100):
        peer.see(ABSENT if now % 2 else ONE, now)
    intent = peer.see(ONE, 100)
    assert intent is not None
    assert intent.reason is Reason.SUPPRESSED
    assert peer.updates < 12


def test_vip_that_is_down_anyway_shows_why() -> None:
    peer = Peer()
    peer.see(ONE, 0)
    peer.flap(6, 10.0)
    intent = peer.see(DOWN, 12.0)
    assert intent is not None
    assert intent.reason is Reason.MONITOR_FAILING
    assert peer.recheck_at is None


def test_attributes_that_change_too_often_never_withdraw_and_the_newest_counts_in_the_end() -> None:
    peer = Peer()
    for step in range(200):
        intent = peer.see(OTHER if step % 2 else ONE, step * 0.1)
        assert intent is not None
        assert intent.announce
    assert peer.updates < 12
    peer.see(OTHER, 21.0)
    intent = peer.see(OTHER, 400.0)
    assert intent == wants(OTHER)[0]


def test_attributes_that_are_held_say_so() -> None:
    peer = Peer()
    for step in range(20):
        peer.see(OTHER if step % 2 else ONE, step * 0.1)
    assert peer.route is not None
    wanted = OTHER if str(peer.route.communities[0]) == ONE else ONE
    intent = peer.see(wanted, 3.0)
    assert intent is not None
    assert intent.announce
    assert "former ones stand until 1970-" in intent.detail


def test_other_vips_are_not_touched() -> None:
    damping = Damping()
    other = notation.vip("203.0.113.11/32")
    calm = Intent(other, Route(other.prefix), address=True, announce=True, reason=Reason.ANNOUNCED)
    for step in range(40):
        intents, _ = apply(damping, (calm, *wants(DOWN if step % 2 else ONE)), step * 0.1, 0.0)
        assert intents[0] is calm


def test_new_limits_keep_the_penalties() -> None:
    peer = Peer(Damping(Limits(suppress=20000.0)))
    peer.see(ONE, 0)
    peer.flap(6, 10.0)
    assert peer.route is not None
    peer.damping.limits = LIMITS
    peer.flap(1, 11.0)
    assert peer.route is None


def test_turned_off_it_passes_everything_on() -> None:
    peer = Peer(Damping(Limits(enabled=False)))
    peer.see(ONE, 0)
    peer.flap(100, 10.0)
    assert peer.updates == 201


STEPS = st.lists(st.tuples(st.floats(0.0, 60.0), st.sampled_from([ABSENT, DOWN, ONE, OTHER])), min_size=1, max_size=80)


def run(peer: Peer, steps: Iterable[tuple[float, str]]) -> float:
    now = 0.0
    for gap, what in steps:
        now += gap
        while peer.recheck_at is not None and peer.recheck_at < now and peer.intents:
            at, peer.recheck_at = peer.recheck_at, None
            last = peer.intents[0]
            peer.see(str(last.route.communities[0]) if last.announce or last.reason is Reason.SUPPRESSED else DOWN, at)
        peer.see(what, now)
    return now


@given(STEPS)
def test_updates_are_bounded_whatever_happens(steps: list[tuple[float, str]]) -> None:
    peer = Peer()
    took = run(peer, steps)
    assert peer.updates <= most_updates(LIMITS, took)


@given(STEPS)
def test_what_is_wanted_and_quiet_is_announced_as_wanted_after_max_suppress(steps: list[tuple[float, str]]) -> None:
    peer = Peer()
    now = run(peer, steps)
    peer.see(ONE, now)
    assert peer.see(ONE, now + LIMITS.max_suppress) == wants(ONE)[0]


@pytest.mark.parametrize("gap", [0.1, 1.0, 5.0, 17.0, 30.0, 42.0, 45.0, 60.0])
def test_an_hour_of_steady_flapping_stays_below_the_bound(gap: float) -> None:
    peer = Peer()
    peer.see(ONE, 0)
    now = 0.0
    while now < 3600:
        peer.see(DOWN, now)
        peer.see(ONE, now + gap / 2)
        now += gap
    assert peer.updates <= most_updates(LIMITS, 3600.0) < 190


def test_history_that_has_decayed_is_forgotten() -> None:
    damping = Damping()
    for number in range(100):
        vip = notation.vip(f"203.0.113.{number}/32")
        intent = Intent(vip, Route(vip.prefix), address=True, announce=True, reason=Reason.ANNOUNCED)
        apply(damping, (intent,), float(number), 0.0)
    apply(damping, (), 10_000.0, 0.0)
    assert damping._histories
    apply(damping, (), 11_000.0, 0.0)
    assert not damping._histories


def test_what_is_remembered_of_a_prefix_can_be_asked() -> None:
    damping, prefix = Damping(), notation.vip("203.0.113.10/32").prefix
    assert damping.flaps(prefix, 0.0) is None
    for number in range(6):
        apply(damping, wants(DOWN if number % 2 else ONE), float(number), 0.0)
    found = damping.flaps(prefix, 6.0)
    assert found is not None
    assert (found.number, found.suppressed, found.until) == (3, False, "")
    assert 2900 < found.penalty < 3000
    assert damping.flaps(prefix, 99999.0) is None


# -- drains --------------------------------------------------------------------------------------------------------


def draining(announce: bool, asked: bool) -> tuple[Intent, ...]:
    (plain,) = wants(ONE)
    route = replace(plain.route, communities=notation.communities("65000:1,65535:0"))
    drain = Draining(0.0, 5.0, "graceful-shutdown", 30.0, asked)
    return (replace(plain, announce=announce, route=route, reason=Reason.DRAINING, drain=drain),)


def once_drained(damping: Damping, now: float, asked: bool) -> Intent:
    """Lower, withdraw and announce again; each on its way down is let through."""
    for announce in (True, False):
        (intent,), _ = apply(damping, draining(announce, asked), now, now)
        assert intent == draining(announce, asked)[0]
    (intent,), _ = apply(damping, wants(ONE), now, now)
    return intent


def test_what_an_operator_drains_again_and_again_is_never_held_back_and_costs_nothing() -> None:
    damping = Damping()
    apply(damping, wants(ONE), 0, 0)
    for number in range(50):
        assert once_drained(damping, 1.0 + number, asked=True) == wants(ONE)[0]
    (intent,), _ = apply(damping, wants(DOWN), 60, 60)
    assert damping._histories[intent.vip.prefix].penalty == WITHDRAWAL, "only what happened by itself counts"


def test_undrain_in_time_has_its_own_attributes_at_once_also_while_they_are_held() -> None:
    damping = Damping(Limits(suppress=1600.0))
    for number in range(5):  # attributes that change until they are held
        apply(damping, wants(ONE if number % 2 else OTHER), number, number)
    (held,), _ = apply(damping, wants(ONE), 5, 5)
    assert held.route == wants(OTHER)[0].route
    (intent,), _ = apply(damping, draining(True, asked=True), 6, 6)
    assert intent == draining(True, asked=True)[0], "a drain is not held back"
    (intent,), _ = apply(damping, wants(ONE), 7, 7)
    assert intent.route == wants(ONE)[0].route


def test_maintenance_mode_costs_like_anything_else_and_goes_through_on_its_way_down() -> None:
    damping = Damping()
    apply(damping, wants(ONE), 0, 0)
    for number in range(2):
        assert once_drained(damping, 1.0 + number, asked=False).announce
    assert once_drained(damping, 4.0, asked=False).reason is Reason.SUPPRESSED


def test_route_that_is_suppressed_stays_so_after_a_drain() -> None:
    peer = Peer()
    peer.see(ONE, 0)
    peer.flap(6, 10.0)
    assert (held := peer.see(ONE, 11.0)) is not None
    assert held.reason is Reason.SUPPRESSED
    apply(peer.damping, draining(False, asked=True), 12, 12)
    (intent,), _ = apply(peer.damping, wants(ONE), 13, 13)
    assert intent.reason is Reason.SUPPRESSED


WHAT = [SAME, ABSENT, DOWN, DOWN, ONE, ONE, OTHER]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.1, 1.0, 30.0, 200.0, 700.0]), st.sampled_from([0, 0, 1]), st.sampled_from(WHAT)
        ),
        max_size=40,
    )
)
def test_what_has_not_changed_need_not_be_looked_at(steps: list[tuple[float, int, str]]) -> None:
    damping, whole, now = Damping(), Damping(), 0.0
    intents: dict[Vip, Intent] = {}
    for later, number, what in steps:
        now += later
        vip = notation.vip(f"203.0.113.{number}/32")
        intents = dict(intents)
        if what == ABSENT:
            intents.pop(vip, None)
        elif what != SAME:
            (intent,) = wants(what)
            intents[vip] = replace(intent, vip=vip, route=replace(intent.route, prefix=vip.prefix))
        found = damping.apply(intents, now, now)
        assert found == whole.apply({vip: replace(intent) for vip, intent in intents.items()}, now, now)
        for number in range(2):
            prefix = notation.vip(f"203.0.113.{number}/32").prefix
            assert damping.flaps(prefix, now) == whole.flaps(prefix, now)


def test_vip_that_was_held_back_is_gone_with_its_app_whoever_has_its_prefix_by_then() -> None:
    damping, now = Damping(), 0.0
    (calm,) = wants(ONE)
    vip = notation.vip("10.0.0.5/24")
    flapping = replace(calm, vip=vip, route=replace(calm.route, prefix=vip.prefix))
    for _ in range(6):
        for announce in (True, False, True):
            now += 0.1
            found, _ = apply(damping, [calm, replace(flapping, announce=announce)], now, now)
    assert found[-1].reason is Reason.SUPPRESSED
    heir = replace(flapping, vip=notation.vip("10.0.0.6/24"))
    found, _ = apply(damping, [heir, calm], now + 1.0, now + 1.0)
    assert [intent.vip for intent in found] == [heir.vip, calm.vip]
    found, recheck_at = apply(damping, [calm], now + 90_000.0, now + 90_000.0)
    assert (found, recheck_at) == ((calm,), None)
