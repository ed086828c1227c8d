"""The part ``neighbours``: the same beside 500 nodes whose checks change all the time, and in a quiet datacenter.

Two hosts, each with a Consul of its own and the daemon. Into one Consul the checks of 500 other nodes are written
(integration/flapping.py). Failures and recoveries on both hosts in turn, at random times, at ever more changes of the
neighbours; then a rest, in which what it costs is counted.
"""

from __future__ import annotations

import contextlib
import random
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.measures import critical_to_withdraw, passing_to_announce, tag_to_announce
from bench.parts import Part, Run
from bench.processes import work
from bench.report import Cell, Table
from bench.spread import Spread
from bench.world import Place, Side, Site, laboratory

NODES = 500
RATES = (100, 500)  # neighbours' changes per second
SETTLE, REST = 3.0, 30.0  # seconds
EVENTS = 40  # of both sides, at each rate
GAP = (0.5, 1.0)  # seconds between two events, at random: a limit on answers has a rhythm of its own
HEAD = ("ms", "neighbours' changes/s", "datacenter", "rounds", "median", "p95", "p99", "max")
NOTE = f"""\
Critical → withdraw and passing → announce together. {NODES} nodes, each with a service and a check, are written to the
catalog of the busy host's own Consul, which is one agent with its server; the quiet host's gets nothing of it."""
COST_HEAD = ("at rest", "datacenter", "daemon, CPU %", "Consul, CPU %", "requests/min", "of them catalog", "health")
COST_NOTE = f"{REST:.0f} s without an event of its own, beside {RATES[-1]} changes of neighbours a second."


@dataclass(frozen=True)
class Moment:
    """What is counted on a host."""

    at: float
    daemon: float  # seconds of a processor
    consul: float
    asked: dict[str, int]  # answers of Consul, by query


def play(run: Run) -> None:
    """Measure."""
    with laboratory() as lab:
        site = Site(lab, 2)
        quiet, busy = site.places
        sides = {"quiet": quiet.consulcast(site.tap), "busy": busy.consulcast(site.tap)}
        site.wait_established()
        for side in sides.values():
            tag_to_announce(side)
        rows: list[list[Cell]] = []
        slowest = 0.0
        for step, rate in enumerate(RATES):
            with flapping(busy, rate):
                run.say(f"{rate} changes a second")
                time.sleep(SETTLE)
                share = 1 / (len(RATES) - step + 1.5)
                took = _events(run, sides, share)
                for name, samples in took.items():
                    run.samples[f"{rate}/s, {name}"] = samples
                    spread = Spread.of(samples)
                    figures = (spread.count, spread.median, spread.p95, spread.p99, spread.most)
                    rows.append(["fail and recover", rate, name, *figures])
                slowest = Spread.of(took["busy"]).median - Spread.of(took["quiet"]).median
                if rate == RATES[-1]:
                    run.say("at rest")
                    _rest(run, sides, {"quiet": quiet, "busy": busy})
        run.result.tables.insert(0, Table("Beside busy neighbours", HEAD, rows, NOTE))
        run.target(
            f"beside {RATES[-1]} changes/s of neighbours, fail and recover: median over quiet", 3.0, slowest, "ms"
        )


@contextlib.contextmanager
def flapping(place: Place, rate: float) -> Iterator[None]:
    """Have neighbours' checks change in a place's Consul for as long as the block lasts."""
    command = (sys.executable, "-m", "integration.flapping", place.consul.address, str(NODES), str(rate))
    process = place.host.spawn(*command, name="flapping")
    process.wait_line("^ready", 30.0)
    try:
        yield
        turned = [int(line) for line in process.text().split()[1:]]
        if turned[-1] < 0.8 * rate * len(turned):
            raise RuntimeError(f"{turned[-1]} changes in {len(turned)} s: this machine does not carry {rate} a second")
    finally:
        process.kill()


def _events(run: Run, sides: dict[str, Side], share: float) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {name: [] for name in sides}
    for done in run.turns(EVENTS // 2 * 2, share):
        measure = critical_to_withdraw if done % 2 == 0 else passing_to_announce
        for name, side in sides.items():
            time.sleep(random.uniform(*GAP))
            took[name].append(measure(side))
    if len(took["busy"]) % 2:  # the next begin with all well
        for side in sides.values():
            passing_to_announce(side)
    return took


def _rest(run: Run, sides: dict[str, Side], places: dict[str, Place]) -> None:
    time.sleep(SETTLE)
    begins = {name: _moment(side, places[name]) for name, side in sides.items()}
    time.sleep(min(REST, max(run.left() - 3, 5.0)))
    rows: list[list[Cell]] = []
    for name, side in sides.items():
        begin, end = begins[name], _moment(side, places[name])
        seconds = end.at - begin.at
        asked = {query: (count - begin.asked[query]) * 60 / seconds for query, count in end.asked.items()}
        cpu = [100 * (end.daemon - begin.daemon) / seconds, 100 * (end.consul - begin.consul) / seconds]
        rows.append(["", name, *cpu, sum(asked.values()), asked["catalog"], asked["health"]])
    run.add(Table("What busy neighbours cost", COST_HEAD, rows, COST_NOTE))


def _moment(side: Side, place: Place) -> Moment:
    text = place.host.run("curl", "-sf", "http://127.0.0.1:8080/metrics")
    counts = re.findall(r'^consulcast_consul_query_returns_total\{query="(\w+)"\} (\S+)', text, re.MULTILINE)
    asked = {query: int(float(count)) for query, count in counts}
    consul = work([place.consul.process.pid]).cpu
    return Moment(time.monotonic(), work([side.program.pid]).cpu, consul, asked)


PART = Part("neighbours", "Busy neighbours", 120, play)
