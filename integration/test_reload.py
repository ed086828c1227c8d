"""The file changes under a running daemon: the smallest change at the router, and none for a bad file."""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from integration.lab import Bird, ConsulAgent, Daemon, Host, Lab, Peer, until
from integration.test_stories import HOST_AS, OTHER, ROUTER_AS, VIP, settings


@dataclass
class World:
    """A host whose apps come from the file alone, and its router."""

    lab: Lab
    host: Host
    bird: Bird
    daemon: Daemon

    def reload(self, *apps: dict[str, Any], **more: Any) -> None:
        """Write the file anew and tell the daemon."""
        self.daemon.configure(settings(self.lab, apps=list(apps), **more))
        self.daemon.mark()
        self.daemon.process.signal(signal.SIGHUP)
        self.daemon.wait_line("reload")

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Make a request to the daemon's HTTP endpoint."""
        with self.host.inside():
            connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
            connection.connect()
        headers = {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, json.loads(text) if text.strip().startswith(("{", "[")) else text


def app(name: str, vip: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "vip": vip, **more}


@pytest.fixture
def world(lab: Lab) -> Iterator[World]:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    bird = Bird(tor, ROUTER_AS, [Peer("198.51.100.1", HOST_AS)])
    daemon = Daemon(host, settings(lab, apps=[app("dns", VIP)]))
    made = World(lab, host, bird, daemon)
    bird.wait_route(VIP, deadline=20.0)
    yield made
    assert "Traceback" not in daemon.log()


def test_new_app_comes_and_old_app_goes_and_the_one_that_stays_sees_nothing(world: World) -> None:
    before = world.bird.counters()
    address = world.host.run("ip", "-d", "addr", "show", "lo")
    world.reload(app("dns", VIP), app("ntp", OTHER))
    world.bird.wait_routes({VIP, OTHER})
    assert (world.bird.counters() - before).updates == 1
    world.reload(app("dns", VIP))
    world.bird.wait_routes({VIP})
    until(lambda: OTHER not in world.host.addresses(), 10.0, "the address of the app that went is removed")
    changed = world.bird.counters() - before
    assert (changed.updates, changed.withdraws) == (1, 1)
    assert world.host.run("ip", "-d", "addr", "show", "lo") == address


def test_changed_communities_and_origin_are_applied_in_place(world: World) -> None:
    world.reload(app("dns", VIP, vip_config={"bgp_communities": ["65000:7"]}), bgp={"communities": ["65000:1"]})
    until(lambda: world.bird.routes()[VIP].communities == ("65000:1", "65000:7"), 10.0, "the communities are at BIRD")
    world.reload(app("dns", VIP), bgp={"origin": "unknown"})
    until(lambda: world.bird.routes()[VIP].origin == "incomplete", 10.0, "the origin is at BIRD")
    assert world.bird.counters().withdraws == 0


def test_bad_file_changes_nothing_and_says_why(world: World) -> None:
    before = world.bird.counters()
    world.daemon.configure("bgp:\n  locl_as: 1\n")
    world.daemon.mark()
    world.daemon.process.signal(signal.SIGHUP)
    line = world.daemon.wait_line("reload refused")
    assert "nothing is changed" in line
    assert ":2: bgp.locl_as: unknown key" in line
    status, body = world.ask("POST", "/v1/reload")
    assert status >= 400
    assert "bgp.locl_as" in json.dumps(body)
    time.sleep(1)
    assert world.bird.counters() == before
    assert VIP in world.bird.routes()


def test_reload_by_the_api(world: World) -> None:
    world.daemon.configure(settings(world.lab, apps=[app("dns", VIP), app("ntp", OTHER)]))
    status, _ = world.ask("POST", "/v1/reload")
    assert status in (200, 204)
    world.bird.wait_routes({VIP, OTHER})


def test_app_over_http_survives_a_restart_and_lapses_after_its_time(world: World) -> None:
    status, _ = world.ask("PUT", "/v1/apps/ntp", {"vips": [OTHER], "ttl": "4s"})
    assert status in (200, 201)
    assert world.ask("PUT", "/v1/apps/syslog", {"vips": ["203.0.113.12/32"]})[0] in (200, 201)
    world.bird.wait_routes({VIP, OTHER, "203.0.113.12/32"})
    world.daemon.restart()
    world.bird.wait_routes({VIP, "203.0.113.12/32"}, deadline=20.0)
    assert world.ask("DELETE", "/v1/apps/syslog")[0] in (200, 204)
    world.bird.wait_routes({VIP})


def test_status_tells_apps_vips_and_peers(world: World) -> None:
    assert world.ask("GET", "/healthz")[0] == 200
    until(lambda: world.ask("GET", "/readyz")[0] == 200, 10.0, "the daemon is ready")
    assert "203.0.113.10/32" in json.dumps(world.ask("GET", "/v1/vips")[1])
    assert "announced" in json.dumps(world.ask("GET", "/v1/vips")[1])
    assert "config" in json.dumps(world.ask("GET", "/v1/apps")[1])
    assert "198.51.100.2" in json.dumps(world.ask("GET", "/v1/peers")[1])
    refused = world.ask("PUT", "/v1/apps/bad", {"vips": ["127.0.0.1/32"]})
    assert refused[0] == 409
    assert "vip-not-allowed" in json.dumps(refused[1])


def test_new_peer_comes_and_the_old_ones_session_stays(world: World) -> None:
    other = world.lab.host("tor2")
    world.lab.link(world.host, other, "198.18.0.1/24", "198.18.0.2/24")
    second = Bird(other, 65020, [Peer("198.18.0.1", HOST_AS)], router_id="198.18.0.2")
    before = world.bird.counters()
    peers = [{"address": "198.51.100.2"}, {"address": "198.18.0.2", "peer_as": 65020}]
    world.reload(app("dns", VIP), bgp={"peer_ip": "", "peers": peers})
    second.wait_route(VIP, deadline=20.0)
    assert world.bird.established()
    assert world.bird.counters() == before
    world.reload(app("dns", VIP), bgp={"peer_ip": "", "peers": peers[:1]})
    second.wait_route(VIP, present=False, deadline=20.0)
    assert world.bird.counters() == before


def test_consul_of_another_address_is_followed_and_the_old_apps_stand_until_it_answers(world: World) -> None:
    consul = ConsulAgent(world.host)
    consul.register("ntp", ["enable_gocast", f"gocast_vip={OTHER}"])
    world.reload(app("dns", VIP), consul={"node": consul.node})
    world.bird.wait_routes({VIP, OTHER}, deadline=20.0)
    world.reload(app("dns", VIP), consul={"node": consul.node, "address": "127.0.0.1:8599"})
    time.sleep(2)
    assert OTHER in world.bird.routes()
    assert world.bird.counters().withdraws == 0


def test_what_counts_from_the_start_alone_stays_in_force(world: World) -> None:
    before = world.bird.counters()
    world.reload(
        app("dns", VIP), agent={"vip_device": "nosuch0", "drain_time": "0s"}, bgp={"router_id": "198.51.100.99"}
    )
    assert "agent.vip_device counts from the next start; lo stays in force" in world.daemon.log()
    until(lambda: world.bird.established(), 20.0, "the session is up with the new router ID")
    world.bird.wait_route(VIP, deadline=20.0)
    assert world.daemon.process.alive
    assert before


def test_peer_whose_route_is_away_for_a_moment_survives_a_reload(world: World) -> None:
    world.host.run("ip", "route", "del", "198.51.100.0/24")
    world.reload(app("dns", VIP), app("ntp", OTHER), bgp={"peers": [{"address": "198.51.100.2"}], "peer_ip": ""})
    world.host.run("ip", "route", "add", "198.51.100.0/24", "dev", "tor", "src", "198.51.100.1")
    world.bird.wait_routes({VIP, OTHER}, deadline=45.0)
