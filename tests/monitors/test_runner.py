"""All monitors together: what is told, when, and what is shared."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import gevent
import pytest

from consulcast import notation
from consulcast.instruments import Instruments
from consulcast.model import AppKey, Health, MonitorSpec, Reason, Source, Verdict, VerdictKey
from consulcast.monitors.factory import Resources
from consulcast.monitors.probe import Look, Probe
from consulcast.monitors.runner import Monitors
from consulcast.monitors.schedule import Defaults
from consulcast.web.metrics import measured

INTERVAL = 0.05


class Scripted:
    """A probe that sees what the test says."""

    def __init__(self) -> None:
        self.sees = Look(True, "fine")
        self.looks = 0
        self.error: Exception | None = None

    def look(self, timeout: float) -> Look:
        self.looks += 1
        if self.error:
            raise self.error
        return self.sees


class World:
    """Monitors with scripted probes."""

    def __init__(self) -> None:
        self.probes: dict[str, Scripted] = {}
        self.made: list[str] = []
        self.changes = 0
        self.failures: list[BaseException] = []
        self.instruments = Instruments()
        self.monitors = Monitors(
            self._changed,
            self.failures.append,
            Defaults(INTERVAL, 1.0),
            make=self._make,
            instruments=self.instruments,
        )
        self.monitors.start()

    def _changed(self) -> None:
        self.changes += 1

    def _make(self, spec: MonitorSpec, resources: Resources) -> Probe:
        self.made.append(str(spec))
        return self.probe(str(spec))

    def probe(self, text: str) -> Scripted:
        return self.probes.setdefault(text, Scripted())

    def want(self, *pairs: tuple[str, str]) -> None:
        self.monitors.set(key(app, text) for app, text in pairs)

    def verdict(self, app: str, text: str) -> Verdict | None:
        return self.monitors.verdicts.get(key(app, text))

    def health(self, app: str, text: str) -> Health | None:
        verdict = self.verdict(app, text)
        return verdict.health if verdict is not None else None


def key(app: str, text: str) -> VerdictKey:
    return VerdictKey(AppKey(Source.CONFIG, app), notation.monitor(text))


def until(seen: Callable[[], object]) -> None:
    end = time.monotonic() + 3.0
    while not seen():
        assert time.monotonic() < end
        gevent.sleep(0.002)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.monitors.stop()


def test_first_look_decides_and_is_told(world: World) -> None:
    world.probe("exec:b").sees = Look(False, "exit status 1: no")
    world.want(("a", "exec:a"), ("b", "exec:b"))
    assert world.monitors.verdicts == {}
    before = time.monotonic()
    until(lambda: len(world.monitors.verdicts) == 2)
    assert world.verdict("a", "exec:a") == Verdict(Health.PASSING, Reason.PASSING, "monitor exec:a: fine")
    failing = world.verdict("b", "exec:b")
    assert failing == Verdict(Health.FAILING, Reason.MONITOR_FAILING, "monitor exec:b: exit status 1: no")
    assert failing is not None
    assert before <= failing.since <= time.monotonic()
    assert world.changes == 2


def test_equal_monitors_of_several_apps_are_one(world: World) -> None:
    world.want(("a", "exec:x"), ("b", "exec:x"), ("c", "exec:x;fall=3"))
    until(lambda: len(world.monitors.verdicts) == 3)
    assert sorted(world.made) == ["exec:x", "exec:x;fall=3"]
    world.want(("b", "exec:x"))
    looks = world.probe("exec:x").looks
    until(lambda: world.probe("exec:x").looks > looks + 1)
    assert set(world.monitors.verdicts) == {key("b", "exec:x")}
    assert len(world.made) == 2


def test_one_failed_look_is_not_told_and_two_are(world: World) -> None:
    world.want(("a", "exec:a;fall=2"))
    until(lambda: world.health("a", "exec:a;fall=2"))
    since = world.monitors.verdicts[key("a", "exec:a;fall=2")].since
    probe = world.probe("exec:a;fall=2")
    probe.sees = Look(False, "no")
    until(lambda: "failed 1 of 2" in world.monitors.verdicts[key("a", "exec:a;fall=2")].detail)
    assert (world.changes, world.monitors.verdicts[key("a", "exec:a;fall=2")].since) == (1, since)
    until(lambda: world.health("a", "exec:a;fall=2") is Health.FAILING)
    assert world.changes == 2
    assert world.monitors.verdicts[key("a", "exec:a;fall=2")].since > since


def test_a_look_that_says_what_is_known_leaves_the_verdict_and_one_with_other_words_does_not(world: World) -> None:
    world.want(("a", "exec:a"))
    until(lambda: world.monitors.verdicts)
    probe, before = world.probe("exec:a"), world.verdict("a", "exec:a")
    assert before is not None
    looks, looked = probe.looks, world.monitors.looked(notation.monitor("exec:a"))
    until(lambda: probe.looks > looks + 2)
    later = world.monitors.looked(notation.monitor("exec:a"))
    assert world.verdict("a", "exec:a") is before
    assert looked is not None
    assert later is not None
    assert (later.at or 0.0) > (looked.at or 0.0)
    probe.sees = Look(True, "fine, and warm")
    until(lambda: "warm" in getattr(world.verdict("a", "exec:a"), "detail", ""))
    after = world.verdict("a", "exec:a")
    assert after is not None
    assert (after.since, world.changes) == (before.since, 1)


def test_a_failed_look_among_good_ones_is_forgotten_by_the_next_good_one(world: World) -> None:
    world.want(("a", "exec:a;fall=2"))
    until(lambda: world.monitors.verdicts)
    probe = world.probe("exec:a;fall=2")
    for _ in range(2):
        probe.sees = Look(False, "no")
        until(lambda: "failed 1 of 2" in getattr(world.verdict("a", "exec:a;fall=2"), "detail", ""))
        probe.sees = Look(True, "fine")
        until(lambda: getattr(world.verdict("a", "exec:a;fall=2"), "detail", "").endswith(": fine"))
    assert (world.changes, world.health("a", "exec:a;fall=2")) == (1, Health.PASSING)


def test_verdicts_are_swapped_whole(world: World) -> None:
    world.want(("a", "exec:a"))
    until(lambda: world.monitors.verdicts)
    before = world.monitors.verdicts
    assert world.monitors.verdicts is before
    world.probe("exec:a").sees = Look(False, "no")
    until(lambda: world.health("a", "exec:a") is Health.FAILING)
    assert before[key("a", "exec:a")].health is Health.PASSING


def test_consul_is_not_looked_at_here(world: World) -> None:
    world.want(("a", "consul"))
    gevent.sleep(0.01)
    assert world.made == []
    assert world.monitors.verdicts == {}


def test_a_look_that_could_not_be_taken_leaves_the_verdict_and_warns_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.probe("exec:b").sees = Look(None, "no memory")
    world.want(("a", "exec:a"), ("b", "exec:b"))
    until(lambda: len(world.monitors.verdicts) == 2)
    assert world.health("b", "exec:b") is Health.UNKNOWN
    with caplog.at_level(logging.WARNING):
        world.probe("exec:a").sees = Look(None, "no memory")
        looks = world.probe("exec:a").looks
        until(lambda: world.probe("exec:a").looks > looks + 3)
    assert world.health("a", "exec:a") is Health.PASSING
    assert len([record for record in caplog.records if "exec:a" in record.message]) == 1


def test_what_is_not_wanted_any_more_is_not_looked_at(world: World) -> None:
    world.want(("a", "exec:a"))
    until(lambda: world.monitors.verdicts)
    world.want()
    assert world.monitors.verdicts == {}
    looks = world.probe("exec:a").looks
    gevent.sleep(3 * INTERVAL)
    assert world.probe("exec:a").looks == looks


def test_what_comes_back_begins_anew(world: World) -> None:
    world.want(("a", "exec:a"))
    until(lambda: world.monitors.verdicts)
    world.want()
    world.probe("exec:a").sees = Look(False, "no")
    world.want(("a", "exec:a"))
    assert world.monitors.verdicts == {}
    until(lambda: world.health("a", "exec:a") is Health.FAILING)


def test_other_defaults_hold_from_the_next_look_on(world: World) -> None:
    world.want(("a", "exec:a"))
    until(lambda: world.probe("exec:a").looks > 2)
    world.monitors.set([key("a", "exec:a")], Defaults(60.0, 1.0))
    gevent.sleep(2 * INTERVAL)
    looks = world.probe("exec:a").looks
    gevent.sleep(3 * INTERVAL)
    assert world.probe("exec:a").looks == looks
    assert world.made == ["exec:a"]


def test_a_probe_that_dies_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gevent.get_hub(), "print_exception", lambda *_: None)
    world.probe("exec:a").error = ZeroDivisionError()
    world.want(("a", "exec:a"))
    until(lambda: world.failures)
    assert isinstance(world.failures[0], ZeroDivisionError)


def test_long_commands_are_cut_in_a_verdict(world: World) -> None:
    text = "exec:" + "x" * 500
    world.want(("a", text))
    until(lambda: world.monitors.verdicts)
    assert len(world.monitors.verdicts[key("a", text)].detail) < 120


def test_looks_are_counted_by_result_and_timed_and_a_change_is_dated(world: World) -> None:
    before = time.monotonic()
    world.want(("a", "exec:a"))
    until(lambda: world.changes == 1)
    assert before <= world.monitors.changed_at <= time.monotonic()
    world.probe("exec:a").sees = Look(None, "cannot")
    until(lambda: world.probe("exec:a").looks > 3)
    samples = {
        (sample.name, sample.labels.get("kind"), sample.labels.get("result")): sample.value
        for metric in map(measured, world.instruments.all())
        for sample in metric.samples
    }
    assert samples["consulcast_monitor_looks_total", "exec", "passed"] >= 1
    assert samples["consulcast_monitor_looks_total", "exec", "none"] >= 1
    assert samples["consulcast_monitor_look_duration_seconds_count", "exec", None] >= 2


def test_how_a_monitor_stands_can_be_asked(world: World) -> None:
    text = "tcp:127.0.0.1:1;rise=2;fall=3"
    spec = notation.monitor(text)
    assert world.monitors.looked(spec) is None
    world.want(("dns", text))
    world.probe(str(spec)).sees = Look(False, "refused")
    with gevent.Timeout(10):
        while (found := world.monitors.looked(spec)) is None or found.next_at is None:
            gevent.sleep(0.005)
    assert (found.pace.rise, found.pace.fall, found.pace.interval) == (2, 3, INTERVAL)
    assert found.at is not None
    assert found.next_at > found.at - INTERVAL
