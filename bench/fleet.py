"""The part ``fleet``: what many hosts cost a Consul cluster of three servers.

The watches are real (bench/watchers.py): two of each of some thousand nodes, in a few processes, through one client
agent, which holds every query on the servers as the agents of so many hosts would. Measured at rest, while their own
checks and those of other nodes change, and when the leader is killed. docs/scale.md says what follows for 10,000 hosts.
"""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.herd import Watchers, herd
from bench.parts import Part, Run
from bench.processes import memory, work
from bench.report import Cell, Table
from integration.lab import ConsulAgent, ConsulCluster, Host, Lab, Process, until
from integration.lab.cluster import ADDRESSES

HOSTS = 1500
PROCESSES = 2
WAIT = 15.0  # seconds that a query is parked here
RAMP = 1.1 * WAIT  # seconds in which the watches begin, so that their queries do not end together
REST = 2.2 * WAIT  # so that each of them ends twice: a tenth of jitter, and what the agent adds
WITHOUT, SETTLE, BUSY, HERD, LEAST_HERD = 4.0, 3.0, 8.0, 15.0, 10.0  # seconds
OWN = 20  # changes of the watched nodes' own checks per second
RATES = (20, 100)  # changes of other nodes' checks per second
ROLES = ("leader", "follower", "follower that passes on", "client agent")
HEAD = (
    *("", "queries held", "asked/s", "of the busiest second", "errors", "news/s"),
    *("CPU % leader", "follower", "follower that passes on", "agent"),
)
NOTE = f"""\
CPU is of one core. All queries come through one agent, which speaks to a follower; that one passes on to the leader
what it may not answer itself. A query waits {WAIT:g} s here (30 by default), so that in the {REST:.0f} s of rest each
of them ends twice; they were begun evenly over {RAMP:.0f} s. With changes: {SETTLE:g} s after these had begun, for
{BUSY:g} s."""
BYTES_HEAD = (
    *("", "changes/s", "KiB/s watches ↔ agent", "agent ↔ servers", "between the servers"),
    *("bytes a change, watches ↔ agent", "agent ↔ servers", "between the servers"),
)
BYTES_NOTE = """\
All packets, headers included, counted by the kernel. *A change*: what there is more than at rest, for each. One of a
watched node's own checks brings news to one of its two watches; the nodes have one service with one check each. What is
between the servers is the replication of the write, and what the follower passes on."""
MEMORY_HEAD = ("server", "queries held", "RSS MiB", "goroutines", "KiB a query", "goroutines a query")
HTTP = "ip saddr 127.0.0.1 ip daddr 127.0.0.1"
CHAIN = "inet bench out"
COUNT = "\n".join(
    [
        "add table inet bench",
        f"add chain {CHAIN} {{ type filter hook output priority 0; }}",
        *(f'add rule {CHAIN} {HTTP} tcp {end} 8500 counter comment "http"' for end in ("sport", "dport")),
        *(
            f'add rule {CHAIN} ip {end} {address} ip {other} 127.0.0.1 tcp {port} 8300 counter comment "{address}"'
            for address in ADDRESSES
            for end, other, port in (("daddr", "saddr", "dport"), ("saddr", "daddr", "sport"))
        ),
        *(
            f'add rule {CHAIN} ip saddr != 127.0.0.1 ip daddr != 127.0.0.1 tcp {port} 8300 counter comment "raft"'
            for port in ("sport", "dport")
        ),
    ]
)


@dataclass(frozen=True)
class Phase:
    """What there was per second in a phase."""

    asked: float
    busiest: float
    errors: int  # in all
    news: float
    answers: float
    cpu: tuple[float, ...]  # of each agent, per cent
    kib: tuple[float, float, float]  # watches and agent, agent and servers, servers


def play(run: Run) -> None:
    """Measure."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    hosts = min(HOSTS * run.rounds // 100, (most - 1000) // 4)
    with Lab() as lab:
        host = lab.host("consul")
        host.run("nft", COUNT)
        limits = {"http_max_conns_per_client": most - 1000}
        cluster = ConsulCluster(host, config={"limits": limits, "log_level": "WARN"})
        fleet = Fleet(run, host, cluster, hosts // PROCESSES * PROCESSES)
        try:
            fleet.play()
        finally:
            fleet.report()


class Fleet:
    """The cluster with the watches, and what was found so far."""

    def __init__(self, run: Run, host: Host, cluster: ConsulCluster, hosts: int) -> None:
        self._run, self._host, self._cluster, self._hosts, self._held = run, host, cluster, hosts, 2 * hosts
        passing = self._by_follower()
        leader = cluster.leader
        follower = next(one for one in cluster.servers if one not in (leader, passing))
        self._agents = [leader, follower, passing, cluster.client]
        self._watchers = Watchers()
        self._phases: dict[str, tuple[float, Phase]] = {}  # by name, with the changes per second
        self._memory: list[list[Cell]] = []

    def play(self) -> None:
        """Play all phases."""
        run = self._run
        run.say(f"{self._hosts} nodes")
        self._flap(self._hosts, 0, "host").kill()
        time.sleep(1.0)
        self._phase("without a watch", float, WITHOUT)
        before = [self._holds(agent) for agent in self._agents]
        run.say(f"{self._held} watches begin")
        self._begin()
        run.say("at rest")
        self._phase("at rest", float, REST if run.wants("fleet-rest") else BUSY)
        self._weigh(before, [self._holds(agent) for agent in self._agents])
        self._busy("own", f"{OWN} changes/s of their own", self._hosts, OWN, "host")
        for rate in RATES:
            self._busy(f"fleet@{rate}", f"{rate} changes/s of other nodes", 500, rate, "neighbour")
        if run.wants("leader"):
            run.say("the leader is killed")
            herd(run, self._watchers, self._cluster, self._held, min(HERD, max(run.left() - 2, LEAST_HERD)))

    def report(self) -> None:
        """Report what there is."""
        rows: list[list[Cell]] = [
            [what, held, one.asked, one.busiest, one.errors, one.news, *one.cpu]
            for what, (_, one) in self._phases.items()
            for held in (0 if what == "without a watch" else self._held,)
        ]
        tables = [Table(f"{self._hosts:,} hosts on three servers", HEAD, rows, NOTE)]
        rest = self._phases.get("at rest")
        sizes: list[list[Cell]] = []
        for what, (changes, one) in self._phases.items():
            more: list[Cell] = [None] * 3 if not changes or rest is None else [*_more(one, rest[1], changes)]
            sizes.append([what, changes or None, *one.kib, *more])
        tables.append(Table("Bytes", BYTES_HEAD, sizes, BYTES_NOTE))
        if self._memory:
            tables.append(Table("What a held query takes", MEMORY_HEAD, self._memory))
        self._run.result.tables[:0] = tables
        self._facts()

    def _facts(self) -> None:
        """Keep the figures that docs/scale.md is computed from."""
        if "at rest" not in self._phases or not self._memory:
            return
        without, rest = self._phases["without a watch"][1], self._phases["at rest"][1]
        facts = {"held": float(self._held), "wait": WAIT, "asked": rest.asked, "answers": rest.answers}
        for role, then, now in zip(KEYS, without.cpu, rest.cpu, strict=True):
            facts[f"cpu_{role}"] = now - then
        facts |= {"http_kib": rest.kib[0], "rpc_kib": rest.kib[1]}
        for what, (changes, one) in self._phases.items():
            if changes and what.endswith("of their own"):
                facts |= dict(zip(("own_http", "own_rpc", "own_raft"), _more(one, rest, changes), strict=True))
                facts["own_news"] = (one.news - rest.news) / changes
        self._run.result.facts |= facts

    def _by_follower(self) -> ConsulAgent:
        """Have the client agent speak to a follower, as most agents do; returns that server."""
        for attempt in range(8):
            before = self._counted()
            for _ in range(10):
                self._cluster.client.call("GET", "/catalog/nodes")
            after = self._counted()
            server = max(self._cluster.servers, key=lambda one: after[one.ip] - before[one.ip])
            if server is not self._cluster.leader:
                return server
            # it may come back to the same one each time, so the next time another one leads
            (server if attempt % 2 else self._cluster.client).restart(crash=True)
            self._cluster.wait_ready()
        raise RuntimeError("the client agent speaks to the leader, whenever it starts")

    def _begin(self) -> None:
        share = self._hosts // PROCESSES
        for number in range(PROCESSES):
            arguments = self._cluster.client.address, str(number * share), str(share), str(RAMP), str(WAIT)
            process = self._host.spawn(sys.executable, "-m", "bench.watchers", *arguments, name=f"watchers-{number}")
            self._watchers.processes.append(process)
        time.sleep(RAMP)
        until(lambda: self._watchers.settled(self._held), 30.0, "every watch has been answered", every=0.5)
        time.sleep(SETTLE)

    def _flap(self, nodes: int, rate: float, name: str, known: bool = False) -> Process:
        """Begin to write checks, to the leader itself, so that no byte of it is counted as the watches'."""
        arguments = self._cluster.leader.address, str(nodes), str(rate), name, *(["known"] if known else [])
        process = self._host.spawn(sys.executable, "-m", "integration.flapping", *arguments, name="flapping")
        process.wait_line("^ready", 40.0)
        return process

    def _busy(self, measure: str, what: str, nodes: int, rate: float, name: str) -> None:
        if not self._run.wants(measure):
            return
        if self._run.left() < SETTLE + BUSY + (LEAST_HERD + 4.0 if self._run.wants("leader") else 0.0):
            self._run.short(f"no time for {what}")
            return
        self._run.say(what)
        flapping = self._flap(nodes, rate, name, known=name == "host")
        try:
            time.sleep(SETTLE)
            self._phase(what, lambda: _reached(flapping), BUSY)
        finally:
            flapping.kill()
        if _reached(flapping) < 0.8 * rate:
            self._run.short(f"{what}: this machine carries {_reached(flapping):.0f}")

    def _phase(self, what: str, changes: Callable[[], float], seconds: float) -> None:
        cpu, counted, at = [_cpu(agent) for agent in self._agents], self._counted(), time.time()
        time.sleep(seconds)
        took = tuple(100 * (_cpu(agent) - then) / seconds for agent, then in zip(self._agents, cpu, strict=True))
        now = self._counted()
        more = {way: (now[way] - counted[way]) / 1024 / seconds for way in now}
        kib = more["http"], sum(more[address] for address in ADDRESSES), more["raft"]
        pieces = self._watchers.since(at, 1.0) if self._watchers.processes else []
        count = max(1, len(pieces))
        asked, news, answers = (
            sum(getattr(piece, key) for piece in pieces) / count for key in ("asked", "changed", "answered")
        )
        busiest = float(max((piece.asked for piece in pieces), default=0))
        errors = sum(piece.errors for piece in pieces)
        self._phases[what] = changes(), Phase(asked, busiest, errors, news, answers, took, kib)

    def _counted(self) -> Mapping[str, int]:
        """Return the bytes of all packets so far, by the comment of their rule."""
        counts: dict[str, int] = {}
        said = self._host.run("nft", "list", "chain", *CHAIN.split())
        for number, way in re.findall(r'bytes (\d+) comment "([\w.]+)"', said):
            counts[way] = counts.get(way, 0) + int(number)
        return counts

    def _holds(self, agent: ConsulAgent) -> tuple[float, int]:
        return memory([agent.process.pid]).rss, _goroutines(agent)

    def _weigh(self, before: list[tuple[float, int]], after: list[tuple[float, int]]) -> None:
        for role, key, then, now in zip(ROLES, KEYS, before, after, strict=True):
            kib, routines = (now[0] - then[0]) * 1024 / self._held, (now[1] - then[1]) / self._held
            self._memory.append([f"{role}, without", 0, *then, None, None])
            self._memory.append([f"{role}, with them", self._held, *now, kib, routines])
            self._run.result.facts |= {f"kib_{key}": kib, f"goroutines_{key}": routines}


KEYS = ("leader", "follower", "passing", "agent")  # of the roles, in the data


def _more(one: Phase, rest: Phase, changes: float) -> list[float]:
    return [1024 * (now - then) / changes for now, then in zip(one.kib, rest.kib, strict=True)]


def _reached(flapping: Process) -> float:
    """Return how many changes a second there have been."""
    turned = [int(line) for line in flapping.text().split()[1:]]
    return turned[-1] / len(turned) if turned else 0.0


def _cpu(agent: ConsulAgent) -> float:
    return work([agent.process.pid]).cpu


def _goroutines(agent: ConsulAgent) -> int:
    """Return how many it has; Consul says it once in ten seconds."""

    def said() -> int | None:
        gauges = agent.call("GET", "/agent/metrics")["Gauges"]
        return next((int(one["Value"]) for one in gauges if one["Name"].endswith("runtime.num_goroutines")), None)

    return until(said, 15.0, f"{agent.node} says how many goroutines it has", every=0.5)


PART = Part("fleet", "A fleet", 130, play, ("fleet-rest", "own", *(f"fleet@{rate}" for rate in RATES), "leader"))
