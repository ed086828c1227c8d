"""What the kernel is asked about the network around, on hosts that have more of it than others."""

from __future__ import annotations

import json
import sys
from typing import Any

from integration.lab import Host, Lab

ASK = """
from gevent import monkey; monkey.patch_all()
import ipaddress, json, os, sys
from consulcast.executor.kernel import Kernel
from consulcast.executor.protocols import KernelError
from consulcast.executor.reach import undelivered
kernel = Kernel()
index = kernel.device("tor")
def path(text):
    try:
        found = kernel.path(ipaddress.ip_address(text))
    except KernelError as error:
        return str(error)
    return [str(found.source), found.device == index]
print(json.dumps({
    "gateway": str(kernel.default_gateway()),
    "gateways": sorted(map(str, kernel.gateways())),
    "own": sorted(map(str, kernel.own_addresses(1))),
    "global": [list(map(str, kernel.global_addresses(index, version))) for version in (4, 6)],
    "paths": [path(text) for text in sys.argv[1:]],
    "undelivered": sorted(map(str, undelivered(kernel, map(ipaddress.ip_address, sys.argv[1:])))),
}))
sys.stdout.flush()
os._exit(0)
"""


def ask(host: Host, *addresses: str) -> dict[str, Any]:
    """Ask all that can be asked; ``addresses``: to which the way is asked for."""
    found: dict[str, Any] = json.loads(host.run(sys.executable, "-c", ASK, *addresses))
    return found


def test_host_without_a_default_route_has_no_gateway(lab: Lab) -> None:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    host.run("ip", "addr", "add", "203.0.113.1/32", "dev", "lo")
    host.run("ip", "addr", "add", "2001:db8:5::1/64", "dev", "tor", "preferred_lft", "0")
    assert ask(host, "198.51.100.2", "2001:db8::2", "203.0.113.1", "192.0.2.1") == {
        "gateway": "None",
        "gateways": [],
        "own": ["198.51.100.1", "2001:db8:5::1", "2001:db8::1"],
        "global": [["198.51.100.1/24"], ["2001:db8::1/64"]],
        "paths": [
            ["198.51.100.1", True],
            ["2001:db8::1", True],
            ["203.0.113.1", False],
            "Network is unreachable (errno 101)",
        ],
        "undelivered": ["192.0.2.1", "198.51.100.2", "2001:db8::2"],
    }


def test_of_several_default_routes_the_best_has_the_gateway_and_all_are_listed(lab: Lab) -> None:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24", "2001:db8::1/64", "2001:db8::2/64")
    for route in (
        "unreachable default metric 1",
        "default metric 5 nexthop via 198.51.100.3 nexthop via 198.51.100.4",
        "default via 198.51.100.20 metric 20",
        "default via 198.51.100.10 metric 10",
        "default via 198.51.100.30 table 100",
    ):
        host.run("ip", "route", "add", *route.split())
    host.run("ip", "-6", "route", "add", "default", "nexthop", "via", "2001:db8::3", "nexthop", "via", "2001:db8::4")
    found = ask(host)
    assert found["gateway"] == "198.51.100.10"
    assert found["gateways"] == [
        *("198.51.100.10", "198.51.100.20", "198.51.100.3", "198.51.100.4"),
        *("2001:db8::3", "2001:db8::4"),
    ]
