"""The apps of all sources, and who owns a VIP. No I/O: each source hands over its whole present list."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from consulcast.model import App, AppKey, Prefix, Reason, Refused, Source, Vip
from consulcast.policy import Policy, judge


@dataclass(frozen=True, slots=True)
class Registered:
    """What is registered: ``apps`` are taken, oldest first; ``refused`` are not, or not as they now ask."""

    apps: tuple[App, ...] = ()
    refused: tuple[Refused, ...] = ()


class Registry:
    """Merges the sources' lists by age: the app that came first keeps its VIP."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._asked: dict[Source, tuple[App, ...]] = {}
        self._unreadable: dict[Source, tuple[Refused, ...]] = {}
        self._age: dict[AppKey, int] = {}
        self._count = itertools.count()
        self.registered = Registered()

    def set(self, source: Source, apps: Iterable[App], unreadable: Iterable[Refused] = ()) -> Registered:
        """Replace all that ``source`` asks for, and return what stands now. ``unreadable``: what it could not read."""
        self._asked[source] = tuple(apps)
        self._unreadable[source] = tuple(unreadable)
        self.registered = self._merge()
        return self.registered

    def _merge(self) -> Registered:
        asked = {app.key: app for apps in self._asked.values() for app in apps}
        for key in asked:
            if key not in self._age:
                self._age[key] = next(self._count)
        for key in self._age.keys() - asked.keys():
            del self._age[key]
        refused = [item for items in self._unreadable.values() for item in items]
        taken: list[App] = []
        owners: dict[Prefix, tuple[Vip, App]] = {}
        for app in sorted(asked.values(), key=lambda app: self._age[app.key]):
            objection = judge(app, self._policy) or _conflict(app, owners)
            if objection:
                refused.append(objection)
                continue
            taken.append(app)
            for vip in app.vips:
                owners.setdefault(vip.prefix, (vip, app))
        return Registered(tuple(taken), tuple(refused))


def _conflict(app: App, owners: dict[Prefix, tuple[Vip, App]]) -> Refused | None:
    """Refuse a second address for a prefix that is announced already: one failing would withdraw the other."""
    mine: dict[Prefix, tuple[Vip, App]] = {}
    for vip in app.vips:
        other, owner = owners.get(vip.prefix) or mine.setdefault(vip.prefix, (vip, app))
        if other != vip:
            detail = f"VIP {vip}: its prefix {vip.prefix} is announced already for {other} of {owner.key}"
            return Refused(app.key, app.name, Reason.VIP_CONFLICT, detail)
    return None
