"""The part ``scale``: one app's latency while the host has ever more of them, against the floor with answers as big."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench import arrivals
from bench.latency import in_turn, needed
from bench.measures import MEASURES
from bench.parts import Part, Run
from bench.population import mixed, ports, prefixes
from bench.processes import work
from bench.report import Cell, Table
from bench.spread import Spread
from bench.world import Side, Site, listening, populate
from integration.lab import Lab, Process

SIZES = (1, 10, 100, 500, 1000)
PAIRS = 3
ROUNDS = {1: 15, 10: 6, 100: 9, 500: 6, 1000: 15}  # samples of each measure at a size
KINDS = {measure.name: measure.title for measure in MEASURES if measure.name != "register"}
WITH_TARGET = ("tag", "critical", "listener")  # one that was set; deregistrations are held to the same
HEAD = ("ms", "apps", "rounds", "consulcast, median", "p95", "floor, median", "p95", "excess", "of that with one app")
NOTE = """\
Excess: the medians' difference. The floor watches the same services in a Consul of its own, so that it reads answers as
big; it looks for its own service's bytes in them and decodes nothing else."""
CPU_HEAD = ("of a processor, ms", "apps", "rounds", "daemon, median", "p95", "floor, median", "p95")
CPU_NOTE = """\
What the program under test, without ExaBGP, had of a processor from a change until the next one on its host; the kernel
counts it, so that it says more than the clock does where the machine is busy. The medians leave out what it does every
half a minute without a change."""
Both = tuple[list[float], list[float]]  # consulcast's, the floor's
Samples = dict[tuple[str, int], Both]


def play(run: Run) -> None:
    """Measure at each size, the hosts growing meanwhile."""
    samples: Samples = {}
    spent: Samples = {}
    sizes = [size for size in SIZES if run.wants(*(at(name, size) for name in KINDS))]
    try:
        with Lab() as lab:
            site = Site(lab, 2 * PAIRS)
            pairs, crowd = site.pairs(), Crowd(site)
            for left, size in zip(range(len(sizes), 0, -1), sizes, strict=True):
                run.say(f"{size} apps")
                crowd.grow(size - 1)  # the measured one is one of them
                _at_size(run, pairs, size, 1 / left, samples, spent)
    finally:
        wanted = {key: both for key, both in samples.items() if run.wants(at(*key))}
        _report(run, wanted)
        _report_work(run, {key: both for key, both in spent.items() if key in wanted})


def at(name: str, size: int) -> str:
    """Name a measure at a size: ``tag@1000``."""
    return f"{name}@{size}"


def _at_size(
    run: Run, pairs: Sequence[tuple[Side, Side]], size: int, share: float, samples: Samples, spent: Samples
) -> None:
    measures = [one for one in needed(lambda name: run.wants(at(name, size))) if one.name in KINDS]
    times = {measure.name: samples.setdefault((measure.name, size), ([], [])) for measure in measures}
    for done in run.turns(ROUNDS[size], share):
        pair = pairs[done % PAIRS]
        meter = Meter(pair, size, spent)
        in_turn(pair, measures, times, swapped=done // PAIRS % 2 == 1, pairs=PAIRS, before=meter.before)


class Meter:
    """Notes what each side's program has had of a processor between one change on its host and the next."""

    def __init__(self, pair: tuple[Side, Side], size: int, spent: Samples) -> None:
        self._pair, self._size, self._spent = pair, size, spent
        self._last: dict[int, tuple[str, float]] = {}

    def before(self, which: int, name: str) -> None:
        """A change is about to be made on one side."""
        now = work([self._pair[which].program.pid]).cpu
        if which in self._last:
            former, then = self._last[which]
            self._spent.setdefault((former, self._size), ([], []))[which].append(1000 * (now - then))
        self._last[which] = name, now


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
        arrivals.wait(self._site.tap, new, announced=True, after=after, deadline=60.0)
        self._site.tap.clear()
        self._size = size
        time.sleep(3.0)  # consulcast may ask at once again, and the machine is quiet


def _report(run: Run, samples: Samples) -> None:
    rows: list[list[Cell]] = []
    excess: dict[tuple[str, int], float] = {}
    for name, title in KINDS.items():
        label = title
        for size in SIZES:
            ours, floors = samples.get((name, size), ([], []))
            if not ours or not floors:
                continue
            us, floor = Spread.of(ours), Spread.of(floors)
            excess[name, size] = us.median - floor.median
            one = excess.get((name, 1), 0.0)
            of_one = excess[name, size] / one if one > 0 else None
            figures = (us.median, us.p95, floor.median, floor.p95, excess[name, size], of_one)
            rows.append([label, size, us.count, *figures])
            label = ""
            run.samples |= {f"{title}, {size} apps, consulcast": ours, f"{title}, {size} apps, floor": floors}
        many, one = excess.get((name, SIZES[-1])), excess.get((name, 1), 0.0)
        if many is not None and one > 0:
            beside = "" if name in WITH_TARGET else "none was set; held to the same"
            run.target(f"{title} with {SIZES[-1]:,} apps: excess of that with one", 2.0, many / one, "×", beside)
    if rows:
        run.add(Table("One app's latency while the host has more of them", HEAD, rows, NOTE))


def _report_work(run: Run, spent: Samples) -> None:
    rows: list[list[Cell]] = []
    for name, title in KINDS.items():
        label = title
        for size in SIZES:
            ours, floors = spent.get((name, size), ([], []))
            if ours and floors:
                us, floor = Spread.of(ours), Spread.of(floors)
                rows.append([label, size, us.count, us.median, us.p95, floor.median, floor.p95])
                label = ""
    if rows:
        run.add(Table("Processor time for a change", CPU_HEAD, rows, CPU_NOTE))


PART = Part(
    "scale", "Latency with a thousand apps", 115, play, tuple(at(name, size) for name in KINDS for size in SIZES)
)
