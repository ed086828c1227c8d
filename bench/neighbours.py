"""The part ``neighbours``: the same beside 500 nodes whose checks change all the time, and in a quiet datacenter.

Two datacenters of real Consul agents, each a server and its clients, the daemon on every host. Into the busy one the
checks of 500 other nodes are written (integration/flapping.py). Failures and recoveries on hosts of both by turns, at
random times, at ever more changes of the neighbours; the last hosts of each have none of their own: what the neighbours
cost is counted there.
"""

from __future__ import annotations

import contextlib
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.measures import critical_to_withdraw, passing_to_announce, tag_to_announce
from bench.parts import Part, Run
from bench.processes import work
from bench.report import Cell, Table
from bench.spread import Spread
from bench.world import Agents, Place, Side, Site
from integration.lab import Lab, Process

NODES = 500
RATES = (20, 100, 500)  # neighbours' changes per second
HOSTS, RESTING = 7, 2  # of a datacenter; the last ones of them have no events of their own
SETTLE = 4.0  # seconds
CYCLES = 20  # at each rate; in each, every host that has events has one
GAP = (0.05, 0.25)  # seconds between two events, of any host, at random: a limit on answers has a rhythm of its own
HEAD = ("ms", "neighbours' changes/s", "datacenter", "events", "median", "p95", "p99", "max")
NOTE = f"""\
Critical → withdraw and passing → announce together, on {HOSTS - RESTING} hosts of each datacenter; each host has one
every {(HOSTS - RESTING) * sum(GAP):.1f} s or so. {NODES} nodes, each with a service and a check, are written to the
catalog of the busy one. The changes per second are those that were reached."""
COST_HEAD = (
    *("neighbours' changes/s", "datacenter", "seconds", "daemon, CPU %", "its agent, CPU %", "the server, CPU %"),
    *("requests/min", "of them catalog", "health"),
)
COST_NOTE = f"Counted on {RESTING} hosts without an event of their own, for one host. Per cent are of one core."
MEDIAN, TAIL = 1.0, 8.0  # ms over the quiet datacenter
CARRIED = 0.8  # of the changes that there should be
LIMIT = 2 * 60.0  # requests per minute: one answer per second for nothing, of both queries


@dataclass(frozen=True)
class Moment:
    """What is counted on the hosts at rest, together."""

    at: float
    daemon: float  # seconds of a processor
    agent: float
    server: float
    asked: Counter[str]  # answers of Consul, by query


@dataclass
class Datacenter:
    """The hosts of one; the first one's Consul is the server, the last ones have no events."""

    places: Sequence[Place]
    sides: Sequence[Side]

    def moment(self) -> Moment:
        """Count what all the hosts at rest have taken together."""
        asked: Counter[str] = Counter()
        resting = list(zip(self.places, self.sides, strict=True))[-RESTING:]
        for place, _ in resting:
            text = place.host.run("curl", "-sf", "http://127.0.0.1:8080/metrics")
            for query, count in re.findall(
                r'^consulcast_consul_query_returns_total\{query="(\w+)"\} (\S+)', text, re.MULTILINE
            ):
                asked[query] += int(float(count))
        daemon = work(side.program.pid for _, side in resting).cpu
        agent = work(place.consul.process.pid for place, _ in resting).cpu
        return Moment(time.monotonic(), daemon, agent, work([self.server.pid]).cpu, asked)

    @property
    def server(self) -> Process:
        """The Consul server."""
        return self.places[0].consul.process


def play(run: Run) -> None:
    """Measure."""
    rates = [rate for rate in RATES if run.wants(f"neighbours@{rate}")]
    rows: list[list[Cell]] = []
    costs: list[list[Cell]] = []
    with Lab() as lab:
        run.say("two datacenters begin")
        site = Site(lab, 2 * HOSTS, Agents(together=HOSTS))
        sides = [place.consulcast(site.tap) for place in site.places]
        site.wait_established()
        for side in sides:
            tag_to_announce(side)
        sites = {
            name: Datacenter(site.places[which : which + HOSTS], sides[which : which + HOSTS])
            for name, which in (("quiet", 0), ("busy", HOSTS))
        }
        try:
            for left, rate in zip(range(len(rates), 0, -1), rates, strict=True):
                run.say(f"{rate} changes a second")
                _at_rate(run, sites, rate, 1 / left, rows, costs)
        finally:
            run.add(Table("Beside busy neighbours", HEAD, rows, NOTE))
            run.add(Table("What busy neighbours cost", COST_HEAD, costs, COST_NOTE))


def _at_rate(
    run: Run, sites: dict[str, Datacenter], rate: int, share: float, rows: list[list[Cell]], costs: list[list[Cell]]
) -> None:
    with flapping(sites["busy"].places[0], rate) as reached:
        time.sleep(SETTLE)
        begins = {name: site.moment() for name, site in sites.items()}
        took = _events(run, sites, share)
        ends = {name: site.moment() for name, site in sites.items()}
        found = reached()
    spreads = {name: Spread.of(samples) for name, samples in took.items()}
    if found < CARRIED * rate:
        run.short(f"this machine carries {found:.0f} changes a second where there should be {rate}")
    for name, spread in spreads.items():
        run.samples[f"fail and recover, {rate}/s, {name}"] = took[name]
        told = round(found) if name == "busy" else 0
        rows.append(
            ["fail and recover", told, name, spread.count, *(spread.median, spread.p95, spread.p99, spread.most)]
        )
        costs.append([told, name, *_cost(begins[name], ends[name])])
    quiet, busy = spreads["quiet"], spreads["busy"]
    reached_rate = rate if found >= CARRIED * rate else round(found)  # what was not there is not what was met
    what = f"beside {reached_rate} changes/s of neighbours, fail and recover"
    run.target(f"{what}: median over quiet", MEDIAN, busy.median - quiet.median, "ms")
    tail = f"of {busy.count} events; p95 {busy.p95 - quiet.p95:+.2f} ms; none was set, this is critical → withdraw's"
    run.target(f"{what}: p99 over quiet", TAIL, busy.p99 - quiet.p99, "ms", tail)
    asked = costs[-1][COST_HEAD.index("requests/min")]
    assert isinstance(asked, float)
    run.target(
        f"beside {reached_rate} changes/s of neighbours: requests to Consul per minute", LIMIT, asked, "", "the limit"
    )


@contextlib.contextmanager
def flapping(place: Place, rate: float) -> Iterator[Callable[[], float]]:
    """Have neighbours' checks change in a place's Consul for as long as the block lasts.

    Gives a function that says how many a second there have been.
    """
    command = (sys.executable, "-m", "integration.flapping", place.consul.address, str(NODES), str(rate))
    process = place.host.spawn(*command, name="flapping")
    process.wait_line("^ready", 30.0)

    def reached() -> float:
        turned = [int(line) for line in process.text().split()[1:]]
        return turned[-1] / len(turned) if turned else 0.0

    try:
        yield reached
    finally:
        process.kill()


def _events(run: Run, sites: dict[str, Datacenter], share: float) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {name: [] for name in sites}
    cycles = 0
    for done in run.turns(CYCLES, share):
        measure = critical_to_withdraw if done % 2 == 0 else passing_to_announce
        for number in range(HOSTS - RESTING):
            for name in sorted(sites, reverse=number % 2 == 1):
                time.sleep(random.uniform(*GAP))
                took[name].append(measure(sites[name].sides[number]))
        cycles = done + 1
    if cycles % 2:  # the next begin with all well
        for site in sites.values():
            for side in site.sides[:-RESTING]:
                passing_to_announce(side)
    return took


def _cost(begin: Moment, end: Moment) -> Iterator[Cell]:
    seconds = end.at - begin.at
    yield round(seconds)
    yield 100 * (end.daemon - begin.daemon) / seconds / RESTING
    yield 100 * (end.agent - begin.agent) / seconds / RESTING
    yield 100 * (end.server - begin.server) / seconds
    asked = {query: (end.asked[query] - begin.asked[query]) * 60 / seconds / RESTING for query in ("catalog", "health")}
    yield sum(asked.values())
    yield from asked.values()


PART = Part("neighbours", "Busy neighbours", 117, play, tuple(f"neighbours@{rate}" for rate in RATES))
