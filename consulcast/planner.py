"""Apps and verdicts make intents, with a reason for everything. Pure: no I/O, time is passed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from msgspec import Struct, field

from consulcast import drains as draining
from consulcast.difference import differing
from consulcast.drains import Drain, Kind
from consulcast.model import (
    App,
    AppKey,
    Community,
    Drained,
    Draining,
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
from consulcast.values import replace


class Defaults(Struct, frozen=True):
    """What holds for every VIP.

    ``cleanup_timer``: seconds that an address outlives a failure. ``nat_to``: this host's own addresses, one of a
    family at most, to which NAT rules lead. ``stale_limit``: seconds that Consul's last good answer stands for a
    better one; ``None``: for ever. ``drain``: how a drain goes.
    """

    communities: tuple[Community, ...] = ()
    origin: Origin = Origin.IGP
    cleanup_timer: float = 900.0
    nat_to: tuple[IPAddress, ...] = ()
    stale_limit: float | None = None
    drain: draining.Settings = field(default_factory=draining.Settings)


class Plan(Struct, frozen=True):
    """What should be. ``recheck_at`` is when time alone will change it, if ever.

    From one plan of a planner to the next, what has not changed is the same object, and stands in the same order.
    """

    intents: Mapping[Vip, Intent] = field(default_factory=dict)
    health: Mapping[AppKey, Verdict] = field(default_factory=dict)
    recheck_at: float | None = None


_NO_MONITOR = Verdict(Health.PASSING, Reason.PASSING, "no monitor: up while registered")
_PENDING = Verdict(Health.UNKNOWN, Reason.MONITOR_PENDING, "no verdict yet")

# Of several monitors of an app the worst counts; of several instances of a service the best.
_WORST_FIRST = (Health.FAILING, Health.DRAINING, Health.UNKNOWN, Health.PASSING)


class Planner:
    """Plans again and again, and decides anew only about what differs from the last time."""

    def __init__(self, health: Mapping[AppKey, Verdict] | None = None) -> None:
        """``health``: of the apps before; one that passed goes on passing until a monitor new to it has looked."""
        self._listed: tuple[App, ...] = ()
        self._apps: dict[AppKey, App] = {}
        self._users: dict[Vip, list[App]] = {}  # who asks for a VIP, the oldest first
        self._verdicts: Mapping[VerdictKey, Verdict] = {}
        self._defaults: Defaults | None = None
        self._drains: list[Drain] = []
        self._overdue: dict[AppKey, Stale] = {}
        self._health: dict[AppKey, Verdict] = {}
        self._shown: dict[AppKey, Verdict] = {}
        self._former: Mapping[AppKey, Verdict] = health or {}
        self._intents: dict[Vip, Intent] = {}
        self._change_at: dict[Vip, float] = {}  # when time alone changes an intent
        self._while_announced: dict[Vip, bool] = {}  # intents that depend on whether they were announced, and were

    def plan(
        self,
        apps: Iterable[App],
        verdicts: Mapping[VerdictKey, Verdict],
        defaults: Defaults,
        now: float,
        stale: Mapping[AppKey, Stale] | None = None,
        drains: Iterable[Drain] = (),
        announced: Set[Vip] = frozenset(),
    ) -> Plan:
        """Decide what every VIP should be.

        A VIP is up when, for every service name that uses it, one instance at least passes all its monitors.
        ``stale``: the apps that rest on an answer of Consul's which is not known to be true any more. ``announced``:
        the VIPs that were so just before; of the others none is announced for being drained.
        """
        stale = stale or {}
        drains = [drain for drain in drains if drain.until is None or now < drain.until]
        anew = defaults != self._defaults or drains != self._drains
        self._defaults, self._drains = defaults, drains
        # dicts for sets that keep their order: what is new stands where the registry has put it
        before = self._apps
        touched = dict.fromkeys(self._list(tuple(apps)))
        touched |= dict.fromkeys(key.app for key in differing(self._verdicts, verdicts))
        self._verdicts = verdicts
        due = _due(stale, defaults.stale_limit)
        overdue = {key: stale[key] for key, at in due.items() if now >= at}
        touched |= dict.fromkeys(differing(self._overdue, overdue))
        self._overdue = overdue
        if anew:
            touched |= dict.fromkeys(self._apps)
        self._judge(touched, stale, now)
        vips = dict.fromkeys(vip for key in touched for vip in _vips(before.get(key), self._apps.get(key)))
        vips |= dict.fromkeys(vip for vip, at in self._change_at.items() if at <= now)
        vips |= dict.fromkeys(vip for vip, was in self._while_announced.items() if was is not (vip in announced))
        self._decide(vips, now, announced)
        lapses = (drain.until for drain in drains if drain.until is not None)
        times = (*self._change_at.values(), *due.values(), *lapses)
        return Plan(self._intents, self._shown, min((at for at in times if at > now), default=None))

    def _list(self, apps: tuple[App, ...]) -> list[AppKey]:
        """Take in the apps. Returns those that are new, gone, or ask for something else."""
        if apps == self._listed:
            return []
        before = self._apps
        self._listed, self._apps = apps, {app.key: app for app in apps}
        moved = differing(before, self._apps)
        places = {key: place for place, key in enumerate(self._apps)} if moved else {}
        for key in moved:
            app = self._apps.get(key)
            for vip in _vips(before.get(key), app):
                using = [other for other in self._users.get(vip, ()) if other.key != key]
                if app is not None and vip in app.vips:
                    using = sorted((*using, app), key=lambda other: places.get(other.key, -1))
                self._users[vip] = using
        return moved

    def _judge(self, touched: Iterable[AppKey], stale: Mapping[AppKey, Stale], now: float) -> None:
        """Judge the apps that are touched."""
        assert self._defaults is not None
        shown = dict(self._shown)
        for key in touched:
            app = self._apps.get(key)
            if app is None:
                self._health.pop(key, None)
                shown.pop(key, None)
                continue
            verdict = _overdue(stale.get(key), self._defaults.stale_limit, now)
            verdict = verdict or app_verdict(app, self._verdicts, self._former.get(key))
            self._health[key] = _drained(verdict, (drain for drain in self._drains if drain.target.covers(app)))
            shown[key] = _explained(self._health[key])
        self._shown = self._former = shown

    def _decide(self, vips: Iterable[Vip], now: float, announced: Set[Vip]) -> None:
        """Decide about VIPs, and forget those that nobody asks for any more."""
        assert self._defaults is not None
        of_vips = {drain.target.name: drain for drain in self._drains if drain.target.kind is Kind.VIP}
        intents = dict(self._intents)
        for vip in vips:
            self._change_at.pop(vip, None)
            self._while_announced.pop(vip, None)
            using = self._users.get(vip)
            if not using:
                self._users.pop(vip, None)
                intents.pop(vip, None)
                continue
            drain = of_vips.get(str(vip)) if of_vips else None
            seen = {app.key: _drained(self._health[app.key], [drain] if drain else ()) for app in using}
            intent, change_at = _intent(vip, using, seen, self._defaults, now, vip in announced)
            if intents.get(vip) != intent:
                intents[vip] = intent
            if change_at is not None:
                self._change_at[vip] = change_at
            if any(verdict.health is Health.DRAINING for verdict in seen.values()):
                self._while_announced[vip] = vip in announced
        self._intents = intents


def plan(
    apps: Iterable[App],
    verdicts: Mapping[VerdictKey, Verdict],
    defaults: Defaults,
    now: float,
    former: Mapping[AppKey, Verdict] | None = None,
    stale: Mapping[AppKey, Stale] | None = None,
    drains: Iterable[Drain] = (),
    announced: Set[Vip] = frozenset(),
) -> Plan:
    """Decide once, with all that ``Planner.plan`` goes by. ``former``: the health of the apps before."""
    return Planner(former).plan(apps, verdicts, defaults, now, stale, drains, announced)


def _vips(*apps: App | None) -> list[Vip]:
    return [vip for app in apps if app is not None for vip in app.vips]


def _due(stale: Mapping[AppKey, Stale], limit: float | None) -> Mapping[AppKey, float]:
    """When the apps that are stale have been so for too long."""
    return {} if limit is None else {key: item.since + limit for key, item in stale.items()}


def app_verdict(app: App, verdicts: Mapping[VerdictKey, Verdict], former: Verdict | None = None) -> Verdict:
    """Judge one app: the worst of its monitors. One that says "drain" counts for its drain, the others for the rest."""
    found = [verdicts.get(VerdictKey(app.key, monitor), _PENDING) for monitor in app.monitors]
    others = (verdict for verdict in found if verdict.health is not Health.DRAINING)
    worst = min(others, key=lambda verdict: _WORST_FIRST.index(verdict.health), default=_NO_MONITOR)
    if worst.health is Health.UNKNOWN and former is not None and _works(former):
        worst = Verdict(Health.PASSING, Reason.PASSING, "a new monitor has not looked yet", former.since)
    for verdict in found:
        if verdict.health is Health.DRAINING:
            worst = _with_drain(worst, verdict)
    return worst


def _works(verdict: Verdict) -> bool:
    """Whether an app does its work, drained or not."""
    if verdict.health is Health.DRAINING:
        return verdict.drain is None or not verdict.drain.failing
    return verdict.health is Health.PASSING


def _drained(verdict: Verdict, drains: Iterable[Drain]) -> Verdict:
    """Judge what operators drain."""
    for drain in drains:
        asked = Drained(asked=True, until=drain.until)
        verdict = _with_drain(verdict, Verdict(Health.DRAINING, Reason.DRAINING, drain.why, drain.since, asked))
    return verdict


def _with_drain(beneath: Verdict, drain: Verdict) -> Verdict:
    """Put a drain over a verdict. Of several drains the earliest counts, until the last is over."""
    over, under = drain.drain or Drained(), beneath.drain or Drained()
    if beneath.health is not Health.DRAINING:
        broken = "" if _works(beneath) else beneath.detail or beneath.reason.value
        return replace(drain, drain=replace(over, failing=over.failing or broken))
    until = None if over.until is None or under.until is None else max(over.until, under.until)
    first = min(beneath, drain, key=lambda verdict: verdict.since)
    return replace(first, drain=Drained(over.failing or under.failing, over.asked or under.asked, until))


def _explained(verdict: Verdict) -> Verdict:
    """Say in its detail what else is to be known."""
    if verdict.drain is None or not verdict.drain.failing:
        return verdict
    return replace(verdict, detail=f"{verdict.detail}; meanwhile: {verdict.drain.failing}")


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
    vip: Vip, using: list[App], health: Mapping[AppKey, Verdict], defaults: Defaults, now: float, announced: bool
) -> tuple[Intent, float | None]:
    """Decide about one VIP, and when time alone will change that, if ever. ``announced``: it was so just before."""
    services: dict[str, list[App]] = {}
    for app in using:
        services.setdefault(app.name, []).append(app)
    settings = defaults.drain
    down: list[tuple[App, Verdict, float]] = []  # the best instance of each service that is not up, and since when
    lowered: list[tuple[App, Verdict, float]] = []  # of each that is drained and up for a while yet: who drains last
    for instances in services.values():
        best = max(instances, key=lambda app: _WORST_FIRST.index(health[app.key].health))
        if health[best.key].health is Health.PASSING:
            continue
        drained = [app for app in instances if _works(health[app.key])]
        last = max(drained, key=lambda app: health[app.key].since, default=None)
        if announced and last is not None and now < health[last.key].since + settings.lowers:
            lowered.append((last, health[last.key], health[last.key].since))
        else:
            down.append((best, health[best.key], max(health[app.key].since for app in instances)))
    communities = {*defaults.communities, *(item for app in using for item in app.communities)}
    route = Route(vip.prefix, tuple(sorted(communities)), defaults.origin)
    keys = tuple(app.key for app in using)
    nats = translations(vip, using, defaults.nat_to)
    up = Intent(vip, route, True, True, Reason.ANNOUNCED, "", keys, nats, using[0].name)
    drains = [item for item in (*down, *lowered) if item[1].health is Health.DRAINING]
    if drains:  # wanted, not failed: whatever else is down on this VIP, it goes as a drained one does
        app, verdict, since = min(drains, key=lambda item: item[2])
        over = verdict.drain or Drained()
        drain = Draining(since, since + settings.lowers, settings.how, settings.flows, over.asked, over.until)
        why = replace(up, reason=verdict.reason, detail=f"{app.key}: {_explained(verdict).detail}", drain=drain)
        if down:
            return replace(why, address=False, announce=False), None
        return replace(why, route=draining.lowered(route, settings)), drain.lowered_until
    if not down:
        return up, None
    app, verdict, _ = min(down, key=lambda item: (_WORST_FIRST.index(item[1].health), item[2]))
    failed = replace(up, announce=False, reason=verdict.reason, detail=f"{app.key}: {verdict.detail}")
    if verdict.health is Health.UNKNOWN:  # it may come up at once: what stands on the host stays
        return failed, None
    cleanup_at = min(item[2] for item in down) + defaults.cleanup_timer
    if now < cleanup_at:
        return failed, cleanup_at
    return replace(failed, address=False, reason=Reason.CLEANED_UP), None
