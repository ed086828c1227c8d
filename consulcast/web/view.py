"""What the HTTP endpoint sees of the daemon, and what it may ask of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct, field

from consulcast.changes import Changes
from consulcast.drains import Drain
from consulcast.executor.protocols import PeerStatus
from consulcast.explain.explanation import Explanation, Unknown
from consulcast.model import AppKey, IPAddress, Reason, Refused, Stale, Vip
from consulcast.outlook import Outlook
from consulcast.registration import Registration
from consulcast.tally import Count, Times
from consulcast.vip_status import DrainPhase


class AppState(StrEnum):
    """How an app is."""

    PASSING = "passing"
    FAILING = "failing"
    DRAINING = "draining"
    UNKNOWN = "unknown"  # no verdict yet
    REFUSED = "refused"  # asked for, and not taken


class VipState(StrEnum):
    """How a VIP is on this host."""

    ANNOUNCED = "announced"
    OBSERVED = "observed"  # it would be announced; the daemon only observes
    PENDING = "pending"  # on its way
    DOWN = "down"


class VipDrain(Struct, frozen=True):
    """How far the drain of a VIP is. ``flows``: how many were open when last counted; ``None``: not counted."""

    phase: DrainPhase
    since: float
    withdrawn_at: float  # at the latest
    until: float | None = None
    flows: int | None = None


class DrainView(Struct, frozen=True):
    """A drain over the API, and the VIPs that are drained by it or by whatever else at the moment."""

    drain: Drain
    vips: tuple[VipView, ...] = ()


class AppView(Struct, frozen=True):
    """An app as it stands. Times are of the monotonic clock; ``since`` is when ``state`` last changed.

    ``stale``: it rests on an answer of Consul's that stands for a better one.
    """

    key: AppKey
    asked: Registration  # in the words of its source, as far as they could be read
    state: AppState
    reason: Reason
    detail: str = ""
    since: float | None = None
    expires_at: float | None = None
    stale: Stale | None = None


class VipView(Struct, frozen=True):
    """A VIP as it stands."""

    vip: Vip
    reason: Reason
    detail: str = ""
    apps: tuple[AppKey, ...] = ()
    stale: Stale | None = None  # of the app that has been stale the longest
    drain: VipDrain | None = None

    @property
    def state(self) -> VipState:
        """The reason in one word."""
        lowered = self.drain is not None and self.drain.phase is DrainPhase.LOWERED
        if self.reason is Reason.ANNOUNCED or lowered:
            return VipState.ANNOUNCED
        if self.reason is Reason.WOULD_ANNOUNCE:
            return VipState.OBSERVED
        return VipState.PENDING if self.reason in (Reason.ANNOUNCING, Reason.MONITOR_PENDING) else VipState.DOWN


class Messages(Struct, frozen=True):
    """BGP messages of a session in one direction."""

    open: int = 0
    update: int = 0
    keepalive: int = 0
    notification: int = 0


class SessionInfo(Struct, frozen=True):
    """What GoCast tells of its one peer. ``router_id`` is the peer's; ``None`` before its OPEN."""

    peer: PeerStatus
    router_id: IPAddress | None = None
    sent: Messages = field(default_factory=Messages)
    received: Messages = field(default_factory=Messages)


class QueryView(Struct, frozen=True):
    """One of the blocking queries: when it was answered well last, and what has come of it since its start."""

    good_at: float | None = None
    returns: int = 0  # answers, unchanged ones too
    resets: int = 0  # of its index
    errors: Mapping[str, int] = field(default_factory=dict)  # by kind


class ConsulView(Struct, frozen=True):
    """What is known of Consul. ``stale``: why the last good answer stands for a better one; ``None``: all is well."""

    node: str
    synced: bool = False  # both queries were answered well once
    stale: Stale | None = None
    queries: Mapping[str, QueryView] = field(default_factory=dict)  # catalog and health
    held: Mapping[AppKey, str] = field(default_factory=dict)  # apps that stand against the last answer, and why


class View(Protocol):
    """The daemon, seen from the web."""

    def register(self, registration: Registration, *, vouched: bool) -> AppView | Refused:
        """Register, change in place or renew. What is refused is not kept. Raises ``BadValue``, ``NotStored``.

        ``vouched``: the caller has shown who he is, or the file lets him without.
        """

    def unregister(self, name: str) -> bool:
        """Let a registration over HTTP go; tells whether there was one. Raises ``NotStored``."""

    def drains(self) -> Sequence[DrainView]:
        """Every drain that was asked for over the API."""

    def drain(self, target: str, seconds: float | None, reason: str, who: str, force: bool) -> DrainView:
        """Drain, for so many seconds or until it is ended; or change how long and why. ``force``: the absent, too.

        Raises ``BadValue``, ``UnknownTarget``, ``NotStored``.
        """

    def undrain(self, target: str) -> None:
        """End a drain. Raises ``BadValue``, ``UnknownTarget``, ``NotStored``."""

    def apps(self) -> Sequence[AppView]:
        """Every app of every source, the refused ones too."""

    def vips(self) -> Sequence[VipView]:
        """Every VIP that is asked for."""

    def peers(self) -> Sequence[PeerStatus]:
        """Every peer, in the order of the configuration."""

    def consul(self) -> ConsulView | None:
        """What is known of Consul; ``None``: it is not used."""

    def repairs(self) -> Mapping[str, int]:
        """How many things were found drifted and repaired since the start, by kind."""

    @property
    def changes(self) -> Changes:
        """What has changed since the start."""

    def explain(self, target: str) -> Explanation | Unknown:
        """Say whether an app or a VIP is announced, and if not, why not."""

    def sent(self) -> Mapping[IPAddress, tuple[Messages, Messages]]:
        """BGP messages sent and received in every session that is up, as ExaBGP last told."""

    def measured(self) -> Iterable[Count | Times]:
        """What the parts count and time themselves."""

    def info(self) -> SessionInfo | None:
        """The first peer's session; ``None`` before the first announcement."""

    def reload(self) -> str | None:
        """Read the configuration file anew. Returns why it was not taken; nothing is changed then."""

    def foresee(self) -> Outlook | str:
        """Tell what a reload would do now, or why the file would not be taken. Changes nothing."""

    def ready(self) -> str | None:
        """Why the host is not yet as it should be after the start; ``None`` once it has been."""

    def healthy(self) -> str | None:
        """Why the daemon does not do its work; ``None`` while it does."""
