"""The whole chain of an app and a VIP, link by link. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from consulcast.consul.reading import KIND
from consulcast.executor.bgp.told import Told
from consulcast.executor.protocols import SessionState
from consulcast.explain.cause import asking, of_app, of_consul, of_service, service_of
from consulcast.explain.explanation import Mark, Stage, Step
from consulcast.explain.facts import Facts, OfPeer, OfVip, Shown
from consulcast.explain.find import Subject
from consulcast.explain.tagging import near_misses
from consulcast.explain.words import ago, at, figures, no_local_route, peer_name, peer_trouble
from consulcast.model import App, AppKey, Health, Intent, MonitorSpec, Reason, Source, Verdict, VerdictKey, Vip
from consulcast.monitors.consul import rank
from consulcast.wording import counted

PUT_OUT = 200  # characters of what a check has put out

_MARKS = {
    Health.PASSING: Mark.OK,
    Health.FAILING: Mark.WRONG,
    Health.DRAINING: Mark.WRONG,
    Health.UNKNOWN: Mark.UNKNOWN,
}


def chain(subject: Subject, facts: Facts) -> Iterator[Step]:
    """All links: of each app from its source to its monitors, of each VIP from who shares it to the peers."""
    for key in subject.apps:
        yield from _of_app(key, facts)
    for service in subject.services:
        yield from _of_service(service, facts)
    for vip in subject.vips:
        yield from _of_vip(vip, facts)


# -- an app


def _of_app(key: AppKey, facts: Facts) -> Iterator[Step]:
    yield _source(key, facts)
    service = service_of(key, facts)
    refused = next((item for item in facts.refused if item.key == key), None)
    taken = next((app for app in facts.apps if app.key == key), None)
    unreadable = refused is not None and refused.reason is Reason.BAD_TAG
    asked = next((app for app in (*facts.asked, *facts.apps) if app.key == key), None)
    if service is not None:
        yield _tags(key, service, unreadable, asked, facts)
    elif asked is not None:
        yield Step(Stage.TAGS, str(key), Mark.OK, f"asks for {_asks(asked)}")
    if unreadable and taken is not None:
        yield Step(Stage.POLICY, str(key), Mark.UNKNOWN, f"its last readable tags stand: {_asks(taken)}")
    elif not unreadable:
        yield _policy(key, facts)
    if taken is None:
        return
    for monitor in taken.monitors:
        yield _monitor(key, monitor, facts)
    if not taken.monitors:
        yield Step(Stage.MONITOR, str(key), Mark.OK, "no monitor: up while registered")


def _source(key: AppKey, facts: Facts) -> Step:
    if key.source is not Source.CONSUL or facts.consul is None:
        words = {Source.CONFIG: "of the configuration file", Source.HTTP: "registered over HTTP"}
        return Step(Stage.SOURCE, str(key), Mark.OK, words.get(key.source, "of a source that is not used any more"))
    consul, stale = facts.consul, facts.stale.get(key)
    values = figures(node=consul.node, consul=consul.where, stale_since=at(stale.since, facts) if stale else None)
    if stale is not None:
        text = f"stands as Consul's last good answer has it, for {ago(stale.since, facts)}: {stale.reason}"
        return Step(Stage.SOURCE, str(key), Mark.UNKNOWN, text, Reason.CONSUL_STALE, values)
    text = f"registered in Consul on node {consul.node}"
    if held := consul.held.get(key):
        return Step(Stage.SOURCE, str(key), Mark.UNKNOWN, f"{text}; held: {held}", Reason.CONSUL_STALE, values)
    cause = of_consul(consul, facts)
    if cause is not None:
        return Step(Stage.SOURCE, str(key), Mark.UNKNOWN, cause.text, cause.reason, values)
    return Step(Stage.SOURCE, str(key), Mark.OK, text, "", values)


def _tags(key: AppKey, service: Shown, unreadable: bool, asked: App | None, facts: Facts) -> Step:
    shown = ", ".join(service.tags) or "no tags"
    if unreadable:
        cause = of_app(key, facts)
        return Step(Stage.TAGS, str(key), Mark.WRONG, f"{shown}: {cause.text if cause else ''}", Reason.BAD_TAG)
    misspelt = near_misses(service.tags, facts.consul.tag_prefix) if facts.consul else ()
    ignored = [*map(str, misspelt)] or [f"tag {tag!r} is not known" for tag in (asked.ignored if asked else ())]
    if ignored:
        return Step(Stage.TAGS, str(key), Mark.UNKNOWN, f"{shown}: {'; '.join(ignored)}", "unknown-tag")
    return Step(Stage.TAGS, str(key), Mark.OK, shown)


def _of_service(service: Shown, facts: Facts) -> Iterator[Step]:
    assert facts.consul is not None
    about = f"{Source.CONSUL}:{service.id}"
    cause = of_service(service, facts.consul, facts)
    yield Step(Stage.SOURCE, about, Mark.OK, f"service {service.name} on node {facts.consul.node}")
    yield Step(Stage.TAGS, about, Mark.WRONG, cause.text, cause.reason)


def _asks(app: App) -> str:
    words = [f"vip {vip}" for vip in app.vips] + [f"monitor {spec}" for spec in app.monitors]
    words += [f"nat {rule.protocol}:{rule.listen_port}:{rule.dest_port}" for rule in app.nats]
    return ", ".join(words + [f"community {item}" for item in app.communities])


def _policy(key: AppKey, facts: Facts) -> Step:
    cause = of_app(key, facts)
    if cause is not None:
        return Step(Stage.POLICY, str(key), Mark.WRONG, cause.text, cause.reason)
    return Step(Stage.POLICY, str(key), Mark.OK, f"allowed by policy.{key.source}")


def _monitor(key: AppKey, spec: MonitorSpec, facts: Facts) -> Step:
    verdict, looked = facts.verdicts.get(VerdictKey(key, spec)), facts.looked.get(spec)
    text = f"{spec}: no verdict yet"
    mark, reason = Mark.UNKNOWN, str(Reason.MONITOR_PENDING)
    if verdict is not None:
        mark, reason = _MARKS[verdict.health], str(verdict.reason)
        detail = verdict.detail.removeprefix(f"monitor {spec}: ")
        text = (
            f"{spec}: {verdict.health} for {ago(verdict.since, facts)}: {detail}{_put_out(key, spec, verdict, facts)}"
        )
    if looked is None:
        return Step(Stage.MONITOR, str(key), mark, text, reason, figures(monitor=str(spec)))
    pace = looked.pace
    text += f" [every {pace.interval:g} s, rise {pace.rise}, fall {pace.fall}"
    if looked.next_at is not None:
        text += f", next look in {max(0.0, looked.next_at - facts.now):.1f} s"
    text += f"; cannot look: {looked.trouble}]" if looked.trouble else "]"
    values = figures(
        monitor=str(spec),
        health=str(verdict.health) if verdict else "unknown",
        since=at(verdict.since, facts) if verdict else None,
        interval=pace.interval,
        timeout=pace.timeout,
        rise=pace.rise,
        fall=pace.fall,
        against=looked.against,
        last_look=at(looked.at, facts),
        next_look=at(looked.next_at, facts),
        trouble=looked.trouble,
    )
    return Step(Stage.MONITOR, str(key), mark, text, reason, values)


def _put_out(key: AppKey, spec: MonitorSpec, verdict: Verdict, facts: Facts) -> str:
    """What the failing checks of one of Consul's apps have put out."""
    if key.source is not Source.CONSUL or spec.kind != KIND or verdict.health is not Health.FAILING:
        return ""
    said = {
        id: " ".join(check.output.split())
        for id, check in facts.checks.items()
        if check.service_id in (key.id, "") and rank(check)
    }
    cut = {id: text if len(text) <= PUT_OUT else f"{text[:PUT_OUT]}…" for id, text in said.items()}
    return "".join(f"; {id!r} says: {text}" for id, text in cut.items() if text)


# -- a VIP


def _of_vip(vip: Vip, facts: Facts) -> Iterator[Step]:
    found = facts.vips.get(vip, OfVip(vip))
    yield _sharing(vip, facts)
    intent = facts.intents.get(vip)
    if intent is None:
        return
    yield _damping(found)
    yield _address(found, intent, facts)
    yield from _nat(found, facts)
    yield _route(found, facts)
    for peer in facts.peers:
        told = next((item for item in found.told if item.peer == peer.status.address), None)
        yield _peer(vip, peer, told, intent.announce)


def _sharing(vip: Vip, facts: Facts) -> Step:
    words, services = [], dict[str, bool]()
    for app in asking(vip, facts.apps):
        verdict = facts.health.get(app.key)
        health = verdict.health if verdict is not None else Health.UNKNOWN
        words.append(f"{app.key} ({app.name}, {health})")
        services[app.name] = services.get(app.name, False) or health is Health.PASSING
    refused = [app.key for app in asking(vip, facts.asked) if of_app(app.key, facts) is not None]
    words += [f"{key} (refused)" for key in refused]
    down = [name for name, up in services.items() if not up]
    text = f"wanted by {', '.join(words) or 'nobody'}"
    if down:
        text += f"; no instance of {', '.join(down)} passes"
    mark = Mark.WRONG if down or not services else Mark.UNKNOWN if refused else Mark.OK
    return Step(Stage.SHARING, str(vip), mark, text)


def _damping(found: OfVip) -> Step:
    flaps = found.flaps
    if flaps is None:
        return Step(Stage.DAMPING, str(found.vip), Mark.OK, "calm")
    values = figures(penalty=flaps.penalty, flaps=flaps.number, suppressed=flaps.suppressed, until=flaps.until or None)
    text = f"penalty {flaps.penalty:.0f} after {counted(flaps.number, 'flap')}"
    if not flaps.suppressed:
        return Step(Stage.DAMPING, str(found.vip), Mark.OK, text, "", values)
    mark = Mark.WRONG if found.reason is Reason.SUPPRESSED else Mark.UNKNOWN
    return Step(Stage.DAMPING, str(found.vip), mark, f"{text}: held until {flaps.until}", Reason.SUPPRESSED, values)


def _address(found: OfVip, intent: Intent, facts: Facts) -> Step:
    wanted = intent.address
    local, about = found.vip.local, str(found.vip)
    if facts.found is None:
        text = f"the kernel does not say what {facts.device} has: {facts.kernel_trouble}"
        return Step(Stage.ADDRESS, about, Mark.UNKNOWN, text)
    there, ours = local in facts.found.present, local in facts.found.ours
    whose = "ours" if ours else "somebody else's, used and never removed"
    values = figures(wanted=wanted, found=there, ours=ours, device=facts.device)
    if facts.found.trouble:
        return Step(Stage.ADDRESS, about, Mark.WRONG, facts.found.trouble, Reason.ADDRESS_FAILED, values)
    if wanted and not there and not intent.announce:
        text = f"{local} is not on {facts.device}: it comes with the announcement"
        return Step(Stage.ADDRESS, about, Mark.OK, text, "", values)
    if wanted and not there:
        text = f"{local} is wanted and not on {facts.device}" + (f": {found.why_missing}" if found.why_missing else "")
        return Step(Stage.ADDRESS, about, Mark.WRONG, text, Reason.ADDRESS_FAILED, values)
    if not wanted:
        text = f"{local} is not wanted now, " + (f"and still on {facts.device}" if there else f"nor on {facts.device}")
        return Step(Stage.ADDRESS, about, Mark.UNKNOWN if there and ours else Mark.OK, text, "", values)
    text = f"{local} is on {facts.device} ({whose})"
    if found.undelivered:
        return Step(
            Stage.ADDRESS, about, Mark.WRONG, f"{text}, and {no_local_route(found.vip, facts.device)}", "", values
        )
    return Step(Stage.ADDRESS, about, Mark.OK, text, "", values)


def _nat(found: OfVip, facts: Facts) -> Iterator[Step]:
    for item in facts.intents[found.vip].nats:
        values = figures(rule=str(item), standing=item in (facts.standing or ()))
        if item in (facts.standing or ()):
            yield Step(Stage.NAT, str(found.vip), Mark.OK, f"{item}: stands", "", values)
        elif why := facts.nat_failures.get(item):
            yield Step(Stage.NAT, str(found.vip), Mark.WRONG, f"{item}: {why}", Reason.NAT_FAILED, values)
        else:
            yield Step(Stage.NAT, str(found.vip), Mark.UNKNOWN, f"{item}: not made yet", "", values)


def _route(found: OfVip, facts: Facts) -> Step:
    intent = facts.intents[found.vip]
    route = intent.route
    text = f"{route.prefix} origin {route.origin}"
    if route.communities:
        text += f" communities {' '.join(map(str, route.communities))}"
    text += f" MED {route.med}" if route.med is not None else ""
    text += f" with our AS {route.prepend} times more" if route.prepend else ""
    state = str(found.route_state) if found.route_state is not None else "unknown"
    values = figures(prefix=str(route.prefix), wanted=intent.announce, state=state)
    if not intent.announce:
        return Step(Stage.ROUTE, str(found.vip), Mark.OK, f"{text}: not wanted now ({state})", "", values)
    reason = found.reason or Reason.ANNOUNCING
    under_way = (Reason.ANNOUNCING, Reason.DRAINING, Reason.WOULD_ANNOUNCE)
    mark = Mark.OK if reason is Reason.ANNOUNCED else Mark.UNKNOWN if reason in under_way else Mark.WRONG
    return Step(Stage.ROUTE, str(found.vip), mark, f"{text}: wanted, {state}", "", values)


def _peer(vip: Vip, peer: OfPeer, told: Told | None, wanted: bool) -> Step:
    status = peer.status
    up = status.state is SessionState.UP
    trouble = peer_trouble(peer)
    words = ["session up"] if up else [f"session down: {trouble}"]
    reason = "" if up else str(Reason.PEER_DOWN)
    right = True
    if told is not None:
        if told.told:
            words.append(f"told: {told.told.removeprefix(f'neighbor {told.peer} ')}")
        elif told.refused:
            words.append(f"ExaBGP refused {told.wanted!r} {told.refused} times")
        elif told.wanted:
            words.append("not told yet")
        elif wanted:
            words.append(f"no IPv{vip.prefix.version} next hop for it")
        else:
            words.append("told nothing")
        if up and told.wanted and not told.carried:
            words.append(f"IPv{vip.prefix.version} is not agreed upon in the session")
            reason = str(Reason.NOT_NEGOTIATED)
        if told.table is None:
            words.append("ExaBGP's table was not asked")
        elif bool(told.table) != bool(told.told):
            words.append(f"ExaBGP's table has {told.table or 'nothing'}")
        else:
            words.append("as in ExaBGP's table" if told.table else "and nothing in ExaBGP's table")
        right = bool(told.told) == wanted and (told.carried or not wanted) and not told.under_way
    values = figures(
        address=str(status.address),
        peer_as=status.peer_as,
        up=up,
        flaps=status.flaps,
        last_error=status.last_error,
        told=told.told if told is not None else None,
        table=told.table if told is not None else None,
    )
    mark = Mark.WRONG if not up else Mark.OK if right else Mark.UNKNOWN
    return Step(Stage.PEER, peer_name(status), mark, "; ".join(words), reason, values)
