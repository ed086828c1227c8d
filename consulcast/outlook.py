"""What would change: one state of apps, VIPs and peers compared with another. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from consulcast.executor.bgp.peer import Peer
from consulcast.model import Intent, Reason, Refused
from consulcast.planner import Plan
from consulcast.registry import Registered


class Kind(StrEnum):
    """What a step is about."""

    APP = "app"
    VIP = "vip"
    PEER = "peer"


class Action(StrEnum):
    """What would be done."""

    ADD = "add"  # announced, registered, spoken to
    WITHDRAW = "withdraw"  # or removed
    CHANGE = "change"  # in place
    REFUSE = "refuse"
    WAIT = "wait"  # wanted, and not announced yet, or not now: the reason says why


class Step(Struct, frozen=True):
    """One thing that would be done. ``reason`` is a code where there is one."""

    kind: Kind
    subject: str
    action: Action
    reason: str = ""
    detail: str = ""


class Outlook(Struct, frozen=True):
    """All that would be done, and what cannot be known beforehand."""

    steps: tuple[Step, ...] = ()
    unknown: tuple[str, ...] = ()


class Scene(Struct, frozen=True):
    """Apps, VIPs and peers at one time, or as they would be."""

    registered: Registered = field(default_factory=Registered)
    plan: Plan = field(default_factory=Plan)
    peers: tuple[Peer, ...] = ()


def steps(before: Scene, after: Scene) -> tuple[Step, ...]:
    """Tell what leads from one to the other."""
    return (*_peers(before.peers, after.peers), *_apps(before.registered, after.registered), *_vips(before, after))


def _peers(before: Iterable[Peer], after: Iterable[Peer]) -> Iterable[Step]:
    former = {peer.address: peer for peer in before}
    later = {peer.address: peer for peer in after}
    for address in former.keys() - later.keys():
        yield Step(Kind.PEER, str(address), Action.WITHDRAW, detail="the session ends")
    for address, peer in later.items():
        known = former.get(address)
        if known is None:
            yield Step(Kind.PEER, str(address), Action.ADD, detail=f"AS {peer.peer_as}")
        elif names := known.differing(peer):  # names alone: a value may be a password
            how = "over the session that is there" if known.same_session(peer) else "the session is reset"
            yield Step(Kind.PEER, str(address), Action.CHANGE, detail=f"{', '.join(names)}: {how}")


def _apps(before: Registered, after: Registered) -> Iterable[Step]:
    former, later = {app.key: app for app in before.apps}, {app.key: app for app in after.apps}
    refused: Mapping[Any, Refused] = {item.key: item for item in before.refused}
    for item in after.refused:
        known = refused.get(item.key)
        if known is None or (known.reason, known.detail) != (item.reason, item.detail):
            yield Step(Kind.APP, str(item.key), Action.REFUSE, item.reason, item.detail)
    gone = former.keys() - later.keys() - {item.key for item in after.refused}
    for key in sorted(gone):
        yield Step(Kind.APP, str(key), Action.WITHDRAW, detail="not asked for any more")
    for key, app in later.items():
        if key not in former:
            yield Step(Kind.APP, str(key), Action.ADD, detail=f"vips {', '.join(map(str, app.vips))}")
        elif former[key].monitors != app.monitors:
            names = ", ".join(map(str, app.monitors)) or "none"
            yield Step(Kind.APP, str(key), Action.CHANGE, detail=f"monitors: {names}")


def _vips(before: Scene, after: Scene) -> Iterable[Step]:
    former, later = before.plan.intents, after.plan.intents
    for vip in former.keys() - later.keys():
        why = "not wanted any more" if former[vip].announce else "not wanted any more; it is not announced now either"
        yield Step(Kind.VIP, str(vip), Action.WITHDRAW, Reason.WITHDRAWING, why)
    for vip, intent in later.items():
        step = _vip(former.get(vip), intent)
        if step is not None:
            yield step


def _vip(former: Intent | None, intent: Intent) -> Step | None:
    subject = str(intent.vip)
    if former is not None and former.reason is Reason.SUPPRESSED and intent.announce:
        return None  # damping holds it back for a while yet, whatever the file says
    if not intent.announce:
        if former is not None and not former.announce:
            return None
        action = Action.WAIT if former is None else Action.WITHDRAW
        return Step(Kind.VIP, subject, action, intent.reason, intent.detail)
    if former is None or not former.announce:
        return Step(Kind.VIP, subject, Action.ADD, intent.reason, _route(intent))
    words = [
        _difference("communities", former.route.communities, intent.route.communities),
        _difference("NAT", former.nats, intent.nats),
    ]
    if former.route.origin is not intent.route.origin:
        words.append(f"origin {former.route.origin} to {intent.route.origin}")
    detail = "; ".join(filter(None, words))
    return Step(Kind.VIP, subject, Action.CHANGE, intent.reason, detail) if detail else None


def _route(intent: Intent) -> str:
    """What would be announced, in words."""
    words = [f"prefix {intent.route.prefix}"] if str(intent.route.prefix) != str(intent.vip) else []
    words += [f"communities {' '.join(map(str, intent.route.communities))}"] if intent.route.communities else []
    words += [f"NAT {', '.join(map(str, intent.nats))}"] if intent.nats else []
    return "; ".join(words)


def _difference(what: str, before: Collection[object], after: Collection[object]) -> str:
    gone = [f"-{item}" for item in before if item not in after]
    new = [f"+{item}" for item in after if item not in before]
    return f"{what} {', '.join([*gone, *new])}" if gone or new else ""
