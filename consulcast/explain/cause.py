"""The true cause, in one line, with the value to mend. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from consulcast.executor.protocols import RouteState, SessionState
from consulcast.explain.explanation import Cause, Finding
from consulcast.explain.facts import Facts, OfConsul, OfVip, Shown
from consulcast.explain.tagging import near_misses
from consulcast.explain.words import ago, peer_name, peer_trouble
from consulcast.model import App, AppKey, Health, Reason, Refused, Source, Vip

_OF_A_MONITOR = (Reason.MONITOR_FAILING, Reason.MONITOR_PENDING, Reason.NO_CHECKS)
_LONGEST = 300  # characters of a service's tags in a line


def of_app(key: AppKey, facts: Facts) -> Cause | None:
    """Why an app is refused; ``None``: it is not."""
    refused = next((item for item in facts.refused if item.key == key), None)
    return None if refused is None else of_refusal(refused, facts)


def of_refusal(refused: Refused, facts: Facts) -> Cause:
    """Why an app is refused; a misspelt tag is named where the refusal only says that one is missing."""
    service = service_of(refused.key, facts)
    if refused.reason is Reason.BAD_TAG and service is not None and facts.consul is not None:
        misspelt = near_misses(service.tags, facts.consul.tag_prefix)
        if misspelt:
            return Cause(refused.reason, f"{refused.key}: {'; '.join(map(str, misspelt))}")
    return Cause(refused.reason, f"{refused.key}: {refused.detail}")


def of_service(service: Shown, consul: OfConsul, facts: Facts) -> Cause:
    """Why a service of Consul's is no app."""
    enable = f"enable_{consul.tag_prefix}"
    if enable in service.tags:
        waits = f"service {service.name!r} (id {service.id!r}) is not taken yet: its checks have not come from Consul"
        return of_consul(consul, facts) or Cause(Reason.MONITOR_PENDING, waits)
    name = f"service {service.name!r} (id {service.id!r}) has no tag {enable!r}"
    misspelt = near_misses(service.tags, consul.tag_prefix)
    if misspelt:
        return Cause(Finding.NOT_ENABLED, f"{name}: {'; '.join(map(str, misspelt))}")
    tags = ", ".join(map(repr, service.tags)) or "none at all"
    return Cause(Finding.NOT_ENABLED, f"{name}; its tags: {tags if len(tags) <= _LONGEST else tags[:_LONGEST] + '…'}")


def of_vip(vip: Vip, facts: Facts) -> Cause | None:
    """Why a VIP is not announced; ``None``: it is."""
    found = facts.vips.get(vip, OfVip(vip))
    if found.reason is None:
        return _of_refused_vip(vip, facts)
    if found.reason is Reason.ANNOUNCED:
        return None
    if found.reason is Reason.WOULD_ANNOUNCE:
        return Cause(found.reason, "this daemon only observes (run --observe)")
    if found.reason in _OF_A_MONITOR:
        return Cause(found.reason, found.detail + _since(vip, facts) + _others(vip, facts))
    if found.reason is Reason.DRAINING:
        return Cause(found.reason, found.detail + _others(vip, facts))
    if found.reason is Reason.CLEANED_UP:
        return Cause(found.reason, f"failing for longer than agent.cleanup_timer: {found.detail}{_others(vip, facts)}")
    if found.reason is Reason.PEER_DOWN:
        return Cause(found.reason, of_peers(facts))
    if found.reason is Reason.ANNOUNCING:
        return Cause(found.reason, found.detail or _under_way(found, facts))
    if found.reason is Reason.NO_NEXT_HOP:
        why = (
            "; ".join(facts.gaps)
            or f"no peer has an IPv{vip.prefix.version} next hop: set next_hop_ipv{vip.prefix.version}"
        )
        return Cause(found.reason, why)
    if found.reason is Reason.NOT_NEGOTIATED:
        up = ", ".join(peer_name(peer.status) for peer in facts.peers if peer.status.state is SessionState.UP)
        return Cause(found.reason, f"{found.detail}: {up} did not agree to IPv{vip.prefix.version} unicast")
    if found.reason is Reason.BGP_FAILED:
        lines = dict.fromkeys(told.wanted for told in found.told if told.refused)
        return Cause(found.reason, f"ExaBGP refuses {'; '.join(lines) or 'the route'}")
    return Cause(found.reason, found.detail)


def of_peers(facts: Facts) -> str:
    """Why no session is up."""
    down = [f"{peer_name(peer.status)}: {why}" for peer in facts.peers if (why := peer_trouble(peer))]
    if facts.exabgp and all(peer.status.state is SessionState.DOWN for peer in facts.peers):
        down.append(f"ExaBGP last ended: {facts.exabgp}")
    return "; ".join(down)


def of_consul(consul: OfConsul, facts: Facts) -> Cause | None:
    """Why Consul does not say what there is; ``None``: it does."""
    stale = consul.stale
    if consul.synced and stale is None:
        return None
    why = stale.reason if stale is not None else f"{consul.where} has not answered yet"
    since = f" for {ago(stale.since, facts)}" if stale is not None else ""
    if "does not know node" in why:
        if consul.agent_node and consul.agent_node.casefold() != consul.node.casefold():
            text = f"CONSUL_NODE (consul.node) is {consul.node!r}, and the agent at {consul.where} is of node "
            return Cause(Finding.CONSUL_NODE_UNKNOWN, f"{text}{consul.agent_node!r}")
        if not consul.has_token:
            text = (
                "no token is sent (consul.token_file, CONSUL_HTTP_TOKEN); where Consul has ACLs it shows nothing then"
            )
            return Cause(Finding.CONSUL_NODE_UNKNOWN, f"{text}: {why}")
        return Cause(Finding.CONSUL_NODE_UNKNOWN, why)
    if "token" in why or "403" in why or "ACL" in why:
        sent = "" if consul.has_token else "no token is sent (consul.token_file, CONSUL_HTTP_TOKEN): "
        return Cause(Finding.CONSUL_DENIED, f"{sent}{why}")
    return Cause(Reason.CONSUL_STALE, f"Consul at {consul.where} is not believed{since}: {why}")


def service_of(key: AppKey, facts: Facts) -> Shown | None:
    """The service of an app as Consul shows it."""
    if key.source is not Source.CONSUL or facts.consul is None:
        return None
    return facts.consul.services.get(key.id)


def asking(vip: Vip, apps: Iterable[App]) -> tuple[App, ...]:
    """The apps of these that ask for a VIP."""
    return tuple(app for app in apps if vip in app.vips)


def _of_refused_vip(vip: Vip, facts: Facts) -> Cause:
    for app in asking(vip, facts.asked):
        refused = of_app(app.key, facts)
        if refused is not None:
            return refused
    return Cause(Reason.ANNOUNCING, "its app is taken, and nothing is planned yet")


def _since(vip: Vip, facts: Facts) -> str:
    intent = facts.intents.get(vip)
    since = [
        verdict.since
        for key in (intent.apps if intent is not None else ())
        if (verdict := facts.health.get(key)) is not None and verdict.health is Health.FAILING
    ]
    return f", for {ago(min(since), facts)}" if since else ""


def _others(vip: Vip, facts: Facts) -> str:
    """Who else the VIP waits for."""
    intent = facts.intents.get(vip)
    names = dict.fromkeys(app.name for app in facts.apps if intent is not None and app.key in intent.apps)
    if len(names) < 2:
        return ""
    return f" (the VIP is shared by services {', '.join(names)}: it is up while each has a passing instance)"


def _under_way(found: OfVip, facts: Facts) -> str:
    intent = facts.intents.get(found.vip)
    if facts.found is not None and intent is not None and intent.vip.local not in facts.found.present:
        return f"address {intent.vip.local} is being added"
    missing = frozenset(intent.nats if intent is not None else ()) - (facts.standing or frozenset())
    if missing:
        return f"its NAT rules are being made: {', '.join(sorted(map(str, missing)))}"
    if found.route_state is RouteState.HANDED_OVER:
        return f"the session is being made: {of_peers(facts)}"
    ended = f"; it last ended: {facts.exabgp}" if facts.exabgp else ""
    return f"ExaBGP has not acknowledged the route yet{ended}"
