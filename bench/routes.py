"""The part ``routes``: ten thousand routes over one, four and sixteen peers, against ExaBGP alone."""

from __future__ import annotations

import time
from ipaddress import IPv4Address

from bench.feeder import Feeder
from bench.parts import Part, Run
from bench.processes import memory, work
from bench.report import Cell, Table
from bench.world import LISTENER_PORT, ROUTER_AS, listening
from integration.lab import Bird, Daemon, Lab, NotInTime, Peer, Process, UpdateTap, until
from integration.lab.forks import descendants

FIRSTS = "198.51.100.1", "198.51.100.101"
ROUTES, APPS = 10_000, 1000
PEERS = (1, 4, 16)
EVERY = 0.05  # seconds between two looks at BIRD's counts
ASIDE = 5.0  # seconds of each count of peers for what comes after the routes
ALONE_UP_TO = 4  # peers; with sixteen ExaBGP alone needs half a minute, which there may be at the end
ALONE = 50.0  # seconds for it
SINGLE = "203.0.113.10/32"  # of an app beside them, whose listener is killed
HEAD = (
    *("peers", "told in time", "start → all at every router, s", "first → last, s", "ExaBGP alone, s", "ratio"),
    *("one withdrawn at every router, ms", "daemon, RSS MiB", "ExaBGP, RSS MiB", "daemon, CPU s", "ExaBGP, CPU s"),
)
ALONE_AT, SINGLE_AT = HEAD.index("ExaBGP alone, s"), HEAD.index("one withdrawn at every router, ms")
NOTE = f"""\
{ROUTES:,} VIPs of {APPS:,} apps of the file, IPv4 and IPv6, each told to every peer; BIRD's own counts say when all are
there (looked at every 50 ms). *One withdrawn*: the listener of one more app is killed. CPU is what both have taken till
then. Each row has its share of the time; *told in time* says how far it came: a row that is not done has no times, and
the part has failed."""


def play(run: Run) -> None:
    """Measure. A row that does not come to its end is marked, and fails the part."""
    rows: list[list[Cell]] = []
    counts = [count for count in PEERS if run.wants(f"routes@{count}")]
    try:
        for left, count in zip(range(len(counts), 0, -1), counts, strict=True):
            run.say(f"{count} peers")
            with Lab() as lab:
                row = _row(lab, count, (run.left() - ASIDE) / left)
            rows.append(row)
            told, took = row[1], row[2]
            if took is None:
                run.short(f"{count} peers: {told:,} of {ROUTES:,} routes in time")
            elif row[SINGLE_AT] is None:
                run.short(f"{count} peers: one app's withdrawal did not come to all of them")
            elif count > ALONE_UP_TO and run.left() > ALONE:
                run.say(f"{count} peers, ExaBGP alone")
                with Lab() as lab:
                    row[ALONE_AT], row[ALONE_AT + 1] = _against(row[ALONE_AT - 1], _alone(lab, count))
    finally:
        run.add(Table(f"{ROUTES:,} routes", HEAD, rows, NOTE))


class Town:
    """A host and its router, at which it has several peers; the prefixes that it is to announce."""

    def __init__(self, lab: Lab, number: int, peers: int) -> None:
        self.host, tor = lab.host(f"many{number}"), lab.host(f"tor{number}")
        self.asn, self.address6 = 65001, "2001:db8::1"
        # Both ends have an address for each session: BIRD has one session with an address, at most.
        self.addresses, self.routers = ([str(IPv4Address(first) + one) for one in range(peers)] for first in FIRSTS)
        ends = f"{self.addresses[0]}/24", f"{self.routers[0]}/24", f"{self.address6}/64", "2001:db8::2/64"
        lab.link(self.host, tor, *ends)
        for one in range(1, peers):
            self.host.run("ip", "addr", "add", f"{self.addresses[one]}/24", "dev", tor.name)
            tor.run("ip", "addr", "add", f"{self.routers[one]}/24", "dev", self.host.name)
        pairs = list(zip(self.addresses, self.routers, strict=True))
        sessions = [Peer(ours, self.asn, f"s{one}", theirs) for one, (ours, theirs) in enumerate(pairs)]
        self.router, self.bird = tor, Bird(tor, ROUTER_AS, sessions)

    def wait(self, routes: int, seconds: float) -> float | None:
        """Wait until every session has brought so many; returns the time (``time.time``), None if it takes longer."""
        end = time.monotonic() + seconds
        while any(self.told(session) < routes for session in self.bird.peers):
            if time.monotonic() > end:
                return None
            time.sleep(EVERY)
        return time.time()

    def told(self, session: str) -> int:
        """Return how many routes a session has brought."""
        return self.bird.counters(session).updates


def prefixes() -> list[str]:
    """Return all of them, IPv4 and IPv6 by turns."""
    return [
        f"2001:db8:100::{number + 1:x}/128" if number % 2 else f"198.18.{number // 500}.{number % 500 // 2 + 1}/32"
        for number in range(ROUTES)
    ]


def _row(lab: Lab, count: int, seconds: float) -> list[Cell]:
    """Measure with so many peers, within about ``seconds``."""
    end = time.monotonic() + seconds
    alone = _alone(lab, count) if count <= ALONE_UP_TO else None
    ours = Town(lab, 0, count)
    began = time.time()
    daemon = _daemon(lab, ours)
    first = ours.wait(1, end - time.monotonic())
    last = ours.wait(ROUTES, end - time.monotonic() - ASIDE) if first is not None else None
    told = min(map(ours.told, ours.bird.peers))
    if not daemon.alive:
        raise RuntimeError(f"the daemon has ended: {daemon.text()[-1000:]}")
    single = _single(ours) if last is not None else None
    both = daemon.pid, descendants(daemon.pid)
    held, exabgp = memory([both[0]]), memory(both[1])
    done, theirs = work([both[0]]), work(both[1])
    took = last - began if last is not None else None
    batch = last - first if last is not None and first is not None else None
    figures = (took, batch, *_against(batch, alone), single, held.rss, exabgp.rss, done.cpu, theirs.cpu)
    return [count, told, *figures]


def _against(ours: Cell, alone: float | None) -> tuple[float | None, float | None]:
    """Return what ExaBGP alone takes, and how many times that is ours."""
    return alone, ours / alone if isinstance(ours, float) and alone else None


def _daemon(lab: Lab, town: Town) -> Process:
    many = prefixes()
    share = ROUTES // APPS
    apps = [{"name": f"app-{number:04}", "vips": many[number * share : (number + 1) * share]} for number in range(APPS)]
    config = {
        "agent": {"run_dir": str(lab.dir / "run"), "state_dir": str(lab.dir / "state")},
        "bgp": {
            "local_as": town.asn,
            "peer_as": ROUTER_AS,
            "peers": [
                {"address": theirs, "local_address": ours}
                for ours, theirs in zip(town.addresses, town.routers, strict=True)
            ],
        },
        "policy": {"config": {"max_vips": 2 * ROUTES}},
        "apps": apps,
    }
    return Daemon(town.host, config, env={"PYTHONDONTWRITEBYTECODE": ""}).process


def _single(town: Town) -> float | None:
    """Have one more app, and kill its listener; returns the milliseconds until the last router has its withdrawal."""
    listener = listening(town.host, [LISTENER_PORT])
    query = f"name=single&vip={SINGLE}&monitor=port:tcp:{LISTENER_PORT}"
    town.host.run("curl", "-sf", f"http://127.0.0.1:8080/register?{query}")
    if town.wait(ROUTES + 1, ASIDE) is None:
        return None
    time.sleep(1.0)
    with UpdateTap(town.router) as tap:
        after = time.time_ns()
        listener.kill()
        try:
            until(lambda: tap.count(SINGLE) >= len(town.routers), 10.0, "the withdrawal is at every router")
        except NotInTime:
            return None
        return (max(update.at for update in tap.updates() if SINGLE in update.withdrawn) - after) / 1e6


def _alone(lab: Lab, count: int) -> float | None:
    town = Town(lab, 1, count)
    feeder = Feeder(
        town.host, town.addresses, town.routers, (town.asn, ROUTER_AS), town.address6, lab.dir / "run-alone"
    )
    for session in town.bird.peers:
        town.bird.wait_established(session)
    began = time.time()
    feeder.announce(prefixes())
    there = town.wait(ROUTES, 60.0)
    feeder.process.kill()
    return there - began if there is not None else None


PART = Part("routes", "Ten thousand routes", 88, play, tuple(f"routes@{count}" for count in PEERS))
