"""The seams between the reconciler and what acts. Each takes the whole desired state, never a delta."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from consulcast.model import Interface, IPAddress, Prefix, Route, Translation


class KernelError(Exception):
    """The kernel refused a request; the message is its own, with the errno."""


class SessionState(StrEnum):
    """State of the BGP session with a peer."""

    UP = "up"  # Established
    DOWN = "down"


class PeerStatus(Struct, frozen=True):
    """What is known of one peer's session. ``since`` is of the monotonic clock."""

    address: IPAddress
    peer_as: int
    local_as: int
    local_address: IPAddress
    state: SessionState
    since: float
    flaps: int = 0  # times the session went from up to down
    last_error: str = ""


class RouteState(StrEnum):
    """How far a prefix is on its way to or from the peers."""

    CLEAR = "clear"  # no peer has it, or keeps it over a restart, and no command that could give it to one is under way
    PENDING = "pending"  # a command about it waits for its acknowledgement, or to be sent
    HANDED_OVER = "handed-over"  # acknowledged for every peer that can carry it; none of these sessions is up
    ANNOUNCED = "announced"  # acknowledged, and one session at least is up
    NO_NEXT_HOP = "no-next-hop"  # wanted, but no peer has a next hop of its family
    OBSERVED = "observed"  # wanted; nobody is told, because the daemon only observes
    FAILED = "failed"  # wanted, and ExaBGP answered `error`; retried


class Speaker(Protocol):
    """Announces routes to every peer."""

    def set(self, routes: Mapping[Prefix, Route]) -> None:
        """Replace the whole desired table, which is not changed afterwards. Returns at once.

        The same table again sends nothing. What has not changed is the same object as before, or it costs work.
        """

    def moved(self) -> Collection[Prefix] | None:
        """Tell of which prefixes ``route_state`` may have changed since this was last asked; ``None``: of any.

        A hint, for one who asks: what it leaves out is found by the next sweep.
        """

    def route_state(self, prefix: Prefix) -> RouteState:
        """Tell how far ``prefix`` is."""

    def complete(self) -> None:
        """All that should be announced has been set, so peers need not keep what a former run has announced."""

    def peers(self) -> tuple[PeerStatus, ...]:
        """Every peer's session, in the order of the configuration."""


class Added(Struct, frozen=True):
    """What became of addresses that were to be added. Those in neither are there already, put by somebody else."""

    ours: frozenset[Interface]
    failures: dict[Interface, str]  # with the kernel's reason


class Found(Struct, frozen=True):
    """What the VIPs' device has. ``trouble``: why none of it works, because the device is down or not there."""

    present: frozenset[Interface] = frozenset()  # what works, but for the trouble, whoever put it
    ours: frozenset[Interface] = frozenset()  # what is ours to remove
    trouble: str = ""


class AddressTable(Protocol):
    """The addresses on the VIP device that carry our mark."""

    def look(self) -> Found:
        """Read from the kernel what is there. Raises ``KernelError``."""

    def add(self, addresses: Mapping[Interface, str]) -> Added:
        """Add what is missing, each with a name to show; what is there is left as it is, whoever put it."""

    def remove(self, addresses: Collection[Interface]) -> dict[Interface, str]:
        """Remove those that carry our mark; what is absent or somebody else's is left. Returns the failures."""


class Flows(Protocol):
    """The flows to VIPs that are open. No call waits."""

    def watch(self, vips: Collection[Interface]) -> None:
        """Replace the whole set of VIPs that are counted. Returns at once; the owner is woken by each other count."""

    def open(self, vip: Interface) -> int | None:
        """Tell how many were open when they were last counted; ``None``: not counted since it is watched."""


class Nat(Protocol):
    """The translations that are ours, as one table that is replaced whole. No call waits."""

    def set(self, translations: Collection[Translation]) -> None:
        """Replace the whole desired table. Returns at once; the owner is woken when something has come of it."""

    def standing(self) -> frozenset[Translation] | None:
        """Tell which are known to stand, with the flows of changed keys moved; ``None``: not looked yet."""

    def failures(self) -> Mapping[Translation, str]:
        """Tell which of the desired cannot be made to stand, and why; they are tried again."""

    def sweep(self) -> None:
        """Look again at what stands in the kernel, soon."""
