"""The part ``start``: from the start of the process to the first UPDATE, and what of it the imports take."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Mapping

from bench import arrivals
from bench.parts import Part, Run
from bench.population import Member
from bench.report import Cell, Table
from bench.spread import Spread
from bench.world import Place, Site, populate
from integration.lab import Lab, until

STARTS, IMPORTS = 10, 3
SHOWN = 12  # packages
PREFIX = "203.0.113.200/32"
NOTE = """\
From just before the process is made (`ip netns exec` is in the figure, some 5 ms) to the first UPDATE at a router that
awaits it. Byte code is warm: it was started once before. The second row's app is Consul's, with a check that passes."""
IMPORT_NOTE = """\
What a module itself takes, without those that it imports, as `-X importtime` counts it up to the first UPDATE, the
interpreter's own included; median of {count} starts. Counting makes a start longer by some 10 ms of it. *Before
ExaBGP*: until its process is made, so that nothing else goes on meanwhile: the critical path. The others are imported
while ExaBGP's own imports run on another processor, if there is one. The target is held against all of them."""
IMPORT_HEAD = ("package", "all, ms", "before ExaBGP, ms", "while it starts, ms")
STARTED = re.compile(r"^.*ExaBGP started, pid ", re.MULTILINE)  # the daemon's own word in its log


def play(run: Run) -> None:
    """Measure."""
    with Lab() as lab:
        site = Site(lab, 1)
        (place,) = site.places
        by_file = {"apps": [{"name": "file", "vip": PREFIX}]}
        by_consul = [Member("dns", place.prefix, "consul")]
        _start(site, place, PREFIX, by_file)  # byte code is written
        rows: list[list[Cell]] = []
        try:
            for name, what, prefix, config in (
                ("start-file", "an app of the file, Consul not used", PREFIX, by_file),
                ("start-consul", "an app of Consul's", place.prefix, {}),
            ):
                if not config:
                    populate({place: by_consul})
                if not run.wants(name):
                    continue
                took = [_start(site, place, prefix, config) for _ in run.turns(STARTS, 0.4)]
                spread = Spread.of(took)
                run.samples[f"start → first announce, {what}"] = took
                rows.append([what, spread.count, spread.median, spread.p95, spread.most])
                run.target(f"start → first announce ({what}), median", 1.0, spread.median, "s")
        finally:
            run.add(Table("Start → first announce, seconds", ("first", "starts", "median", "p95", "max"), rows, NOTE))
        if run.wants("imports"):
            _report_imports(run, [_imports(site, place) for _ in run.turns(IMPORTS)])


def _start(
    site: Site, place: Place, prefix: str, more: Mapping[str, object], env: Mapping[str, str] | None = None
) -> float:
    """Start the daemon, wait for the UPDATE, stop it; returns seconds."""
    until(lambda: _awaited(site, place), 20.0, "the router awaits the daemon")
    site.tap.clear()
    after = time.time_ns()
    daemon = place.daemon(more)
    took = arrivals.wait(site.tap, {prefix}, announced=True, after=after)
    daemon.stop()
    return took


def _awaited(site: Site, place: Place) -> bool:
    """Tell whether the router would take the session at once: after one has ended it waits a while."""
    said = "\n".join(site.bird.command(f"show protocols all {place.session}"))
    return "BGP state:          Active" in said or "BGP state:          Passive" in said


def _imports(site: Site, place: Place) -> tuple[dict[str, float], dict[str, float]]:
    """Start it once more, with every import counted; returns the seconds of each package, before ExaBGP and after."""
    until(lambda: _awaited(site, place), 20.0, "the router awaits the daemon")
    site.tap.clear()
    after = time.time_ns()
    daemon = place.daemon({}, {"PYTHONPROFILEIMPORTTIME": "1"})
    arrivals.wait(site.tap, {place.prefix}, announced=True, after=after)
    said = daemon.log()
    daemon.stop()
    started = STARTED.search(said)
    if started is None:
        raise RuntimeError("the daemon has not said when it started ExaBGP")
    return by_package(said[: started.start()]), by_package(said[started.start() :])


def by_package(said: str) -> dict[str, float]:
    """Return the seconds that each top-level package's own modules took, from what ``-X importtime`` says. Pure."""
    found: dict[str, float] = {}
    for micros, module in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", said, re.MULTILINE):
        package = module.partition(".")[0]
        found[package] = found.get(package, 0.0) + int(micros) / 1e6
    return found


def _report_imports(run: Run, profiles: list[tuple[dict[str, float], dict[str, float]]]) -> None:
    packages = {package for halves in profiles for half in halves for package in half}

    def median(package: str) -> tuple[float, float, float]:
        before, later = ([1000 * halves[which].get(package, 0.0) for halves in profiles] for which in (0, 1))
        every = [one + other for one, other in zip(before, later, strict=True)]
        return statistics.median(every), statistics.median(before), statistics.median(later)

    largest = sorted(packages, key=lambda one: -median(one)[0])
    rows: list[list[Cell]] = [[one, *median(one)] for one in largest[:SHOWN]]
    rest = [median(one) for one in largest[SHOWN:]]
    rows.append([f"{len(rest)} more", *map(sum, zip(*rest, strict=True))])
    before, later = ([sum(halves[which].values()) for halves in profiles] for which in (0, 1))
    every = statistics.median(one + other for one, other in zip(before, later, strict=True))
    rows.append(["all", 1000 * every, *(1000 * statistics.median(half) for half in (before, later))])
    run.add(Table("Imports", IMPORT_HEAD, rows, IMPORT_NOTE.format(count=len(profiles))))
    run.target("… of which imports, all of them", 0.3, every, "s", "held against all")
    run.target(
        "… those before ExaBGP is started, on the critical path", 0.3, statistics.median(before), "s", "for comparison"
    )


PART = Part("start", "Start", 35, play, ("start-file", "start-consul", "imports"))
