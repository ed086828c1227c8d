"""The main story with Consul as the local binary, and with Consul in a container."""

from __future__ import annotations

from integration.lab import Bird, Consul, Daemon, Host, Lab, Peer, until
from integration.lab.consul import ttl_check

VIP = "203.0.113.10/32"
HOST_AS, ROUTER_AS = 65001, 65010


def test_service_is_announced_fails_recovers_and_leaves(lab: Lab, host: Host, tor: Host, consul: Consul) -> None:
    bird = Bird(tor, ROUTER_AS, [Peer("198.51.100.1", HOST_AS)])
    settings = {
        "agent": {
            "consul_addr": f"http://{consul.address}",
            "run_dir": str(lab.dir / "run"),
            "state_dir": str(lab.dir / "state"),
        },
        "bgp": {"local_as": HOST_AS, "peer_as": ROUTER_AS},  # the peer is the default gateway
    }
    Daemon(host, settings, node=consul.node)
    bird.wait_established()
    consul.register("dns", ["enable_gocast", f"gocast_vip={VIP}", "gocast_monitor=consul"], check=ttl_check())
    bird.wait_route(VIP)
    assert VIP in host.addresses()
    consul.update_check("critical", service_id="dns")
    bird.wait_route(VIP, present=False)
    consul.update_check("passing", service_id="dns")
    bird.wait_route(VIP)
    consul.deregister("dns")
    bird.wait_route(VIP, present=False)
    until(lambda: VIP not in host.addresses(), 10, f"address {VIP} is removed")
