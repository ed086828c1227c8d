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
from bench.world import Place, Site, laboratory, populate
from integration.lab import until

STARTS, IMPORTS = 10, 3
SHOWN = 12  # packages
PREFIX = "203.0.113.200/32"
NOTE = """\
From just before the process is made (`ip netns exec` is in the figure, some 5 ms) to the first UPDATE at a router that
awaits it. Byte code is warm: it was started once before. The second row's app is Consul's, with a check that passes."""
IMPORT_NOTE = """\
What a module itself takes, without those that it imports, as `-X importtime` counts it up to the first UPDATE, the
interpreter's own included; median of {count} starts. Counting makes a start longer by some 10 ms of it."""


def play(run: Run) -> None:
    """Measure."""
    with laboratory() as lab:
        site = Site(lab, 1)
        (place,) = site.places
        by_file = {"apps": [{"name": "file", "vip": PREFIX}]}
        by_consul = [Member("dns", place.prefix, "consul")]
        _start(site, place, PREFIX, by_file)  # byte code is written
        rows: list[list[Cell]] = []
        found: dict[str, Spread] = {}
        for what, prefix, config in (
            ("an app of the file, Consul not used", PREFIX, by_file),
            ("an app of Consul's", place.prefix, {}),
        ):
            if not config:
                populate({place: by_consul})
            took = [_start(site, place, prefix, config) for _ in run.turns(STARTS, 0.4)]
            spread = found[what] = Spread.of(took)
            run.samples[f"start → first announce, {what}"] = took
            rows.append([what, spread.count, spread.median, spread.p95, spread.most])
        run.add(Table("Start → first announce, seconds", ("first", "starts", "median", "p95", "max"), rows, NOTE))
        profiles = [_imports(site, place) for _ in run.turns(IMPORTS)]
        _report_imports(run, profiles)
        for what, spread in found.items():
            run.target(f"start → first announce ({what}), median", 1.0, spread.median, "s")
        total = statistics.median(sum(profile.values()) for profile in profiles)
        run.target("… of which imports", 0.3, total, "s")


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


def _imports(site: Site, place: Place) -> dict[str, float]:
    """Start it once more, with every import counted; returns the seconds of each top-level package."""
    until(lambda: _awaited(site, place), 20.0, "the router awaits the daemon")
    site.tap.clear()
    after = time.time_ns()
    daemon = place.daemon({}, {"PYTHONPROFILEIMPORTTIME": "1"})
    arrivals.wait(site.tap, {place.prefix}, announced=True, after=after)
    said = daemon.log()
    daemon.stop()
    return by_package(said)


def by_package(said: str) -> dict[str, float]:
    """Return the seconds that each top-level package's own modules took, from what ``-X importtime`` says. Pure."""
    found: dict[str, float] = {}
    for micros, module in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", said, re.MULTILINE):
        package = module.partition(".")[0]
        found[package] = found.get(package, 0.0) + int(micros) / 1e6
    return found


def _report_imports(run: Run, profiles: list[dict[str, float]]) -> None:
    packages = set().union(*profiles)
    median = {one: statistics.median(profile.get(one, 0.0) for profile in profiles) * 1000 for one in packages}
    largest = sorted(packages, key=lambda one: -median[one])
    rows: list[list[Cell]] = [[one, median[one]] for one in largest[:SHOWN]]
    rows.append([f"{len(packages) - SHOWN} more", sum(median[one] for one in largest[SHOWN:])])
    rows.append(["all", sum(median.values())])
    run.add(Table("Imports, milliseconds", ("package", "ms"), rows, IMPORT_NOTE.format(count=len(profiles))))


PART = Part("start", "Start", 45, play)
