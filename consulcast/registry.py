"""The apps of all sources, and who owns a VIP. No I/O: each source hands over its whole present list."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from consulcast.model import App, AppKey, NatKey, Prefix, Reason, Refused, Source, Vip
from consulcast.policy import Policy, judge


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
    """Merges the sources' lists by age: the app that came first keeps its VIP."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._asked: dict[Source, tuple[App, ...]] = {}
        self._unreadable: dict[Source, tuple[Refused, ...]] = {}
        self._claims: dict[AppKey, _Claim] = {}
        self._count = itertools.count()
        self.registered = Registered()

    def set(self, source: Source, apps: Iterable[App], unreadable: Iterable[Refused] = ()) -> Registered:
        """Replace all that ``source`` asks for, and return what stands now. ``unreadable``: what it could not read."""
        self._asked[source] = tuple(apps)
        self._unreadable[source] = tuple(unreadable)
        self.registered = self._merge()
        return self.registered

    def set_policy(self, policy: Policy) -> Registered:
        """Replace the policy: what it no longer allows is refused, what it now allows is taken."""
        self._policy = policy
        self.registered = self._merge()
        return self.registered

    def _merge(self) -> Registered:
        asked = {app.key: app for apps in self._asked.values() for app in apps}
        self._claims = {key: self._claim(app) for key, app in asked.items()}
        refused = [item for items in self._unreadable.values() for item in items]
        taken: list[App] = []
        owners: dict[Prefix, tuple[Vip, App]] = {}
        ports: dict[NatKey, tuple[int, App]] = {}
        for app in sorted(asked.values(), key=lambda app: self._claims[app.key].age):
            objection = judge(app, self._policy) or _conflict(app, owners) or _nat_conflict(app, ports)
            if objection:
                refused.append(objection)
                continue
            taken.append(app)
            for vip in app.vips:
                owners.setdefault(vip.prefix, (vip, app))
                for rule in app.nats:
                    ports.setdefault(NatKey(vip.local, rule.protocol, rule.listen_port), (rule.dest_port, app))
        return Registered(tuple(taken), tuple(refused))

    def _claim(self, app: App) -> _Claim:
        """An app that asks for another prefix queues anew: it must not take it from the one who has it."""
        prefixes = frozenset(vip.prefix for vip in app.vips)
        former = self._claims.get(app.key)
        if former is not None and prefixes <= former.prefixes:
            return _Claim(former.age, prefixes)
        return _Claim(next(self._count), prefixes)


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
