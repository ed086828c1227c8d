"""The apps of all sources, and who owns a VIP. No I/O: each source hands over its whole present list."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from consulcast.model import App, AppKey, Community, MonitorSpec, NatKey, Prefix, Reason, Refused, Source, Vip
from consulcast.policy import MOST_COMMUNITIES, Policy, SourceRules, judge, kept_by_name
from consulcast.wording import counted


@dataclass(frozen=True, slots=True)
class Registered:
    """What is registered: ``apps`` are taken, oldest first; ``refused`` are not, or not as they now ask."""

    apps: tuple[App, ...] = ()
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, slots=True)
class _Claim:
    """Since when an app has asked for its prefixes, in order of asking."""

    age: int
    prefixes: frozenset[Prefix]


class Registry:
    """Merges the sources' lists: who has a VIP, or a place among those that a source may hold, keeps it."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._asked: dict[Source, tuple[App, ...]] = {}
        self._unreadable: dict[Source, tuple[Refused, ...]] = {}
        self._claims: dict[AppKey, _Claim] = {}
        self._judged: dict[AppKey, tuple[App, Refused | None]] = {}  # a policy's word on an app does not change
        self._count = itertools.count()
        self.registered = Registered()

    @property
    def asked(self) -> tuple[App, ...]:
        """Every app that could be read, taken or not."""
        return tuple(app for apps in self._asked.values() for app in apps)

    def set(self, source: Source, apps: Iterable[App], unreadable: Iterable[Refused] = ()) -> Registered:
        """Replace all that ``source`` asks for, and return what stands now. ``unreadable``: what it could not read."""
        apps, unreadable = tuple(apps), tuple(unreadable)
        if (apps, unreadable) != (self._asked.get(source, ()), self._unreadable.get(source, ())):
            self._asked[source], self._unreadable[source] = apps, unreadable
            self._merge()
        return self.registered

    def set_policy(self, policy: Policy) -> Registered:
        """Replace the policy: what it no longer allows is refused, what it now allows is taken."""
        if policy != self._policy:
            self._policy = policy
            self._judged.clear()
            self._merge()
        return self.registered

    def would_refuse(self, app: App, present: Iterable[App], *, vouched: bool = True) -> Refused | None:
        """Tell whether its source could have ``app`` too, beside ``present`` and instead of what it was there.

        ``vouched``: somebody stands behind its name. Changes nothing.
        """
        stranger = None if vouched else kept_by_name(app, self._policy)
        if stranger is not None:
            return stranger
        trial = self.trial(self._policy)
        others = [other for other in present if other.key != app.key]
        refused = trial.set(app.key.source, [*others, app]).refused
        return next((item for item in refused if item.key == app.key), None)

    def trial(self, policy: Policy) -> Registry:
        """Make a registry that goes on from what is registered here, to try something on. Changes nothing here."""
        trial = Registry(self._policy)
        trial._asked, trial._unreadable, trial._claims = dict(self._asked), dict(self._unreadable), self._claims
        trial._judged, trial._count = dict(self._judged), itertools.count(self._youngest() + 1)
        trial.registered = self.registered
        trial.set_policy(policy)
        return trial

    def _youngest(self) -> int:
        return max((claim.age for claim in self._claims.values()), default=-1)

    def _merge(self) -> None:
        asked = {app.key: app for apps in self._asked.values() for app in apps}
        self._claims = {key: self._claim(app) for key, app in asked.items()}
        held = {app.key: app for app in self.registered.apps}

        def turn(app: App) -> tuple[int, int]:
            """Who has what he asks for comes first, then who has a place and asks for something else, then by age.

            An app that a policy refused for long so takes nothing from anybody once it is allowed, and an old one
            that asks for another NAT port, or for more monitors, nothing from those who share its VIP.
            """
            order = 2 if app.key not in held else 0 if held[app.key] == app else 1
            return order, self._claims[app.key].age

        judged = {app.key: self._judge(app) for app in asked.values()}
        taken = _Taken(self._policy.rules.sources)
        refused = [item for items in self._unreadable.values() for item in items]
        unreadable = {item.key for item in refused}  # that is what to mend first, whatever stands meanwhile
        for app in sorted(asked.values(), key=turn):
            objection = judged[app.key] or taken.object_to(app)
            if objection is None:
                taken.add(app)
            elif app.key not in unreadable:
                refused.append(objection)
        self._judged = {key: (app, judged[key]) for key, app in asked.items()}
        apps = tuple(sorted(taken.apps, key=lambda app: self._claims[app.key].age))
        self.registered = Registered(apps, tuple(refused))

    def _judge(self, app: App) -> Refused | None:
        known = self._judged.get(app.key)
        return known[1] if known is not None and known[0] == app else judge(app, self._policy)

    def _claim(self, app: App) -> _Claim:
        """An app that asks for another prefix queues anew: it must not take it from the one who has it."""
        prefixes = frozenset(vip.prefix for vip in app.vips)
        former = self._claims.get(app.key)
        if former is not None and prefixes <= former.prefixes:
            return _Claim(former.age, prefixes)
        return _Claim(next(self._count), prefixes)


@dataclass(slots=True, eq=False)
class _Taken:
    """What is given away, one app after the other."""

    rules: Mapping[Source, SourceRules]
    apps: list[App] = field(default_factory=list)
    owners: dict[Prefix, tuple[Vip, App]] = field(default_factory=dict)
    ports: dict[NatKey, tuple[int, App]] = field(default_factory=dict)
    communities: dict[Prefix, set[Community]] = field(default_factory=dict)
    count: dict[Source, int] = field(default_factory=dict)
    vips: dict[Source, set[Vip]] = field(default_factory=dict)
    monitors: dict[Source, set[MonitorSpec]] = field(default_factory=dict)

    def object_to(self, app: App) -> Refused | None:
        return (
            self._too_many(app)
            or _conflict(app, self.owners)
            or _nat_conflict(app, self.ports)
            or _too_many_communities(app, self.communities)
        )

    def add(self, app: App) -> None:
        source = app.key.source
        self.apps.append(app)
        self.count[source] = self.count.get(source, 0) + 1
        self.vips.setdefault(source, set()).update(app.vips)
        self.monitors.setdefault(source, set()).update(_looking(app))
        for vip in app.vips:
            self.owners.setdefault(vip.prefix, (vip, app))
            self.communities.setdefault(vip.prefix, set()).update(app.communities)
            for rule in app.nats:
                self.ports.setdefault(NatKey(vip.local, rule.protocol, rule.listen_port), (rule.dest_port, app))

    def _too_many(self, app: App) -> Refused | None:
        """Refuse what is over the source's share; those that came first keep theirs."""
        source = app.key.source
        rules, place = self.rules[source], f"policy.{source}"
        if self.count.get(source, 0) >= rules.max_apps:
            detail = f"{place}.max_apps: {source} may have {counted(rules.max_apps, 'app')}, and no more"
            return Refused(app.key, app.name, Reason.TOO_MANY_APPS, detail)
        vips = self.vips.get(source, set())
        if len(vips) + len(set(app.vips) - vips) > rules.max_vips:
            allowed = counted(rules.max_vips, "VIP")
            detail = f"{place}.max_vips: {source} may have {allowed}, and there is no room for {len(app.vips)}"
            return Refused(app.key, app.name, Reason.TOO_MANY_VIPS, detail)
        monitors, mine = self.monitors.get(source, set()), _looking(app)
        if len(monitors) + len(mine - monitors) > rules.max_monitors:
            detail = (
                f"{place}.max_monitors: {source} may have {counted(rules.max_monitors, 'monitor')}, "
                f"and there is no room for {len(mine)}"
            )
            return Refused(app.key, app.name, Reason.TOO_MANY_MONITORS, detail)
        return None


def _looking(app: App) -> set[MonitorSpec]:
    """Its monitors that cost a look of their own."""
    return {monitor for monitor in app.monitors if monitor.kind != "consul"}


def _too_many_communities(app: App, present: Mapping[Prefix, set[Community]]) -> Refused | None:
    """Refuse what would make a route's attributes outgrow an UPDATE: apps that share a VIP share its communities."""
    for vip in app.vips if app.key.source is not Source.CONFIG else ():
        there = present.get(vip.prefix, set())
        if there and len(there | set(app.communities)) > max(MOST_COMMUNITIES, len(there)):
            detail = (
                f"VIP {vip}: with those of the other apps on it, it would have more than {MOST_COMMUNITIES} communities"
            )
            return Refused(app.key, app.name, Reason.COMMUNITY_NOT_ALLOWED, detail)
    return None


def _conflict(app: App, owners: dict[Prefix, tuple[Vip, App]]) -> Refused | None:
    """Refuse a second address for a prefix that is announced already: one failing would withdraw the other."""
    mine: dict[Prefix, tuple[Vip, App]] = {}
    for vip in app.vips:
        other, owner = owners.get(vip.prefix) or mine.setdefault(vip.prefix, (vip, app))
        if other != vip:
            detail = f"VIP {vip}: its prefix {vip.prefix} is announced already for {other} of {owner.key}"
            return Refused(app.key, app.name, Reason.VIP_CONFLICT, detail)
    return None


def _nat_conflict(app: App, ports: dict[NatKey, tuple[int, App]]) -> Refused | None:
    """Refuse a second destination for one port of a VIP: apps that share a VIP share its NAT rules."""
    mine: dict[NatKey, tuple[int, App]] = {}
    for vip in app.vips:
        for rule in app.nats:
            key = NatKey(vip.local, rule.protocol, rule.listen_port)
            port, owner = ports.get(key) or mine.setdefault(key, (rule.dest_port, app))
            if port != rule.dest_port:
                where = f"{rule.protocol} port {rule.listen_port} of VIP {vip}"
                detail = f"NAT to port {rule.dest_port}: {where} is sent to port {port} already for {owner.key}"
                return Refused(app.key, app.name, Reason.VIP_CONFLICT, detail)
    return None
