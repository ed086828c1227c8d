"""A small world for one test: hosts (network namespaces), links, routers, Consul agents and the daemon.

    with Lab() as lab:
        host, tor = lab.host("host"), lab.host("tor")
        lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
        bird = Bird(tor, asn=65010, peers=[Peer("198.51.100.1", asn=65001)])
        consul = ConsulAgent(host)
        daemon = Daemon(host, config, node=consul.node)
        consul.register("dns", tags=["enable_gocast", "gocast_vip=203.0.113.10/32"])
        bird.wait_route("203.0.113.10/32")

Leaving the block ends every process that was started in it, by its id, and removes the namespaces. Addresses are from
198.51.100.0/24, 203.0.113.0/24, 198.18.0.0/15 and 2001:db8::/32 only; nothing is
ever changed on the machine's own network.
"""

from integration.lab.bird import Bird
from integration.lab.cluster import ConsulCluster
from integration.lab.consul import Consul, ConsulAgent
from integration.lab.consul_relay import ConsulRelay
from integration.lab.daemon import Daemon
from integration.lab.frr import Frr
from integration.lab.gobgp import Gobgp
from integration.lab.host import Host, Lab, Link
from integration.lab.process import Process
from integration.lab.router import Peer, RouteInfo, Router
from integration.lab.tap import Update, UpdateTap
from integration.lab.wait import NotInTime, until

__all__ = [
    "Bird",
    "Consul",
    "ConsulAgent",
    "ConsulCluster",
    "ConsulRelay",
    "Daemon",
    "Frr",
    "Gobgp",
    "Host",
    "Lab",
    "Link",
    "NotInTime",
    "Peer",
    "Process",
    "RouteInfo",
    "Router",
    "Update",
    "UpdateTap",
    "until",
]
