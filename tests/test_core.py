"""What rests on an answer of Consul's that may be true no more, and for how long."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from consulcast import notation
from consulcast.consul.source import ConsulState
from consulcast.core import Core
from consulcast.drains import Drain, Target
from consulcast.model import App, AppKey, Health, MonitorSpec, Reason, Source, Stale, Verdict, VerdictKey
from consulcast.monitors.schedule import Defaults as Pace
from consulcast.planner import Defaults
from consulcast.policy import Policy

CONSUL = MonitorSpec("consul")
PASSING = Verdict(Health.PASSING, Reason.PASSING)


@dataclass
class Fake:
    """Registrations, monitors and reconciler that do nothing."""

    apps: tuple[App, ...] = ()
    verdicts: dict[VerdictKey, Verdict] = field(default_factory=dict)
    before_telling: Callable[[], None] = lambda: None

    def set(self, *_: object, **__: object) -> None:
        """Take whatever it is."""


@dataclass
class Consul:
    """A source that says what it is told to."""

    state: ConsulState = field(default_factory=ConsulState)

    def judge_services(self, names: frozenset[str]) -> None:
        """Which are to be judged by name."""


def app(source: Source, name: str, *monitors: MonitorSpec) -> App:
    return App(AppKey(source, name), name, (notation.vip("203.0.113.10/32"),), monitors)


BARE, CHECKED = app(Source.CONSUL, "bare"), app(Source.CONSUL, "checked", CONSUL)
FILE, OTHER = app(Source.CONFIG, "file", CONSUL), app(Source.CONFIG, "other")
ALL = (BARE, CHECKED, FILE, OTHER)


def said(lost: Stale | None = None, *held: App, synced: bool = True) -> ConsulState:
    unknown = {one.key: lost for one in (held or (BARE, CHECKED)) if lost}
    names = {"file": lost} if lost and not held else {}
    return ConsulState(
        (BARE, CHECKED),
        (),
        {VerdictKey(CHECKED.key, CONSUL): PASSING},
        by_name={"file": PASSING},
        synced=synced,
        unknown=unknown,
        unknown_names=names,
    )


def core(limit: float | None) -> tuple[Core, Consul]:
    made: Any = Core(Fake(), Fake(), Fake())  # type: ignore[arg-type]
    consul: Any = Consul(said())
    made.configure(Policy(frozenset(), True), Defaults(stale_limit=limit), Pace(), (FILE, OTHER))
    made.follow(consul)
    made._plan()
    assert {key: verdict.health for key, verdict in made.health.items()} == {one.key: Health.PASSING for one in ALL}
    return made, consul


def overdue(made: Core) -> set[AppKey]:
    return {key for key, verdict in made.health.items() if verdict.reason is Reason.CONSUL_STALE}


LONG_AGO = 1000.0  # seconds


@pytest.mark.parametrize(("limit", "failing"), [(None, ()), (2000.0, ()), (60.0, (BARE, CHECKED, FILE))])
def test_what_consul_says_of_apps_counts_as_failing_after_the_limit_and_never_by_default(
    limit: float | None, failing: tuple[App, ...]
) -> None:
    made, consul = core(limit)
    consul.state = said(Stale(time.monotonic() - LONG_AGO, "u"))
    made._plan()
    assert made.stale.keys() == {BARE.key, CHECKED.key, FILE.key}
    assert overdue(made) == {one.key for one in failing}
    consul.state = said()
    made._plan()
    assert (made.stale, overdue(made)) == ({}, set())


def test_one_app_that_is_held_fails_alone() -> None:
    made, consul = core(60.0)
    consul.state = said(Stale(time.monotonic() - LONG_AGO, "the agent still has it registered"), BARE)
    made._plan()
    assert overdue(made) == {BARE.key}


def test_limit_wakes_the_planning_when_its_time_comes() -> None:
    made, consul = core(60.0)
    since = time.monotonic()
    consul.state = said(Stale(since, "u"))
    made._plan()
    assert made.plan.recheck_at == since + 60.0


def test_source_that_follows_another_and_does_not_get_in_sync_is_unknown_since_the_change() -> None:
    made, _ = core(60.0)
    later: Any = Consul()
    made.follow(later)
    made._plan()
    assert made.stale.keys() == {BARE.key, CHECKED.key, FILE.key}
    assert overdue(made) == set()
    again: Any = Consul(ConsulState(stale_reason="refused"))
    since = made._waiting_since
    made.follow(again)
    made._plan()
    assert made.stale[BARE.key] == Stale(since, "refused")
    made._waiting_since -= LONG_AGO
    made._plan()
    assert overdue(made) == {BARE.key, CHECKED.key, FILE.key}
    again.state = said()
    made._plan()
    assert overdue(made) == set()


@dataclass
class Drains:
    """Those that stand."""

    drains: tuple[Drain, ...] = ()


def test_drain_lowers_what_was_announced_and_nothing_else() -> None:
    drains = Drains()
    made: Any = Core(Fake(), Fake(), Fake(), drains)  # type: ignore[arg-type]
    made.configure(Policy(frozenset(), True), Defaults(), Pace(), (OTHER,))
    drains.drains = (Drain(Target.read("node"), time.monotonic()),)
    made._plan()
    assert [intent.announce for intent in made.plan.intents.values()] == [False], "as at a start"
    drains.drains = ()
    made._plan()
    drains.drains = (Drain(Target.read("other"), time.monotonic()),)
    for _ in range(2):
        made._plan()
        (intent,) = made.plan.intents.values()
        assert (intent.announce, intent.reason) == (True, Reason.DRAINING)
    drains.drains = (Drain(Target.read("other"), time.monotonic() - 60.0),)
    for _ in range(2):
        made._plan()
        assert [intent.announce for intent in made.plan.intents.values()] == [False]
    drains.drains = ()
    made._plan()
    assert [intent.reason for intent in made.plan.intents.values()] == [Reason.ANNOUNCED]


def test_what_another_file_would_make_of_it_is_told_and_nothing_is_changed() -> None:
    core = Core(Fake(), Fake(), Fake())  # type: ignore[arg-type]
    core.follow(Consul(said()))  # type: ignore[arg-type]
    core.configure(Policy(), Defaults(), Pace(), (FILE,))
    core._plan()
    before = core.registered, core.plan
    new = app(Source.CONFIG, "new", MonitorSpec("port", "tcp:1"))
    communities = (notation.community("65000:1"),)
    registered, planned = core.foresee(Policy(consul=False), Defaults(communities=communities), (FILE, new))
    health = dict(planned.health)
    assert [one.key for one in registered.refused] == [FILE.key], "Consul is not used by that policy"
    assert health[CHECKED.key].health is Health.PASSING
    assert health[new.key].reason is Reason.MONITOR_PENDING
    assert next(iter(planned.intents.values())).route.communities == communities
    assert (core.registered, core.plan) == before


def test_what_a_plan_has_changed_is_logged_when_the_reconciler_asks_for_it_and_before_the_next_plan_at_the_latest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "consulcast")
    reconciler = Fake()
    made: Any = Core(Fake(), Fake(), reconciler)  # type: ignore[arg-type]
    lines = [(OTHER, "registered"), (OTHER, str(Reason.PASSING)), (FILE, "registered"), (OTHER, "removed")]
    made.configure(Policy(), Defaults(), Pace(), (OTHER,))
    made._plan()
    assert not caplog.records
    reconciler.before_telling()
    reconciler.before_telling()
    made.configure(Policy(), Defaults(), Pace(), (FILE,))
    made._plan()
    made.configure(Policy(), Defaults(), Pace(), ())
    made._plan()
    said = [record.__dict__ for record in caplog.records]
    found = [(line["app"], line["reason"]) for line in said if "app" in line]
    assert [line for line in found if line[1] != Reason.MONITOR_PENDING] == [(str(one.key), why) for one, why in lines]
