"""Apps and verdicts make intents, with a reason for everything. Pure: no I/O, time is passed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from consulcast.model import (
    App,
    AppKey,
    Community,
    Health,
    Intent,
    IPAddress,
    Origin,
    Reason,
    Route,
    Stale,
    Translation,
    Verdict,
    VerdictKey,
    Vip,
)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for every VIP.

    ``cleanup_timer``: seconds that an address outlives a failure. ``nat_to``: this host's own addresses, one of a
    family at most, to which NAT rules lead. ``stale_limit``: seconds that Consul's last good answer stands for a
    better one; ``None``: for ever.
    """

    communities: tuple[Community, ...] = ()
    origin: Origin = Origin.IGP
    cleanup_timer: float = 900.0
    nat_to: tuple[IPAddress, ...] = ()
    stale_limit: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be. ``recheck_at`` is when time alone will change it, if ever."""

    intents: tuple[Intent, ...] = ()
    health: tuple[tuple[AppKey, Verdict], ...] = ()
    recheck_at: float | None = None


_NO_MONITOR = Verdict(Health.PASSING, Reason.PASSING, "no monitor: up while registered")
_PENDING = Verdict(Health.UNKNOWN, Reason.MONITOR_PENDING, "no verdict yet")

# Of several monitors of an app the worst counts; of several instances of a service the best.
_WORST_FIRST = (Health.FAILING, Health.DRAINING, Health.UNKNOWN, Health.PASSING)


def plan(
    apps: Iterable[App],
    verdicts: Mapping[VerdictKey, Verdict],
    defaults: Defaults,
    now: float,
    former: Mapping[AppKey, Verdict] | None = None,
    stale: Mapping[AppKey, Stale] | None = None,
) -> Plan:
    """Decide what every VIP should be.

    A VIP is up when, for every service name that uses it, one instance at least passes all its monitors.
    ``former``: the health of the apps before; one that passed goes on passing until a monitor new to it has looked.
    ``stale``: the apps that rest on an answer of Consul's which is not known to be true any more.
    """
    apps, stale = tuple(apps), stale or {}
    health = {
        app.key: _overdue(stale.get(app.key), defaults.stale_limit, now)
        or app_verdict(app, verdicts, (former or {}).get(app.key))
        for app in apps
    }
    users: dict[Vip, list[App]] = {}
    for app in apps:
        for vip in app.vips:
            users.setdefault(vip, []).append(app)
    intents = []
    times = [] if defaults.stale_limit is None else [item.since + defaults.stale_limit for item in stale.values()]
    for vip, using in users.items():
        intent, cleanup_at = _intent(vip, using, health, defaults, now)
        intents.append(intent)
        if cleanup_at is not None:
            times.append(cleanup_at)
    return Plan(tuple(intents), tuple(health.items()), min((at for at in times if at > now), default=None))


def app_verdict(app: App, verdicts: Mapping[VerdictKey, Verdict], former: Verdict | None = None) -> Verdict:
    """Judge one app: the worst of its monitors."""
    found = [verdicts.get(VerdictKey(app.key, monitor), _PENDING) for monitor in app.monitors]
    worst = min(found, key=lambda verdict: _WORST_FIRST.index(verdict.health), default=_NO_MONITOR)
    if worst.health is Health.UNKNOWN and former is not None and former.health is Health.PASSING:
        return Verdict(Health.PASSING, Reason.PASSING, "a new monitor has not looked yet", former.since)
    return worst


def _overdue(stale: Stale | None, limit: float | None, now: float) -> Verdict | None:
    """The verdict on an app that has been unknown for too long."""
    if stale is None or limit is None or now < stale.since + limit:
        return None
    detail = f"unknown for longer than consul.stale_limit ({limit:g} s): {stale.reason}"
    return Verdict(Health.FAILING, Reason.CONSUL_STALE, detail, stale.since + limit)


def translations(vip: Vip, using: Iterable[App], nat_to: Iterable[IPAddress]) -> tuple[Translation, ...]:
    """Make the rules of all apps on a VIP whole: they lead to this host's own address of the VIP's family."""
    asked = {rule for app in using for rule in app.nats}
    found = (
        Translation(vip.local, rule.protocol, rule.listen_port, to, rule.dest_port)
        for to in nat_to
        if to.version == vip.interface.version
        for rule in asked
    )
    return tuple(sorted(found, key=str))


def _intent(
    vip: Vip, using: list[App], health: Mapping[AppKey, Verdict], defaults: Defaults, now: float
) -> tuple[Intent, float | None]:
    services: dict[str, list[App]] = {}
    for app in using:
        services.setdefault(app.name, []).append(app)
    down: list[tuple[App, Verdict, float]] = []  # the best instance of each service that is not up, and since when
    for instances in services.values():
        best = max(instances, key=lambda app: _WORST_FIRST.index(health[app.key].health))
        if health[best.key].health is not Health.PASSING:
            down.append((best, health[best.key], max(health[app.key].since for app in instances)))
    communities = {*defaults.communities, *(item for app in using for item in app.communities)}
    route = Route(vip.prefix, tuple(sorted(communities)), defaults.origin)
    keys = tuple(app.key for app in using)
    nats = translations(vip, using, defaults.nat_to)
    if not down:
        return Intent(vip, route, True, True, Reason.ANNOUNCED, "", keys, nats, using[0].name), None
    app, verdict, _ = min(down, key=lambda item: (_WORST_FIRST.index(item[1].health), item[2]))
    detail = f"{app.key}: {verdict.detail}"
    if verdict.health is Health.UNKNOWN:  # it may come up at once: what stands on the host stays
        return Intent(vip, route, True, False, verdict.reason, detail, keys, nats, using[0].name), None
    cleanup_at = min(item[2] for item in down) + defaults.cleanup_timer
    if now < cleanup_at:
        return Intent(vip, route, True, False, verdict.reason, detail, keys, nats, using[0].name), cleanup_at
    return Intent(vip, route, False, False, Reason.CLEANED_UP, detail, keys, nats, using[0].name), None
