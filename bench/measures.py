"""What is measured. Each measure is one small function that changes something and returns milliseconds.

They are played in this order, each beginning where the one before has ended; the last leaves what the first needs.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.world import LISTENER_PORT, SERVICE, Side


def tag_to_announce(side: Side) -> float:
    """A healthy service with the tags of a VIP is registered."""
    tags = ["enable_gocast", f"gocast_vip={side.prefix}", "gocast_monitor=consul"]
    check = {"TTL": "600s", "Status": "passing"}
    return side.timed("/v1/agent/service/register", {"Name": SERVICE, "Tags": tags, "Check": check}, announced=True)


def critical_to_withdraw(side: Side) -> float:
    """Its check goes critical."""
    return side.timed(f"/v1/agent/check/update/service:{SERVICE}", {"Status": "critical"}, announced=False)


def passing_to_announce(side: Side) -> float:
    """Its check passes again."""
    return side.timed(f"/v1/agent/check/update/service:{SERVICE}", {"Status": "passing"}, announced=True)


def deregister_to_withdraw(side: Side) -> float:
    """The service is removed from Consul."""
    return side.timed(f"/v1/agent/service/deregister/{SERVICE}", None, announced=False)


def register_to_announce(side: Side) -> float:
    """An app is registered over HTTP, as with GoCast."""
    took = side.registered()
    side.unregistered()
    return took


def listener_killed_to_withdraw(side: Side) -> float:
    """The process that listens on a monitored port is killed with SIGKILL."""
    listener = side.listening()
    side.registered(monitor=f"port:tcp:{LISTENER_PORT}")
    took = side.killed(listener)
    side.unregistered(announced=False)
    return took


MEASURES: dict[str, Callable[[Side], float]] = {
    "tag → announce": tag_to_announce,
    "critical → withdraw": critical_to_withdraw,
    "passing → announce": passing_to_announce,
    "deregister → withdraw": deregister_to_withdraw,
    "HTTP register → announce": register_to_announce,
    "listener killed → withdraw": listener_killed_to_withdraw,
}
