"""kill -9 at any instant: what is left on the host, and what the next start makes of it.

The instants and what else happens meanwhile are random; the seed is in the name of the test, and another one is
taken from CRASH_SEED.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import struct
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from integration.lab import Bird, ConsulAgent, Daemon, Host, Lab, Peer, until
from integration.lab.consul import ttl_check

HOST_AS, ROUTER_AS = 65001, 65010
SEED = int(os.environ.get("CRASH_SEED", "20"))
OWN = {"127.0.0.1/8", "::1/128"}
MINE = "203.0.113.99/32"  # the operator's
SHARED = "203.0.113.50/32"  # the operator's, and a VIP too
OTHERS = "203.0.113.98/32"  # another daemon's, by its mark
DESTINATION = {4: "198.51.100.1", 6: "2001:db8::1"}

OPERATOR = """
table inet operator {
  chain pre {
    type nat hook prerouting priority -90;
    tcp dport 9 redirect to :99
  }
}
"""

ADD_OTHERS = """
import sys
from pyroute2 import IPRoute
with IPRoute() as ipr:
    ipr.addr("add", index=1, address=sys.argv[1], prefixlen=32, proto=205)
"""


@dataclass(frozen=True)
class Service:
    """Something that comes and goes."""

    name: str
    vip: str
    nat: int = 0  # a UDP port that is translated

    @property
    def rule(self) -> str:
        """Its NAT rule, as ``rules`` words it."""
        version = 6 if ":" in self.vip else 4
        return f"{self.vip.partition('/')[0]} {self.nat} {DESTINATION[version]} 8053"


SERVICES = [
    *(Service(f"plain-{number}", f"203.0.113.{number}/32") for number in range(3)),
    *(Service(f"nat-{number}", f"203.0.113.{10 + number}/32", nat=5300 + number) for number in range(3)),
    Service("six", "2001:db8:53::1/128", nat=5353),
    Service("prefix4", "198.18.7.0/24"),
    Service("prefix6", "2001:db8:7::/64"),
    Service("shared", SHARED),
]
OVER_HTTP = [Service("http-0", "203.0.113.20/32"), Service("http-1", "203.0.113.21/32", nat=5400)]


@dataclass
class World:
    """The host, and what is wanted on it."""

    host: Host
    bird: Bird
    consul: ConsulAgent
    daemon: Daemon
    backend: str
    random: random.Random
    wanted: set[Service] = field(default_factory=set)
    unsure: set[Service] = field(default_factory=set)  # over HTTP: asked for, and killed before the answer

    # -- what happens ------------------------------------------------------------------------------------------

    def churn(self) -> None:
        """Let something come or go."""
        if self.random.random() < 0.3:
            self.toggle_http(self.random.choice(OVER_HTTP))
        else:
            self.toggle(self.random.choice(SERVICES))

    def toggle(self, service: Service) -> None:
        if service in self.wanted:
            self.consul.deregister(service.name)
            self.wanted.discard(service)
        else:
            tags = ["enable_gocast", f"gocast_vip={service.vip}", "gocast_monitor=consul"]
            tags += [f"gocast_nat=udp:{service.nat}:8053"] if service.nat else []
            self.consul.register(service.name, tags, check=ttl_check("passing"))
            self.wanted.add(service)

    def toggle_http(self, service: Service) -> None:
        query = {"name": service.name}
        path = "/unregister" if service in self.wanted else "/register"
        if path == "/register":
            query |= {"vip": service.vip} | ({"nat": f"udp:{service.nat}:8053"} if service.nat else {})
        try:
            answer = self.ask(f"{path}?{urllib.parse.urlencode(query)}")
        except (OSError, http.client.HTTPException):
            self.unsure.add(service)
            return
        if answer is not None:
            assert answer[0] == 200
            self.wanted.symmetric_difference_update({service})
            self.unsure.discard(service)

    def settle(self) -> None:
        """Find out what became of the registrations that were asked for when the daemon was killed."""
        until(lambda: self.ask("/ping") is not None, 10.0, "the daemon listens")
        answer = self.ask("/v1/apps")
        assert answer is not None
        kept = {app["name"] for app in json.loads(answer[1])["apps"] if app["source"] == "http"}
        for service in OVER_HTTP:
            if service in self.unsure:
                (self.wanted.add if service.name in kept else self.wanted.discard)(service)
            else:
                assert (service.name in kept) == (service in self.wanted), f"{service.name} was answered for"
        self.unsure.clear()

    def ask(self, target: str) -> tuple[int, str] | None:
        """Ask the daemon; ``None``: it does not listen."""
        with self.host.inside():
            try:
                sock = socket.create_connection(("127.0.0.1", 8080), 5)
            except ConnectionRefusedError:
                return None
        connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=5)
        connection.sock = sock
        with contextlib.closing(connection):
            connection.request("GET", target)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def round(self) -> None:
        """Start, let things happen, and kill at a random instant: at the start, in the middle, or during the end."""
        if self.random.random() < 0.5:
            self.churn()
        lives = self.random.uniform(0.0, 1.1)
        at = sorted(self.random.uniform(0.0, lives) for _ in range(self.random.randrange(4)))
        ends_in_order, dies_after = self.random.random() < 0.2, self.random.uniform(0.0, 0.3)
        daemon = self.daemon.start()

        def kill() -> None:
            if ends_in_order:
                daemon.signal(signal.SIGTERM)
                time.sleep(dies_after)
            daemon.kill()

        killer = threading.Timer(lives, kill)
        killer.start()
        started = time.monotonic()
        for moment in at:
            time.sleep(max(0.0, started + moment - time.monotonic()))
            self.churn()
        killer.join()

    # -- what is there -----------------------------------------------------------------------------------------

    def rules(self) -> list[str]:
        """Our NAT rules of the kernel: VIP, port, destination, its port."""
        if self.backend == "nft":
            text = self.host.run("nft", "list", "ruleset")
            found = re.findall(r"(\S+) \. udp \. (\d+) : (\S+) \. (\d+)", text)
        else:
            names = self.host.run("cat", "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names", check=False)
            if "nat" not in names.split():
                return []
            text = "".join(self.host.run(f"{name}-legacy-save", "-t", "nat") for name in ("iptables", "ip6tables"))
            pattern = r"-A CONSULCAST -d ([^/]+)/\d+ .*--dport (\d+) .*--to-destination \[?([^\]\s]+?)\]?:(\d+)$"
            found = re.findall(pattern, text, re.MULTILINE)
        return sorted(" ".join(item) for item in found)

    def foreign(self) -> str:
        """What is not ours, as it is."""
        lines = self.host.run("ip", "-o", "addr", "show", "dev", "lo").splitlines()
        kept = [line for line in lines if any(f" {text} " in line for text in (MINE, OTHERS, SHARED, "127.0.0.1/8"))]
        texts = [*kept, self.host.run("nft", "list", "table", "inet", "operator")]
        if self.backend == "iptables":
            texts.append(self.host.run("iptables-legacy", "-t", "nat", "-S", "OPERATOR"))
        return "\n".join(texts)

    def difference(self) -> str:
        """How the host and its router differ from what is wanted; empty: not at all."""
        vips = {service.vip for service in self.wanted}
        addresses = self.host.addresses() ^ (OWN | vips | {MINE, SHARED, OTHERS})
        routes = self.bird.routes().keys() ^ vips
        rules = self.rules()
        wrong = set(rules) ^ {service.rule for service in self.wanted if service.nat}
        local = self.host.run("ip", "-6", "route", "show", "table", "local", "dev", "lo")
        prefix = ("local 2001:db8:7::/64" in local) != ("2001:db8:7::/64" in vips)
        twice = len(rules) != len(set(rules))
        return (
            f"{addresses=} {routes=} {wrong=} {prefix=} {twice=}"
            if addresses or routes or wrong or prefix or twice
            else ""
        )

    def check(self) -> None:
        """Start, and see that all becomes as it should be, and stays so."""
        self.daemon.start()
        self.settle()
        try:
            until(lambda: not self.difference(), 20.0, "the wanted state")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.difference()}\n{self.daemon.log()[-4000:]}") from None
        time.sleep(0.3)
        assert self.difference() == ""


@contextlib.contextmanager
def world(lab: Lab, backend: str) -> Iterator[World]:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    bird = Bird(tor, ROUTER_AS, [Peer("198.51.100.1", HOST_AS)])
    consul = ConsulAgent(host)
    for address in (MINE, SHARED):
        host.run("ip", "addr", "add", address, "dev", "lo")
    host.run(sys.executable, "-c", ADD_OTHERS, OTHERS.partition("/")[0])
    host.run("nft", OPERATOR)
    if backend == "iptables":
        host.run("iptables-legacy", "-t", "nat", "-N", "OPERATOR")
        host.run("iptables-legacy", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "9", "-j", "OPERATOR")
        host.run("iptables-legacy", "-t", "nat", "-A", "OPERATOR", "-j", "RETURN")
    config = {
        "agent": {
            "run_dir": str(lab.dir / "run"),
            "state_dir": str(lab.dir / "state"),
            "drain_time": "50ms",
            "listen_addr": "127.0.0.1:8080",
        },
        "bgp": {"local_as": HOST_AS, "peer_as": ROUTER_AS, "peer_ip": "198.51.100.2"},
        "policy": {"consul": {"vips": [{"prefix": service.vip} for service in SERVICES]}},  # whole prefixes, too
        "nat": {"backend": backend},
    }
    daemon = Daemon(host, config, node=consul.node)
    bird.wait_established()
    yield World(host, bird, consul, daemon, backend, random.Random(SEED))


@pytest.mark.parametrize(("backend", "rounds"), [("nft", 85), ("iptables", 15)])
def test_killed_at_any_instant_a_hundred_times_the_next_start_makes_exactly_the_wanted_state(
    lab: Lab, backend: str, rounds: int
) -> None:
    with world(lab, backend) as made:
        foreign = made.foreign()
        for service in (*SERVICES[::2], OVER_HTTP[0]):
            (made.toggle_http if service in OVER_HTTP else made.toggle)(service)
        made.daemon.kill9()
        for number in range(1, rounds + 1):
            made.round()
            assert made.foreign() == foreign, f"after round {number}, seed {SEED}"
            if number % 15 == 0 or number == rounds:
                made.check()
                assert "Traceback" not in made.daemon.log()
                made.daemon.kill9()
        assert made.foreign() == foreign
        made.check()
        assert made.daemon.stop() == 0
        assert made.host.addresses() == OWN | {MINE, SHARED, OTHERS}
        assert made.rules() == []
        assert made.foreign() == foreign


@pytest.mark.parametrize("backend", ["nft"])
def test_what_a_former_run_left_and_is_wanted_is_not_touched_at_all(lab: Lab, backend: str) -> None:
    with world(lab, backend) as made:
        for service in SERVICES:
            made.toggle(service)
        until(lambda: not made.difference(), 20.0, "the wanted state")
        made.daemon.kill9()
        made.bird.wait_routes(set())
        with events(made.host, 0, (5, 9)) as of_addresses, events(made.host, 12, (7,)) as of_nft:
            made.daemon.start()
            made.bird.wait_routes({service.vip for service in SERVICES}, deadline=20.0)
            time.sleep(0.5)
            assert count(of_addresses) == 0
            assert count(of_nft) == 0
            made.toggle(SERVICES[3])  # with NAT: now there are some
            until(lambda: not made.difference(), 20.0, "the wanted state")
            assert count(of_addresses) == 1
            assert count(of_nft) > 0


def test_what_a_former_run_left_and_is_not_wanted_stays_until_every_source_has_answered(lab: Lab) -> None:
    with world(lab, "nft") as made:
        for service in SERVICES:
            made.toggle(service)
        until(lambda: not made.difference(), 20.0, "the wanted state")
        made.daemon.kill9()
        before = made.host.addresses(), made.rules()
        for service in SERVICES[::2]:
            made.toggle(service)
        made.consul.pause()
        made.daemon.start()
        made.daemon.wait_line("running as process")
        time.sleep(3)
        assert (made.host.addresses(), made.rules()) == before
        assert made.bird.routes() == {}
        made.consul.resume()
        until(lambda: not made.difference(), 30.0, "the wanted state")


@contextlib.contextmanager
def events(host: Host, protocol: int, groups: tuple[int, ...]) -> Iterator[socket.socket]:
    """Hear what changes on a host."""
    with host.inside():
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    with made:
        made.bind((0, 0))
        for group in groups:
            made.setsockopt(270, 1, group)
        made.setblocking(False)
        yield made


def count(heard: socket.socket) -> int:
    """How many events have come since the last call."""
    number = 0
    while True:
        try:
            data = heard.recv(1 << 17)
        except BlockingIOError:
            return number
        while data:
            (length,) = struct.unpack_from("=I", data)
            number += 1
            data = data[(length + 3) & ~3 :]
