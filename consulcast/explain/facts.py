"""What is known at one moment of everything between a tag and the routers: values alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct, field

from consulcast.changes import Change
from consulcast.consul.bodies import AgentCheck
from consulcast.damping import Flaps
from consulcast.executor.bgp.told import Told
from consulcast.executor.protocols import Found, PeerStatus, RouteState
from consulcast.executor.reach import Reach
from consulcast.model import (
    App,
    AppKey,
    Intent,
    MonitorSpec,
    Reason,
    Refused,
    Stale,
    Translation,
    Verdict,
    VerdictKey,
    Vip,
)
from consulcast.monitors.runner import Looked


class Shown(Struct, frozen=True):
    """A service as Consul's last good answer shows it."""

    id: str
    name: str
    tags: tuple[str, ...]


class OfConsul(Struct, frozen=True):
    """What is known of Consul. ``agent_node``: what the agent calls its own node; "": not asked, or not told."""

    node: str
    tag_prefix: str = "gocast"
    synced: bool = False
    stale: Stale | None = None
    has_token: bool = False
    where: str = ""  # the agent's address
    agent_node: str = ""
    services: Mapping[str, Shown] = field(default_factory=dict)  # by ServiceID
    held: Mapping[AppKey, str] = field(default_factory=dict)


class OfPeer(Struct, frozen=True):
    """A peer: its session and the way to it. ``password``: whether the session has one (TCP MD5)."""

    status: PeerStatus
    password: bool = False
    versions: Collection[int] = (4, 6)  # IP versions whose prefixes it can be given
    reach: Reach | None = None  # asked while the session is down
    silent: bool = False  # a connection to it is being made, and its SYN was sent again: nothing has come back


class OfVip(Struct, frozen=True):
    """A VIP as it is wanted and found. ``status``: what the reconciler says; ``None``: it wants nothing of it."""

    vip: Vip
    reason: Reason | None = None
    detail: str = ""
    route_state: RouteState | None = None
    why_missing: str = ""  # why its address is not there
    flaps: Flaps | None = None
    told: tuple[Told, ...] = ()
    undelivered: bool = False  # its address is there, and the kernel has no local route to it


class Facts(Struct, frozen=True):
    """All of it. Times are of the monotonic clock, as ``now`` is; ``wall`` is the same moment as a time of day."""

    now: float = 0.0
    wall: float = 0.0
    apps: tuple[App, ...] = ()  # taken, the oldest first
    asked: tuple[App, ...] = ()  # all that could be read
    refused: tuple[Refused, ...] = ()
    health: Mapping[AppKey, Verdict] = field(default_factory=dict)
    verdicts: Mapping[VerdictKey, Verdict] = field(default_factory=dict)
    looked: Mapping[MonitorSpec, Looked] = field(default_factory=dict)
    stale: Mapping[AppKey, Stale] = field(default_factory=dict)
    intents: Mapping[Vip, Intent] = field(default_factory=dict)
    vips: Mapping[Vip, OfVip] = field(default_factory=dict)  # those that matter
    found: Found | None = None  # on the VIPs' device; None: not read
    kernel_trouble: str = ""  # why it could not be read
    device: str = "lo"
    standing: frozenset[Translation] | None = None
    nat_failures: Mapping[Translation, str] = field(default_factory=dict)
    peers: tuple[OfPeer, ...] = ()
    gaps: tuple[str, ...] = ()  # peers and next hops that could not be found
    exabgp: str = ""  # why ExaBGP last ended by itself
    consul: OfConsul | None = None
    checks: Mapping[str, AgentCheck] = field(default_factory=dict)  # the agent's, by CheckID, if it was asked
    changes: tuple[Change, ...] = ()  # of what is explained, the oldest first
    complete: bool = True  # every source has answered once
