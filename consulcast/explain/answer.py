"""From facts to the explanation and its first line. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from consulcast import reasons
from consulcast.executor.protocols import RouteState, SessionState
from consulcast.explain.cause import of_app, of_consul, of_service, of_vip
from consulcast.explain.chain import chain
from consulcast.explain.explanation import Cause, Explanation, Finding, Unknown
from consulcast.explain.facts import Facts, OfPeer, OfVip
from consulcast.explain.find import Subject, nearest
from consulcast.explain.words import ago, no_local_route, peer_name, peer_trouble, wall
from consulcast.model import Health, Reason

_OF_CONSUL = "consul"  # the service that servers register themselves
_SOME = 8  # services that a hint names


def explain(target: str, subject: Subject, facts: Facts) -> Explanation:
    """Answer whether it is announced, and if not, why not."""
    about, cause = _not_announced(target, subject, facts)
    steps = tuple(chain(subject, facts))
    if cause is None:
        line = _announced_line(subject, facts)
        drained = next(_lowered(subject, facts), None)
        if drained is not None:
            return Explanation(target, True, line, *_of_drain(drained), steps, facts.changes)
        return Explanation(target, True, line, Reason.ANNOUNCED, "", "", steps, facts.changes)
    line = "; ".join([f"{about} is NOT announced: {cause.reason}: {cause.text}", *_left_out(subject)])
    todo = reasons.todo(cause.reason)
    return Explanation(target, False, line, cause.reason, cause.text, todo, steps, facts.changes)


def unknown(target: str, facts: Facts) -> Unknown:
    """Say that nobody asks for the target, and what may be behind that."""
    cause = of_consul(facts.consul, facts) if facts.consul is not None else None
    hints = tuple(_hints(target, facts))
    if cause is not None:
        return Unknown(target, cause.reason, f"{target} is not known here: {cause.reason}: {cause.text}", hints)
    where = "neither the configuration file nor HTTP asks for it"
    if facts.consul is not None:
        where = f"no service on Consul's node {facts.consul.node!r}, no app of the file and none over HTTP asks for it"
    elif not facts.apps and not facts.refused:
        where += "; Consul is not used (no CONSUL_NODE, no consul.node), and there is no app at all"
    else:
        where += "; Consul is not used (no CONSUL_NODE, no consul.node)"
    line = f"{target} is not known here: {Finding.UNKNOWN_TARGET}: {where}"
    alike = nearest(target, facts)
    return Unknown(target, Finding.UNKNOWN_TARGET, line + (f"; nearest: {', '.join(alike)}" if alike else ""), hints)


def _hints(target: str, facts: Facts) -> Iterator[str]:
    for change in facts.changes:
        detail = f": {change.detail}" if change.detail else ""
        yield f"it was here: {wall(change.at)} {change.kind} {change.subject} {change.reason}{detail}"
    for peer in facts.peers:
        if str(peer.status.address) == target.strip():
            trouble = peer_trouble(peer)
            yield f"it is a peer, AS{peer.status.peer_as}: " + (f"session down: {trouble}" if trouble else "session up")
    alike = nearest(target, facts)
    if alike:
        yield f"written most alike: {', '.join(alike)}"
    consul = facts.consul
    if consul is None:
        return
    if not consul.services:
        yield f"Consul at {consul.where} shows no service on node {consul.node!r}"
        return
    enable = f"enable_{consul.tag_prefix}"
    off = sorted({item.name for item in consul.services.values() if enable not in item.tags} - {_OF_CONSUL})
    if off:
        more = f" and {len(off) - _SOME} more" if len(off) > _SOME else ""
        yield f"services on node {consul.node} without the tag {enable}: {', '.join(off[:_SOME])}{more}"


def _not_announced(target: str, subject: Subject, facts: Facts) -> tuple[str, Cause | None]:
    """What is not announced, and why; ``None``: all is."""
    refused = [(str(key), cause) for key in subject.apps if (cause := of_app(key, facts)) is not None]
    taken = {app.key for app in facts.apps}
    if subject.by_name and subject.apps and not taken.intersection(subject.apps) and refused:
        vips = ", ".join(map(str, subject.vips))
        return f"{vips} of {refused[0][0]}" if vips else refused[0][0], refused[0][1]
    lowered = {found.vip for found in _lowered(subject, facts)}
    causes = [(vip, None if vip in lowered else of_vip(vip, facts)) for vip in subject.vips]
    for vip, cause in causes:
        if cause is not None:
            rest = [str(other) for other, why in causes if why is None]
            more = [f"{other} neither: {why.reason}" for other, why in causes if why is not None and other != vip]
            more += [f"{', '.join(rest)} is announced"] if rest else []
            return str(vip), Cause(cause.reason, cause.text + (f" ({'; '.join(more)})" if more else ""))
    if causes:
        return "", None
    if refused:
        return refused[0] if subject.by_name else (target, refused[0][1])
    assert facts.consul is not None
    return target, of_service(subject.services[0], facts.consul, facts)


def _announced_line(subject: Subject, facts: Facts) -> str:
    found = [facts.vips.get(vip, OfVip(vip)) for vip in subject.vips]
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    verb = "are" if more else "is"
    reached = min(_reached(item) for item in found)
    line = f"{subject.vips[0]}{more} {verb} announced to {reached} of {len(facts.peers)} peers"
    return "; ".join([line, *_reservations(subject, facts), *_left_out(subject)])


def _left_out(subject: Subject) -> Iterator[str]:
    if subject.left_out:
        yield f"{subject.left_out} more VIPs of it are not looked at: ask for them, or see `consulcast status`"


def _reached(found: OfVip) -> int:
    return sum(bool(told.carried and told.told) for told in found.told)


def _lowered(subject: Subject, facts: Facts) -> Iterator[OfVip]:
    """The VIPs that are drained, and announced still."""
    for vip in subject.vips:
        found = facts.vips.get(vip, OfVip(vip))
        if found.reason is Reason.DRAINING and found.route_state is RouteState.ANNOUNCED:
            yield found


def _of_drain(found: OfVip) -> tuple[str, str, str]:
    return Reason.DRAINING, found.detail, reasons.todo(Reason.DRAINING)


def _not_told(peer: OfPeer, subject: Subject, facts: Facts) -> Iterator[str]:
    """Why a peer whose session is up does not have one of the VIPs."""
    for vip in subject.vips:
        told = next((one for one in facts.vips.get(vip, OfVip(vip)).told if one.peer == peer.status.address), None)
        if told is None or (told.carried and told.told):
            continue
        version = vip.prefix.version
        why = f"{Reason.NO_NEXT_HOP}: no IPv{version} next hop for it: set next_hop_ipv{version}"
        if told.refused:
            why = f"{Reason.BGP_FAILED}: ExaBGP refused {told.wanted!r}"
        elif told.wanted and not told.carried:
            why = f"{Reason.NOT_NEGOTIATED}: IPv{version} is not agreed upon in the session"
        elif told.wanted:
            why = f"{Reason.ANNOUNCING}: not acknowledged yet"
        yield f"{vip} not to {peer_name(peer.status)}: {why}"


def _reservations(subject: Subject, facts: Facts) -> Iterator[str]:
    """What is not as it should be though it is announced."""
    for found in _lowered(subject, facts):
        yield ("" if len(subject.vips) == 1 else f"{found.vip} is ") + f"{found.reason}: {found.detail}"
    for vip in subject.vips:
        if facts.vips.get(vip, OfVip(vip)).undelivered:
            yield f"but {no_local_route(vip, facts.device)}"
    for peer in facts.peers:
        if peer.status.state is SessionState.DOWN:
            yield f"not to {peer_name(peer.status)}: {Reason.PEER_DOWN}: {peer_trouble(peer)}"
        else:
            yield from _not_told(peer, subject, facts)
    for key in subject.apps:
        verdict, refused, stale = facts.health.get(key), of_app(key, facts), facts.stale.get(key)
        if refused is not None:
            stands = "its last readable registration stands, the new one" if key in facts.health else f"{key}"
            yield f"{stands} is refused: {refused.reason}: {refused.text}"
        elif verdict is not None and verdict.health not in (Health.PASSING, Health.DRAINING):
            yield f"though {key} does not pass: {verdict.reason}: {verdict.detail}"
        if stale is not None:
            why = f"Consul's last good answer stands for {ago(stale.since, facts)}: {stale.reason}"
            yield f"{Reason.CONSUL_STALE}: {why}"
            break
