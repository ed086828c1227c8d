"""The part ``scale``: one app's latency while the host has ever more of them, against the floor with answers as big."""

from __future__ import annotations

import operator
import time

from bench import arrivals
from bench.latency import in_turn
from bench.measures import critical_to_withdraw, deregister_to_withdraw, passing_to_announce, tag_to_announce
from bench.parts import Part, Run
from bench.population import mixed, ports, prefixes
from bench.processes import work
from bench.report import Cell, Table
from bench.spread import Spread
from bench.world import Side, Site, laboratory, listening, populate
from integration.lab import Process

SIZES = (1, 10, 100, 500, 1000)
PAIRS = 3
ROUNDS = {1: 15, 10: 9, 100: 9, 500: 9, 1000: 18}  # samples of each measure at a size
MEASURES = {
    "tag → announce": tag_to_announce,
    "critical → withdraw": critical_to_withdraw,
    "passing → announce": passing_to_announce,
    "deregister → withdraw": deregister_to_withdraw,
}
OF_TARGETS = ("tag → announce", "critical → withdraw")
HEAD = ("ms", "apps", "rounds", "consulcast, median", "p95", "floor, median", "p95", "excess", "of that with one app")
NOTE = """\
Excess: the medians' difference. The floor watches the same services in a Consul of its own, so that it reads answers as
big; it knows one of them."""
CPU_HEAD = ("apps", "daemon, ms", "floor, ms")
CPU_NOTE = "Counted by the kernel, so that it says more than the clock does where the machine is busy. Without ExaBGP."
Samples = dict[tuple[str, int], tuple[list[float], list[float]]]


def play(run: Run) -> None:
    """Measure at each size, the hosts growing meanwhile."""
    samples: Samples = {}
    cpu: list[list[Cell]] = []
    try:
        with laboratory() as lab:
            site = Site(lab, 2 * PAIRS)
            pairs, crowd = site.pairs(), Crowd(site)
            for left, size in zip(range(len(SIZES), 0, -1), SIZES, strict=True):
                run.say(f"{size} apps")
                crowd.grow(size - 1)  # the measured one is one of them
                begin, turns = _cpu(pairs), 0
                here = {name: samples.setdefault((name, size), ([], [])) for name in MEASURES}
                for done in run.turns(ROUNDS[size], 1 / left):
                    in_turn(pairs[done % PAIRS], MEASURES, here, swapped=done // PAIRS % 2 == 1, pairs=PAIRS)
                    turns = done + 1
                each = [1000 * taken / (turns * len(MEASURES)) for taken in map(operator.sub, _cpu(pairs), begin)]
                cpu.append([size, *each])
    finally:
        _report(run, samples)
        run.add(Table("Processor time for each of these changes", CPU_HEAD, cpu, CPU_NOTE))


def _cpu(pairs: list[tuple[Side, Side]]) -> tuple[float, float]:
    """Return the seconds that the programs of both sides have had the processor, without ExaBGP."""
    ours, floors = (work(pair[which].program.pid for pair in pairs).cpu for which in (0, 1))
    return ours, floors


class Crowd:
    """The other apps, on every place."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._size = 0
        self._listeners: list[Process] = []

    def grow(self, size: int) -> None:
        """Have ``size`` of them on each place, and wait until consulcast has announced its own."""
        members = {place.number: mixed(size, place.number) for place in self._site.places}
        after = time.time_ns()
        with_daemon = [place for place in self._site.places if place.number % 2 == 0]
        for place in with_daemon:
            if wanted := ports(members[place.number][self._size :]):
                self._listeners.append(listening(place.host, wanted))
        populate({place: members[place.number] for place in self._site.places})
        new = {one for place in with_daemon for one in prefixes(members[place.number][self._size :])}
        arrivals.wait(self._site.tap, new, announced=True, after=after, deadline=30.0)
        self._site.tap.clear()
        self._size = size
        time.sleep(3.0)  # consulcast may ask at once again, and the machine is quiet


def _report(run: Run, samples: Samples) -> None:
    rows: list[list[Cell]] = []
    excess: dict[tuple[str, int], float] = {}
    for name in MEASURES:
        for size in SIZES:
            ours, floors = samples.get((name, size), ([], []))
            if not ours or not floors:
                continue
            us, floor = Spread.of(ours), Spread.of(floors)
            excess[name, size] = us.median - floor.median
            of_one = excess[name, size] / excess[name, 1] if excess[name, 1] > 0 else None
            figures = (us.median, us.p95, floor.median, floor.p95, excess[name, size], of_one)
            rows.append([name if size == 1 else "", size, us.count, *figures])
            run.samples |= {f"{name}, {size} apps, consulcast": ours, f"{name}, {size} apps, floor": floors}
        if name in OF_TARGETS and (name, SIZES[-1]) in excess and excess[name, 1] > 0:
            grown = excess[name, SIZES[-1]] / excess[name, 1]
            run.target(f"{name} with {SIZES[-1]:,} apps: excess of that with one", 2.0, grown, "×")
    if rows:
        run.add(Table("One app's latency while the host has more of them", HEAD, rows, NOTE))


PART = Part("scale", "Latency with a thousand apps", 135, play)
