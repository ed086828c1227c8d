"""Reads what ExaBGP says: acknowledgements, events, and the answer to ``show neighbor json``.

Everything comes as lines on one stream, in the order in which it happened; the snapshot too, so it never undoes an
event that is newer.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct, field

from consulcast.executor.bgp import notification
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.bgp.sums import Sum
from consulcast.model import IPAddress, Prefix


class Acknowledged(Struct, frozen=True):
    """The answer to the oldest command that has none yet. It carries no id, and not the reason of a refusal."""

    ok: bool


class Nudged(Struct, frozen=True):
    """The answer to ``commands.NUDGE``; its acknowledgement is the very next, whatever is under way."""


class Negotiated(Struct, frozen=True):
    """The OPEN messages were exchanged: prefixes of these IP versions will pass."""

    peer: IPAddress
    versions: frozenset[int]


class Up(Struct, frozen=True):
    """The session is established."""

    peer: IPAddress


class Down(Struct, frozen=True):
    """The session, or the attempt at one, has ended. ExaBGP knows the reason only if there was a NOTIFICATION."""

    peer: IPAddress
    reason: str


class Notified(Struct, frozen=True):
    """A NOTIFICATION was sent or received; ``Down`` follows."""

    peer: IPAddress
    text: str


class Configured(Struct, frozen=True):
    """What ExaBGP has been told about a peer, as far as it tells; it keeps passwords, TTLs and ports to itself."""

    peer: IPAddress
    peer_as: int
    local_as: int
    local_address: IPAddress
    router_id: IPAddress
    hold_time: int
    versions: frozenset[int]

    @classmethod
    def of(cls, peer: Peer) -> Configured:
        """What it should say of ``peer``."""
        versions = frozenset(peer.versions)
        identity = peer.address, peer.peer_as, peer.local_as, peer.local_address, peer.router_id
        return cls(*identity, peer.hold_time, versions)


class Session(Struct, frozen=True):
    """One peer in a snapshot. ``age`` is in seconds since it was established, 0 if it is not."""

    peer: IPAddress
    established: bool
    age: float
    versions: frozenset[int]
    configured: Configured | None = None
    router_id: IPAddress | None = None  # the peer's, from its OPEN
    sent: Mapping[str, int] = field(default_factory=dict)  # messages of this session by kind: open, update, keepalive …
    received: Mapping[str, int] = field(default_factory=dict)


class Snapshot(Struct, frozen=True):
    """Every session as it is."""

    sessions: tuple[Session, ...]


class Table(Struct, frozen=True):
    """A part of what a peer is told: its prefixes, each with the command that announced it (less the peer)."""

    peer: IPAddress
    part: int
    parts: int
    routes: Mapping[Prefix, str]


class TableSum(Struct, frozen=True):
    """The sum of all that a peer is told."""

    peer: IPAddress
    sum: Sum


Event: TypeAlias = Acknowledged | Nudged | Negotiated | Up | Down | Notified | Snapshot | Table | TableSum


def parse(line: bytes) -> Event | None:
    """Parse one line; None for one that says nothing of interest. Raises ``ValueError`` for one out of order."""
    if line in (b"done", b"error"):
        return Acknowledged(line == b"done")
    if line.startswith(b"exabgp "):
        return Nudged()
    try:
        told = json.loads(line)
        return _snapshot(told) if isinstance(told, list) else _event(told)
    except (LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not understood: {error!r}") from error


def _event(told: dict[str, Any]) -> Event | None:
    if "table" in told:
        return _table(told) if "routes" in told else _table_sum(told)
    kind = told["type"]
    if "neighbor" not in told:  # ExaBGP's own shutdown
        return None
    neighbor = told["neighbor"]
    peer = ipaddress.ip_address(neighbor["address"]["peer"])
    if kind == "negotiated":
        return Negotiated(peer, _versions(neighbor["negotiated"]["families"]))
    if kind == "state" and neighbor["state"] == "up":
        return Up(peer)
    if kind == "state" and neighbor["state"] == "down":
        return Down(peer, str(neighbor["reason"]))
    if kind.lower() == "notification":
        text = notification.describe(bytes.fromhex(neighbor["message"]["body"].removeprefix("0x")))
        return Notified(peer, f"{'received' if neighbor['direction'] == 'receive' else 'sent'} {text}")
    return None  # `connected`: seen before refused attempts too, so it tells nothing


def _table(told: dict[str, Any]) -> Table:
    routes = {ipaddress.ip_network(prefix, strict=False): str(line) for prefix, line in told["routes"].items()}
    return Table(ipaddress.ip_address(told["table"]), int(told["part"]), int(told["parts"]), routes)


def _table_sum(told: dict[str, Any]) -> TableSum:
    return TableSum(ipaddress.ip_address(told["table"]), Sum(int(told["count"]), int(told["sum"])))


def _snapshot(told: list[dict[str, Any]]) -> Snapshot:
    return Snapshot(tuple(map(_session, told)))


def _session(told: dict[str, Any]) -> Session:
    # `state` is wrong in the first second of a session; `duration` is no age unless the session is up.
    established = told["fsm"] == "ESTABLISHED"
    peer, local = told["peer"], told["local"]
    configured = Configured(
        ipaddress.ip_address(peer["address"]),
        peer["as"],
        local["as"],
        ipaddress.ip_address(local["address"]),
        ipaddress.ip_address(local["id"]),
        local["hold"],
        _versions(local["families"]),
    )
    return Session(
        configured.peer,
        established,
        float(told["duration"]) if established and told["state"] == "up" else 0.0,
        _versions(told["families"]),
        configured,
        ipaddress.ip_address(peer["id"]) if established and peer.get("id") else None,
        _counts(told, "sent"),
        _counts(told, "received"),
    )


def _counts(told: dict[str, Any], direction: str) -> Mapping[str, int]:
    return {kind: int(count) for kind, count in told.get("messages", {}).get(direction, {}).items()}


def _versions(families: Iterable[str]) -> frozenset[int]:
    known = {"ipv4 unicast": 4, "ipv6 unicast": 6}
    return frozenset(known[family] for family in families if family in known)
