"""The part ``rest``: what it costs while nothing happens, with ever more apps. All hosts at once, a minute long."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import partial

from bench import arrivals
from bench.parts import Part, Run
from bench.population import Member, consul_monitored, mixed, port_monitored, ports, prefixes
from bench.processes import Work, frames, memory, work
from bench.report import Cell, Table
from bench.scale import SIZES
from bench.world import Agents, Place, Site, listening, populate
from integration.lab import Lab
from integration.lab.forks import descendants, drain, forks

SETTLE, SECONDS, LEAST = 8.0, 60.0, 30.0  # half a minute holds one of each thing that is done by the half minute
LEAVING = 6.0  # seconds for asking and counting at the end
APPS = 1000
# What a host has, by the words of the table; each row's measure is named ``rest@`` and the key.
MANY, PORTS_TOO = f"{APPS:,} Consul-monitored", f"{APPS:,} Consul-monitored and {APPS:,} port-monitored"
KINDS: dict[str, tuple[str, Callable[[int], list[Member]]]] = {
    **{str(size): (f"{size:,} mixed", partial(mixed, size)) for size in SIZES},
    "consul": (MANY, partial(consul_monitored, APPS)),
    "ports": (PORTS_TOO, lambda place: consul_monitored(APPS, place) + port_monitored(APPS, place)),
}
HEAD = (
    *("apps", "daemon, CPU s/min", "ExaBGP, CPU s/min", "together, % of a core"),
    *("turns/s", "wake-ups/s, daemon", "wake-ups/s, ExaBGP", "forks"),
    *("Consul requests/min", "KiB/min", "Consul, CPU s/min"),
    *("daemon, RSS MiB", "PSS", "ExaBGP, RSS MiB", "PSS", "together, alone on a host, MiB"),
)
NOTE = """\
The hosts side by side; each is what *mixed* means in *Many at once*, or as it says. CPU is counted by the kernel; per
cent are of one core. *Turns* are those of the daemon's event loop; *wake-ups* are the times that a thread had gone to
sleep and was woken. ExaBGP's figures include its relay. Bytes are those of all packets from and to Consul's HTTP port,
headers included. PSS is less here than where one daemon is alone, because all of them share their libraries; the last
column counts each page of daemon, ExaBGP and relay once, whoever else has it."""


@dataclass(frozen=True)
class Moment:
    """Everything that is counted on one host."""

    at: float
    daemon: Work
    exabgp: Work
    consul: Work
    spoken: int  # bytes from and to Consul's HTTP port
    logged: int  # bytes of Consul's log


@dataclass(frozen=True)
class Figures:
    """What a host has taken. In the order of the table's columns; seconds of a processor per minute."""

    daemon: float
    exabgp: float
    percent: float  # of a core, both
    turns: float  # per second
    waits: float
    exabgp_waits: float
    forks: int
    requests: float  # per minute
    kib: float
    consul: float
    rss: float  # MiB
    pss: float
    exabgp_rss: float
    exabgp_pss: float
    alone: float


class Resting:
    """A host with apps, its daemon and what belongs to it."""

    def __init__(self, place: Place, members: list[Member]) -> None:
        self.place, self.members = place, members
        place.host.run("nft", COUNT.replace("PORT", str(place.consul.port)))
        if wanted := ports(members):
            listening(place.host, wanted)
        self.daemon = place.daemon().process.pid
        self.exabgp: list[int] = []

    def moment(self) -> Moment:
        """Count, asking the kernel alone."""
        consul = self.place.consul.process
        done = work([self.daemon]), work(self.exabgp), work([consul.pid])
        return Moment(time.monotonic(), *done, _spoken(self.place), consul.log.stat().st_size)

    def turns(self) -> tuple[float, int]:
        """Ask the daemon how often its loop has turned; with the time. It costs it work."""
        figures = self.place.host.run("curl", "-sf", "http://127.0.0.1:8080/metrics")
        (count,) = re.findall(r"^consulcast_hub_lateness_seconds_count (\S+)", figures, re.MULTILINE)
        return time.monotonic(), int(float(count))

    def figures(self, begin: Moment, end: Moment, turns: float, forked: int) -> Figures:
        """Return what it has taken between two moments."""
        seconds = end.at - begin.at
        daemon, exabgp, consul = end.daemon - begin.daemon, end.exabgp - begin.exabgp, end.consul - begin.consul
        ours, theirs = memory([self.daemon]), memory(self.exabgp)
        return Figures(
            daemon=60 * daemon.cpu / seconds,
            exabgp=60 * exabgp.cpu / seconds,
            percent=100 * (daemon.cpu + exabgp.cpu) / seconds,
            turns=turns,
            waits=daemon.waits / seconds,
            exabgp_waits=exabgp.waits / seconds,
            forks=forked,
            requests=self._requests(begin, end) * 60 / seconds,
            kib=(end.spoken - begin.spoken) / 1024 * 60 / seconds,
            consul=60 * consul.cpu / seconds,
            rss=ours.rss,
            pss=ours.pss,
            exabgp_rss=theirs.rss,
            exabgp_pss=theirs.pss,
            alone=frames([self.daemon, *self.exabgp]),
        )

    def _requests(self, begin: Moment, end: Moment) -> int:
        """Count the requests that Consul has answered, by its log."""
        with self.place.consul.process.log.open("rb") as log:
            log.seek(begin.logged)
            text = log.read(end.logged - begin.logged).decode(errors="replace")
        return len(re.findall(r"agent\.http: Request finished: ", text))


def play(run: Run) -> None:
    """Measure."""
    kinds = {key: kind for key, kind in KINDS.items() if run.wants(f"rest@{key}")}
    with Lab() as lab:
        # The log of that level has every request. In development mode Consul's answers were half as long again.
        site = Site(lab, len(kinds), Agents({"log_level": "DEBUG"}, persistent=True))
        run.say("the apps come")
        resting = _populated(site, [apps for _, apps in kinds.values()])
        time.sleep(SETTLE)
        seconds = SECONDS if run.left() > SECONDS + LEAVING else LEAST
        run.say(f"{seconds:.0f} s of rest")
        with forks() as events:
            turned = [one.turns() for one in resting]
            time.sleep(1)
            begins = [one.moment() for one in resting]
            parents = [parent for parent, _ in drain(events)]  # made by others, and by our asking
            time.sleep(seconds)
            parents = [parent for parent, _ in drain(events)]
            ends = [one.moment() for one in resting]
        turns = [
            (count - counted) / (now - then)
            for (then, counted), (now, count) in zip(turned, [one.turns() for one in resting], strict=True)
        ]
        rows: list[list[Cell]] = []
        try:
            for number, (key, one) in enumerate(zip(kinds, resting, strict=True)):
                forked = sum(parent in {one.daemon, *one.exabgp} for parent in parents)
                figures = one.figures(begins[number], ends[number], turns[number], forked)
                rows.append([kinds[key][0], *astuple(figures)])
                _targets(run, key, figures)
        finally:
            run.add(Table(f"At rest, for {seconds:.0f} s", HEAD, rows, NOTE))


def _populated(site: Site, kinds: Sequence[Callable[[int], list[Member]]]) -> list[Resting]:
    """Start the daemons, and have the apps come and all be announced."""
    after = time.time_ns()
    members = {place: kind(place.number) for place, kind in zip(site.places, kinds, strict=True)}
    populate(members)
    resting = [Resting(place, apps) for place, apps in members.items()]
    wanted = {prefix for one in resting for prefix in prefixes(one.members)}
    arrivals.wait(site.tap, wanted, announced=True, after=after, deadline=60.0)
    site.wait_established()
    for one in resting:
        one.exabgp = descendants(one.daemon)
    return resting


def _targets(run: Run, key: str, figures: Figures) -> None:
    if key not in ("consul", "ports"):
        return
    limit = 0.7 if key == "consul" else 1.5
    run.target(f"at rest, {KINDS[key][0]} apps: CPU of daemon and ExaBGP", limit, figures.percent, "% of a core")
    if key == "consul":
        run.target(f"at rest, {MANY} apps: requests to Consul per minute", 6.0, figures.requests, "")
        run.target(f"at rest, {MANY} apps: new processes", 0.0, figures.forks, "")


COUNT = """\
add table inet bench
add chain inet bench out { type filter hook output priority 0; }
add rule inet bench out tcp sport PORT counter
add rule inet bench out tcp dport PORT counter"""


def _spoken(place: Place) -> int:
    """Return the bytes of all packets from and to Consul's HTTP port."""
    counted = place.host.run("nft", "list", "chain", "inet", "bench", "out")
    return sum(int(number) for number in re.findall(r"bytes (\d+)", counted))


PART = Part("rest", "At rest", 102, play, tuple(f"rest@{key}" for key in KINDS))
