"""The part ``memory``: the daemon and ExaBGP with ever more apps, and after a night's worth of events."""

from __future__ import annotations

import json
import time
import urllib.parse

from bench import arrivals
from bench.parts import Part, Run
from bench.population import consul_monitored, prefixes
from bench.processes import frames, memory
from bench.report import Cell, Table
from bench.world import Place, Site, populate
from integration.lab import Lab
from integration.lab.forks import descendants

APPS, EVENTS, FILLED = 1000, 50_000, 10_000
STEPS = (2_000, 5_000, FILLED, 20_000, 30_000, 40_000, EVENTS)  # events after which it is looked at
OVER_HTTP = 10  # registrations in each round of events
SETTLE, STILL, AT_MOST = 2.0, 0.1, 12.0  # seconds; MiB; seconds
NOISE = 1.0  # MiB by which the allocator's own figures go up and down
HEAD = ("MiB", "daemon, RSS", "daemon, PSS", "ExaBGP, RSS", "ExaBGP, PSS", "PSS together", "together, alone on a host")
NOTE = f"""\
ExaBGP's figures include its relay. PSS counts what processes share in equal parts, so other Python programs (this bench
is one) make it smaller; the last column counts each page of memory once, whoever else has it, and is what the targets
are held to. An event is a change of one app that consulcast acts on, the real way: through Consul's checks (all apps
fail and recover, again and again, as quickly as consulcast asks), and {OVER_HTTP} registrations over HTTP and their end
in each round, until there are {EVENTS:,} or the time is over. Growth is counted twice: from the row *0 events*, where
all apps were announced and nothing has changed for {SETTLE:g} s, and from the row after {FILLED:,}, when what is
bounded (the journal, the history of each VIP) is full."""


def play(run: Run) -> None:
    """Measure."""
    with Lab() as lab:
        site = Site(lab, 1)
        (place,) = site.places
        first = place.daemon()  # writes byte code, if there is none: compiling would be in the figures
        site.wait_established()
        first.stop()
        scales = Scales(place.daemon().process.pid)
        site.wait_established()
        try:
            scales.note("no apps")
            members = consul_monitored(APPS, place.number)
            for size in (100, APPS):
                populate({place: members[:size]})
                arrivals.wait(site.tap, prefixes(members[:size]), announced=True, after=0, deadline=60.0)
                scales.note(f"{size:,} apps", at_most=AT_MOST)
            if run.wants("events"):
                _events(run, site, place, prefixes(members), scales)
        finally:
            run.add(Table("Memory", HEAD, scales.rows, NOTE))
            _targets(run, scales)


class Scales:
    """Weighs the daemon and ExaBGP; keeps the rows of the table."""

    def __init__(self, daemon: int) -> None:
        self._daemon = daemon
        self.rows: list[list[Cell]] = []
        self.alone: dict[str, float] = {}
        self.after: dict[int, float] = {}  # the same, by the number of events

    def note(self, what: str, events: int | None = None, at_most: float = SETTLE) -> None:
        """Weigh them when they have settled, that is when ``SETTLE`` seconds have changed nothing."""
        everyone = [self._daemon, *descendants(self._daemon)]
        end, before, now = time.monotonic() + at_most, -1.0, 0.0
        while abs(now - before) > STILL:
            before = now
            time.sleep(SETTLE)
            now = frames(everyone)
            if time.monotonic() >= end:
                break
        ours, theirs = memory(everyone[:1]), memory(everyone[1:])
        self.alone[what] = now
        self.rows.append([what, ours.rss, ours.pss, theirs.rss, theirs.pss, ours.pss + theirs.pss, now])
        if events is not None:
            self.after[events] = now


def _events(run: Run, site: Site, place: Place, wanted: set[str], scales: Scales) -> None:
    done, longest = 0, 0.0
    scales.note("… 0 events", 0)
    for step in STEPS:
        while done < step and run.left() > longest + 2 * SETTLE:
            run.say(f"{done:,} events")
            began = time.monotonic()
            done += _round(site, place, wanted)
            longest = max(longest, time.monotonic() - began)
        if done not in scales.after:
            scales.note(f"… after {done:,} events", done)
    if done < EVENTS:
        run.short(f"{done:,} of {EVENTS:,} events in time")


def _round(site: Site, place: Place, wanted: set[str]) -> int:
    """Have all apps fail and recover, and others come and go over HTTP. Returns how many events that was."""
    for status in ("critical", "passing"):
        site.tap.clear()
        after = time.time_ns()
        place.agent.request("PUT", "/v1/agent/check/update/host", json.dumps({"Status": status}))
        place.agent.getresponse().read()
        arrivals.wait(site.tap, wanted, announced=status == "passing", after=after)
    for path in ("/register", "/unregister"):
        for number in range(OVER_HTTP):
            query = urllib.parse.urlencode({"name": f"web-{number}", "vip": f"203.0.113.{number + 100}/32"})
            place.http.request("GET", f"{path}?{query}")
            place.http.getresponse().read()
    return 2 * len(wanted) + 2 * OVER_HTTP


def _targets(run: Run, scales: Scales) -> None:
    alone, after = scales.alone, scales.after
    many = f"{APPS:,} apps"
    if "100 apps" in alone:
        run.target(
            "memory of daemon and ExaBGP with 100 apps", 75.0, alone["100 apps"], "MiB", "each page counted once"
        )
    if many in alone:
        run.target(f"… its growth to {many}", 15.0, alone[many] - alone["100 apps"], "MiB")
    last = max(after, default=0)
    for begin in (0, min((events for events in after if events >= FILLED), default=last)):
        if begin in after and begin < last:
            what = f"… its growth from {begin:,} events to {last:,}"
            run.target(what, NOISE, after[last] - after[begin], "MiB", "none, but for the allocator's noise")


PART = Part("memory", "Memory", 90, play, ("apps", "events"))
