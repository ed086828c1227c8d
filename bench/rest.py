"""The part ``rest``: what it costs while nothing happens, with ever more apps. All hosts at once, a minute long."""

from __future__ import annotations

import re
import time
from dataclasses import astuple, dataclass

from bench import arrivals
from bench.parts import Part, Run
from bench.population import Member, consul_monitored, port_monitored, ports, prefixes
from bench.processes import Work, memory, work
from bench.report import Cell, Table
from bench.world import Place, Site, laboratory, listening, populate
from integration.lab.forks import descendants, drain, forks

SETTLE, SECONDS, LEAST = 10.0, 60.0, 20.0
LEAVING = 6.0  # seconds for asking and counting at the end
APPS = 1000
# What a host has, by the words of the table.
MANY, PORTS_TOO = f"{APPS:,} Consul-monitored", f"{APPS:,} Consul-monitored and {APPS:,} port-monitored"
KINDS = {"0": (0, 0), "100 Consul-monitored": (100, 0), MANY: (APPS, 0), PORTS_TOO: (APPS, APPS)}
HEAD = (
    *("apps", "daemon, CPU %", "ExaBGP, CPU %", "turns/s", "waits/s, daemon", "waits/s, ExaBGP", "forks"),
    *("Consul requests/min", "KiB/min", "Consul, CPU %", "daemon, RSS MiB", "ExaBGP, RSS MiB", "PSS MiB"),
)
NOTE = """\
The hosts side by side. CPU is of one core, counted by the kernel. *Turns* are those of the daemon's event loop; *waits*
are the times that a thread went to sleep and was woken. ExaBGP's figures include its relay. Bytes are those of all
packets from and to Consul's HTTP port, headers included. PSS is that of the daemon, ExaBGP and the relay; less than
where one daemon is alone, because the four share their libraries (see Memory)."""


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
    """What a host has taken. In the order of the table's columns; percentages of one core."""

    daemon: float
    exabgp: float
    turns: float  # per second
    waits: float
    exabgp_waits: float
    forks: int
    requests: float  # per minute
    kib: float
    consul: float
    rss: float  # MiB
    exabgp_rss: float
    pss: float


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
            daemon=100 * daemon.cpu / seconds,
            exabgp=100 * exabgp.cpu / seconds,
            turns=turns,
            waits=daemon.waits / seconds,
            exabgp_waits=exabgp.waits / seconds,
            forks=forked,
            requests=self._requests(begin, end) * 60 / seconds,
            kib=(end.spoken - begin.spoken) / 1024 * 60 / seconds,
            consul=100 * consul.cpu / seconds,
            rss=ours.rss,
            exabgp_rss=theirs.rss,
            pss=ours.pss + theirs.pss,
        )

    def _requests(self, begin: Moment, end: Moment) -> int:
        """Count the requests that Consul has answered, by its log."""
        with self.place.consul.process.log.open("rb") as log:
            log.seek(begin.logged)
            text = log.read(end.logged - begin.logged).decode(errors="replace")
        return len(re.findall(r"agent\.http: Request finished: ", text))


def play(run: Run) -> None:
    """Measure."""
    with laboratory() as lab:
        site = Site(lab, len(KINDS), consul={"log_level": "DEBUG"})  # which logs every request
        run.say("the apps come")
        resting = _populated(site)
        time.sleep(SETTLE)
        seconds = max(LEAST, min(SECONDS, run.left() - LEAVING))
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
        for number, (kind, one) in enumerate(zip(KINDS, resting, strict=True)):
            forked = sum(parent in {one.daemon, *one.exabgp} for parent in parents)
            figures = one.figures(begins[number], ends[number], turns[number], forked)
            rows.append([kind, *astuple(figures)])
            _targets(run, kind, figures)
        run.add(Table(f"At rest, for {seconds:.0f} s", HEAD, rows, NOTE))


def _populated(site: Site) -> list[Resting]:
    """Start the daemons, and have the apps come and all be announced."""
    after = time.time_ns()
    members = {
        place: consul_monitored(consul, place.number) + port_monitored(port, place.number)
        for place, (consul, port) in zip(site.places, KINDS.values(), strict=True)
    }
    populate(members)
    resting = [Resting(place, apps) for place, apps in members.items()]
    wanted = {prefix for one in resting for prefix in prefixes(one.members)}
    arrivals.wait(site.tap, wanted, announced=True, after=after, deadline=60.0)
    site.wait_established()
    for one in resting:
        one.exabgp = descendants(one.daemon)
    return resting


def _targets(run: Run, kind: str, figures: Figures) -> None:
    both = figures.daemon + figures.exabgp
    if kind == MANY:
        run.target(f"at rest, {kind} apps: CPU of daemon and ExaBGP", 0.7, both, "% of a core")
        run.target(f"at rest, {kind} apps: requests to Consul per minute", 6.0, figures.requests, "")
        run.target(f"at rest, {kind} apps: new processes", 0.0, figures.forks, "")
    elif kind == PORTS_TOO:
        run.target(f"at rest, {kind} apps: CPU of daemon and ExaBGP", 1.5, both, "% of a core")


COUNT = """\
add table inet bench
add chain inet bench out { type filter hook output priority 0; }
add rule inet bench out tcp sport PORT counter
add rule inet bench out tcp dport PORT counter"""


def _spoken(place: Place) -> int:
    """Return the bytes of all packets from and to Consul's HTTP port."""
    counted = place.host.run("nft", "list", "chain", "inet", "bench", "out")
    return sum(int(number) for number in re.findall(r"bytes (\d+)", counted))


PART = Part("rest", "At rest", 115, play)
