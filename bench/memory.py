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
from bench.world import Place, Site, laboratory, populate
from integration.lab.forks import descendants

APPS, EVENTS, WARM = 1000, 50_000, 10_000
OVER_HTTP = 10  # registrations in each round of events
SETTLE = 3.0
NOISE = 1.0  # MiB by which the allocator's own figures go up and down
HEAD = ("MiB", "daemon, RSS", "daemon, PSS", "ExaBGP, RSS", "ExaBGP, PSS", "PSS together", "together, alone on a host")
NOTE = f"""\
ExaBGP's figures include its relay. PSS counts what processes share in equal parts, so other Python programs (this bench
is one) make it smaller; the last column counts each page of memory once, whoever else has it, and is what the targets
are held to. An event is a change of one app that consulcast acts on, the real way: through Consul's checks (all apps
fail and recover, again and again, as quickly as consulcast asks), and {OVER_HTTP} registrations over HTTP and their end
in each round, until there are {EVENTS:,} or the time is over. The first {WARM:,} fill what is bounded: the journal, the
history of each VIP."""


def play(run: Run) -> None:
    """Measure."""
    rows: list[list[Cell]] = []
    alone: dict[str, float] = {}
    with laboratory() as lab:
        site = Site(lab, 1)
        (place,) = site.places
        first = place.daemon()  # writes byte code, if there is none: compiling would be in the figures
        site.wait_established()
        first.stop()
        daemon = place.daemon().process.pid
        site.wait_established()
        exabgp = descendants(daemon)

        def note(what: str) -> None:
            time.sleep(SETTLE)
            ours, theirs = memory([daemon]), memory(exabgp)
            alone[what] = frames([daemon, *exabgp])
            rows.append([what, ours.rss, ours.pss, theirs.rss, theirs.pss, ours.pss + theirs.pss, alone[what]])

        try:
            note("no apps")
            members = consul_monitored(APPS, place.number)
            for size in (100, APPS):
                populate({place: members[:size]})
                arrivals.wait(site.tap, prefixes(members[:size]), announced=True, after=0)
                note(f"{size:,} apps")
            done, due = 0, WARM
            longest = 0.0
            while done < EVENTS and run.left() > longest + 2 * SETTLE:
                run.say(f"{done:,} events")
                began = time.monotonic()
                done += _round(site, place, prefixes(members))
                longest = max(longest, time.monotonic() - began)
                if due <= done < EVENTS:
                    note(f"… after {done:,} events")
                    due += WARM
            if f"… after {done:,} events" not in alone:
                note(f"… after {done:,} events")
        finally:
            run.add(Table("Memory", HEAD, rows, NOTE))
            _targets(run, alone)


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


def _targets(run: Run, alone: dict[str, float]) -> None:
    if "100 apps" in alone:
        run.target("memory of daemon and ExaBGP with 100 apps", 75.0, alone["100 apps"], "MiB")
    if f"{APPS:,} apps" in alone:
        run.target(f"… its growth to {APPS:,} apps", 15.0, alone[f"{APPS:,} apps"] - alone["100 apps"], "MiB")
    after = [what for what in alone if what.startswith("…")]
    if len(after) > 1:
        grown = alone[after[-1]] - alone[after[0]]
        what = f"… its growth from {after[0].removeprefix('… after ')} to {after[-1].removeprefix('… after ')}"
        run.target(what, NOISE, grown, "MiB", "none, but for the allocator's noise")


PART = Part("memory", "Memory", 110, play)
