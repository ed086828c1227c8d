"""What is measured. Each measure is one small function that changes something and returns milliseconds.

They are played in this order, each beginning where the one before has ended; the last leaves what the first needs.
Those of Consul's service need each other so; the others stand alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Measure:
    """``name`` is what it is asked for by, ``title`` what tables call it."""

    name: str
    title: str
    play: Callable[[Side], float]


OF_SERVICE = (
    Measure("tag", "tag → announce", tag_to_announce),
    Measure("critical", "critical → withdraw", critical_to_withdraw),
    Measure("passing", "passing → announce", passing_to_announce),
    Measure("deregister", "deregister → withdraw", deregister_to_withdraw),
)
MEASURES = (
    *OF_SERVICE,
    Measure("register", "HTTP register → announce", register_to_announce),
    Measure("listener", "listener killed → withdraw", listener_killed_to_withdraw),
)
