"""The daemon as a user with CAP_NET_ADMIN alone does all that root's does; its children have less, or nothing."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integration.lab import Bird, ConsulAgent, Daemon, Host, Lab, NotInTime, Peer, Process, until
from integration.lab.consul import ttl_check
from integration.lab.unprivileged import USER, XTABLES_LOCK, as_user, private_directory
from integration.test_monitors import LISTEN, NAMES
from integration.test_nat import SERVICE

VIP, VIP6, TAGGED = "203.0.113.10/32", "2001:db8:53::10/128", "203.0.113.11/32"
ROUTER_AS, HOST_AS = 65010, 65001
NET_ADMIN, NET_RAW = 1 << 12, 1 << 13
PASSWORD = "of-the-session"
SOURCE_PORT = 40053  # a resolver's that never changes: only a conntrack entry that was dropped lets it see a new rule

WEB = """
import http.server
server = http.server.HTTPServer(("127.0.0.1", 8079), http.server.SimpleHTTPRequestHandler)
print("ready", flush=True)
server.serve_forever()
"""
# What no child of the daemon has, but those that make NAT.
NO_CAPABILITY = "! grep -E '^Cap(Inh|Prm|Eff|Amb):.*[1-9a-f]' /proc/self/status"


@dataclass
class World:
    """A host with the daemon, and its router with a session of every kind: MD5 on another port, and RFC 5082's TTL."""

    lab: Lab
    host: Host
    bird: Bird
    consul: ConsulAgent
    config: dict[str, Any]

    def start(self, through: Sequence[str]) -> Daemon:
        return Daemon(self.host, self.config, node=self.consul.node, through=through)

    def script(self, text: str, *arguments: str, name: str) -> Process:
        process = self.host.spawn(sys.executable, "-uc", text, *arguments, name=name)
        process.wait_line("^ready")
        return process

    def announced(self, *vips: str) -> None:
        """Wait until these routes are there over both sessions, and no other."""

        def seen() -> bool:
            return sorted(route.prefix for route in self.bird.all_routes()) == sorted(2 * vips)

        try:
            until(seen, 20.0, "the routes are at BIRD")
        except NotInTime as error:
            raise NotInTime(f"{error}: {self.bird.all_routes()}") from None

    def ask(self, vip: str) -> str:
        """Ask at a VIP's port 53, from the router."""
        with self.bird.host.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(1)
            client.bind(("198.51.100.2", SOURCE_PORT))
            client.connect((vip.partition("/")[0], 53))
            client.send(b"?")
            try:
                return client.recv(99).decode()
            except OSError as error:
                return str(error)

    def answers(self, vip: str, port: int) -> None:
        until(lambda: self.ask(vip) == f"{port} 198.51.100.2", 10.0, f"{vip} leads to {port}", every=0.1)


@pytest.fixture
def world(lab: Lab) -> World:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    for vip in (VIP, TAGGED):
        tor.route(vip, via="198.51.100.1")
    peers = [
        Peer("198.51.100.1", HOST_AS, local="198.51.100.2", port=1179, password=PASSWORD),
        Peer("2001:db8::1", HOST_AS, local="2001:db8::2", ttl_security=True),
    ]
    config = {
        "agent": {  # the directories as systemd makes them for the unit
            "run_dir": str(private_directory(lab.dir / "run")),
            "state_dir": str(private_directory(lab.dir / "state")),
            "drain_time": "100ms",
            "cleanup_timer": "1s",
            "monitor_interval": "1s",
        },
        "bgp": {
            "local_as": HOST_AS,
            "router_id": "198.51.100.1",
            "peers": [
                {"address": "198.51.100.2", "peer_as": ROUTER_AS, "password": PASSWORD, "port": 1179},
                {"address": "2001:db8::2", "peer_as": ROUTER_AS, "ttl_security": 1},
            ],
        },
    }
    return World(lab, host, Bird(tor, ROUTER_AS, peers), ConsulAgent(host), config)


def status(pid: int, key: str) -> int:
    """A line of /proc/PID/status; the sets of capabilities are hexadecimal there."""
    (value,) = re.findall(rf"^{key}:\s+(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(value, 16)


def child(pid: int) -> int:
    """The only child of a process that is there for long."""
    (only,) = until(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text().split(), 10.0, f"{pid} has a child")
    return int(only)


def open_files(pid: int) -> set[str]:
    """What a process has open, but /dev/null: sockets, pipes and files have names of their own."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since they were listed
            found.add(os.readlink(link))
    return found - {os.devnull}


def test_all_of_a_services_life_with_net_admin_alone(world: World) -> None:
    serving = [
        world.script(LISTEN, "tcp", "198.51.100.1", "8055", name="listener"),
        world.script(SERVICE, "8053", "198.51.100.1", name="service"),
        world.script(SERVICE, "8054", "198.51.100.1", name="other-service"),
        world.script(NAMES, "127.0.0.1", "small", name="names"),
        world.script(WEB, name="web"),
    ]
    slow = "interval=600s"  # what is seen sooner was told by the kernel's event, for which CAP_NET_ADMIN is asked
    kinds = [
        f"port:tcp:8055;{slow}",
        "tcp:198.51.100.1:8055",
        "http:http://127.0.0.1:8079/",
        "dns:127.0.0.1:example.org",
    ]
    app = {"name": "dns", "vips": [VIP, VIP6], "monitors": [*kinds, f"exec:{NO_CAPABILITY}"], "nats": ["udp:53:8053"]}
    world.config["apps"] = [app]
    daemon = world.start(as_user(world.lab, "net_admin"))
    world.announced(VIP, VIP6)
    assert status(daemon.process.pid, "CapEff") == status(daemon.process.pid, "CapBnd") == NET_ADMIN
    assert status(daemon.process.pid, "Uid") == int(str(USER), 16)
    assert {VIP, VIP6} <= world.host.addresses()
    world.answers(VIP, 8053)

    tags = ["enable_gocast", f"gocast_vip={TAGGED}", "gocast_monitor=consul"]
    world.consul.register("web", [*tags, "gocast_nat=udp:53:8053"], check=ttl_check("passing"))
    world.announced(VIP, VIP6, TAGGED)
    world.answers(TAGGED, 8053)
    world.consul.register("web", [*tags, "gocast_nat=udp:53:8054"])
    world.answers(TAGGED, 8054)
    world.consul.update_check("critical", service_id="web")
    world.announced(VIP, VIP6)
    world.consul.update_check("passing", service_id="web")
    world.announced(VIP, VIP6, TAGGED)
    world.consul.deregister("web")
    world.announced(VIP, VIP6)
    until(lambda: TAGGED not in world.host.addresses(), 10.0, "the address goes")

    serving[0].kill()
    world.announced()
    world.script(LISTEN, "tcp", "198.51.100.1", "8055", name="listener-again")
    assert daemon.stop() == 0
    world.announced()
    assert not {VIP, VIP6} & world.host.addresses()
    assert "8053" not in world.host.run("nft", "list", "ruleset")
    assert "Traceback" not in daemon.log()


def test_killed_as_a_user_it_takes_its_addresses_over(world: World) -> None:
    world.config["apps"] = [{"name": "dns", "vip": VIP}, {"name": "ntp", "vip": VIP6}]
    daemon = world.start(as_user(world.lab, "net_admin"))
    world.announced(VIP, VIP6)
    exabgp = child(daemon.process.pid)
    daemon.kill9()
    world.announced()
    until(lambda: not Path(f"/proc/{exabgp}").exists(), 5.0, "ExaBGP has ended with it")
    assert {VIP, VIP6} <= world.host.addresses()
    world.config["apps"] = [{"name": "dns", "vip": VIP}]
    daemon.configure(world.config)
    daemon.start()
    world.announced(VIP)
    until(lambda: VIP6 not in world.host.addresses(), 10.0, "what nobody wants is removed")


@pytest.mark.parametrize("user", ["root", "user"])
def test_exabgp_and_its_relay_have_no_capability_and_nothing_of_the_daemons(world: World, user: str) -> None:
    world.config["apps"] = [{"name": "dns", "vip": VIP}]
    if user == "root":
        for directory in ("run", "state"):
            os.chown(world.lab.dir / directory, 0, 0)
    daemon = world.start(as_user(world.lab, "net_admin") if user == "user" else ())
    world.announced(VIP)
    exabgp = child(daemon.process.pid)
    relay = child(exabgp)
    for pid in (exabgp, relay):
        held = {key: status(pid, key) for key in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
        assert held == dict.fromkeys(held, 0)
        # to take from the bounding set is a capability of its own; with NoNewPrivs nothing gives what is in it
        assert status(pid, "CapBnd") == (NET_ADMIN if user == "user" else 0)
        assert status(pid, "NoNewPrivs") == 1
        environment = Path(f"/proc/{pid}/environ").read_text()
        assert "CONSUL_NODE" not in environment
        assert not open_files(pid) & open_files(daemon.process.pid)
    assert len(open_files(relay)) == 5, "two pipes of ExaBGP, its log, its pidfd, and the socket"
    os.kill(daemon.process.pid, signal.SIGSTOP)  # the relay hears nothing of its end: the kernel alone kills ExaBGP
    os.kill(relay, signal.SIGSTOP)
    os.kill(daemon.process.pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{exabgp}").exists(), 5.0, "ExaBGP has ended with its parent")


def test_commands_of_another_user_are_that_user_have_nothing_of_the_daemons_and_end(world: World) -> None:
    """With what deploy/drop-ins/exec-user.conf adds."""
    nobody = pwd.getpwnam("nobody").pw_uid
    pid = world.lab.dir / "pid"
    pid.touch()
    os.chown(pid, nobody, nobody)
    world.lab.dir.chmod(0o755)
    as_nobody = f"test $(id -u) = {nobody} && {NO_CAPABILITY}"
    hangs = f"echo $$ >{pid}; sleep 612; true;timeout=500ms;interval=600s"
    world.config["apps"] = [
        {"name": "dns", "vip": VIP, "monitors": [f"exec:{as_nobody}"]},
        {"name": "ntp", "vip": VIP6, "monitors": [f"exec:{hangs}"]},
    ]
    world.config["exec"] = {"user": "nobody"}
    daemon = world.start(as_user(world.lab, "net_admin", "setuid", "setgid", "kill"))
    world.announced(VIP)
    daemon.wait_line("app config:ntp: monitor-failing.*did not end within 0.5 s and was killed")
    until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists(), 5.0, "it was ended")
    assert status(daemon.process.pid, "Uid") == int(str(USER), 16)
    exabgp = child(daemon.process.pid)
    assert status(exabgp, "CapPrm") == status(exabgp, "CapAmb") == 0


def test_what_a_command_of_another_user_lacks_is_named(world: World) -> None:
    world.config["apps"] = [{"name": "dns", "vip": VIP, "monitors": ["exec:true"]}, {"name": "ntp", "vip": VIP6}]
    world.config["exec"] = {"user": "nobody"}
    daemon = world.start(as_user(world.lab, "net_admin"))
    daemon.wait_line("the daemon needs CAP_SETGID, CAP_SETUID, CAP_KILL")
    world.announced(VIP6)


def test_without_net_admin_it_says_so_and_does_not_start(world: World) -> None:
    daemon = world.start(as_user(world.lab))
    assert daemon.process.wait(20.0) == 2
    assert "cannot start: CAP_NET_ADMIN is missing" in daemon.log()


def iptables(world: World, *, groups: Sequence[int] = (), lock: int = 0o640) -> list[str]:
    """As the drop-in for legacy iptables has it: another capability, root's group, and a lock that it may open."""
    ours = world.lab.dir / "xtables.lock"
    ours.touch()
    ours.chmod(lock)
    Path(XTABLES_LOCK).touch(0o600)  # as any iptables command does
    return as_user(world.lab, "net_admin", "net_raw", groups=groups, files=[(str(ours), XTABLES_LOCK)])


def test_legacy_iptables_as_a_user(world: World) -> None:
    _legacy(world.host)
    world.script(SERVICE, "8053", "198.51.100.1", name="service")
    world.config["apps"] = [{"name": "dns", "vip": VIP, "nats": ["udp:53:8053"], "monitors": [f"exec:{NO_CAPABILITY}"]}]
    world.config["nat"] = {"backend": "iptables"}
    daemon = world.start(iptables(world, groups=[0]))
    world.announced(VIP)
    world.answers(VIP, 8053)
    assert "203.0.113.10" in world.host.run("iptables-legacy-save", "-t", "nat")
    assert daemon.stop() == 0
    assert "203.0.113.10" not in world.host.run("iptables-legacy-save", "-t", "nat")


@pytest.mark.parametrize("lacking", ["raw", "group", "lock"])
def test_what_legacy_iptables_lacks_is_named_and_no_vip_without_its_nat_is_announced(
    world: World, lacking: str
) -> None:
    _legacy(world.host)
    nated = {"name": "dns", "vip": VIP, "nats": ["udp:53:8053"]}
    world.config["apps"] = [nated, {"name": "ntp", "vip": VIP6}]
    world.config["nat"] = {"backend": "iptables"}
    through, said = {
        "raw": (as_user(world.lab, "net_admin", groups=[0]), "CAP_NET_RAW is missing"),
        "group": (iptables(world), "/proc/net/ip_tables_names can be read by root and its group only"),
        "lock": (iptables(world, groups=[0], lock=0o600), "/run/xtables.lock cannot be opened by this user"),
    }[lacking]
    daemon = world.start(through)
    daemon.wait_line(re.escape(said))
    world.announced(VIP6)


def _legacy(host: Host) -> None:
    try:
        host.run("iptables-legacy", "-t", "nat", "-S")
    except RuntimeError:
        pytest.skip("this kernel has no legacy iptables")
