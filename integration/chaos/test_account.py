"""The judge itself: what it must not let pass."""

from __future__ import annotations

import pytest

from integration.chaos.account import Allowed, judge
from integration.chaos.fleet import changed, fleet, flips, translations, truth
from integration.lab import Update

A, B = "203.0.113.1/32", "203.0.113.2/32"
UP = {A: True, B: True}


def update(announced: str = "", withdrawn: str = "") -> Update:
    return Update(0, "198.51.100.1", frozenset({announced} - {""}), frozenset({withdrawn} - {""}))


@pytest.mark.parametrize(
    ("flips", "updates", "sessions", "allowed", "wrong"),
    [
        ([], [], 0, Allowed(), 0),
        ([], [update(withdrawn=A)], 0, Allowed(), 1),
        ([], [update(announced=A)], 0, Allowed(), 1),
        ([], [update(announced=A), update(announced=B)], 1, Allowed(sessions=1), 0),
        ([], [update(announced=A)], 1, Allowed(), 1),
        ([(A, False)], [update(withdrawn=A)], 0, Allowed(), 0),
        ([(A, False)], [update(withdrawn=B)], 0, Allowed(), 1),
        ([(A, False)], [update(withdrawn=A), update(withdrawn=A)], 0, Allowed(), 1),
        ([(A, False), (A, True)], [update(withdrawn=A), update(announced=A)], 0, Allowed(), 0),
        ([(A, False), (A, True)], [], 0, Allowed(), 0),  # too short to be seen, as it may be
        ([(A, False), (A, True)], [update(withdrawn=A), update(announced=A)] * 2, 0, Allowed(), 2),
        ([], [update(withdrawn=A), update(announced=A)], 0, Allowed(withdrawals=1), 0),
        ([], [update(withdrawn=A)] * 2, 0, Allowed(withdrawals=1), 1),
        ([], [update(withdrawn=A)], 0, Allowed(withdrawals=1, healthy=frozenset({B})), 1),
    ],
)
def test_only_what_the_truth_or_the_fault_asks_for_is_right(
    flips: list[tuple[str, bool]], updates: list[Update], sessions: int, allowed: Allowed, wrong: int
) -> None:
    account = judge(UP, flips, updates, sessions, allowed)
    assert len(account.wrong) == wrong, account.wrong


def test_a_vip_that_is_down_may_not_be_announced_with_a_new_session() -> None:
    assert judge({A: False}, [], [update(announced=A)], 1, Allowed(sessions=1)).wrong


def test_what_two_faults_may_cause_adds_up() -> None:
    a, b = Allowed(withdrawals=1, healthy=frozenset({A})), Allowed(sessions=1)
    assert (a + b).of(A) == 1
    assert (a + b).of(B) == 0
    assert (b + a).of(B) == 0
    assert (a + Allowed(withdrawals=1)).of(B) == 2
    assert (b + a).sessions == 1


def test_the_truth_knows_instances_services_and_maintenance() -> None:
    services = fleet()

    def with_(name: str, **more: object) -> dict[str, bool]:
        return truth({**services, name: changed(services[name], **more)}.values())

    assert all(truth(services.values()).values())
    assert flips(truth(services.values()), with_("left", check="warning")) == [("203.0.113.14/32", False)]
    assert flips(truth(services.values()), with_("twin-1", check="critical")) == []
    assert flips(truth(services.values()), with_("web", listening=False)) == [("203.0.113.12/32", False)]
    assert flips(truth(services.values()), with_("dns", maintenance=True)) == [("203.0.113.10/32", False)]
    assert flips(truth(services.values()), with_("late", registered=True)) == [("203.0.113.20/32", True)]
    assert "203.0.113.16/32" not in with_("plain", registered=False)
    assert len(translations(services.values())["203.0.113.13/32"]) == 2
