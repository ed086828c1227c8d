"""What Consul shows of the announcements: keys and a service, in the store and by Consul's own name server."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from pathlib import Path
from typing import Any

from consulcast.monitors import dns
from consulcast.monitors.targets import Endpoint, Question
from integration.lab import Bird, ConsulAgent, Daemon, Lab, Peer, until
from integration.lab.consul import ConsulError, ttl_check

VIP, OTHER = "203.0.113.10/32", "203.0.113.11/32"
DNS_PORT = 8600
PUBLISH = {"kv": "consulcast/", "service": "consulcast", "ttl": "15s"}


class World:
    """A host with Consul, whose name server answers, a router, and the daemon."""

    def __init__(self, lab: Lab, publish: dict[str, Any] | None = None, **consul: Any) -> None:
        self.lab = lab
        host, tor = lab.host("host"), lab.host("tor")
        lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
        self.bird = Bird(tor, 65010, [Peer("198.51.100.1", 65001)])
        settings = dict(consul.pop("config", {}))
        settings["ports"] = {"http": 8500, "dns": DNS_PORT, "grpc": -1}
        self.consul = ConsulAgent(host, config=settings, **consul)
        self.config: dict[str, Any] = {
            "agent": {"run_dir": str(lab.dir / "run"), "state_dir": str(lab.dir / "state"), "drain_time": "100ms"},
            "consul": {"wait": "2s", "restart_grace": "1s", "removal_hold": "1s"},
            "bgp": {"local_as": 65001, "peers": [{"address": "198.51.100.2", "peer_as": 65010}]},
            "publish": PUBLISH if publish is None else publish,
        }
        self.daemon = Daemon(host, self.config, node=self.consul.node)

    def register(self, name: str = "dns", vip: str = VIP, status: str = "passing") -> None:
        tags = ["enable_gocast", f"gocast_vip={vip}", "gocast_monitor=consul"]
        self.consul.register(name, tags, check=ttl_check(status))

    def keys(self) -> dict[str, Any]:
        """Every key below the prefix, as what it says."""
        try:
            found = self.consul.call("GET", "/kv/consulcast/", recurse="1")
        except ConsulError:
            return {}
        return {entry["Key"]: json.loads(base64.b64decode(entry["Value"])) for entry in found}

    def vip(self, vip: str = VIP) -> Any:
        return self.keys().get(f"consulcast/host/vips/{vip.replace('/', '_')}", {})

    def state(self, vip: str, state: str, deadline: float = 10.0) -> None:
        until(lambda: self.vip(vip).get("state") == state, deadline, f"{vip} is published as {state}")

    def resolves(self, name: str) -> bool:
        """Whether Consul's name server has an address for a name, asked over UDP as `dig` does."""
        query = dns.message(4711, Question(Endpoint("127.0.0.1", DNS_PORT), name, "A"))
        with self.consul.host.inside():
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with server:
            server.settimeout(5.0)
            server.connect(("127.0.0.1", DNS_PORT))
            server.send(query)
            answer = server.recv(4096)
        assert dns.answers(query, answer)
        return bool(dns.judge(answer).passed)

    def answers(self, name: str, wanted: bool = True, deadline: float = 15.0) -> None:
        until(lambda: self.resolves(name) is wanted, deadline, f"{name} {'has' if wanted else 'has no'} address")


def test_keys_follow_the_announcements_and_go_at_the_stop(lab: Lab) -> None:
    world = World(lab)
    world.register()
    world.register("ntp", OTHER, "critical")
    world.bird.wait_routes({VIP}, deadline=20.0)
    world.state(VIP, "announced")
    said = world.vip()
    assert (said["node"], said["vip"], said["prefix"], said["reason"]) == ("host", VIP, VIP, "announced")
    assert said["apps"] == ["consul:dns"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", said["since"])
    assert (world.vip(OTHER)["state"], world.vip(OTHER)["reason"]) == ("down", "monitor-failing")
    node = world.keys()["consulcast/host/node"]
    assert node["vips"] == {"announced": 1, "observed": 0, "pending": 0, "down": 1}
    assert (node["peers_up"], node["peers"]) == (1, [{"address": "198.51.100.2", "as": 65010, "state": "up"}])

    world.consul.update_check("critical", service_id="dns")
    world.state(VIP, "down")
    world.consul.update_check("passing", service_id="dns")
    world.state(VIP, "announced")
    world.consul.deregister("ntp")
    until(lambda: not world.vip(OTHER), 10.0, "what is not wanted any more has no key")
    world.daemon.stop()
    assert world.keys() == {}
    assert "consulcast:consulcast" not in world.consul.services()


def test_dig_finds_the_hosts_that_announce_a_vip_and_those_alone(lab: Lab) -> None:
    world = World(lab)
    world.register()
    world.register("ntp", OTHER, "critical")
    world.register("time", "198.18.0.128/32")
    for label in ("203.0.113.10", "198.18.0.128", "dns", "time"):
        world.answers(f"{label}.consulcast.service.consul")
    assert not world.resolves("203.0.113.11.consulcast.service.consul")
    assert not world.resolves("ntp.consulcast.service.consul")
    (check,) = (check for check in world.consul.checks() if check["CheckID"] == "consulcast:consulcast")
    assert check["Status"] == "passing"
    world.consul.update_check("critical", service_id="dns")
    world.answers("203.0.113.10.consulcast.service.consul", wanted=False)
    assert world.resolves("consulcast.service.consul"), "the daemon is alive, and announces nothing"
    world.daemon.stop()
    assert not world.resolves("consulcast.service.consul")


def test_what_is_published_is_no_input_of_ours(lab: Lab) -> None:
    """Our own service and check are neither an app nor a verdict, not even for an app that is named like them."""
    app = {"name": "consulcast", "vip": OTHER, "monitors": ["consul"]}
    world = World(lab)
    world.daemon.configure({**world.config, "apps": [app]})
    world.daemon.restart()
    world.register()
    world.bird.wait_routes({VIP}, deadline=20.0)
    world.answers("203.0.113.10.consulcast.service.consul")
    assert world.bird.routes().keys() == {VIP}
    before = world.bird.counters()
    world.consul.update_check("critical", "consulcast:consulcast")
    world.consul.deregister("consulcast:consulcast")
    world.answers("203.0.113.10.consulcast.service.consul", wanted=False)
    world.answers("203.0.113.10.consulcast.service.consul")  # it is registered again
    assert world.bird.counters() == before
    assert world.vip(OTHER)["state"] == "down"


def test_the_keys_of_a_dead_daemon_go_by_themselves_and_another_takes_them_over(lab: Lab) -> None:
    world = World(lab)
    world.register()
    world.state(VIP, "announced", 20.0)
    world.daemon.kill9()
    assert world.vip()["state"] == "announced"
    world.daemon.start()
    world.daemon.wait_line("vip .*: announced", 20.0)
    until(lambda: len(sessions(world)) == 2, 10.0, "the new daemon has a session beside the dead one's")
    until(lambda: len(sessions(world)) == 1, 60.0, "the dead one's has ended")
    assert world.vip()["state"] == "announced", "which takes no key of the living along"
    world.daemon.kill9()
    until(lambda: world.keys() == {}, 60.0, "the keys go", every=0.5)
    world.answers("consulcast.service.consul", wanted=False, deadline=30.0)


def sessions(world: World) -> list[Any]:
    return list(world.consul.call("GET", "/session/list"))


def test_what_others_change_is_put_right_and_a_lost_session_is_made_anew(lab: Lab) -> None:
    world = World(lab)
    world.register()
    world.state(VIP, "announced", 20.0)
    (session,) = sessions(world)
    world.consul.call("PUT", f"/session/destroy/{session['ID']}")
    assert world.keys() == {}
    world.state(VIP, "announced", 20.0)


def test_consul_away_costs_one_line_and_no_route(lab: Lab) -> None:
    world = World(lab, persistent=True)
    world.register()
    world.bird.wait_routes({VIP}, deadline=30.0)
    world.state(VIP, "announced")
    before = world.bird.counters()
    world.daemon.mark()
    world.consul.pause()
    world.daemon.wait_line("publish.kv: Consul does not take it", 40.0)
    time.sleep(5.0)
    assert len(re.findall("publish.kv: Consul does not", world.daemon.log())) == 1
    assert world.bird.counters() == before
    world.consul.resume()
    world.daemon.wait_line("publish.kv: published again", 60.0)
    world.state(VIP, "announced", 30.0)
    world.consul.pause()
    began = time.monotonic()
    world.daemon.stop()
    assert time.monotonic() - began < 15.0, "a Consul that does not answer does not hold up the stop"
    assert world.bird.routes() == {}


def test_the_page_shows_keys_as_they_are(lab: Lab) -> None:
    page = (Path(__file__).parents[1] / "docs/publish.md").read_text()
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    world = World(lab)
    world.register()
    world.state(VIP, "announced", 20.0)
    node, vip = world.keys()["consulcast/host/node"], world.vip()
    assert [list(one) for one in shown] == [list(vip), list(node)]
