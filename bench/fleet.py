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
what it may not answer itself."""
MEMORY_HEAD = ("server", "queries held", "RSS MiB", "goroutines", "KiB a query", "goroutines a query")
HERD_HEAD = ("after the leader's end", "asked/s", "good answers/s", "errors/s", "watches without a good answer")


@dataclass(frozen=True)
class Second:
    """What all watches did together in a piece of time."""

    at: float
    asked: int
    answered: int
    changed: int
    errors: int
    blind: int
    watches: int


@dataclass
class Watchers:
    """The processes with the watches."""

    processes: list[Process] = field(default_factory=list)

    def since(self, at: float) -> list[Second]:
        """Return what there was since then, a tenth of a second each."""
        tenths: dict[int, list[dict[str, Any]]] = {}
        for process in self.processes:
            for line in process.text().splitlines()[:-1]:
                said: dict[str, Any] = json.loads(line) if line.startswith("{") else {"failed": line}
                if "failed" in said:
                    raise RuntimeError(f"a watch has ended: {said['failed']}")
                if said["at"] > at:
                    tenths.setdefault(int((said["at"] - at) * 10), []).append(said)
        keys = ("asked", "answered", "changed", "errors", "blind", "watches")
        return [
            Second((tenth + 1) / 10, *(sum(line[key] for line in lines) for key in keys))
            for tenth, lines in sorted(tenths.items())
        ]

    def settled(self, watches: int) -> bool:
        """Whether all have been answered."""
        latest = [json.loads(process.text().splitlines()[-2]) for process in self.processes]
        return sum(line["watches"] for line in latest) == watches and not any(line["blind"] for line in latest)


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
    seen = watchers.since(at)
    asked = [second.asked for second in seen]
    yield sum(asked) / seconds
    yield max(sum(asked[tenth : tenth + 10]) for tenth in range(max(1, len(asked) - 9)))
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
    time.sleep(2)
    while time.monotonic() < end and not watchers.settled(held):
        time.sleep(0.5)
    time.sleep(2)
    seen = watchers.since(at)
    run.samples["asked after the leader's end, each 0.1 s"] = [float(second.asked) for second in seen]
    run.samples["without a good answer, each 0.1 s"] = [float(second.blind) for second in seen]
    rows: list[list[Cell]] = []
    for begin in range(0, len(seen) - 4, 5):
        half = seen[begin : begin + 5]
        rates = (2 * sum(getattr(tenth, what) for tenth in half) for what in ("asked", "answered", "errors"))
        rows.append([f"{half[-1].at - 0.5:.1f} – {half[-1].at:.1f} s", *rates, half[-1].blind])
    most = max(second.asked for second in seen) * 10
    lost = next((second.at for second in seen if second.blind), 0.0)
    half_back, all_back = (
        next((second.at for second in reversed(seen) if second.blind > held * share), 0.0) for share in (0.5, 0.0)
    )
    note = (
        f"{held} watches. The first was lost after {lost:.1f} s; half of them were back after {half_back:.1f} s, the "
        f"last after {all_back:.1f} s. The busiest tenth of a second had {most} queries a second."
    )
    run.add(Table("The leader is killed", HERD_HEAD, rows, note))


PART = Part("fleet", "A fleet", 160, play)
