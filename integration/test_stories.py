"""What happens to a service, told at the router: real Consul, real ExaBGP, real BIRD, the real kernel."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integration.lab import Bird, ConsulAgent, Daemon, Host, Lab, Peer, until
from integration.lab.consul import ttl_check

VIP = "203.0.113.10/32"
OTHER = "203.0.113.11/32"
VIP6 = "2001:db8:53::10/128"
HOST_AS, ROUTER_AS = 4200000001, 65010


@dataclass
class World:
    """A host with Consul and the daemon, and its top-of-rack router."""

    lab: Lab
    host: Host
    bird: Bird
    consul: ConsulAgent
    daemon: Daemon

    def register(self, name: str = "dns", *tags: str, vip: str = VIP, id: str = "", status: str = "passing") -> None:
        """Register a service with a VIP, the monitor `consul` and one TTL check."""
        wanted = ["enable_gocast", f"gocast_vip={vip}", "gocast_monitor=consul", *tags]
        self.consul.register(name, wanted, id=id or name, check=ttl_check(status))

    def check(self, status: str, service: str = "dns") -> None:
        """Set the service's check."""
        self.consul.update_check(status, service_id=service)

    def announced(self, prefix: str = VIP, deadline: float = 10.0) -> None:
        self.bird.wait_route(prefix, deadline=deadline)

    def gone(self, prefix: str = VIP, deadline: float = 10.0) -> None:
        self.bird.wait_route(prefix, present=False, deadline=deadline)

    def has_address(self, address: str = VIP) -> bool:
        return address in self.host.addresses()

    def address_goes(self, address: str = VIP) -> None:
        until(lambda: not self.has_address(address), 10.0, f"address {address} is removed")

    def stays(self, prefix: str = VIP, seconds: float = 2.0) -> None:
        """See that nothing about the route changes for a while: not one UPDATE, not one withdrawal."""
        before = self.bird.counters()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert prefix in self.bird.routes()
            time.sleep(0.05)
        assert self.bird.counters() == before

    def children(self) -> list[int]:
        """The daemon's child processes: ExaBGP."""
        pid = self.daemon.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def settings(lab: Lab, **more: Any) -> dict[str, Any]:
    agent = {
        "run_dir": str(lab.dir / "run"),
        "state_dir": str(lab.dir / "state"),
        "drain_time": "1s",
        **more.pop("agent", {}),
    }
    bgp = {"local_as": HOST_AS, "peer_as": ROUTER_AS, "peer_ip": "198.51.100.2", **more.pop("bgp", {})}
    return {"agent": agent, "bgp": bgp, **more}


@contextlib.contextmanager
def world(lab: Lab, **more: Any) -> Iterator[World]:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    router_as = more.pop("router_as", ROUTER_AS)
    bird = Bird(tor, router_as, [Peer("198.51.100.1", HOST_AS)])
    more["bgp"] = {"peer_as": router_as, **more.get("bgp", {})}
    consul = ConsulAgent(host, persistent=more.pop("persistent", False))
    daemon = Daemon(host, settings(lab, **more), node=consul.node)
    bird.wait_established()
    daemon.wait_line("running as process", 30.0)  # a session may be up before the endpoint listens
    yield World(lab, host, bird, consul, daemon)
    assert "Traceback" not in daemon.log()


@pytest.fixture
def spine(lab: Lab) -> Iterator[World]:
    with world(lab) as made:
        yield made


def test_service_is_announced_fails_recovers_and_leaves(spine: World) -> None:
    spine.register()
    spine.announced()
    assert spine.has_address()
    route = spine.bird.routes()[VIP]
    assert (route.next_hop, route.as_path, route.origin) == ("198.51.100.1", (HOST_AS,), "igp")

    spine.check("critical")
    spine.gone()
    assert spine.has_address(), "the address outlives a short failure"

    spine.check("passing")
    spine.announced()

    spine.consul.deregister("dns")
    spine.gone()
    spine.address_goes()
    assert spine.bird.counters().withdraws == 2


def test_critical_service_is_never_announced(spine: World) -> None:
    spine.register(status="critical")
    spine.daemon.wait_line("app consul:dns: monitor-failing")
    spine.register("ntp", vip=OTHER)
    spine.announced(OTHER)
    assert VIP not in spine.bird.routes()
    assert not spine.has_address()


def test_warning_counts_as_failing(spine: World) -> None:
    spine.register()
    spine.announced()
    spine.check("warning")
    spine.gone()


def test_service_without_monitor_is_up_while_registered(spine: World) -> None:
    spine.consul.register("dns", ["enable_gocast", f"gocast_vip={VIP}"], check=ttl_check("critical"))
    spine.announced()


def test_nothing_is_sent_while_nothing_changes(spine: World) -> None:
    spine.register()
    spine.announced()
    spine.check("passing")
    spine.register()  # the same again
    spine.consul.register("untagged", ["some-tag"])
    spine.stays(seconds=3.0)


def test_changed_communities_reach_the_router_without_a_gap(spine: World) -> None:
    spine.register("dns", "gocast_vip_communities=65000:1")
    spine.announced()
    spine.register("dns", "gocast_vip_communities=65000:2,no-export,65000:1:2,target:65000:7")

    def changed() -> bool:
        route = spine.bird.routes()[VIP]  # a gap would be a KeyError
        return (route.communities, route.large, route.extended) == (
            ("65000:2", "65535:65281"),
            ("65000:1:2",),
            ("target:65000:7",),
        )

    until(changed, 10.0, "the new communities are at BIRD", every=0.002)
    assert spine.bird.counters().withdraws == 0


def test_changed_vip_moves_address_and_route(spine: World) -> None:
    spine.register()
    spine.announced()
    spine.register(vip=OTHER)
    spine.announced(OTHER)
    spine.gone(VIP)
    spine.address_goes(VIP)
    assert spine.has_address(OTHER)


def test_one_of_two_instances_is_enough(spine: World) -> None:
    spine.register(id="dns-1")
    spine.register(id="dns-2", status="critical")
    spine.announced()
    spine.check("passing", "dns-2")
    spine.check("critical", "dns-1")
    spine.daemon.wait_line("app consul:dns-1: monitor-failing")
    spine.stays(seconds=1.0)
    spine.check("critical", "dns-2")
    spine.gone()
    spine.check("passing", "dns-1")
    spine.announced()
    spine.consul.deregister("dns-2")
    spine.daemon.wait_line("app consul:dns-2: removed")
    spine.stays(seconds=1.0)


def test_two_services_on_one_vip_are_both_needed(spine: World) -> None:
    spine.register("dns-tcp")
    spine.register("dns-udp")
    spine.announced()
    spine.check("critical", "dns-udp")
    spine.gone()
    spine.check("passing", "dns-udp")
    spine.announced()
    spine.consul.deregister("dns-tcp")
    spine.daemon.wait_line("app consul:dns-tcp: removed")
    spine.stays(seconds=1.0)


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("gocast_monitor=prot:tcp:53", "bad-tag"),
        ("gocast_vip=203.0.113.300/32", "bad-tag"),
        ("gocast_vip=127.0.0.53/32", "vip-not-allowed"),
        ("gocast_vip=0.0.0.0/0", "vip-not-allowed"),
        ("gocast_vip=198.51.100.1/32", "vip-not-allowed"),
        ("gocast_vip_communities=65000", "bad-tag"),
        ("gocast_vip_communities=70000:1", "bad-tag"),
    ],
)
def test_bad_tag_refuses_that_app_with_its_reason_and_no_other(spine: World, tag: str, code: str) -> None:
    spine.register()
    spine.announced()
    spine.register("bad", tag, vip=OTHER)
    line = spine.daemon.wait_line("app consul:bad")
    assert code in line
    assert tag.partition("=")[2] in line
    spine.register("ntp", vip="203.0.113.12/32")
    spine.announced("203.0.113.12/32")
    assert set(spine.bird.routes()) == {VIP, "203.0.113.12/32"}
    assert spine.bird.counters().withdraws == 0


def test_tags_that_became_unreadable_do_not_withdraw_a_running_service(spine: World) -> None:
    spine.register("dns", "gocast_vip_communities=65000:1")
    spine.announced()
    spine.register("dns", "gocast_vip_communities=65000:")
    assert "last readable registration stands" in spine.daemon.wait_line("bad-tag")
    spine.stays(seconds=1.0)


def test_maintenance_withdraws_at_once_where_a_drain_does_and_is_left_at_once(lab: Lab) -> None:
    """With the lower preference before it: test_drain.py."""
    with world(lab, drain={"method": "none"}) as spine:
        spine.register()
        spine.announced()
        spine.consul.maintenance(True, "dns")
        spine.gone(deadline=2.0)
        spine.daemon.wait_line("draining")
        spine.consul.maintenance(False, "dns")
        spine.announced()
        spine.consul.maintenance(True)
        spine.gone(deadline=2.0)
        spine.consul.maintenance(False)
        spine.announced()


def test_agent_killed_and_restarted_with_a_smaller_index(spine: World) -> None:
    for number in range(20):
        spine.consul.register(f"filler-{number}")
    spine.register()
    spine.announced()
    before = spine.bird.counters()
    spine.consul.restart(crash=True)  # a -dev agent: knows nothing, and counts from the start again
    time.sleep(2)
    assert VIP in spine.bird.routes()
    spine.register("dns", "gocast_vip_communities=65000:1")
    until(lambda: spine.bird.routes()[VIP].communities == ("65000:1",), 10.0, "the new tags are at BIRD")
    assert spine.bird.counters().withdraws == before.withdraws == 0


def test_frozen_agent_withdraws_nothing(lab: Lab) -> None:
    with world(lab, consul={"wait": "1s"}) as spine:
        spine.register()
        spine.announced()
        spine.consul.pause()
        spine.daemon.wait_line("consul.*(timed|time-out|answer)", deadline=60.0)
        assert VIP in spine.bird.routes()
        spine.consul.resume()
        spine.check("critical")
        spine.gone(deadline=60.0)


def test_persistent_agent_restarts_in_order_and_nothing_is_withdrawn(lab: Lab) -> None:
    with world(lab, persistent=True) as spine:
        spine.register()
        spine.announced()
        spine.consul.restart()
        time.sleep(3)
        assert VIP in spine.bird.routes()
        assert spine.bird.counters().withdraws == 0
        until(lambda: bool(spine.consul.services()), 20.0, "the service is back in the catalog")
        spine.check("passing")
        time.sleep(1)
        assert spine.bird.counters().withdraws == 0


def test_router_restarted_gets_all_routes_again(spine: World) -> None:
    spine.register()
    spine.register("ntp", vip=OTHER)
    spine.announced(OTHER)
    spine.bird.kill()
    spine.daemon.wait_line("peer-down")
    spine.check("critical", "dns")  # while the peer is away
    spine.bird.start()
    spine.bird.wait_routes({OTHER}, deadline=30.0)


def test_exabgp_killed_comes_back_with_all_routes(spine: World) -> None:
    spine.register()
    spine.announced()
    (exabgp,) = spine.children()
    os.kill(exabgp, signal.SIGKILL)
    spine.gone(deadline=5.0)
    spine.announced(deadline=20.0)
    assert spine.has_address()


def test_hung_daemon_loses_its_routes_when_the_lease_ends_and_has_them_back_when_it_goes_on(lab: Lab) -> None:
    with world(lab, bgp={"lease": "2s"}) as made:
        made.register()
        made.announced()
        made.stays(seconds=4.0)
        made.daemon.process.pause()
        time.sleep(1.0)
        assert VIP in made.bird.routes(), "shorter than the lease, nothing happens"
        made.gone(deadline=5.0)
        assert made.has_address()
        made.daemon.process.resume()
        made.announced(deadline=20.0)
        made.daemon.wait_line("drift: ExaBGP has ended: this process stood still")


def test_exabgp_that_hangs_while_nothing_is_to_be_said_is_ended_and_started_again(spine: World) -> None:
    spine.register()
    spine.announced()
    (exabgp,) = spine.children()
    os.kill(exabgp, signal.SIGSTOP)
    spine.daemon.wait_line("drift: ExaBGP has ended: no answer for", deadline=25.0)
    assert spine.children() != [exabgp]
    spine.announced(deadline=20.0)
    assert spine.bird.established()


def test_killed_daemon_leaves_no_route_and_the_next_one_adopts_or_removes_its_addresses(spine: World) -> None:
    spine.register()
    spine.register("ntp", vip=OTHER)
    spine.announced()
    spine.announced(OTHER)
    exabgp = spine.children()
    spine.daemon.kill9()
    spine.gone(VIP, deadline=1.0)
    spine.gone(OTHER, deadline=1.0)
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in exabgp), 2.0, "ExaBGP has ended")
    assert spine.has_address(VIP)
    assert spine.has_address(OTHER)
    spine.host.run("ip", "addr", "add", "203.0.113.99/32", "dev", "lo")  # somebody else's
    spine.consul.deregister("ntp")
    spine.daemon.start()
    spine.announced(VIP, deadline=20.0)
    spine.address_goes(OTHER)
    assert spine.has_address("203.0.113.99/32")


def test_sigterm_withdraws_before_the_address_goes(spine: World) -> None:
    spine.register()
    spine.announced()
    exabgp = spine.children()
    spine.daemon.process.signal(signal.SIGTERM)
    spine.gone(deadline=5.0)
    assert spine.has_address(), "the address stays for the drain time"
    assert spine.daemon.process.wait(10.0) == 0
    assert not spine.has_address()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in exabgp)


def test_second_daemon_on_the_same_run_directory_refuses_to_start(spine: World) -> None:
    spine.register()
    spine.announced()
    second = Daemon(spine.host, spine.daemon.config.read_text(), node=spine.consul.node)
    assert second.process.wait(20.0) == 2
    assert f"in use by process {spine.daemon.process.pid}" in second.log()
    spine.stays(seconds=1.0)


def test_ipv6_vip_over_an_ipv4_session_has_a_usable_next_hop(spine: World) -> None:
    spine.register(vip=VIP6)
    spine.announced(VIP6)
    assert spine.bird.routes()[VIP6].next_hop == "2001:db8::1"
    assert spine.has_address(VIP6)


def test_both_families_over_an_ipv6_session_found_by_the_default_gateway(lab: Lab) -> None:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    host.route("default", via="2001:db8::2")
    bird = Bird(tor, ROUTER_AS, [Peer("2001:db8::1", HOST_AS)])
    consul = ConsulAgent(host)
    Daemon(host, settings(lab, bgp={"peer_ip": ""}), node=consul.node)
    consul.register("dns", ["enable_gocast", f"gocast_vip={VIP}", f"gocast_vip={VIP6}"])
    bird.wait_routes({VIP, VIP6}, deadline=20.0)
    routes = bird.routes()
    assert routes[VIP6].next_hop == "2001:db8::1"
    assert routes[VIP].next_hop == "198.51.100.1"


def test_apps_of_the_file_are_announced_without_consul(lab: Lab) -> None:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    bird = Bird(tor, ROUTER_AS, [Peer("198.51.100.1", HOST_AS)])
    app = {"name": "dns", "vip": VIP, "vip_config": {"bgp_communities": ["65000:9"]}}
    Daemon(host, settings(lab, bgp={"communities": ["65000:1"], "origin": "unknown"}, apps=[app]))
    bird.wait_route(VIP, deadline=20.0)
    route = bird.routes()[VIP]
    assert (route.communities, route.origin) == (("65000:1", "65000:9"), "incomplete")


def test_peer_that_never_answers_holds_up_neither_the_others_nor_the_stop(lab: Lab) -> None:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    bird = Bird(tor, ROUTER_AS, [Peer("198.51.100.1", HOST_AS)])
    consul = ConsulAgent(host)
    peers = [{"address": "198.51.100.77", "peer_as": 65099}, {"address": "198.51.100.2"}]
    daemon = Daemon(host, settings(lab, bgp={"peer_ip": "", "peers": peers}), node=consul.node)
    consul.register("dns", ["enable_gocast", f"gocast_vip={VIP}"])
    bird.wait_route(VIP, deadline=20.0)
    assert daemon.stop(timeout=15.0) == 0
    bird.wait_route(VIP, present=False)
    assert VIP not in host.addresses()
