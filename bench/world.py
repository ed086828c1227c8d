"""What is measured: pairs of equal hosts under one router, one with consulcast and one with the floor."""

from __future__ import annotations

import json
import signal
import sys
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection

from integration.lab import Bird, ConsulAgent, Daemon, Host, Lab, NotInTime, Peer, Process, UpdateTap
from integration.lab.consul import HostConnection, agent_connection

ROUTER_AS, FIRST_AS = 65010, 65101
SERVICE = "dns"
LISTENER_PORT = 5000
LISTEN = f"""
import socket, time
made = socket.create_server(("0.0.0.0", {LISTENER_PORT}))
print("ready", flush=True)
time.sleep(600)
"""


@dataclass
class Side:
    """One host with its Consul agent and the program under test, and the VIP that it announces."""

    kind: str  # consulcast or floor
    program: Process
    prefix: str
    tap: UpdateTap
    connection: HTTPConnection  # kept open: a new one for each write would be measured too
    host: Host
    app_prefix: str  # of the app that is registered over HTTP
    http: HTTPConnection  # to the program's own endpoint; kept open as well

    def timed(self, path: str, body: Mapping[str, object] | None, *, announced: bool) -> float:
        """Write to Consul and return the milliseconds until the UPDATE that follows has reached the router."""
        data = json.dumps(body) if body is not None else None
        sent = time.time_ns()
        _request(self.connection, "PUT", path, data)
        return self._until(self.prefix, announced, sent)

    def registered(self, monitor: str = "") -> float:
        """Register an app over HTTP and return the milliseconds until it is announced."""
        query = {"name": "app", "vip": self.app_prefix, **({"monitor": monitor} if monitor else {})}
        sent = time.time_ns()
        _request(self.http, "GET", f"/register?{urllib.parse.urlencode(query)}")
        return self._until(self.app_prefix, True, sent)

    def unregistered(self, announced: bool = True) -> None:
        """Unregister it, and wait for the withdrawal where it was announced."""
        sent = time.time_ns()
        query = urllib.parse.urlencode({"name": "app", "vip": self.app_prefix})
        _request(self.http, "GET", f"/unregister?{query}")
        if announced:
            self._until(self.app_prefix, False, sent)

    def listening(self) -> Process:
        """Start a process that listens on the monitored port."""
        listener = self.host.spawn(sys.executable, "-c", LISTEN, name="listener")
        listener.wait_line("^ready")
        return listener

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


def _request(connection: HTTPConnection, method: str, path: str, data: str | None = None) -> None:
    connection.request(method, path, data)
    response = connection.getresponse()
    answer = response.read().decode()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status} {answer}")


def build(lab: Lab, pairs: int) -> list[tuple[Side, Side]]:
    """Make the router and ``pairs`` pairs of hosts; returns (consulcast, floor) of each when all sessions are up."""
    tor = lab.host("tor")
    tap = UpdateTap(tor)
    hosts = [Place(lab, tor, number) for number in range(2 * pairs)]
    bird = Bird(tor, ROUTER_AS, [Peer(place.address, place.asn, name=f"s{place.number}") for place in hosts])
    sides = [place.consulcast(tap) if place.number % 2 == 0 else place.floor(tap) for place in hosts]
    for place in hosts:
        bird.wait_established(f"s{place.number}")
    return list(zip(sides[::2], sides[1::2], strict=True))


class Place:
    """A host wired to the router by its own link, with a Consul agent."""

    def __init__(self, lab: Lab, tor: Host, number: int) -> None:
        self.number, self.asn = number, FIRST_AS + number
        self.address, self.router = f"198.51.100.{4 * number + 1}", f"198.51.100.{4 * number + 2}"
        self.prefix = f"203.0.113.{number + 1}/32"
        self.host = lab.host(f"h{number}")
        lab.link(self.host, tor, f"{self.address}/30", f"{self.router}/30")
        self.consul = ConsulAgent(self.host)
        self._run_dir = lab.dir / f"run-{number}"

    def consulcast(self, tap: UpdateTap) -> Side:
        """Start the daemon here."""
        config = {
            "agent": {
                "consul_addr": f"http://{self.consul.address}",
                "run_dir": str(self._run_dir),
                "state_dir": f"{self._run_dir}-state",
            },
            "bgp": {
                "local_as": self.asn,
                "peer_as": ROUTER_AS,
                "peer_ip": self.router,
                "damping": {"enabled": False},  # its rounds are flaps
            },
        }
        daemon = Daemon(self.host, config, node=self.consul.node)
        return self._side("consulcast", daemon.process, tap)

    def floor(self, tap: UpdateTap) -> Side:
        """Start the floor here."""
        consul = [str(self.consul.port), self.consul.node, SERVICE]
        session = [self.prefix, self.router, self.address, str(self.asn)]
        process = self.host.spawn(sys.executable, "-m", "bench.floor", *consul, *session, name="floor")
        return self._side("floor", process, tap)

    def _side(self, kind: str, process: Process, tap: UpdateTap) -> Side:
        app_prefix = f"203.0.113.{self.number + 101}/32"
        http = HostConnection(self.host, "127.0.0.1", 8080, 10)
        return Side(kind, process, self.prefix, tap, agent_connection(self.consul), self.host, app_prefix, http)
