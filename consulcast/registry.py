"""The apps of all sources, and who owns a VIP. No I/O: each source hands over its whole present list."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from msgspec import Struct

from consulcast.difference import differing
from consulcast.model import App, AppKey, Prefix, Refused, Source
from consulcast.policy import Policy, judge, kept_by_name
from consulcast.taken import Taken


class Registered(Struct, frozen=True):
    """What is registered: ``apps`` are taken, oldest first; ``refused`` are not, or not as they now ask."""

    apps: tuple[App, ...] = ()
    refused: tuple[Refused, ...] = ()


class _Claim(Struct, frozen=True):
    """Since when an app has asked for its prefixes, in order of asking."""

    age: int
    prefixes: frozenset[Prefix]


class Registry:
    """Merges the sources' lists: who has a VIP, or a place among those that a source may hold, keeps it."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._lists: dict[Source, tuple[App, ...]] = {}
        self._unreadable: dict[Source, tuple[Refused, ...]] = {}
        self._asked: dict[AppKey, App] = {}
        self._claims: dict[AppKey, _Claim] = {}
        self._refused: dict[AppKey, Refused] = {}
        self._judged: dict[AppKey, Refused | None] = {}  # the policy's word on those that are refused
        self._taken = Taken(policy.rules.sources)
        self._count = itertools.count()
        self.registered = Registered()

    @property
    def asked(self) -> tuple[App, ...]:
        """Every app that could be read, taken or not."""
        return tuple(self._asked.values())

    def set(self, source: Source, apps: Iterable[App], unreadable: Iterable[Refused] = ()) -> Registered:
        """Replace all that ``source`` asks for, and return what stands now. ``unreadable``: what it could not read."""
        apps, unreadable = tuple(apps), tuple(unreadable)
        if (apps, unreadable) != (self._lists.get(source, ()), self._unreadable.get(source, ())):
            self._lists[source], self._unreadable[source] = apps, unreadable
            self._merge()
        return self.registered

    def set_policy(self, policy: Policy) -> Registered:
        """Replace the policy: what it no longer allows is refused, what it now allows is taken."""
        if policy != self._policy:
            self._policy = policy
            self._judged.clear()
            held, self._taken = self._taken.apps, Taken(policy.rules.sources)
            self._settle(self._asked.keys(), held)
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
        trial._lists, trial._unreadable, trial._asked = dict(self._lists), dict(self._unreadable), self._asked
        trial._claims, trial._count = dict(self._claims), itertools.count(self._youngest() + 1)
        trial._refused, trial._judged, trial._taken = self._refused, dict(self._judged), self._taken.copy()
        trial.registered = self.registered
        trial.set_policy(policy)
        return trial

    def _youngest(self) -> int:
        return max((claim.age for claim in self._claims.values()), default=-1)

    def _merge(self) -> None:
        """Take in what has changed of the lists."""
        before, asked = self._asked, {app.key: app for apps in self._lists.values() for app in apps}
        changed = [key for key in differing(before, asked) if before.get(key) != asked.get(key)]
        self._asked = asked
        held = {key: self._taken.apps[key] for key in changed if key in self._taken.apps}
        for key in changed:
            self._taken.remove(key)
            self._judged.pop(key, None)
            if key in asked:
                self._claims[key] = self._claim(asked[key])
            else:
                self._claims.pop(key, None)
        self._settle([*(key for key in changed if key in asked), *(self._refused.keys() - set(changed))], held)

    def _settle(self, queue: Iterable[AppKey], held: Mapping[AppKey, App]) -> None:
        """Give to those in the queue what they ask for, if nobody else has it. ``held``: who had something just now.

        All that are not in the queue have what they ask for, and go on having it.
        """

        def turn(app: App) -> tuple[int, int]:
            """Who has what he asks for comes first, then who has a place and asks for something else, then by age.

            An app that a policy refused for long so takes nothing from anybody once it is allowed, and an old one
            that asks for another NAT port, or for more monitors, nothing from those who share its VIP.
            """
            order = 2 if app.key not in held else 0 if held[app.key] == app else 1
            return order, self._claims[app.key].age

        unreadable = tuple(item for items in self._unreadable.values() for item in items)
        to_mend = {item.key for item in unreadable}  # that is what to mend first, whatever stands meanwhile
        self._refused = {}
        for app in sorted((self._asked[key] for key in queue), key=turn):
            objection = self._judge(app) or self._taken.object_to(app)
            if objection is None:
                self._taken.add(app)
                self._judged.pop(app.key, None)
            else:
                self._refused[app.key] = objection
        refused = tuple(item for key, item in self._refused.items() if key not in to_mend)
        apps = tuple(sorted(self._taken.apps.values(), key=lambda app: self._claims[app.key].age))
        same = self.registered.apps
        self.registered = Registered(same if same == apps else apps, unreadable + refused)

    def _judge(self, app: App) -> Refused | None:
        if app.key not in self._judged:
            self._judged[app.key] = judge(app, self._policy)
        return self._judged[app.key]

    def _claim(self, app: App) -> _Claim:
        """An app that asks for another prefix queues anew: it must not take it from the one who has it."""
        prefixes = frozenset(vip.prefix for vip in app.vips)
        former = self._claims.get(app.key)
        if former is not None and prefixes <= former.prefixes:
            return _Claim(former.age, prefixes)
        return _Claim(next(self._count), prefixes)
