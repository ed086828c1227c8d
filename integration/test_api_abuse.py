"""Somebody abuses the HTTP endpoint: what it does, and that routers and health checks see nothing of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integration.lab import Bird, Daemon, Host, Lab, Peer, Process, until
from integration.test_stories import HOST_AS, OTHER, ROUTER_AS, VIP, settings

HOST, TOR = "198.51.100.1", "198.51.100.2"
SLOW = ("198.51.100.11", "198.51.100.12")  # of the router's too, for attackers that are not to share a rate
THIRD = "203.0.113.12/32"
ROUTES = {VIP, OTHER}
LISTENER = "import socket,sys,time; s=socket.create_server(('',5001)); print('ready', flush=True); time.sleep(600)"


@dataclass
class World:
    """A host whose endpoint listens on every address, as GoCast's; a router; one app with a monitor and one without."""

    lab: Lab
    host: Host
    tor: Host
    bird: Bird
    daemon: Daemon

    def ask(
        self,
        url: str,
        *,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        at: Host | None = None,
        to: str = "127.0.0.1",
    ) -> tuple[int, str]:
        """Ask from a host."""
        with (at or self.host).inside():
            connection = http.client.HTTPConnection(to, 8080, timeout=10)
            connection.connect()
        data = b"" if body is None else json.dumps(body).encode()
        with contextlib.closing(connection):
            connection.request(method, url, data, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return response.status, response.read().decode()

    def attack(self, kind: str, at: Host, to: str, connections: int, requests: int = 0, source: str = "") -> Process:
        """Start an attack from a host."""
        words = (kind, to, "8080", str(connections), str(requests), *([source] if source else []))
        return at.spawn(sys.executable, "-m", "integration.attacker", *words, name=f"attacker-{kind}")

    def serve(self) -> Process:
        """Start the service that the app `watched` has a port check of."""
        service = self.host.spawn(sys.executable, "-c", LISTENER, name="service")
        service.wait_line("ready")
        return service

    def cost(self) -> tuple[int, int]:
        """What the daemon holds: descriptors, and KiB of memory."""
        proc = Path(f"/proc/{self.daemon.process.pid}")
        fields = proc.joinpath("status").read_text().split()
        return len(list(proc.joinpath("fd").iterdir())), int(fields[fields.index("VmRSS:") + 1])


@pytest.fixture
def world(lab: Lab) -> Iterator[World]:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, f"{HOST}/24", f"{TOR}/24")
    bird = Bird(tor, ROUTER_AS, [Peer(HOST, HOST_AS)])
    apps = [
        {"name": "watched", "vip": VIP, "monitors": [{"monitor": "port:tcp:5001", "interval": "1s", "rise": 1}]},
        {"name": "steady", "vip": OTHER},
    ]
    daemon = Daemon(host, settings(lab, apps=apps, agent={"listen_addr": ":8080", "drain_time": "0s"}))
    made = World(lab, host, tor, bird, daemon)
    bird.wait_route(OTHER, deadline=20.0)
    yield made
    assert daemon.process.alive
    assert "Traceback" not in daemon.log()


def answers(attacker: Process) -> dict[str, int]:
    """Wait for an attack's end; what was answered."""
    assert attacker.wait(60.0) == 0, attacker.text()
    found: dict[str, int] = json.loads(attacker.text().splitlines()[-1])
    return found


def test_routes_and_health_checks_go_on_through_floods_and_slow_clients_and_all_is_given_back(world: World) -> None:
    service = world.serve()
    world.bird.wait_routes(ROUTES)
    for address in SLOW:
        world.tor.run("ip", "addr", "add", f"{address}/24", "dev", "host")
    for _ in range(20):  # so that what is made once is made
        world.ask("/v1/apps")
    descriptors, memory = world.cost()
    before = world.bird.counters()
    attackers = {
        "flood from elsewhere": world.attack("flood", world.tor, HOST, 200, 2000),
        "flood from the host": world.attack("flood", world.host, "127.0.0.1", 200, 2000),
        "loris": world.attack("loris", world.tor, HOST, 60, source=SLOW[0]),
        "body": world.attack("body", world.tor, HOST, 60, source=SLOW[1]),
        "idle": world.attack("idle", world.host, "127.0.0.1", 60),
        "deaf": world.attack("deaf", world.host, "127.0.0.1", 10, 5000),
        # of an address of its own, of which the flood has not used up what it may ask
        "framing": world.attack("framing", world.host, "127.0.0.1", 10, 500, source="127.0.0.2"),
    }
    time.sleep(1.0)
    for _ in range(2):
        began = time.monotonic()
        service.kill()
        world.bird.wait_routes({OTHER}, deadline=5.0)
        assert time.monotonic() - began < 5.0
        service = world.serve()
        world.bird.wait_routes(ROUTES, deadline=10.0)
    during = world.cost()
    found = {name: answers(attacker) for name, attacker in attackers.items()}
    changed = world.bird.counters() - before
    assert (changed.updates, changed.withdraws) == (2, 2)  # the service's own two failures, and nothing else

    assert found["flood from elsewhere"].get("429", 0) > 0  # its rate is 20 a second
    assert found["flood from elsewhere"].get("200", 0) <= 20 * 5 + 20 * 60
    assert found["flood from the host"].get("200", 0) > 0
    for slow in ("loris", "body"):
        assert 0 < found[slow].get("408 at once", 0) <= 32, found[slow]  # of 60 connections, 32 are let in at a time
    assert found["framing"].get("413", 0) > 0
    assert not {status for one in found.values() for status in one if status.startswith("5")}, found

    assert during[0] < descriptors + 160, f"{during[0]} descriptors"
    until(lambda: world.cost()[0] <= descriptors + 3, 40.0, "all descriptors are given back")
    assert world.cost()[1] < memory + 40_000, f"{memory} KiB before, {world.cost()[1]} after"
    assert world.ask("/ping") == (200, "I-AM-ALIVE\n")


def test_what_another_sites_page_sends_changes_nothing(world: World) -> None:
    before = world.bird.counters()
    register = f"/register?name=evil&vip={THIRD}"
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example:8080"},
        {"Host": "127.0.0.1.evil.example:8080"},
        {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"},
    ):
        for method, url, body in (
            ("GET", register, None),
            ("POST", register, None),
            ("GET", "/unregister?name=steady", None),
            ("PUT", "/v1/apps/evil", {"vips": [THIRD]}),
            ("POST", "/v1/reload", None),
        ):
            status, _ = world.ask(url, method=method, body=body, headers=headers)
            assert status == 403, (method, url, headers)
    assert world.ask("/v1/apps", headers={"Host": "evil.example:8080"})[0] == 403
    assert THIRD not in world.bird.routes()
    assert world.bird.counters() == before


NAMES = [
    *("../../../etc/passwd", "/etc/passwd", "..", ".", "a/../../b", "a\\..\\b", "%2e%2e%2f", "~root", "-rf"),
    *("$(touch /tmp/cc-owned)", "`id`", "a;reboot", "a|b", "a&b", "a b", "'", '"', "a'b\"c", "#", "{}", "*", "a=b"),
    *("日本語", "é", "e\u0301", "🦆", "ＡＢＣ", "a" * 128),
]
UNPRINTABLE = [
    "a\nb",
    "a\r\nb: c",
    "\x00",
    "a\x00b",
    "\x1b[31m",
    "\x7f",
    "\u2028",
    "\u202emoc.elgoog",
    "\x85",
    "a" * 129,
    "",
]


def test_names_are_names_whatever_they_are_made_of(world: World) -> None:
    files = set(world.lab.dir.rglob("*"))
    for number, name in enumerate(NAMES):
        quoted, vip = urllib.parse.quote(name, safe=""), f"203.0.113.{100 + number}/32"
        status, text = world.ask(f"/v1/apps/{quoted}", method="PUT", body={"vips": [vip]})
        assert status == 200, (name, text)
        assert json.loads(text)["name"] == name
    wanted = {f"203.0.113.{100 + number}/32" for number in range(len(NAMES))}
    until(lambda: world.bird.routes().keys() >= wanted, 20.0, "all are announced")
    for name in UNPRINTABLE:
        quoted = urllib.parse.quote(name, safe="")
        assert world.ask(f"/register?name={quoted}&vip={THIRD}")[0] == 400, name
        assert world.ask(f"/v1/apps/{quoted}", method="PUT", body={"vips": [THIRD]})[0] in (400, 404), name
    world.daemon.restart()  # what was kept on disk is read again, and is the same
    world.bird.wait_route("203.0.113.100/32", deadline=20.0)
    apps = json.loads(world.ask("/v1/apps")[1])["apps"]
    assert {app["name"] for app in apps if app["source"] == "http"} == set(NAMES)
    assert not Path("/tmp/cc-owned").exists()
    more = {path.name for path in world.lab.dir.rglob("*") if path not in files and path.suffix != ".log"}
    assert more == {"registrations.json", "exabgp.log.1"}  # no name has become a file
    assert all(line.isprintable() for line in world.daemon.log().split("\n"))
    for name in NAMES:
        assert world.ask(f"/unregister?name={urllib.parse.quote(name, safe='')}")[0] == 200
    world.bird.wait_routes({OTHER}, deadline=20.0)


BAD_VIPS = [
    *("0.0.0.0/0", "::/0", "127.0.0.1/32", "169.254.0.1/32", "224.0.0.1/32", f"{HOST}/32", f"{TOR}/32", "::1/128"),
    *(
        "203.0.113.12",
        "203.0.113.12/33",
        "203.0.113.12/32;reboot",
        "203.0.113.12/32\nannounce",
        "$(id)/32",
        "ffff::/129",
    ),
]


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"monitor": "exec:touch /tmp/cc-owned"}, "exec"),
        ({"monitor": "smoke:signal"}, "monitor"),
        ({"nat": "tcp:80:80;reboot"}, "nat"),
        ({"nat": "tcp:80 -j ACCEPT"}, "nat"),
        ({"vip_communities": "65000:1]\nannounce route 0.0.0.0/0"}, "community"),
        ({"nonsense": "x"}, "nonsense"),
        *(({"vip": vip}, "vip") for vip in BAD_VIPS),
    ],
)
def test_values_that_would_be_commands_are_refused(shared: World, more: Mapping[str, str], where: str) -> None:
    before = shared.bird.counters()
    query = urllib.parse.urlencode({"name": "evil", "vip": THIRD, **more})
    status, text = shared.ask(f"/register?{query}")
    assert (status, text.startswith("Invalid request")) == (400, True), where
    assert shared.bird.routes().keys() == {OTHER}
    assert shared.bird.counters() == before
    assert not Path("/tmp/cc-owned").exists()


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    """A world for tests that leave it as it is."""
    with Lab() as lab:
        yield from world.__wrapped__(lab)  # type: ignore[attr-defined]


def raw(world: World, data: Sequence[bytes], at: Host, to: str) -> bytes:
    """Send bytes, and return what comes until the daemon closes."""
    with at.inside():
        connection = socket.create_connection((to, 8080), 10)
    received = b""
    with connection, contextlib.suppress(ConnectionError):
        for piece in data:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(65536):
            received += part
    return received


def test_a_request_hidden_in_another_is_not_carried_out(shared: World) -> None:
    hidden = f"GET /register?name=evil&vip={THIRD} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    head = b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    for headers in (
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(hidden),
        b"Transfer-Encoding : chunked\r\nContent-Length: %d\r\n\r\n" % len(hidden),
        b"X: y\r\n Content-Length: 0\r\n\r\n",
        b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        answer = raw(shared, [head + headers + hidden], shared.host, "127.0.0.1")
        assert answer.startswith(b"HTTP/1.1 400 "), headers
        assert answer.count(b"HTTP/1.1 4") == 1
    assert THIRD not in shared.bird.routes()
    assert "evil" not in shared.ask("/v1/apps")[1]
