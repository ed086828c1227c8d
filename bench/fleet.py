"""The part ``fleet``: what many hosts cost a Consul cluster of three servers.

The watches are real (bench/watchers.py): two of each of some thousand nodes, in a few processes, through one client
agent, which holds every query on the servers as the agents of so many hosts would. Measured at rest, while checks of
other nodes change, and when the leader is killed. docs/scale.md says what follows for 10,000 hosts.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.parts import Part, Run
from bench.processes import memory, work
from bench.report import Cell, Table
from bench.world import laboratory
from integration.lab import ConsulAgent, ConsulCluster, Host, Process, until

HOSTS = 1500
PROCESSES = 2
RAMP, SETTLE, REST, BUSY, HERD = 12.0, 4.0, 16.0, 10.0, 20.0  # seconds
RATES = (20, 100)  # changes of other nodes' checks per second
HEAD = ("", "queries held", "asked/s", "of the busiest second", "CPU % leader", "follower", "follower", "agent")
NOTE = """\
CPU is of one core. All queries come through one agent, which speaks to one server; that one passes on to the leader
what it may not answer itself. They were begun within 12 s, so they end in a bunch, too."""
MEMORY_HEAD = ("server", "queries held", "RSS MiB", "goroutines", "KiB a query", "goroutines a query")
HERD_HEAD = ("after the leader's end", "asked/s", "good answers/s", "errors/s", "watches without a good answer")


@dataclass(frozen=True)
class Piece:
    """What all watches did together in a piece of time, which ends ``at`` so many seconds."""

    at: float
    asked: int
    answered: int
    errors: int
    blind: int  # at its end


@dataclass
class Watchers:
    """The processes with the watches."""

    processes: list[Process] = field(default_factory=list)

    def since(self, at: float, length: float) -> list[Piece]:
        """Return what there was since then, in pieces of equal length; the last one may not be over."""
        lines = [self._lines(process) for process in self.processes]
        pieces = []
        for number in range(int((time.time() - at) / length)):
            begin, end = at + number * length, at + (number + 1) * length
            within = [line for said in lines for line in said if begin < line["at"] <= end]
            asked, answered, errors = (sum(line[key] for line in within) for key in ("asked", "answered", "errors"))
            latest = [[line["blind"] for line in said if line["at"] <= end] for said in lines]
            blind = sum(counts[-1] for counts in latest if counts)
            pieces.append(Piece((number + 1) * length, asked, answered, errors, blind))
        return pieces

    def settled(self, watches: int) -> bool:
        """Whether all have been answered, and none has just been lost."""
        now = time.time()
        latest = [self._lines(process)[-1] for process in self.processes]
        fresh = all(now - line["at"] < 1 for line in latest)
        return fresh and sum(line["watches"] for line in latest) == watches and not any(map(_blind, latest))

    def _lines(self, process: Process) -> list[dict[str, Any]]:
        found = []
        for line in process.text().splitlines()[:-1]:
            said: dict[str, Any] = json.loads(line) if line.startswith("{") else {"failed": line}
            if "failed" in said:
                raise RuntimeError(f"a watch has ended: {said['failed']}")
            found.append(said)
        return found


def _blind(line: dict[str, Any]) -> bool:
    return bool(line["blind"])


def play(run: Run) -> None:
    """Measure."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    hosts = min(HOSTS * run.rounds // 100, (most - 1000) // 4)
    with laboratory() as lab:
        host = lab.host("consul")
        limits = {"http_max_conns_per_client": most - 1000}
        cluster = ConsulCluster(host, config={"limits": limits, "log_level": "WARN"})
        agents = _ordered(cluster)
        run.say(f"{hosts} nodes")
        flapping = _flap(host, cluster.client, hosts, 0)
        flapping.kill()
        before = {agent.node: (memory([agent.process.pid]).rss, _goroutines(agent)) for agent in agents}
        watchers = Watchers(
            [
                host.spawn(
                    *(sys.executable, "-m", "bench.watchers", cluster.client.address),
                    *(str(number * (hosts // PROCESSES)), str(hosts // PROCESSES), str(RAMP)),
                    name=f"watchers-{number}",
                )
                for number in range(PROCESSES)
            ]
        )
        held = hosts // PROCESSES * PROCESSES * 2
        time.sleep(RAMP)
        until(lambda: watchers.settled(held), 30.0, "every watch has been answered", every=0.5)
        time.sleep(SETTLE)
        rows: list[list[Cell]] = []
        run.say("at rest")
        rows.append(["at rest", held, *_costs(watchers, agents, REST)])
        _memory(run, agents, before, held)
        for rate in RATES:
            run.say(f"{rate} changes a second")
            flapping = _flap(host, cluster.client, 500, rate, "neighbour")
            rows.append([f"{rate} changes/s of other nodes", held, *_costs(watchers, agents, BUSY)])
            flapping.kill()
        run.add(Table(f"{hosts} hosts on three servers", HEAD, rows, NOTE))
        run.say("the leader is killed")
        _herd(run, watchers, cluster, held)


def _ordered(cluster: ConsulCluster) -> list[ConsulAgent]:
    leader = cluster.leader
    return [leader, *(server for server in cluster.servers if server is not leader), cluster.client]


def _flap(host: Host, agent: ConsulAgent, nodes: int, rate: float, name: str = "host") -> Process:
    command = (sys.executable, "-m", "integration.flapping", agent.address, str(nodes), str(rate), name)
    process = host.spawn(*command, name="flapping")
    process.wait_line("^ready", 40.0)
    return process


def _goroutines(agent: ConsulAgent) -> int:
    """Return how many it has; Consul says it once in ten seconds."""

    def said() -> int | None:
        gauges = agent.call("GET", "/agent/metrics")["Gauges"]
        return next((int(one["Value"]) for one in gauges if one["Name"].endswith("runtime.num_goroutines")), None)

    return until(said, 15.0, f"{agent.node} says how many goroutines it has", every=0.5)


def _costs(watchers: Watchers, agents: list[ConsulAgent], seconds: float) -> Iterator[Cell]:
    began, at = [work([agent.process.pid]).cpu for agent in agents], time.time()
    time.sleep(seconds)
    took = [work([agent.process.pid]).cpu - cpu for agent, cpu in zip(agents, began, strict=True)]
    asked = [piece.asked for piece in watchers.since(at, 1.0)]
    yield sum(asked) / len(asked)
    yield max(asked)
    for cpu in took:
        yield 100 * cpu / seconds


def _memory(run: Run, agents: list[ConsulAgent], before: dict[str, tuple[float, int]], held: int) -> None:
    rows: list[list[Cell]] = []
    for role, agent in zip(("leader", "follower", "follower", "client agent"), agents, strict=True):
        rss, routines = memory([agent.process.pid]).rss, _goroutines(agent)
        rows.append([f"{role}, without", 0, *before[agent.node], None, None])
        more = rss - before[agent.node][0], routines - before[agent.node][1]
        rows.append([f"{role}, with them", held, rss, routines, more[0] * 1024 / held, more[1] / held])
    run.add(Table("What a held query takes", MEMORY_HEAD, rows))


def _herd(run: Run, watchers: Watchers, cluster: ConsulCluster, held: int) -> None:
    at = time.time()
    cluster.leader.kill()
    end = time.monotonic() + min(HERD, run.left() - 2)
    lost = False
    while time.monotonic() < end and not (lost and watchers.settled(held)):
        time.sleep(0.5)
        lost = lost or any(piece.blind for piece in watchers.since(at, 0.5))
    time.sleep(1)
    seen = watchers.since(at, 0.5)
    fine = watchers.since(at, 0.1)
    run.samples["asked after the leader's end, each 0.1 s"] = [float(piece.asked) for piece in fine]
    run.samples["without a good answer, each 0.1 s"] = [float(piece.blind) for piece in fine]
    rows: list[list[Cell]] = [
        [f"{piece.at - 0.5:.1f} – {piece.at:.1f} s", 2 * piece.asked, 2 * piece.answered, 2 * piece.errors, piece.blind]
        for piece in seen
    ]
    half, last = (
        next((piece.at for piece in reversed(fine) if piece.blind > held * share), 0.0) for share in (0.5, 0.0)
    )
    note = (
        f"{held} watches. Half of them were back after {half:.1f} s, the last after {last:.1f} s. The busiest tenth of "
        f"a second had {10 * max(piece.asked for piece in fine)} queries a second."
    )
    run.add(Table("The leader is killed", HERD_HEAD, rows, note))


PART = Part("fleet", "A fleet", 120, play)
