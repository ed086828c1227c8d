"""What a VIP is found to be, as far as its route is concerned. Pure."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from consulcast.executor.protocols import PeerStatus, RouteState, SessionState
from consulcast.model import Draining, Intent, Reason, Vip

PATIENCE = 5.0  # seconds that a session may take to come up before its VIPs are said to be without it


class DrainPhase(StrEnum):
    """How far a drain is."""

    LOWERED = "lowered"  # announced, with the lower preference
    WITHDRAWING = "withdrawing"  # the withdrawal is not acknowledged yet
    FLOWS = "flows"  # no route leads here any more; what is under way may end, then NAT and address go
    DRAINED = "drained"  # nothing of it is left on this host


class VipStatus(Struct, frozen=True):
    """What a VIP is on this host, as found, and why. ``phase``: how far its drain is, if it has one."""

    vip: Vip
    reason: Reason
    detail: str = ""
    phase: DrainPhase | None = None
    flows: int | None = None  # that were open when last counted


def of_drain(intent: Intent, drain: Draining, phase: DrainPhase, flows: int | None) -> VipStatus:
    """Tell what a drain has made of its VIP so far."""
    words = {
        DrainPhase.LOWERED: f"announced with {drain.how}",
        DrainPhase.WITHDRAWING: "being withdrawn",
        DrainPhase.FLOWS: f"withdrawn; what is open may take {drain.flows:g} s" if drain.flows else "withdrawn",
        DrainPhase.DRAINED: "withdrawn, nothing is left here",
    }
    return VipStatus(intent.vip, intent.reason, f"{intent.detail}; {words[phase]}", phase, flows)


def of_route(vip: Vip, state: RouteState, peers: Sequence[PeerStatus], now: float) -> tuple[VipStatus, float]:
    """Tell what a route's state makes of its VIP, and until when that may be said; 0: for as long as it is so."""
    if state is not RouteState.HANDED_OVER:
        return VipStatus(vip, _REASONS[state]), 0.0
    if any(peer.state is SessionState.UP for peer in peers):
        return VipStatus(vip, Reason.NOT_NEGOTIATED, f"no peer takes IPv{vip.prefix.version} routes"), 0.0
    young = [peer.since for peer in peers if not peer.last_error and now - peer.since < PATIENCE]
    if young:
        return VipStatus(vip, Reason.ANNOUNCING), max(young) + PATIENCE
    silence = "no answer yet: address, firewall, password?"
    detail = "; ".join(f"{peer.address}: {peer.last_error or silence}" for peer in peers)
    return VipStatus(vip, Reason.PEER_DOWN, detail), 0.0


_REASONS = {
    RouteState.CLEAR: Reason.ANNOUNCING,
    RouteState.PENDING: Reason.ANNOUNCING,
    RouteState.ANNOUNCED: Reason.ANNOUNCED,
    RouteState.OBSERVED: Reason.WOULD_ANNOUNCE,
    RouteState.NO_NEXT_HOP: Reason.NO_NEXT_HOP,
    RouteState.FAILED: Reason.BGP_FAILED,
}
LEVELS = {
    Reason.ANNOUNCED: logging.INFO,
    Reason.WOULD_ANNOUNCE: logging.INFO,
    Reason.ANNOUNCING: logging.DEBUG,  # for a millisecond; what it comes to is worth a line
    Reason.MONITOR_PENDING: logging.INFO,
    Reason.DRAINING: logging.INFO,
}
