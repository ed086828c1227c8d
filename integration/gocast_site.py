"""A host on which consulcast stands in for GoCast: its file, its command line, its tags and its URLs."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from integration.lab import Bird, ConsulAgent, Daemon, Host, Lab, Peer, Process, until
from integration.test_nat import SERVICE
from integration.test_stories import OTHER, VIP, VIP6, World

HOST_AS, ROUTER_AS = 65001, 65010
HOST4, TOR4, HOST6, TOR6 = "198.51.100.1", "198.51.100.2", "2001:db8::1", "2001:db8::2"
VIPS = (VIP, OTHER, VIP6)  # that the router sends this way, whatever it has learned: a packet must not decide


@dataclass(frozen=True)
class Answer:
    """What a URL of the daemon answered."""

    status: int
    body: str
    kind: str  # the media type

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Site(World):
    """The host with its Consul and its router, and what a GoCast user does there."""

    def tag(self, name: str = "dns", *tags: str, id: str = "", checks: Sequence[Mapping[str, object]] = ()) -> None:
        """Register a service with `enable_gocast` and these tags, `gocast_` left out of them."""
        self.consul.register(name, ["enable_gocast", *(f"gocast_{tag}" for tag in tags)], id=id or name, checks=checks)

    def get(self, path: str, **query: str | Sequence[str]) -> Answer:
        """Call a URL of the daemon, from its own host."""
        return self.call("GET", path + ("?" + urllib.parse.urlencode(query, doseq=True) if query else ""))

    def call(self, method: str, target: str) -> Answer:
        """Make one request. An empty reply raises ``http.client.RemoteDisconnected``."""
        connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
        with contextlib.closing(connection):
            with self.host.inside():
                connection.sock = socket.create_connection(("127.0.0.1", 8080), 10)
            connection.request(method, target)
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(), response.headers.get_content_type())

    def http_register(self, name: str = "app", vip: str = VIP, **query: str | Sequence[str]) -> None:
        """Register an app over HTTP and see that it is taken."""
        assert self.get("/register", name=name, vip=vip, **query) == Answer(200, "", "text/plain")

    def serve(self, port: int) -> Process:
        """Start a service that answers on this port of the host's own addresses, over tcp and udp."""
        service = self.host.spawn(sys.executable, "-uc", SERVICE, str(port), HOST4, HOST6, name=f"service-{port}")
        service.wait_line("ready")
        return service

    def nat_rules(self, to: str) -> int:
        """How many NAT rules of the kernel lead there: ``198.51.100.1:8053``."""
        return self.host.run("nft", "list", "ruleset").replace(" . ", ":").count(to)

    def alive(self) -> bool:
        """Whether the daemon that was started first still runs, and without a traceback."""
        return self.daemon.process.alive and "Traceback" not in self.daemon.log()

    def clear(self) -> None:
        """Take away everything that a test has registered, and wait until nothing is left."""
        for service in self.consul.services():
            if service != "consul":
                self.consul.deregister(service)
        for app in self.get("/v1/apps").json()["apps"]:
            if app["source"] == "http":
                self.get("/unregister", name=app["name"])
        self.bird.wait_routes(set(), deadline=20.0)
        until(lambda: self.host.addresses() == {"127.0.0.1/8", "::1/128"}, 10.0, "no VIP is left on the host")


def gocast_file(lab: Lab, **more: Any) -> dict[str, Any]:
    """Return a GoCast file's content; the two directories alone are ours."""
    agent = {
        "listen_addr": ":8080",
        "monitor_interval": "1s",
        "cleanup_timer": "15m",
        "consul_addr": "http://127.0.0.1:8500/v1",
        "consul_query_interval": "5m",
        "drain_time": "0s",
        "run_dir": str(lab.dir / "run"),
        "state_dir": str(lab.dir / "state"),
        **more.pop("agent", {}),
    }
    bgp = {
        "local_as": HOST_AS,
        "remote_as": ROUTER_AS,
        "peer_ip": TOR4,
        "communities": ["65001:100"],
        "origin": "igp",
        "damping": {"enabled": False},  # many tests share one VIP, and each of them is a flap
        **more.pop("bgp", {}),
    }
    consul = {"removal_hold": "0s", **more.pop("consul", {})}  # between two tests all services go at once
    return {"agent": agent, "bgp": bgp, "consul": consul, **more}


def wire(lab: Lab) -> tuple[Host, Host]:
    """Make the host and its router."""
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, f"{HOST4}/24", f"{TOR4}/24", f"{HOST6}/64", f"{TOR6}/64")
    for vip in VIPS:
        tor.route(vip, via=HOST6 if ":" in vip else HOST4)
    return host, tor


@contextlib.contextmanager
def site(lab: Lab, *, use_consul: bool = True, env: Mapping[str, str] | None = None, **more: Any) -> Iterator[Site]:
    """Start everything, and see at the end that the daemon had no accident. What is not named here is the file's."""
    host, tor = wire(lab)
    if more.pop("gateway", False):
        host.route("default", via=TOR4)
    bird = Bird(tor, ROUTER_AS, [Peer(HOST4, HOST_AS)])
    consul = ConsulAgent(host, **more.pop("agent_options", {}))
    config = more.pop("config", None) or gocast_file(lab, **more)
    daemon = Daemon(host, config, node=consul.node if use_consul else "", env=env, as_gocast=True)
    bird.wait_established()
    daemon.wait_line("running as process", 30.0)  # a session may be up before the endpoint listens
    made = Site(lab, host, bird, consul, daemon)
    yield made
    assert "Traceback" not in daemon.log()
