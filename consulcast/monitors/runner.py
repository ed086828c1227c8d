"""All monitors of this host but ``consul``: what is wanted is looked at, and every health change is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gevent
from gevent.pool import Group
from msgspec import Struct, field

from consulcast.instruments import Instruments
from consulcast.model import Health, MonitorSpec, Reason, Verdict, VerdictKey
from consulcast.monitors import factory, schedule
from consulcast.monitors.counter import Counter
from consulcast.monitors.factory import Resources
from consulcast.monitors.port import Ports
from consulcast.monitors.probe import Look, Probe
from consulcast.monitors.schedule import Defaults

log = logging.getLogger(__name__)

_REASONS = {
    Health.PASSING: Reason.PASSING,
    Health.FAILING: Reason.MONITOR_FAILING,
    Health.UNKNOWN: Reason.MONITOR_PENDING,
}
_NAME = 80  # characters of a monitor's text in a verdict


class Looked(Struct, frozen=True):
    """How a monitor stands: its pace as filled in, and how many looks in a row have spoken against its health.

    ``at`` and ``next_at``: when it looked last and will look next, of the monotonic clock. ``trouble``: why it could
    not look at all; "" if it could.
    """

    pace: schedule.Pace
    against: int = 0
    at: float | None = None
    next_at: float | None = None
    trouble: str = ""


class _Watched(Struct, eq=False):
    """A monitor, whichever apps have it: its counter and its last verdict."""

    spec: MonitorSpec
    counter: Counter = field(default_factory=Counter)
    verdict: Verdict | None = None
    said: Look | None = None  # a look that says what the verdict says, and would change nothing
    trouble: str = ""
    at: float | None = None  # of the last look
    next_at: float | None = None
    greenlet: gevent.Greenlet[..., Any] | None = None
    ended: bool = False  # nobody wants it any more


class Monitors:
    """Keeps a verdict for every monitor that was ``set``. Equal monitors of several apps are one.

    ``on_change`` is called when a health has changed; ``on_failure`` with what a greenlet died of.
    """

    def __init__(
        self,
        on_change: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        defaults: Defaults | None = None,
        resources: Resources | None = None,
        make: Callable[[MonitorSpec, Resources], Probe] = factory.probe,
        instruments: Instruments | None = None,
    ) -> None:
        self._on_change = on_change
        self._on_failure = on_failure
        self._defaults = defaults or Defaults()
        self._resources = resources or Resources()
        self._make = make
        self._instruments = instruments or Instruments()
        self.changed_at = 0.0  # when it was seen what ``on_change`` was last called for
        self._greenlets: Group = Group()
        self._ports = Ports(self._take_port, self._spawn)
        self._running = False
        self._wanted: frozenset[VerdictKey] = frozenset()
        self._watched: dict[MonitorSpec, _Watched] = {}
        self._asking: dict[MonitorSpec, list[VerdictKey]] = {}  # for which apps
        self._verdicts: dict[VerdictKey, Verdict] = {}
        self._moved: set[MonitorSpec] = set()  # whose verdict is another than that

    @property
    def verdicts(self) -> Mapping[VerdictKey, Verdict]:
        """The present verdicts; what has none yet is not in it. A new mapping whenever anything changes."""
        if self._moved:
            found = ((spec, self._watched[spec].verdict) for spec in self._moved)
            moved = {key: verdict for spec, verdict in found if verdict for key in self._asking[spec]}
            self._verdicts = {**self._verdicts, **moved}
            self._moved.clear()
        return self._verdicts

    def looked(self, spec: MonitorSpec) -> Looked | None:
        """Tell how a monitor stands; ``None``: it is not one that is looked at here."""
        watched = self._watched.get(spec)
        if watched is None:
            return None
        next_at = self._ports.due(spec) if spec.kind == "port" else watched.next_at
        pace = schedule.pace(spec, self._defaults)
        return Looked(pace, watched.counter.against, watched.at, next_at, watched.trouble)

    def set(self, wanted: Iterable[VerdictKey], defaults: Defaults | None = None) -> None:
        """Replace all that is wanted, and the defaults if given. Monitors that stay are not disturbed."""
        keys = frozenset(key for key in wanted if key.monitor.kind != "consul")
        defaults = defaults or self._defaults
        if (keys, defaults) == (self._wanted, self._defaults):
            return
        self._wanted, self._defaults = keys, defaults
        specs = {key.monitor for key in keys}
        for spec in self._watched.keys() - specs:
            self._end(self._watched.pop(spec))
        for spec in specs - self._watched.keys():
            self._watched[spec] = _Watched(spec)
        self._asking = {spec: [] for spec in specs}
        for key in keys:
            self._asking[key.monitor].append(key)
        self._moved = {spec for spec, watched in self._watched.items() if watched.verdict is not None}
        self._verdicts = {}
        if self._running:
            self._begin()

    def start(self) -> None:
        """Begin to look."""
        self._running = True
        self._begin()

    def stop(self) -> None:
        """Look no more. When it returns, no command of ours is running."""
        self._running = False
        self._ports.stop()
        self._greenlets.kill()

    @staticmethod
    def _end(watched: _Watched) -> None:
        watched.ended = True
        if watched.greenlet is not None:
            watched.greenlet.kill(block=False)

    def _begin(self) -> None:
        """Set those to work that do not look yet, the first looks close together."""
        ports = [spec for spec in self._watched if spec.kind == "port"]
        self._ports.set({spec: schedule.pace(spec, self._defaults).interval for spec in ports})
        new = [item for item in self._watched.values() if item.greenlet is None and item.spec.kind != "port"]
        for number, watched in enumerate(new):
            delay = schedule.first_look(number, len(new), self._defaults.interval)
            watched.greenlet = self._spawn(self._watch, watched, delay)

    def _watch(self, watched: _Watched, delay: float) -> None:
        gevent.sleep(delay)
        spec = watched.spec
        probe = self._make(spec, self._resources)
        looks = 0
        while True:
            started = time.monotonic()
            look = probe.look(schedule.pace(spec, self._defaults).timeout)
            if watched.ended:
                return
            now = time.monotonic()
            self._take(watched, look, now - started, now)
            looks += 1
            pause = schedule.next_look(spec, schedule.pace(spec, self._defaults), watched.counter, looks)
            watched.next_at = started + pause
            gevent.sleep(max(0.0, watched.next_at - time.monotonic()))

    def _take_port(self, spec: MonitorSpec, look: Look, began: float) -> None:
        watched = self._watched.get(spec)
        if watched is not None:  # one look serves all of them, and follows at once from what the kernel says
            self._take(watched, look, time.monotonic() - began, began)

    def _take(self, watched: _Watched, look: Look, seconds: float, seen_at: float) -> None:
        """Take in one look that took so long."""
        self._instruments.looked(watched.spec.kind, look.passed, seconds)
        spec, former, watched.at = watched.spec, watched.verdict, time.monotonic()
        if look == watched.said:
            return  # as nearly all do
        pace = schedule.pace(spec, self._defaults)
        detail = f"monitor {_name(spec)}: {look.detail}"
        if look.passed is None:
            self._in_trouble(watched, look.detail)
        else:
            watched.trouble = ""
            watched.counter = watched.counter.take(look.passed, pace.rise, pace.fall)
            if watched.counter.against:
                word, needed = ("passed", pace.rise) if look.passed else ("failed", pace.fall)
                detail += f" ({word} {watched.counter.against} of {needed})"
        watched.said = look if look.passed is not None and not watched.counter.against else None
        health = watched.counter.health
        changed = former is None or former.health is not health
        since = time.monotonic() if former is None or changed else former.since
        watched.verdict = Verdict(health, _REASONS[health], detail, since)
        if watched.verdict != former:
            self._moved.add(spec)
        if changed:
            self.changed_at = seen_at
            self._on_change()

    def _in_trouble(self, watched: _Watched, why: str) -> None:
        """It could not be looked at all: that says nothing of the service, and its verdict stands."""
        if watched.trouble != why:
            watched.trouble = why
            name = _name(watched.spec)
            extra = {"monitor": name, "reason": "monitor-blind", "detail": why}
            log.warning("monitor %s cannot look, its verdict stands: %s", name, why, extra=extra)

    def _spawn(self, run: Callable[..., None], *arguments: object) -> gevent.Greenlet[..., Any]:
        def guarded() -> None:
            try:
                run(*arguments)
            except Exception as error:
                self._on_failure(error)
                raise

        return self._greenlets.spawn(guarded)


def _name(spec: MonitorSpec) -> str:
    text = str(spec)
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"
