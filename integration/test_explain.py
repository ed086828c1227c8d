"""Broken set-ups: each time the first line of ``explain`` names the true cause, and the value that is wrong."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from consulcast.cli import cli
from integration.lab import Bird, ConsulAgent, Daemon, Host, Lab, Peer, until
from integration.lab.consul import ttl_check
from integration.lab.unprivileged import as_user, private_directory
from integration.lab.wait import NotInTime
from integration.test_consul_acl import ACL, ROOT, documented, new_token

HOST_AS, ROUTER_AS = 65001, 65010
WELL = "203.0.113.1/32"
SOON = 20.0


@dataclass
class Site:
    """A host with a daemon, and whatever else it has to do with."""

    lab: Lab
    host: Host
    name: str
    config: dict[str, Any] = field(default_factory=dict)
    daemon: Daemon | None = None
    consul: ConsulAgent | None = None
    bird: Bird | None = None

    def start(self, node: str = "", through: Sequence[str] = ()) -> None:
        self.daemon = Daemon(self.host, self.config, node=node, through=through)

    @property
    def file(self) -> Path:
        return self.lab.dir / f"consulcast-{self.host.name}.yaml"

    def run(self, target: str, *more: str) -> tuple[int, str]:
        """Run the command on the host: its exit status and what it prints."""
        with self.host.inside():
            done = CliRunner().invoke(cli, ["explain", target, "--config", str(self.file), *more])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        return done.exit_code, done.output

    def says(self, target: str, *words: str, status: int = 1) -> str:
        """Wait until the first line has all these words, and return all that it prints."""
        end = time.monotonic() + SOON
        while True:
            found, text = self.run(target)
            first = text.split("\n", 1)[0]
            if found == status and all(word in first for word in words):
                return text
            if time.monotonic() >= end:
                raise NotInTime(f"explain {target}: {words} with exit status {status} are not in ({found})\n{text}")
            time.sleep(0.1)

    def tag(self, name: str, *tags: str, check: str = "passing", **more: Any) -> None:
        assert self.consul is not None
        self.consul.register(name, tags, check=ttl_check(check) if check else None, **more)

    def service(self, name: str, vip: str, *tags: str, check: str = "passing") -> None:
        self.tag(name, "enable_gocast", f"gocast_vip={vip}", "gocast_monitor=consul", *tags, check=check)

    def ask(self, path: str, **query: str) -> None:
        """Call one of GoCast's URLs."""
        connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
        with contextlib.closing(connection):
            with self.host.inside():
                connection.sock = socket.create_connection(("127.0.0.1", 8080), 10)
            connection.request("GET", f"{path}?{urllib.parse.urlencode(query)}")
            assert connection.getresponse().status == 200


def settings(lab: Lab, name: str, *peers: dict[str, Any], **more: Any) -> dict[str, Any]:
    agent = {
        "run_dir": str(lab.dir / f"run-{name}"),
        "state_dir": str(lab.dir / f"state-{name}"),
        "drain_time": "100ms",
        **more.pop("agent", {}),
    }
    bgp = {"local_as": HOST_AS, "peer_as": ROUTER_AS, "peers": list(peers), **more.pop("bgp", {})}
    return {"agent": agent, "bgp": bgp, "consul": {"wait": "2s", "restart_grace": "1s"}, **more}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


# -- what services ask for, and what becomes of them: one host, where one service is well


@pytest.fixture(scope="module")
def spine(lab: Lab) -> Site:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/30", "198.51.100.2/30")
    policy = {
        "consul": {"vips": ["203.0.113.0/24", "2001:db8:53::/48"], "communities": ["65000:*"]},
        "services": [{"name": "team-a-*", "vips": ["203.0.113.64/28"]}],
    }
    damping = {"half_life": "60s", "suppress": 3000, "reuse": 1000, "max_suppress": "300s"}
    config = settings(lab, "spine", {"address": "198.51.100.2"}, policy=policy, bgp={"damping": damping})
    bird = Bird(tor, ROUTER_AS, [Peer("198.51.100.1", HOST_AS)])
    made = Site(lab, host, "spine", config, bird=bird, consul=ConsulAgent(host))
    made.start("host")
    made.service("well", WELL)
    bird.wait_route(WELL)
    return made


@pytest.mark.parametrize("target", [WELL, "203.0.113.1", "well", "consul:well", "203.0.113.0/30"])
def test_what_is_announced_is_said_to_be(spine: Site, target: str) -> None:
    text = spine.says(target, f"{WELL} is announced to 1 of 1 peers", status=0)
    assert "as in ExaBGP's table" in text
    assert "!!" not in text
    assert "??" not in text


def test_the_program_says_the_same_as_the_command(spine: Site) -> None:
    program = shutil.which("consulcast", path=str(Path(sys.executable).parent)) or "consulcast"
    command = spine.host.command(program, "explain", "well", "--config", str(spine.file))
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{WELL} is announced to 1 of 1 peers\n")
    assert "\x1b" not in done.stdout


def test_the_same_in_json(spine: Site) -> None:
    status, text = spine.run(WELL, "--json")
    body = json.loads(text)
    assert (status, body["announced"], body["reason"]) == (0, True, "announced")
    assert [step["stage"] for step in body["steps"]] == [
        *("source", "tags", "policy", "monitor"),
        *("sharing", "damping", "address", "route", "peer"),
    ]
    assert {"registered", "announced"} <= {event["reason"] for event in body["events"]}


@pytest.mark.parametrize(
    ("name", "vip", "tags", "words"),
    [
        ("loopback", "127.0.0.53/32", (), ["127.0.0.53/32", "vip-not-allowed", "loopback"]),
        ("foreign", "198.18.0.1/32", (), ["vip-not-allowed", "policy.consul.vips (203.0.113.0/24"]),
        ("team-b-dns", "203.0.113.65/32", (), ["vip-not-allowed", "policy.services[0]", "'team-a-*'", "'team-b-dns'"]),
        ("host-own", "198.51.100.2/32", (), ["vip-not-allowed", "198.51.100.2"]),
        ("mistyped", "203.0.113.5/32", ("gocast_monitor=prot:tcp:53",), ["bad-tag", "gocast_monitor=prot:tcp:53"]),
        ("no-number", "203.0.113.300/32", (), ["bad-tag", "gocast_vip=203.0.113.300/32"]),
        ("coloured", "203.0.113.6/32", ("gocast_vip_communities=65001:1",), ["community-not-allowed", "65001:1"]),
        ("ssh", "203.0.113.7/32", ("gocast_nat=tcp:2222:22",), ["nat-not-allowed", "port 22", "nat_dest"]),
        ("runs", "203.0.113.8/32", ("gocast_monitor=exec:/bin/true",), ["monitor-not-allowed", "policy.consul.exec"]),
        (
            *("silent", "203.0.113.9/32", ("gocast_monitor=port:tcp:5399",)),
            ["203.0.113.9/32 is NOT announced: monitor-failing", "port:tcp:5399: nobody listens"],
        ),
        ("six", "2001:db8:53::1/128", (), ["2001:db8:53::1/128", "no-next-hop", "198.51.100.2", "next_hop_ipv6"]),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" not in value else "",
)
def test_what_a_service_asks_for_and_cannot_have(
    spine: Site, name: str, vip: str, tags: tuple[str, ...], words: list[str]
) -> None:
    spine.service(name, vip, *tags)
    text = spine.says(name, "NOT announced", *words)
    assert "what to do: " in text
    assert "last changes:" in text


def test_a_critical_check(spine: Site) -> None:
    spine.service("sick", "203.0.113.20/32", check="critical")
    spine.says("203.0.113.20", "monitor-failing", "consul:sick: check 'service:sick' is critical")
    assert spine.consul is not None
    spine.consul.update_check("critical", service_id="sick", output="no zone\nis loaded")
    until(lambda: "'service:sick' says: no zone is loaded" in spine.run("sick")[1], SOON, "the check's own words")


def test_a_service_without_a_check(spine: Site) -> None:
    spine.service("unchecked", "203.0.113.21/32", check="")
    spine.says("unchecked", "no-checks", "no check in Consul")


@pytest.mark.parametrize("target", ["203.0.113.22", "203.0.113.22/32", "hyphen"])
def test_a_hyphen_for_an_underscore(spine: Site, target: str) -> None:
    spine.tag("hyphen", "enable_gocast", "gocast-vip=203.0.113.22/32")
    spine.says(target, "NOT announced", "bad-tag", "'gocast-vip=203.0.113.22/32'", "write 'gocast_vip=203.0.113.22/32'")


@pytest.mark.parametrize("target", ["203.0.113.23", "typo", "consul:typo"])
def test_a_misspelt_enabling_tag(spine: Site, target: str) -> None:
    spine.tag("typo", "enable-gocast", "gocast_vip=203.0.113.23/32")
    spine.says(target, "NOT announced", "not-enabled", "'enable-gocast'", "write 'enable_gocast'")


@pytest.mark.parametrize("target", ["203.0.113.24", "forgot"])
def test_no_enabling_tag(spine: Site, target: str) -> None:
    spine.tag("forgot", "gocast_vip=203.0.113.24/32")
    spine.says(target, "NOT announced", "not-enabled", "'forgot'", "has no tag 'enable_gocast'")


def test_of_two_services_on_a_vip_the_one_that_fails(spine: Site) -> None:
    spine.service("dns-tcp", "203.0.113.30/32")
    spine.service("dns-udp", "203.0.113.30/32", check="critical")
    spine.says("dns-tcp", "203.0.113.30/32", "monitor-failing", "consul:dns-udp", "shared by services dns-tcp, dns-udp")


def test_two_teams_that_send_one_port_to_two_places(spine: Site) -> None:
    spine.service("first", "203.0.113.31/32", "gocast_nat=tcp:443:8443")
    spine.says("first", "announced to 1 of 1 peers", status=0)
    spine.service("second", "203.0.113.31/32", "gocast_nat=tcp:443:9443")
    spine.says("second", "NOT announced", "vip-conflict", "port 9443", "consul:first")
    spine.says("203.0.113.31", "is announced", "consul:second is refused: vip-conflict", status=0)


def test_one_name_from_two_sources_is_two_apps(spine: Site) -> None:
    spine.ask("/register", name="one", vip="198.18.1.1/32")
    spine.says("http:one", "announced to 1 of 1 peers", status=0)
    spine.service("one", "203.0.113.32/32")
    spine.says("http:one", "198.18.1.1/32 is announced", status=0)
    spine.says("consul:one", "203.0.113.32/32 is announced", status=0)


def test_two_teams_with_one_prefix_for_two_addresses(lab: Lab) -> None:
    host, tor = lab.host("shared"), lab.host("r-shared")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    Bird(tor, ROUTER_AS, [Peer("198.51.100.1", HOST_AS)])
    apps = [{"name": "north", "vip": "203.0.113.1/28"}, {"name": "south", "vip": "203.0.113.2/28"}]
    made = Site(lab, host, "shared", settings(lab, "shared", {"address": "198.51.100.2"}, apps=apps))
    made.start()
    made.says("north", "203.0.113.1/28 is announced", status=0)
    made.says("south", "NOT announced: vip-conflict", "203.0.113.0/28 is announced already", "config:north")


def test_one_who_asks_for_everything_is_refused_and_hides_nobody(spine: Site) -> None:
    spine.tag("everything", "enable_gocast", "gocast_vip=0.0.0.0/0")
    spine.says("everything", "NOT announced", "vip-not-allowed", "default route")
    spine.tag("spelt", "enable_gocast", "gocast-vip=203.0.113.37/32")
    spine.says("203.0.113.37", "NOT announced", "bad-tag", "gocast-vip")
    spine.says("203.0.113.39", "is not known here", status=3)


def test_what_has_gone(spine: Site) -> None:
    assert spine.consul is not None
    spine.service("gone", "203.0.113.38/32")
    spine.says("gone", "is announced", status=0)
    spine.consul.deregister("gone")
    assert "it was here: " in spine.says("gone", "is not known here", status=3)
    assert "app consul:gone removed" in spine.run("gone")[1]
    assert "vip 203.0.113.38/32 withdrawing" in spine.run("203.0.113.38")[1]


def test_a_drain_in_each_of_its_phases(spine: Site) -> None:
    spine.service("drained", "203.0.113.36/32")
    spine.says("drained", "is announced", status=0)
    with spine.host.inside():
        done = CliRunner().invoke(cli, ["drain", "drained", "--config", str(spine.file), "-m", "new disk"])
    assert done.exit_code == 0
    spine.says("drained", "203.0.113.36/32 is announced", "draining", "drained by root: new disk", status=0)
    text = spine.says("drained", "NOT announced: draining", "drained by root: new disk", "withdrawn")
    assert "consulcast undrain" in text


def test_maintenance_mode_with_the_operators_words(spine: Site) -> None:
    assert spine.consul is not None
    spine.service("worked-on", "203.0.113.33/32")
    spine.says("worked-on", "is announced", status=0)
    spine.consul.maintenance(True, "worked-on", "new disks")
    spine.says("worked-on", "NOT announced", "draining", "maintenance mode: new disks")


def test_what_flaps_is_damped(spine: Site) -> None:
    vip = "203.0.113.34/32"
    for _ in range(4):
        spine.ask("/register", name="flaps", vip=vip)
        spine.says(vip, "is announced", status=0)
        spine.ask("/unregister", name="flaps")
        spine.says(vip, "is not known", status=3)
    spine.ask("/register", name="flaps", vip=vip)
    text = spine.says("flaps", f"{vip} is NOT announced: suppressed: flapped 4 times", "Z")
    assert "held until" in text


def test_a_bad_tag_on_a_running_service_leaves_it_and_is_told(spine: Site) -> None:
    spine.service("edited", "203.0.113.35/32")
    spine.says("edited", "is announced", status=0)
    spine.service("edited", "203.0.113.35/32", "gocast_nat=none")
    spine.says("edited", "is announced to 1 of 1 peers", "refused: bad-tag", "gocast_nat=none", status=0)


@pytest.mark.parametrize(("target", "near"), [("wel", "well"), ("203.0.113.99/32", "")])
def test_what_nobody_asks_for(spine: Site, target: str, near: str) -> None:
    text = spine.says(target, f"{target} is not known here", "unknown-target", "node 'host'", near, status=3)
    assert "without the tag enable_gocast" in text or "forgot" not in text


# -- peers: a host each, with an app of the file


def _with_router(
    lab: Lab, name: str, number: int, config: dict[str, Any], router: Peer | None, *, asn: int = ROUTER_AS
) -> Site:
    host, tor = lab.host(name), lab.host(f"r-{name}")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    bird = Bird(tor, asn, [router]) if router is not None else None
    vip = f"203.0.113.{number}/32"
    config = settings(lab, name, {"address": "198.51.100.2", **config}, apps=[{"name": name, "vip": vip}])
    made = Site(lab, host, name, config, bird=bird)
    made.start()
    return made


@pytest.fixture(scope="module")
def peers(lab: Lab) -> dict[str, Site]:
    """All of them at once: a SYN without an answer takes seconds to be believed."""
    us = "198.51.100.1"
    return {
        "no-bgp": _with_router(lab, "no-bgp", 101, {}, None),
        "away": _with_router(lab, "away", 102, {"address": "198.51.100.9"}, None),
        "their-as": _with_router(lab, "their-as", 103, {}, Peer(us, HOST_AS), asn=65011),
        "our-as": _with_router(lab, "our-as", 104, {}, Peer(us, 65002)),
        "md5": _with_router(lab, "md5", 105, {"password": "right"}, Peer(us, HOST_AS, password="wrong")),
        "no-md5": _with_router(lab, "no-md5", 106, {}, Peer(us, HOST_AS, password="needed")),
        "family": _with_router(lab, "family", 107, {}, Peer(us, HOST_AS, families=("ipv6",))),
        "stranger": _with_router(lab, "stranger", 108, {}, Peer("198.51.100.77", HOST_AS)),
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no-bgp", ["peer-down", "198.51.100.2 AS65010", "refused or closed", "no BGP daemon listens"]),
        ("away", ["peer-down", "198.51.100.9 does not answer on r-away (ARP"]),
        ("their-as", ["peer-down", "wrong AS: it is AS 65011, and not AS 65010"]),
        ("our-as", ["peer-down", "wrong AS: it does not know us as AS 65001"]),
        ("md5", ["peer-down", "198.51.100.2 is there", "no answer to our SYN", "MD5 password (ours is set)"]),
        ("no-md5", ["peer-down", "198.51.100.2 is there", "no answer to our SYN", "MD5 password (ours is not set)"]),
        ("family", ["family-not-negotiated", "198.51.100.2 AS65010 did not agree to IPv4 unicast"]),
        ("stranger", ["peer-down", "198.51.100.2 AS65010", "knows 198.51.100.1"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_peer(peers: dict[str, Site], name: str, words: list[str]) -> None:
    peers[name].says(name, "NOT announced", *words)


# -- Consul


@pytest.fixture(scope="module")
def guarded(lab: Lab) -> Site:
    """A host whose Consul denies what no policy allows; the daemon has no token."""
    host, tor = lab.host("acl"), lab.host("r-acl")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    consul = ConsulAgent(host, config={"acl": ACL, "primary_datacenter": "dc1"}, token=ROOT)
    made = Site(lab, host, "acl", settings(lab, "acl", {"address": "198.51.100.2"}), consul=consul)
    made.service("dns", WELL)
    made.bird = Bird(tor, ROUTER_AS, [Peer("198.51.100.1", HOST_AS)])
    return made


def test_no_token_an_unknown_one_one_without_a_right_and_a_good_one(guarded: Site) -> None:
    consul = guarded.consul
    assert consul is not None
    guarded.start("acl")
    guarded.says("dns", "dns is not known here", "no token is sent", "consul.token_file", status=3)
    assert guarded.daemon is not None
    guarded.daemon.stop()

    token = guarded.lab.dir / "acl-token"
    token.write_text("11111111-2222-3333-4444-555555555555")
    guarded.config["consul"]["token_file"] = str(token)
    guarded.start("acl")
    guarded.says("dns", "consul-denied", "token", status=3)

    rules = documented().replace('"host"', '"acl"')
    consul.call("PUT", "/acl/policy", {"Name": "consulcast", "Rules": rules.split("node ")[0]})
    policy = consul.call("GET", "/acl/policy/name/consulcast")["ID"]
    token.write_text(new_token(consul)[1])
    guarded.says("dns", "is not known", 'node "acl" { policy = "read" }', status=3)

    consul.call("PUT", f"/acl/policy/{policy}", {"Name": "consulcast", "Rules": rules})
    guarded.says("dns", f"{WELL} is announced to 1 of 1 peers", status=0)


def test_another_node_s_name(lab: Lab, spine: Site) -> None:
    """A second daemon on the same host, with its own mark."""
    agent = {"owner_mark": 7, "listen_addr": "127.0.0.1:8089"}
    config = settings(lab, "node", {"address": "198.51.100.2"}, agent=agent)
    made = Site(lab, spine.host, "node", config, consul=spine.consul)
    kept = spine.file.read_text()
    try:
        made.start("web-17")
        assert made.daemon is not None
        made.says("well", "consul-node-unknown", "CONSUL_NODE (consul.node) is 'web-17'", "of node 'host'", status=3)
        made.daemon.stop()
    finally:
        spine.file.write_text(kept)


@pytest.fixture(scope="module")
def frozen(lab: Lab) -> Site:
    """A host whose Consul is frozen after one service was announced and before another was registered."""
    host, tor = lab.host("ice"), lab.host("r-ice")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    bird = Bird(tor, ROUTER_AS, [Peer("198.51.100.1", HOST_AS)])
    made = Site(lab, host, "ice", settings(lab, "ice", {"address": "198.51.100.2"}), bird=bird)
    made.config["consul"] = {"wait": "1s"}
    made.consul = ConsulAgent(host)
    made.service("dns", WELL)
    made.start("ice")
    bird.wait_route(WELL)
    made.consul.pause()
    return made


def test_consul_frozen(frozen: Site) -> None:
    frozen.says("dns", f"{WELL} is announced", "consul-stale", "last good answer stands", status=0)
    frozen.says("new", "new is not known here", "consul-stale", "http://127.0.0.1:8500", status=3)


def test_consul_away_from_the_start(lab: Lab) -> None:
    host, tor = lab.host("alone"), lab.host("r-alone")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    made = Site(lab, host, "alone", settings(lab, "alone", {"address": "198.51.100.2"}))
    made.config["consul"] = {"address": "127.0.0.1:8599"}
    made.start("alone")
    made.says("dns", "dns is not known here", "consul-stale", "127.0.0.1:8599", status=3)


# -- the host


def test_no_program_for_nat(lab: Lab) -> None:
    host, tor = lab.host("nat"), lab.host("r-nat")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    Bird(tor, ROUTER_AS, [Peer("198.51.100.1", HOST_AS)])
    app = {"name": "web", "vip": WELL, "nats": ["tcp:443:8443"]}
    agent = {name: str(private_directory(lab.dir / f"{name}-nat")) for name in ("run_dir", "state_dir")}
    config = settings(lab, "nat", {"address": "198.51.100.2"}, apps=[app], nat={"backend": "nft"}, agent=agent)
    made = Site(lab, host, "nat", config)
    made.start(through=as_user(lab, "net_admin", files=[("/dev/null", "/usr/sbin/nft")]))
    text = made.says("web", f"{WELL} is NOT announced: nat-failed", "no program nft: install nftables")
    assert f"{WELL} tcp 443 to 198.51.100.1 8443" in text


def test_the_kernel_has_lost_its_local_route(lab: Lab) -> None:
    host, tor = lab.host("lost"), lab.host("r-lost")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    Bird(tor, ROUTER_AS, [Peer("198.51.100.1", HOST_AS)])
    apps = [{"name": "web", "vip": WELL}]
    made = Site(lab, host, "lost", settings(lab, "lost", {"address": "198.51.100.2"}, apps=apps))
    made.start()
    made.says("web", "is announced to 1 of 1 peers", status=0)
    address = WELL.partition("/")[0]
    host.run("ip", "route", "del", "local", address, "dev", "lo", "table", "local")
    text = made.says("web", "is announced", f"the kernel has no local route to {address}", status=0)
    host.run(*text.split("`")[1].split())
    text = made.says("web", "is announced to 1 of 1 peers", status=0)
    assert "no local route" not in text


def test_the_vips_device_is_down(lab: Lab) -> None:
    host, tor = lab.host("fallen"), lab.host("r-fallen")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    Bird(tor, ROUTER_AS, [Peer("198.51.100.1", HOST_AS)])
    config = settings(lab, "fallen", {"address": "198.51.100.2"})
    made = Site(lab, host, "fallen", {**config, "apps": [{"name": "web", "vip": WELL}]})
    host.run("ip", "link", "set", "lo", "down")
    made.start()
    made.says("web", "address-failed", "device lo is down: ip link set lo up")
    host.run("ip", "link", "set", "lo", "up")
    made.says("web", "is announced to 1 of 1 peers", status=0)


# -- the daemon does not run


def test_started_without_net_admin(lab: Lab) -> None:
    host = lab.host("weak")
    agent = {name: str(private_directory(lab.dir / f"{name}-weak")) for name in ("run_dir", "state_dir")}
    made = Site(lab, host, "weak", settings(lab, "weak", {"address": "198.51.100.2"}, agent=agent))
    made.start(through=as_user(lab))
    assert made.daemon is not None
    made.daemon.process.wait(SOON)
    text = made.says("web", "not-running", "cannot start: CAP_NET_ADMIN is missing", status=4)
    assert "http://127.0.0.1:8080: Connection refused" in text


def test_never_started_stopped_killed_and_a_bad_file(lab: Lab) -> None:
    host, tor = lab.host("off"), lab.host("r-off")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    made = Site(
        lab, host, "off", settings(lab, "off", {"address": "198.51.100.2"}, apps=[{"name": "web", "vip": WELL}])
    )
    made.file.write_text(json.dumps(made.config))
    made.says("web", "not-running", f"no process holds {made.config['agent']['run_dir']}", status=4)
    made.start()
    made.says("web", "NOT announced", "198.51.100.2")
    assert made.daemon is not None
    made.daemon.stop()
    made.says("web", "not-running", "stopped in order", status=4)
    made.daemon.start()
    made.says("web", "NOT announced")
    made.daemon.kill9()
    made.says("web", "not-running", "no process holds", status=4)
    made.config["apps"][0]["vip"] = "203.0.113.1/33"
    made.daemon.configure(made.config)
    made.says("web", "not-running", "its file is not taken", "203.0.113.1/33", status=4)


def test_a_daemon_that_hangs(frozen: Site) -> None:
    assert frozen.daemon is not None
    frozen.daemon.process.pause()
    try:
        _, text = frozen.run("dns", "--timeout", "1")
        first = text.split("\n")[0]
        assert "not-reachable" in first
        assert f"process {frozen.daemon.process.pid} holds" in first
        assert "no answer in 1 s" in first
    finally:
        frozen.daemon.process.resume()


def test_the_changes_are_those_of_what_is_asked_for(spine: Site) -> None:
    until(lambda: "app consul:well passing" in spine.run("well")[1], 5.0, "its changes")
    assert "consul:sick" not in spine.run("well")[1]
