"""What is given away of VIPs, NAT ports and places, and why an app cannot have its part beside the others. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

from msgspec import Struct, field

from consulcast.model import App, AppKey, MonitorSpec, NatKey, Prefix, Reason, Refused, Source, Vip
from consulcast.policy import MOST_COMMUNITIES, SourceRules
from consulcast.wording import counted

_T = TypeVar("_T")
_Users = tuple[App, ...]  # those who share something, the longest first


class Taken(Struct, eq=False):
    """The apps that are taken, and what they hold. Adding or removing one costs the same however many there are."""

    rules: Mapping[Source, SourceRules]
    apps: dict[AppKey, App] = field(default_factory=dict)
    _of_prefix: dict[Prefix, _Users] = field(default_factory=dict)
    _of_port: dict[NatKey, _Users] = field(default_factory=dict)
    _apps: Counter[Source] = field(default_factory=Counter)
    _vips: dict[Source, Counter[Vip]] = field(default_factory=lambda: {source: Counter() for source in Source})
    _monitors: dict[Source, Counter[MonitorSpec]] = field(
        default_factory=lambda: {source: Counter() for source in Source}
    )

    def copy(self) -> Taken:
        """Make one to try something on."""
        vips = {source: counts.copy() for source, counts in self._vips.items()}
        monitors = {source: counts.copy() for source, counts in self._monitors.items()}
        return Taken(
            *(self.rules, dict(self.apps), dict(self._of_prefix), dict(self._of_port)),
            *(self._apps.copy(), vips, monitors),
        )

    def add(self, app: App) -> None:
        """Give an app what it asks for; ``object_to`` has nothing against it."""
        source = app.key.source
        self.apps[app.key] = app
        self._apps[source] += 1
        self._vips[source].update(set(app.vips))
        self._monitors[source].update(_looking(app))
        for prefix in _prefixes(app):
            self._of_prefix[prefix] = (*self._of_prefix.get(prefix, ()), app)
        for key in _ports(app):
            self._of_port[key] = (*self._of_port.get(key, ()), app)

    def remove(self, key: AppKey) -> None:
        """Take all back from an app; one that holds nothing may be given too."""
        app = self.apps.pop(key, None)
        if app is None:
            return
        source = key.source
        self._apps[source] -= 1
        _less(self._vips[source], set(app.vips))
        _less(self._monitors[source], _looking(app))
        for prefix in _prefixes(app):
            _without(self._of_prefix, prefix, key)
        for port in _ports(app):
            _without(self._of_port, port, key)

    def object_to(self, app: App) -> Refused | None:
        """Tell why an app that is not taken cannot have what it asks for beside the others."""
        return (
            self._too_many(app)
            or self._prefix_conflict(app)
            or self._nat_conflict(app)
            or self._too_many_communities(app)
        )

    def _too_many(self, app: App) -> Refused | None:
        """Refuse what is over the source's share; those that came first keep theirs."""
        source = app.key.source
        rules, place = self.rules[source], f"policy.{source}"
        if self._apps[source] >= rules.max_apps:
            detail = f"{place}.max_apps: {source} may have {counted(rules.max_apps, 'app')}, and no more"
            return Refused(app.key, app.name, Reason.TOO_MANY_APPS, detail)
        vips = self._vips[source]
        if len(vips) + sum(vip not in vips for vip in set(app.vips)) > rules.max_vips:
            allowed = counted(rules.max_vips, "VIP")
            detail = f"{place}.max_vips: {source} may have {allowed}, and there is no room for {len(app.vips)}"
            return Refused(app.key, app.name, Reason.TOO_MANY_VIPS, detail)
        monitors, mine = self._monitors[source], _looking(app)
        if len(monitors) + sum(monitor not in monitors for monitor in mine) > rules.max_monitors:
            detail = (
                f"{place}.max_monitors: {source} may have {counted(rules.max_monitors, 'monitor')}, "
                f"and there is no room for {len(mine)}"
            )
            return Refused(app.key, app.name, Reason.TOO_MANY_MONITORS, detail)
        return None

    def _prefix_conflict(self, app: App) -> Refused | None:
        """Refuse a second address for a prefix that is announced already: one failing would withdraw the other."""
        mine: dict[Prefix, Vip] = {}
        for vip in app.vips:
            owner = next(iter(self._of_prefix.get(vip.prefix, (app,))))
            known = next(other for other in owner.vips if other.prefix == vip.prefix)
            other = known if owner is not app else mine.setdefault(vip.prefix, vip)
            if other != vip:
                detail = f"VIP {vip}: its prefix {vip.prefix} is announced already for {other} of {owner.key}"
                return Refused(app.key, app.name, Reason.VIP_CONFLICT, detail)
        return None

    def _nat_conflict(self, app: App) -> Refused | None:
        """Refuse a second destination for one port of a VIP: apps that share a VIP share its NAT rules."""
        mine: dict[NatKey, int] = {}
        for vip in app.vips:
            for rule in app.nats:
                key = NatKey(vip.local, rule.protocol, rule.listen_port)
                owner = next(iter(self._of_port.get(key, (app,))))
                port = _ports(owner)[key] if owner is not app else mine.setdefault(key, rule.dest_port)
                if port != rule.dest_port:
                    where = f"{rule.protocol} port {rule.listen_port} of VIP {vip}"
                    detail = f"NAT to port {rule.dest_port}: {where} is sent to port {port} already for {owner.key}"
                    return Refused(app.key, app.name, Reason.VIP_CONFLICT, detail)
        return None

    def _too_many_communities(self, app: App) -> Refused | None:
        """Refuse what would make a route's attributes outgrow an UPDATE: who shares a VIP shares its communities."""
        for vip in app.vips if app.key.source is not Source.CONFIG else ():
            there = {item for other in self._of_prefix.get(vip.prefix, ()) for item in other.communities}
            if there and len(there | set(app.communities)) > max(MOST_COMMUNITIES, len(there)):
                most = f"more than {MOST_COMMUNITIES} communities"
                detail = f"VIP {vip}: with those of the other apps on it, it would have {most}"
                return Refused(app.key, app.name, Reason.COMMUNITY_NOT_ALLOWED, detail)
        return None


def _looking(app: App) -> set[MonitorSpec]:
    """Its monitors that cost a look of their own."""
    return {monitor for monitor in app.monitors if monitor.kind != "consul"}


def _prefixes(app: App) -> set[Prefix]:
    return {vip.prefix for vip in app.vips}


def _ports(app: App) -> dict[NatKey, int]:
    """To which port the traffic to each port of its VIPs is sent: of two rules for one port, by the first."""
    found: dict[NatKey, int] = {}
    for vip in app.vips:
        for rule in app.nats:
            found.setdefault(NatKey(vip.local, rule.protocol, rule.listen_port), rule.dest_port)
    return found


def _less(counts: Counter[_T], items: set[_T]) -> None:
    counts.subtract(items)
    for item in items:
        if not counts[item]:
            del counts[item]


def _without(users: dict[_T, _Users], what: _T, key: AppKey) -> None:
    left = tuple(app for app in users[what] if app.key != key)
    if left:
        users[what] = left
    else:
        del users[what]
