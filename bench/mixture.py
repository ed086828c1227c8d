"""Apps of many kinds on one host, ever more of them: they start, all fail and recover, all their tags change."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from bench import arrivals
from bench.parts import Run
from bench.population import Member, definitions, mixed, ports, prefixes
from bench.report import Cell, Table
from bench.scale import SIZES
from bench.world import Place, Site, listening, populate
from integration.lab import Daemon

MEASURES = tuple(f"mixed@{size}" for size in SIZES)
QUIET = 1.5  # seconds in which consulcast's budget of questions grows again
AT_MOST = 20.0  # seconds that a change is waited for
HEAD = (
    *("apps", "start → all announced, s", "first UPDATE, s", "first → last, s"),
    *("all fail → withdrawn, s", "all recover → announced, s", "all tags change → announced anew, s"),
)
NOTE = """\
Half Consul-monitored, a quarter port-monitored, the others without a monitor, a tenth with NAT, both address families;
Consul has them already when the daemon starts. Byte code is warm. All fail, those that are monitored: a check of the
node, and the one process that listens on all ports is killed; the start of the next one is in the figure for recovery.
All tags: as above."""


def play(run: Run, site: Site, place: Place) -> None:
    """Measure at each size, as far as the time goes."""
    rows: list[list[Cell]] = []
    try:
        for size in SIZES:
            if not run.wants(f"mixed@{size}"):
                continue
            if rows and run.left() < 5.0 + 0.02 * size:
                run.short(f"no time for {size:,} mixed apps")
                continue
            run.say(f"{size} mixed apps")
            rows.append([size, *_at_size(run, site, place, mixed(size, place.number))])
    finally:
        if rows:
            run.add(Table("Mixed apps, all at once", HEAD, rows, NOTE))


def _at_size(run: Run, site: Site, place: Place, members: list[Member]) -> list[Cell]:
    populate({place: members})
    host = Mixture(run, site, place, members)
    try:
        return host.play()
    finally:
        host.end()


class Mixture:
    """The apps of one size, their listener and the daemon."""

    def __init__(self, run: Run, site: Site, place: Place, members: list[Member]) -> None:
        self._run, self._site, self._place, self._members = run, site, place, members
        self._everyone = prefixes(members)
        self._monitored = prefixes(member for member in members if member.monitor)
        self._listener = listening(place.host, ports(members))
        self._daemon: Daemon | None = None
        self._after = 0

    def play(self) -> list[Cell]:
        """Measure; returns a row of the table."""
        took = self._timed("start", self._start, self._everyone)
        came = [update.at for update in self._site.tap.updates() if update.announced & self._everyone]
        first = (min(came) - self._after) / 1e9 if came else None
        between = took - first if took is not None and first is not None else None
        found: list[Cell] = [took, first, between]
        found.append(self._timed("all fail", self._fail, self._monitored, announced=False))
        found.append(self._timed("all recover", self._recover, self._monitored))
        found.append(self._timed("all tags", self._retag, self._everyone))
        return found

    def end(self) -> None:
        """End the daemon and the listener."""
        if self._daemon is not None:
            self._daemon.stop()
        self._listener.kill()

    def _timed(
        self, what: str, change: Callable[[], object], wanted: set[str], *, announced: bool = True
    ) -> float | None:
        time.sleep(QUIET)
        self._site.tap.clear()
        self._after = time.time_ns()
        change()
        return self._run.tried(
            f"{len(self._members):,} mixed apps, {what}",
            partial(arrivals.wait, self._site.tap, wanted, announced=announced, after=self._after, deadline=AT_MOST),
        )

    def _start(self) -> None:
        self._daemon = self._place.daemon()

    def _fail(self) -> None:
        self._listener.kill()
        self._check("critical")

    def _recover(self) -> None:
        self._check("passing")
        self._listener = listening(self._place.host, ports(self._members))

    def _retag(self) -> None:
        changed = [replace(member, community="64512:100") for member in self._members]
        self._place.consul.reconfigure(definitions(changed))

    def _check(self, status: str) -> None:
        self._place.agent.request("PUT", "/v1/agent/check/update/host", json.dumps({"Status": status}))
        self._place.agent.getresponse().read()
