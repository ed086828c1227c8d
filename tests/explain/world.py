"""Facts of a host where everything is well, to be broken one at a time."""

from __future__ import annotations

import ipaddress
from typing import Any

from consulcast import notation, tags
from consulcast.executor.bgp.told import Told
from consulcast.executor.protocols import Found, PeerStatus, RouteState, SessionState
from consulcast.explain.facts import Facts, OfConsul, OfPeer, OfVip, Shown
from consulcast.model import App, AppKey, Health, Reason, Refused, Source, Verdict, VerdictKey, Vip
from consulcast.monitors.runner import Looked
from consulcast.monitors.schedule import Pace
from consulcast.planner import Defaults, plan
from consulcast.values import replace

NOW = 1000.0
ROUTER = PeerStatus(
    ipaddress.ip_address("198.51.100.2"),
    65010,
    65001,
    ipaddress.ip_address("198.51.100.1"),
    SessionState.UP,
    since=900.0,
)
DNS = ("enable_gocast", "gocast_vip=203.0.113.10/32", "gocast_monitor=consul")
VIP = notation.vip("203.0.113.10/32")
PASSING = Verdict(Health.PASSING, Reason.PASSING, "all checks pass", 940.0)


def shown(name: str, *texts: str, id: str = "") -> Shown:
    return Shown(id or name, name, texts)


def failing(detail: str = "check 'service:dns' is critical", since: float = 940.0) -> Verdict:
    return Verdict(Health.FAILING, Reason.MONITOR_FAILING, detail, since)


def down(error: str = "") -> PeerStatus:
    return replace(ROUTER, state=SessionState.DOWN, last_error=error)


def facts(
    *services: Shown,
    verdicts: dict[str, Verdict] | None = None,
    found: dict[Vip, tuple[Reason, str]] | None = None,
    peers: tuple[OfPeer, ...] = (OfPeer(ROUTER),),
    refuse: tuple[Refused, ...] = (),
    consul: dict[str, Any] | None = None,
    **more: Any,
) -> Facts:
    """What is known of these services. ``verdicts``: by ServiceID; ``found``: VIPs that are not as they should be."""
    parsed = [tags.parse(AppKey(Source.CONSUL, item.id), item.name, item.tags) for item in services]
    asked = tuple(item for item in parsed if isinstance(item, App))
    refused = (*refuse, *(item for item in parsed if isinstance(item, Refused)))
    apps = tuple(app for app in asked if app.key not in {item.key for item in refuse})
    said = {
        VerdictKey(app.key, spec): (verdicts or {}).get(app.key.id, PASSING) for app in apps for spec in app.monitors
    }
    planned = plan(apps, said, Defaults(), NOW)
    vips = {}
    for intent in planned.intents.values():
        reason, detail = (found or {}).get(intent.vip, (intent.reason, intent.detail))
        line = f"neighbor {ROUTER.address} announce route {intent.vip.prefix}" if intent.announce else ""
        up = any(peer.status.state is SessionState.UP for peer in peers)
        state = RouteState.CLEAR if not line else RouteState.ANNOUNCED if up else RouteState.HANDED_OVER
        told = tuple(
            Told(
                peer.status.address,
                line,
                line,
                carried=peer.status.state is SessionState.UP,
                table=line.removeprefix("neighbor 198.51.100.2 "),
            )
            for peer in peers
        )
        vips[intent.vip] = OfVip(intent.vip, reason, detail, state, told=told)
    present = frozenset(intent.vip.local for intent in planned.intents.values() if intent.announce)
    facts = Facts(
        now=NOW,
        wall=1_700_000_000.0,
        apps=apps,
        asked=asked,
        refused=refused,
        health=dict(planned.health),
        verdicts=said,
        looked={spec: Looked(Pace(10, 5, 1, 2, 1), 0, 995.0, 1005.0) for app in apps for spec in app.monitors},
        intents=planned.intents,
        vips=vips,
        found=Found(present, present),
        standing=frozenset(),
        peers=peers,
        consul=OfConsul(
            "host", synced=True, where="http://127.0.0.1:8500", services={item.id: item for item in services}
        ),
    )
    if consul is not None:
        assert facts.consul is not None
        facts = replace(facts, consul=replace(facts.consul, **consul))
    return replace(facts, **more)
