"""A file is tried on what Consul says once; nothing is held open, nothing is changed."""

from __future__ import annotations

import ipaddress
import json

import pytest

from consulcast import config
from consulcast.consul.errors import ConsulError
from consulcast.executor.network import Network
from consulcast.rehearsal import rehearse
from tests.consul.server import Request, Server, reply

FILE = """
bgp: {local_as: 65001, peer_as: 65010, peer_ip: 198.51.100.2}
apps:
- {name: ntp, vip: 203.0.113.20/32, monitors: ["exec:false"]}
- {name: dns, vip: 203.0.113.21/32, monitors: [consul]}
"""


def service(name: str, *tags: str) -> dict[str, object]:
    return {"ID": name, "Service": name, "Tags": ["enable_gocast", *(f"gocast_{tag}" for tag in tags)]}


SERVICES = {
    "dns": service("dns", "vip=203.0.113.10/32", "monitor=consul"),
    "bad": service("bad", "vip=x"),
    "new": service("new", "vip=203.0.113.11/32", "monitor=consul"),
    "far": service("far", "vip=10.0.0.0/24"),
}


@pytest.fixture(autouse=True)
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    reserved = frozenset({ipaddress.ip_address("198.51.100.2")})
    monkeypatch.setattr(
        "consulcast.rehearsal.look", lambda *_: Network({}, ("no route to 198.51.100.2",), (), reserved)
    )


def answer(request: Request) -> bytes:
    if request.path == "/v1/catalog/node/web1":
        return reply(json.dumps({"Node": {"Node": "web1"}, "Services": SERVICES}))
    if request.path == "/v1/health/node/web1":
        return reply(json.dumps([{"CheckID": "c", "Status": "passing", "ServiceID": "dns"}]))
    return reply("null")


def outlook(node: str = "web1") -> tuple[dict[str, str], tuple[str, ...]]:
    with Server(answer) as consul:
        settings = config.parse("c.yaml", f"{FILE}consul: {{address: '{consul.address}'}}\n")
        found = rehearse(settings, {"CONSUL_NODE": node} if node else {})
        assert len(consul.requests) == (2 if node else 0)
    return {step.subject: f"{step.action} {step.reason}".strip() for step in found.steps}, found.unknown


def test_what_would_be_announced_and_what_not_and_why() -> None:
    said, unknown = outlook()
    assert {subject: word for subject, word in said.items() if "/" in subject} == {
        "203.0.113.10/32": "add announced",
        "203.0.113.11/32": "wait no-checks",
        "203.0.113.20/32": "wait monitor-pending",
        "203.0.113.21/32": "add announced",
    }
    assert said["consul:bad"] == "refuse bad-tag"
    assert said["consul:far"] == "refuse vip-not-allowed"
    assert "no route to 198.51.100.2" in unknown
    assert any("not run" in line for line in unknown)


def test_without_a_node_consul_is_not_asked_and_that_is_said() -> None:
    said, unknown = outlook(node="")
    assert "203.0.113.10/32" not in said
    assert any("CONSUL_NODE" in line for line in unknown)
    assert said["config:dns"] == "refuse monitor-unsupported"


def test_a_node_that_consul_does_not_know_is_an_error() -> None:
    with pytest.raises(ConsulError, match="does not know node 'other'"):
        outlook(node="other")
