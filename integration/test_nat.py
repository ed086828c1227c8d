"""NAT in the real kernel, once with each back end: who reaches what, and what is left alone."""

from __future__ import annotations

import re
import socket
import sys
import time
from dataclasses import dataclass

import pytest

from integration.lab import Bird, Daemon, Host, Lab, Peer, Process, until
from integration.nat_table import Table

V4, V6 = "203.0.113.10", "2001:db8:53::10"
HOST = {4: "198.51.100.1", 6: "2001:db8::1"}
CLIENT = {4: "198.51.100.2", 6: "2001:db8::2"}
SOURCE_PORT = 40053

# Answers on one port of the host's own addresses, over udp and tcp, with the port and who asked.
SERVICE = """
import selectors, socket, sys
port, addresses = int(sys.argv[1]), sys.argv[2:]
ready = selectors.DefaultSelector()
def answer(peer): return f"{port} {peer[0]}".encode()
for address in addresses:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((address, port))
        if kind == socket.SOCK_STREAM: one.listen()
        ready.register(one, selectors.EVENT_READ, kind)
print("ready", flush=True)
while True:
    for key, _ in ready.select():
        one = key.fileobj
        if key.data == socket.SOCK_DGRAM:
            _, peer = one.recvfrom(99)
            one.sendto(answer(peer), peer)
        elif key.data == socket.SOCK_STREAM:
            connection, peer = one.accept()
            ready.register(connection, selectors.EVENT_READ, peer)
        else:
            try: asked = one.recv(99)
            except OSError: asked = b""
            if asked: one.sendall(answer(key.data))
            else: ready.unregister(one); one.close()
"""


def rule(vip: str, protocol: str, port: int, to_port: int) -> str:
    """A translation of a VIP to the host's own address of its family."""
    length = "" if "/" in vip else "/128" if ":" in vip else "/32"
    return f"{vip}{length} {protocol} {port} {HOST[6 if ':' in vip else 4]} {to_port}"


ALL = tuple(rule(vip, protocol, 53, 8053) for vip in (V4, V6) for protocol in ("udp", "tcp"))


@dataclass
class World:
    """A host with the VIPs and services on ports of its own addresses alone, and a client beside it."""

    lab: Lab
    host: Host
    client: Host
    backend: str

    def table(self, backend: str = "") -> Table:
        return Table(self.host, backend or self.backend, name=f"nat-{time.monotonic_ns()}")

    def serve(self, port: int) -> Process:
        service = self.host.spawn(sys.executable, "-uc", SERVICE, str(port), *HOST.values(), name=f"service-{port}")
        service.wait_line("ready")
        return service

    def rules(self) -> str:
        """Everything that either back end has in the kernel; counters, dates and handles left out."""
        texts = [self.host.run("nft", "list", "ruleset")]
        for program, names in (("iptables", "ip_tables_names"), ("ip6tables", "ip6_tables_names")):
            if "nat" in self.host.run("cat", f"/proc/net/{names}", check=False).split():
                texts.append(self.host.run(f"{program}-legacy-save", "-t", "nat"))
        plain = (re.sub(r"\[\d+:\d+\]", "", re.sub(r"^#.*\n", "", text, flags=re.M)) for text in texts)
        # a hash map's elements come in any order
        return "".join(re.sub(r"(?<=elements = )\{([^}]*)\}", _in_order, text) for text in plain)

    def count(self, text: str) -> int:
        """How many rules of ours lead to this address and port."""
        return len(re.findall(re.escape(text) + r"\b", self.rules().replace(" . ", ":")))

    def flush(self) -> None:
        """Be somebody else, who clears everything away."""
        if self.backend == "nft":
            self.host.run("nft", "flush", "ruleset")
        else:
            for program in ("iptables-legacy", "ip6tables-legacy"):
                self.host.run(program, "-t", "nat", "-F")
                self.host.run(program, "-t", "nat", "-X")


def _in_order(elements: re.Match[str]) -> str:
    return "\n".join(sorted(item.strip() for item in elements[1].split(",")))


@pytest.fixture(params=["nft", "iptables"])
def world(request: pytest.FixtureRequest, lab: Lab) -> World:
    host, client = lab.host("host"), lab.host("client")
    if request.param == "iptables" and not _has_legacy_iptables(host):
        pytest.skip("this kernel has no legacy iptables")
    lab.link(host, client, f"{HOST[4]}/24", f"{CLIENT[4]}/24", f"{HOST[6]}/64", f"{CLIENT[6]}/64")
    for vip in (f"{V4}/32", f"{V6}/128"):
        host.run("ip", "addr", "add", vip, "dev", "lo")
        client.route(vip, via=HOST[6 if ":" in vip else 4])
    return World(lab, host, client, request.param)


def _has_legacy_iptables(host: Host) -> bool:
    try:
        host.run("iptables-legacy", "-t", "nat", "-S")
    except RuntimeError:
        return False
    return True


def ask(host: Host, protocol: str, address: str, port: int = 53, timeout: float = 2.0) -> str:
    """Ask once from a host; an empty text: nobody answered."""
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with host.inside():
        asking = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    with asking:
        return say(asking, address, port, timeout)


def say(asking: socket.socket, address: str, port: int = 53, timeout: float = 2.0) -> str:
    """Connect if it is not, ask, and return the answer."""
    asking.settimeout(timeout)
    try:
        asking.connect((address, port))
        asking.send(b"who?")
        return asking.recv(99).decode()
    except OSError:
        return ""


@pytest.mark.parametrize("vip", [V4, V6])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_service_on_another_port_is_reached_from_elsewhere_and_from_the_host_itself(
    world: World, protocol: str, vip: str
) -> None:
    world.serve(8053)
    table = world.table()
    assert ask(world.client, protocol, vip, timeout=0.3) == ""
    table.set(*ALL)
    assert ask(world.client, protocol, vip) == f"8053 {CLIENT[6 if ':' in vip else 4]}"
    assert ask(world.host, protocol, vip).startswith("8053 ")
    assert ask(world.client, protocol, vip, port=54, timeout=0.3) == ""
    table.process.stop()
    assert ask(world.client, protocol, vip, timeout=0.3) == ""
    assert "CONSULCAST" not in world.rules().upper()


@pytest.mark.parametrize("vip", [V4, V6])
def test_flow_from_a_fixed_source_port_moves_when_its_rule_comes_changes_and_goes(world: World, vip: str) -> None:
    for port in (8053, 9053):
        world.serve(port)
    other = rule(vip, "tcp", 54, 9053)  # with its own conntrack user, as on most hosts
    table = world.table()
    table.set(other)
    with world.client.inside():
        asking = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM)
        staying = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_STREAM)
    with asking, staying:
        asking.bind(("", SOURCE_PORT))
        assert say(staying, vip, port=54).startswith("9053 ")
        assert say(asking, vip, timeout=0.3) == ""
        for port in (8053, 9053, 8053):
            table.set(other, rule(vip, "udp", 53, port))
            assert say(asking, vip).startswith(f"{port} ")
        table.set(other)
        assert say(asking, vip, timeout=0.3) == ""
        staying.send(b"still there?")
        assert staying.recv(99).startswith(b"9053 "), "a flow that nothing has changed for goes on"


def test_whole_prefix_is_translated_and_a_single_address_in_it_goes_its_own_way(world: World) -> None:
    for port in (8053, 9053):
        world.serve(port)
    for prefix, via in (("198.18.7.0/24", HOST[4]), ("2001:db8:7::/64", HOST[6])):
        world.host.run("ip", "addr", "add", prefix, "dev", "lo")
        world.client.route(prefix, via=via)
    table = world.table()
    prefixes = [rule("198.18.7.0/24", "udp", 53, 8053), rule("2001:db8:7::/64", "udp", 53, 8053)]
    single = [rule("198.18.7.99", "udp", 53, 9053), rule("2001:db8:7::99", "udp", 53, 9053)]
    table.set(*prefixes)
    with world.client.inside():
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with asking:
        asking.bind(("", SOURCE_PORT))
        assert say(asking, "198.18.7.99").startswith("8053 ")
        table.set(*prefixes, *single)
        for address in ("198.18.7.7", "2001:db8:7::7"):
            assert ask(world.client, "udp", address).startswith("8053 ")
        for address in ("198.18.7.99", "2001:db8:7::99"):
            assert ask(world.client, "udp", address).startswith("9053 ")
        moved = rule("198.18.7.0/24", "udp", 53, 9053)
        table.set(moved)
        assert say(asking, "198.18.7.7").startswith("9053 ")


def test_repeated_application_and_recovery_leave_exactly_one_rule(world: World) -> None:
    table = world.table()
    for _ in range(3):
        table.set(*ALL)
        table.set(*ALL[:1])
        table.set()
        table.set(*ALL)
        table.sweep()
    assert world.count("198.51.100.1:8053") == 2
    assert world.count("2001:db8::1:8053") + world.count("[2001:db8::1]:8053") == 2


def test_rules_flushed_by_somebody_else_come_back(world: World) -> None:
    world.serve(8053)
    table = world.table()
    table.set(*ALL)
    before = world.rules()
    world.flush()
    if world.backend == "iptables":
        table.sweep()
    until(lambda: world.rules() == before, 2.0, "the rules are back")
    table.wait(*ALL)
    assert ask(world.client, "udp", V4).startswith("8053 ")
    assert "drift: NAT rules removed or changed by somebody else" in table.process.text()


def test_rules_half_removed_or_added_to_by_somebody_else_are_made_whole(world: World) -> None:
    table = world.table()
    table.set(*ALL)
    before = world.rules()
    commands: list[tuple[str, ...]]
    if world.backend == "nft":
        wrongs = [
            "delete element inet consulcast dnat4 { 203.0.113.10 . udp . 53 : 198.51.100.1 . 8053 }",
            "add element inet consulcast dnat4 { 203.0.113.99 . udp . 53 : 198.51.100.1 . 8053 }",
            "flush chain inet consulcast prerouting",
            "add rule inet consulcast dispatch accept",
        ]
        commands = [("nft", wrong) for wrong in wrongs]
    else:
        commands = [
            ("iptables-legacy", "-t", "nat", "-D", "CONSULCAST", "1"),
            ("iptables-legacy", "-t", "nat", "-A", "CONSULCAST", "-j", "ACCEPT"),
            ("iptables-legacy", "-t", "nat", "-F", "OUTPUT"),
            ("iptables-legacy", "-t", "nat", "-A", "PREROUTING", "-j", "CONSULCAST"),
        ]
    for command in commands:
        world.host.run(*command)
        table.sweep()
        # a look and a repair are four Python processes with iptables; how long they take is the machine's matter
        until(lambda: world.rules() == before, 10.0, f"made whole after {command}")


def test_crash_leaves_rules_that_the_next_start_adopts_and_removes_when_they_are_not_wanted(world: World) -> None:
    table = world.table()
    table.set(*ALL)
    table.process.kill()
    before = _with_handles(world)
    table = world.table()
    table.wait(*ALL)
    table.set(*ALL)
    assert _with_handles(world) == before, "what is right already is not touched"
    table.set(*ALL[:1])
    assert world.count("198.51.100.1:8053") == 1
    table.process.kill()
    table = world.table()
    table.set()
    assert world.count("198.51.100.1:8053") == 0
    table.process.stop()
    assert "CONSULCAST" not in world.rules().upper()


def _with_handles(world: World) -> str:
    handles = re.findall(r"# handle \d+", world.host.run("nft", "-a", "list", "ruleset"))
    return world.rules() + "\n".join(handles)


def test_tables_and_rules_of_somebody_else_are_left_as_they_are(world: World) -> None:
    world.host.run("nft", OPERATOR)
    if world.backend == "iptables":
        for program in ("iptables-legacy", "ip6tables-legacy"):
            world.host.run(program, "-t", "nat", "-N", "OPERATOR")
            for where, what in (("PREROUTING", "OPERATOR"), ("OUTPUT", "OPERATOR"), ("OPERATOR", "RETURN")):
                world.host.run(program, "-t", "nat", "-A", where, "-p", "tcp", "--dport", "9", "-j", what)
    before = world.rules()
    table = world.table()
    table.set(*ALL)
    assert set(before.splitlines()) <= set(world.rules().splitlines())
    table.set()
    table.set(*ALL)
    table.process.stop()
    assert world.rules() == before


def test_the_two_back_ends_are_never_there_at_once(world: World) -> None:
    table = world.table()
    table.set(*ALL)
    table.process.kill()
    other = world.table("iptables" if world.backend == "nft" else "nft")
    other.set(*ALL)
    assert world.count("198.51.100.1:8053") == 2
    other.process.stop()
    assert "CONSULCAST" not in world.rules().upper()


def test_auto_takes_what_the_host_uses_itself(world: World) -> None:
    if world.backend == "iptables":
        world.host.run("iptables-legacy", "-t", "nat", "-A", "POSTROUTING", "-o", "client", "-j", "MASQUERADE")
    elif "nf_tables" not in world.host.run("iptables", "--version"):
        pytest.skip("this machine's iptables is legacy")
    table = world.table("auto")
    table.set(*ALL)
    assert f"NAT is made with {world.backend}" in table.process.text()


@pytest.mark.parametrize("world", ["nft"], indirect=True)  # one table for both families; iptables' are two
def test_rules_that_the_kernel_refuses_take_no_other_with_them(world: World) -> None:
    world.serve(8053)
    table = world.table()
    twice = rule(V4, "udp", 54, 9053)  # two destinations for one key: the kernel takes one
    table.set(*ALL, rule(V4, "udp", 54, 8053), twice)
    assert table.failures()
    standing = table.standing()
    assert standing is not None
    assert standing >= set(ALL)
    assert len(standing) == len(ALL) + 1
    assert ask(world.client, "udp", V6).startswith("8053 ")
    table.set(*ALL)
    until(lambda: not table.failures(), 5.0, "all that is wanted stands")
    table.wait(*ALL)


def test_host_without_nat_starts_no_child_and_makes_no_table(world: World) -> None:
    before = world.rules()
    table = world.table("auto")
    table.set()
    assert world.rules() == before
    assert table.standing() == set()
    assert "NAT" not in table.process.text()


def test_routes_of_a_vip_follow_its_nat_rules_and_what_cannot_be_had_is_told(lab: Lab) -> None:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    bird = Bird(tor, 65010, [Peer("198.51.100.1", 65001)])
    # somebody owns a table of our name: the kernel lets nobody else touch it until that process ends
    squatter = host.spawn(sys.executable, "-c", SQUATTER, name="squatter")
    until(lambda: "consulcast" in host.run("nft", "list", "tables"), 5.0, "the table is somebody else's")
    world = World(lab, host, tor, "nft")
    world.serve(8053)
    config = {
        "agent": {"run_dir": str(lab.dir / "run"), "state_dir": str(lab.dir / "state"), "drain_time": "0s"},
        "bgp": {"local_as": 65001, "peer_as": 65010, "peer_ip": "198.51.100.2"},
        "nat": {"backend": "nft"},
        "apps": [
            {"name": "dns", "vips": [f"{V4}/32", f"{V6}/128"], "nats": ["udp:53:8053", "tcp:53:8053"]},
            {"name": "plain", "vip": "203.0.113.11/32"},
        ],
    }
    daemon = Daemon(host, config)
    bird.wait_route("203.0.113.11/32")
    daemon.wait_line(f"vip {V4}/32: nat-failed")
    assert f"{V4}/32" not in bird.routes()
    squatter.kill()
    bird.wait_routes({f"{V4}/32", f"{V6}/128", "203.0.113.11/32"})
    for vip in (V4, V6):
        tor.route(vip, via=HOST[6 if ":" in vip else 4])
        for protocol in ("udp", "tcp"):
            assert ask(tor, protocol, vip) == f"8053 {CLIENT[6 if ':' in vip else 4]}"
    assert daemon.stop() == 0
    assert "consulcast" not in host.run("nft", "list", "tables")
    assert host.addresses() == {"127.0.0.1/8", "::1/128"}
    assert "Traceback" not in daemon.log()


OPERATOR = """\
table inet operator {
  chain pre {
    type nat hook prerouting priority -90;
    tcp dport 9 redirect to :99
  }
}
"""

SQUATTER = """
import json, subprocess, time
nft = subprocess.Popen(["nft", "-i"], stdin=subprocess.PIPE, text=True)
nft.stdin.write("add table inet consulcast { flags owner; }\\n")
nft.stdin.flush()
time.sleep(600)
"""
