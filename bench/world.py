"""What is measured: pairs of equal hosts under one router, one with consulcast and one with the floor."""

from __future__ import annotations

import concurrent.futures
import json
import select
import signal
import sys
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

from bench.population import Member, definitions
from integration.lab import Bird, ConsulAgent, Daemon, Host, Lab, NotInTime, Peer, Process, UpdateTap, until
from integration.lab.consul import HostConnection, agent_connection

ROUTER_AS, FIRST_AS = 65010, 65101
SERVICE = "dns"
LISTENER_PORT = 5000
LISTEN = """
import resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
made = [socket.create_server(("0.0.0.0", int(port))) for port in sys.argv[1:]]
print("ready", flush=True)
time.sleep(900)
"""


@dataclass
class Side:
    """One host with its Consul agent and the program under test, and the VIP that it announces."""

    kind: str  # consulcast or floor
    program: Process
    prefix: str
    tap: UpdateTap
    connection: HTTPConnection  # to the agent; kept open
    host: Host
    app_prefix: str  # of the app that is registered over HTTP
    http: HTTPConnection  # to the program's own endpoint; kept open as well

    def timed(self, path: str, body: Mapping[str, object] | None, *, announced: bool) -> float:
        """Write to Consul and return the milliseconds until the UPDATE that follows has reached the router."""
        data = json.dumps(body) if body is not None else None
        _reopened(self.connection)
        sent = time.time_ns()
        _request(self.connection, "PUT", path, data)
        return self._until(self.prefix, announced, sent)

    def registered(self, monitor: str = "") -> float:
        """Register an app over HTTP and return the milliseconds until it is announced."""
        query = {"name": "app", "vip": self.app_prefix, **({"monitor": monitor} if monitor else {})}
        _reopened(self.http)
        sent = time.time_ns()
        _request(self.http, "GET", f"/register?{urllib.parse.urlencode(query)}")
        return self._until(self.app_prefix, True, sent)

    def unregistered(self, announced: bool = True) -> None:
        """Unregister it, and wait for the withdrawal where it was announced."""
        _reopened(self.http)
        sent = time.time_ns()
        query = urllib.parse.urlencode({"name": "app", "vip": self.app_prefix})
        _request(self.http, "GET", f"/unregister?{query}")
        if announced:
            self._until(self.app_prefix, False, sent)

    def listening(self) -> Process:
        """Start a process that listens on the monitored port."""
        return listening(self.host, [LISTENER_PORT])

    def killed(self, listener: Process) -> float:
        """Kill it and return the milliseconds until the app is withdrawn."""
        sent = time.time_ns()
        listener.signal(signal.SIGKILL)
        took = self._until(self.app_prefix, False, sent)
        listener.kill()
        return took

    def _until(self, prefix: str, announced: bool, sent: int) -> float:
        try:
            update = self.tap.wait(prefix, announced, after=sent)
        except NotInTime as error:
            raise NotInTime(f"{self.kind}: {error}; its log ends:\n{self.program.text()[-3000:]}") from None
        return (update.at - sent) / 1e6


def _reopened(connection: HTTPConnection) -> None:
    """See that it is open: who has heard nothing on it for a while closes it."""
    if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
        connection.close()
    if connection.sock is None:
        connection.connect()


def _request(connection: HTTPConnection, method: str, path: str, data: str | None = None) -> None:
    connection.request(method, path, data)
    response = connection.getresponse()
    answer = response.read().decode()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status} {answer}")


def populate(members: Mapping[Place, Sequence[Member]]) -> None:
    """Have each place's Consul know these services and no others, as quickly as Consul can; returns when it does.

    What was registered over its API is gone. Raises ``NotInTime``.
    """

    def one(place: Place, wanted: Sequence[Member]) -> None:
        place.consul.reconfigure(definitions(wanted))
        until(lambda: place.knows(wanted), 40.0, f"{len(wanted)} services are in Consul's catalog", every=0.25)

    with concurrent.futures.ThreadPoolExecutor(max(1, len(members))) as pool:
        for done in [pool.submit(one, place, wanted) for place, wanted in members.items()]:
            done.result()


def listening(host: Host, ports: Sequence[int]) -> Process:
    """Start a process that listens on these ports."""
    listener = host.spawn(sys.executable, "-c", LISTEN, *map(str, ports), name="listener")
    listener.wait_line("^ready")
    return listener


@dataclass(frozen=True)
class Agents:
    """How the Consul agents of a site run.

    Each place's is a datacenter of its own, or those of ``together`` places are one: the first is its server. A server
    runs in Consul's development mode, which spares the disk and answers in longer lines, or with its files, as real
    ones do: ``persistent``.
    """

    config: Mapping[str, object] = field(default_factory=dict)
    together: int = 1
    persistent: bool = False


class Site:
    """A router with a tap, and places (hosts with a Consul agent) that are linked to it."""

    def __init__(self, lab: Lab, places: int, agents: Agents | None = None) -> None:
        agents = agents or Agents()
        tor = lab.host("tor")
        tor.sysctl("net.ipv4.ip_forward", 1)
        self.tap = UpdateTap(tor)
        self.places: list[Place] = []
        for number in range(places):
            server = self.places[number - number % agents.together] if number % agents.together else None
            self.places.append(Place(lab, tor, number, agents, server))
        for place in self.places:
            place.consul.wait_ready()
        self.bird = Bird(tor, ROUTER_AS, [Peer(place.address, place.asn, name=place.session) for place in self.places])

    def wait_established(self) -> None:
        """Wait until every place's session is up."""
        for place in self.places:
            self.bird.wait_established(place.session)

    def pairs(self) -> list[tuple[Side, Side]]:
        """Start consulcast on every other place, the floor on the rest; returns both of each pair."""
        sides = [
            place.consulcast(self.tap) if place.number % 2 == 0 else place.floor(self.tap) for place in self.places
        ]
        self.wait_established()
        return list(zip(sides[::2], sides[1::2], strict=True))


class Place:
    """A host wired to the router by its own link, with a Consul agent; ``server``: the place whose client it is."""

    def __init__(self, lab: Lab, tor: Host, number: int, agents: Agents, server: Place | None) -> None:
        self.number, self.asn, self.session = number, FIRST_AS + number, f"s{number}"
        self.address, self.router = f"198.51.100.{4 * number + 1}", f"198.51.100.{4 * number + 2}"
        self.prefix = f"203.0.113.{number + 1}/32"
        self.host = lab.host(f"h{number}")
        ends = [f"{self.address}/30", f"{self.router}/30"]
        self.address6 = f"2001:db8:0:{number:x}::1"
        lab.link(self.host, tor, *ends, f"{self.address6}/64", f"2001:db8:0:{number:x}::2/64")
        config = dict(agents.config)
        if agents.together > 1:
            self.host.route("default", via=self.router)
            config["bind_addr"] = self.address
        if server is not None:
            config |= {"server": False, "bootstrap_expect": 0, "retry_join": [server.address], "retry_interval": "1s"}
        persistent = agents.persistent or server is not None
        self.consul = ConsulAgent(self.host, config=config, persistent=persistent, wait=False)
        self.agent = agent_connection(self.consul)  # kept open: a new one for each write would be measured too
        self.http = HostConnection(self.host, "127.0.0.1", 8080, 10)  # to the program's own endpoint; kept open too
        self.run_dir = lab.dir / f"run-{number}"

    def knows(self, members: Sequence[Member]) -> bool:
        """Tell whether Consul's catalog has these services as they are, and beside them its own alone."""
        services = self.consul.services()
        services.pop("consul", None)
        found = {name: set(service["Tags"]) for name, service in services.items()}
        return found == {member.name: set(member.tags) for member in members}

    def config(self) -> dict[str, Any]:
        """Return the daemon's configuration."""
        return {
            "agent": {
                "consul_addr": f"http://{self.consul.address}",
                "run_dir": str(self.run_dir),
                "state_dir": f"{self.run_dir}-state",
            },
            "bgp": {
                "local_as": self.asn,
                "peer_as": ROUTER_AS,
                "peer_ip": self.router,
                "damping": {"enabled": False},  # the rounds are flaps
            },
        }

    def daemon(self, more: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None) -> Daemon:
        """Start the daemon here. ``more`` stands beside its configuration; with ``apps``, Consul is not used."""
        node = "" if "apps" in (more or {}) else self.consul.node
        warm = {"PYTHONDONTWRITEBYTECODE": ""}  # whatever the bench itself was started with
        return Daemon(self.host, {**self.config(), **(more or {})}, node=node, env={**warm, **(env or {})})

    def consulcast(self, tap: UpdateTap) -> Side:
        """Start the daemon here, as one side of a pair."""
        return self._side("consulcast", self.daemon().process, tap)

    def floor(self, tap: UpdateTap) -> Side:
        """Start the floor here."""
        consul = [str(self.consul.port), self.consul.node, SERVICE]
        session = [self.prefix, self.router, self.address, str(self.asn)]
        process = self.host.spawn(sys.executable, "-m", "bench.floor", *consul, *session, name="floor")
        return self._side("floor", process, tap)

    def _side(self, kind: str, process: Process, tap: UpdateTap) -> Side:
        app_prefix = f"203.0.113.{self.number + 101}/32"
        return Side(kind, process, self.prefix, tap, self.agent, self.host, app_prefix, self.http)
