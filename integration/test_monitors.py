"""Monitors against real processes and sockets, in a network namespace; without the daemon."""

from __future__ import annotations

import dataclasses
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from integration.lab import Host, Lab, Process, until

LONG = "600s"  # an interval that no test lives to see the end of: what is seen sooner was told by an event
GENEROUS = 0.5  # seconds from a kill to the verdict; about a millisecond is usual

LISTEN = """
import socket, sys, time
kind, host, port, *options = sys.argv[1:]
made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET,
                     socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if "reuseport" in options:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
if ":" in host:
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int("v6only" in options))
if "connect" in options:
    made.connect((host, int(port)))
    print("from", made.getsockname()[1])
else:
    made.bind((host, int(port)))
    if kind == "tcp" and "bound" not in options:
        made.listen()
print("ready", flush=True)
time.sleep(600)
"""

NAMES = """
import socket, struct, sys, threading
host, big = sys.argv[1:]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
def answer(query, flags, records):
    return query[:2] + struct.pack(">5H", 0x8000 | flags, 1, records, 0, 0) + query[12:]
def tcp():
    with socket.create_server((host, 53), family=family) as server:
        while True:
            with server.accept()[0] as client:
                found = answer(client.recv(1000)[2:], 0, 1)
                client.sendall(struct.pack(">H", len(found)) + found)
threading.Thread(target=tcp, daemon=True).start()
with socket.socket(family, socket.SOCK_DGRAM) as udp:
    udp.bind((host, 53))
    print("ready", flush=True)
    while True:
        query, client = udp.recvfrom(1000)
        if b"missing" in query:
            udp.sendto(answer(query, 3, 0), client)
        else:
            udp.sendto(answer(query, 0x0200, 0) if big == "big" else answer(query, 0, 1), client)
"""

WEB = """
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204 if self.headers["Host"] == "www.example.org" else 404)
        self.end_headers()
server = http.server.HTTPServer(("198.51.100.1", int(sys.argv[1])), Handler)
if sys.argv[2:]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[2:])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
"""


@dataclasses.dataclass
class Running:
    """Monitors that run on a host, and all they have said."""

    process: Process

    def said(self) -> list[dict[str, Any]]:
        lines = self.process.text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n")]

    def changes(self, monitor: str) -> list[dict[str, Any]]:
        return [line for line in self.said() if line.get("monitor") == monitor]

    def health(self, monitor: str) -> str:
        changes = self.changes(monitor)
        return changes[-1]["health"] if changes else ""

    def becomes(self, monitor: str, health: str, deadline: float = 5.0) -> dict[str, Any]:
        """Wait for a monitor's health; the line that tells of it."""
        until(lambda: self.health(monitor) == health, deadline, f"{monitor} is {health}")
        return self.changes(monitor)[-1]


def start(host: Host, *monitors: str, interval: str = LONG, env: dict[str, str] | None = None) -> Running:
    command = (sys.executable, "-m", "integration.monitors_alone", interval, *monitors)
    root = Path(__file__).parents[1]
    running = Running(host.spawn(*command, name="monitors", env={"PYTHONPATH": str(root), **(env or {})}))
    until(lambda: len({line.get("monitor") for line in running.said()} - {None}) == len(monitors), 30.0, "first looks")
    return running


def script(host: Host, text: str, *arguments: str, name: str) -> Process:
    process = host.spawn(sys.executable, "-c", text, *arguments, name=name)
    process.wait_line("^ready")
    return process


def listen(host: Host, kind: str, address: str, port: int, *options: str) -> Process:
    return script(host, LISTEN, kind, address, str(port), *options, name=f"{kind}-{port}")


@pytest.fixture
def machine(lab: Lab) -> Host:
    """A host with addresses of its own on lo."""
    host = lab.host("host")
    for address in ("198.51.100.1/32", "2001:db8::1/128"):
        host.run("ip", "address", "add", address, "dev", "lo")
    return host


@pytest.mark.parametrize(
    ("kind", "address"),
    [("tcp", "0.0.0.0"), ("tcp", "198.51.100.1"), ("tcp", "::"), ("udp", "0.0.0.0"), ("udp", "2001:db8::1")],
)
def test_killed_listener_is_seen_by_the_event_and_a_new_one_soon(machine: Host, kind: str, address: str) -> None:
    monitor = f"port:{kind}:53"
    service = listen(machine, kind, address, 53)
    running = start(machine, monitor)
    took = []
    for _ in range(5):
        running.becomes(monitor, "passing")
        killed = time.monotonic()
        service.kill()
        took.append(running.becomes(monitor, "failing")["at"] - killed)
        service = listen(machine, kind, address, 53)
    running.becomes(monitor, "passing", 2.0)
    print(f"{monitor} on {address}: kill -9 to verdict, median {statistics.median(took) * 1000:.1f} ms, all {took}")
    assert max(took) < GENEROUS


def test_second_listener_and_a_restart_without_a_gap_keep_it_passing(machine: Host) -> None:
    first = listen(machine, "tcp", "0.0.0.0", 443, "reuseport")
    running = start(machine, "port:tcp:443")
    running.becomes("port:tcp:443", "passing")
    for _ in range(3):
        second = listen(machine, "tcp", "0.0.0.0", 443, "reuseport")
        first.kill()
        time.sleep(0.2)
        first = second
    assert len(running.changes("port:tcp:443")) == 1
    first.kill()
    running.becomes("port:tcp:443", "failing")


def test_families_of_a_listener(machine: Host) -> None:
    listen(machine, "tcp", "::", 1001)
    listen(machine, "tcp", "::", 1002, "v6only")
    listen(machine, "udp", "198.51.100.1", 1003)
    at = ";address=198.51.100.1"
    texts = ["port:tcp:1001", f"port:tcp:1001{at}", "port:tcp:1002", "port:tcp:1002;address=2001:db8::1"]
    passing = [*texts, "port:udp:1003", f"port:udp:1003{at}"]
    failing = [f"port:tcp:1002{at}", "port:udp:1003;address=2001:db8::1", "port:udp:1003;address=127.0.0.1"]
    running = start(machine, *passing, *failing)
    for text in passing:
        running.becomes(text, "passing")
    for text in failing:
        running.becomes(text, "failing")


def test_what_a_bind_would_take_for_a_service_is_none(machine: Host) -> None:
    """GoCast tries to bind: what stands in the way of that is up for it, listening or not."""
    listen(machine, "tcp", "0.0.0.0", 2001, "bound")
    listen(machine, "tcp", "198.51.100.1", 2002)
    sources = []
    for kind in ("tcp", "udp"):
        client = listen(machine, kind, "198.51.100.1", 2002, "connect")
        sources.append(f"port:{kind}:{client.wait_line('^from').split()[1]}")
    running = start(machine, "port:tcp:2001", "port:udp:2002", "port:tcp:2002", *sources)
    for text in ("port:tcp:2001", "port:udp:2002", *sources):
        running.becomes(text, "failing")
    running.becomes("port:tcp:2002", "passing")


def test_busy_service_does_not_wake_the_monitors(machine: Host) -> None:
    """Each closed connection is an event in the kernel; the filter keeps all from us but listeners."""
    script(machine, WEB, "8080", name="web")
    running = start(machine, "port:tcp:8080")
    running.process.signal(signal.SIGSTOP)  # what it would have to read stays in its socket
    for _ in range(300):
        machine_request(machine)
    waiting = machine.run("sh", "-c", "awk '$2 == 4 {sum += $5} END {print sum + 0}' /proc/net/netlink")
    running.process.signal(signal.SIGCONT)
    assert waiting.strip() == "0"


def machine_request(machine: Host) -> None:
    import socket

    with machine.inside():
        made = socket.create_connection(("198.51.100.1", 8080))
    with made:
        made.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while made.recv(1000):
            pass


def test_commands_are_run_as_written_and_leave_nothing(machine: Host, lab: Lab) -> None:
    quoted = """exec:test "a:b;c" = 'a:b;c' && echo "x: y" > %s/ran""" % lab.dir  # noqa: UP031
    hanging = "exec:sleep 600 & sleep 600;timeout=300ms"
    behind = "exec:sleep 600 &"
    last = "exec:echo first; echo 'the reason' >&2; exit 1;fall=1"
    running = start(machine, quoted, hanging, behind, last, interval="200ms")
    running.becomes(quoted, "passing")
    running.becomes(behind, "passing")
    assert running.becomes(last, "failing")["detail"].endswith("exit status 1: the reason")
    assert "did not end within 0.3 s" in running.becomes("exec:sleep 600 & sleep 600;timeout=0.3s", "failing")["detail"]
    until(lambda: (lab.dir / "ran").read_text() == "x: y\n", 5.0, "it is written anew every 0.2 s")
    time.sleep(1)
    assert len(machine.pids()) <= 1 + 3 + 3, "what was run before is gone"
    running.process.stop()
    assert machine.pids() == []
    assert running.said()[-1] == {"stopped": True}


def test_two_hundred_commands_half_of_them_hanging_delay_nothing(machine: Host, lab: Lab) -> None:
    service = listen(machine, "tcp", "0.0.0.0", 53)
    healthy = [f"exec:echo {number} >> {lab.dir}/ran" for number in range(100)]
    hanging = [f"exec:: {number}; sleep infinity" for number in range(100)]
    began = time.monotonic()
    running = start(machine, "port:tcp:53", *healthy, *hanging, interval="10s")  # until all have been looked at once
    first = [running.changes(text)[0]["at"] - began for text in healthy]
    (lab.dir / "ran").unlink()
    counted = time.monotonic()
    time.sleep(21)
    runs = (lab.dir / "ran").read_text().split()
    seconds = time.monotonic() - counted
    took = []
    for _ in range(5):
        killed = time.monotonic()
        service.kill()
        took.append(running.becomes("port:tcp:53", "failing")["at"] - killed)
        service = listen(machine, "tcp", "0.0.0.0", 53)
        running.becomes("port:tcp:53", "passing", 2.0)
    late = [line["most"] for line in running.said() if "most" in line][-1]
    each = [runs.count(str(number)) for number in range(100)]
    print(
        f"200 commands, 100 hanging: ticker late by {late} ms at most; a killed listener seen after "
        f"{statistics.median(took) * 1000:.1f} ms (all {[round(item * 1000, 1) for item in took]}); last first verdict "
        f"of a healthy one after {max(first):.1f} s; runs of each in {seconds:.0f} s: {min(each)} to {max(each)}"
    )
    assert all(running.health(text) == "passing" for text in healthy)
    assert all(running.health(text) == "failing" for text in hanging)
    assert min(each) >= 2
    assert max(took) < GENEROUS
    assert late < 1000, "whoever waits for a command that hangs is later than that"
    running.process.stop()
    until(lambda: machine.pids() == [service.pid], 2.0, "no command is left")


def test_tcp_http_and_dns(machine: Host, lab: Lab) -> None:
    certificate, key = lab.dir / "certificate.pem", lab.dir / "key.pem"
    make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=www.example.org"
    make += f" -addext subjectAltName=DNS:www.example.org -keyout {key} -out {certificate}"
    subprocess.run(["openssl", *make.split()], check=True, capture_output=True)
    script(machine, WEB, "8080", name="web")
    script(machine, WEB, "8443", str(certificate), str(key), name="tls")
    script(machine, NAMES, "198.51.100.1", "small", name="names")
    script(machine, NAMES, "2001:db8::1", "big", name="names6")
    plain, tls, named = "http:http://198.51.100.1:8080/", "http:https://198.51.100.1:8443/", "host=www.example.org"
    passing = [
        *("tcp:198.51.100.1:8080", f"{plain};{named}", f"{plain};status=404", f"{tls};{named}"),
        *(f"{tls};status=404;verify=false", "dns:198.51.100.1:example.org", "dns:[2001:db8::1]:example.org:AAAA"),
        "tcp:[2001:db8::1]:53",
    ]
    failing = {
        "tcp:198.51.100.1:8081": "Connection refused",
        plain: "status 404",
        f"{tls};status=404": "IP address mismatch",
        f"{tls};host=other.example.org": "Hostname mismatch",
        "dns:198.51.100.1:missing.example.org": "NXDOMAIN",
        "dns:127.0.0.1:example.org": "Connection refused",
        "tcp:203.0.113.1:80": "unreachable",
    }
    running = start(machine, *passing, *failing, interval="1s", env={"SSL_CERT_FILE": str(certificate)})
    for text in passing:
        running.becomes(text, "passing")
    for text, says in failing.items():
        assert says in running.becomes(text, "failing")["detail"]
    running.process.stop()
    untrusting = start(machine, f"{tls};{named}", interval="1s")
    assert "self-signed" in untrusting.becomes(f"{tls};{named}", "failing")["detail"]
