"""Two hosts with services, a router, and a Prometheus there that scrapes both: what monitoring is tried on."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from integration.lab import Bird, ConsulAgent, Daemon, Lab, Peer
from integration.lab.consul import ttl_check
from integration.lab.prometheus import Prometheus

DASHBOARD = Path(__file__).parents[1] / "deploy" / "grafana-dashboard.json"
VIP, OTHER, BROKEN = "203.0.113.10/32", "203.0.113.20/32", "203.0.113.30/32"
PORT = 5353


class Site:
    """The hosts `left` and `right` both have the VIP ``VIP`` from Consul; `left` has the others by its file."""

    def __init__(self, lab: Lab) -> None:
        names = ("left", "right")
        self.hosts = {name: lab.host(name) for name in names}
        router = lab.host("tor")
        for number, host in enumerate(self.hosts.values()):
            lab.link(host, router, f"198.51.100.{4 * number + 1}/30", f"198.51.100.{4 * number + 2}/30")
        self.bird = Bird(
            router, 65010, [Peer("198.51.100.1", 65001, name="left"), Peer("198.51.100.5", 65001, name="right")]
        )
        self.consuls = {name: ConsulAgent(host) for name, host in self.hosts.items()}
        self.listener = self.listen()
        self.daemons = {name: self._daemon(lab, name, number) for number, name in enumerate(names)}
        self.prometheus = Prometheus(router, {"left": "198.51.100.1:8080", "right": "198.51.100.5:8080"})
        for consul in self.consuls.values():
            consul.register("dns", ["enable_gocast", f"gocast_vip={VIP}", "gocast_monitor=consul"], check=ttl_check())
            consul.register("typo", ["enable_gocast", "gocast_vip=203.0.113.999/32"])

    def _daemon(self, lab: Lab, name: str, number: int) -> Daemon:
        files = lab.dir / f"site-{name}"
        files.mkdir()
        apps = [
            {"name": "web", "vip": OTHER, "monitors": [f"port:tcp:{PORT}"]},
            {"name": "broken", "vip": BROKEN, "monitors": ["exec:exit 1"]},
        ]
        agent = {"run_dir": str(files / "run"), "state_dir": str(files / "state"), "listen_addr": ":8080"}
        bgp = {"local_as": 65001, "peer_as": 65010, "peer_ip": f"198.51.100.{4 * number + 2}"}
        config: dict[str, Any] = {"agent": agent, "bgp": bgp, "apps": apps if name == "left" else []}
        return Daemon(self.hosts[name], config, node=self.consuls[name].node)

    def listen(self) -> socket.socket:
        """Listen on the port that the monitor of ``OTHER`` looks at."""
        with self.hosts["left"].inside():
            made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("0.0.0.0", PORT))
        made.listen()
        return made

    def wait_up(self) -> None:
        """Wait until both hosts announce, and both are scraped."""
        for daemon in self.daemons.values():
            daemon.wait_line(f"vip {VIP}: announced", 60.0)


def panels() -> Iterator[dict[str, Any]]:
    """The dashboard's panels."""
    yield from json.loads(DASHBOARD.read_text())["panels"]


def filled(expression: str, interval: str = "30s") -> str:
    """Put values for Grafana's variables into an expression."""
    for name, value in (("$job", "consulcast"), ("$instance", ".*"), ("$__rate_interval", interval)):
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


_METRIC = re.compile(r"\b((?:consulcast|process)_\w+|up)\b(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!=|!~|=)")


def named(expression: str) -> Iterator[tuple[str, frozenset[str]]]:
    """The metrics that an expression names, each with the labels that it asks for."""
    without_grouping = re.sub(r"\b(?:by|ignoring|on)\s*\([^)]*\)", "", expression)
    for name, labels in _METRIC.findall(without_grouping):
        yield name, frozenset(_LABEL.findall(labels))
