"""Services and checks, as they are believed, joined into apps and verdicts. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from consulcast.consul.bodies import Check, Service
from consulcast.consul.reading import Parse, Reading
from consulcast.consul.same import kept
from consulcast.difference import differing
from consulcast.model import App, Health, Reason, Refused, Stale, Verdict, VerdictKey
from consulcast.monitors.consul import Warnings, judge
from consulcast.values import replace

# Seconds that a new app waits for its checks. The catalog tells of a service milliseconds before the health endpoint
# tells of its checks; to count it as failing meanwhile would withdraw a VIP that it shares with a running service.
PATIENCE = 5.0


_BEST_FIRST = (Health.PASSING, Health.DRAINING, Health.UNKNOWN, Health.FAILING)


def _better_first(one: tuple[Verdict, Stale | None]) -> tuple[int, bool, bool]:
    verdict, stale = one
    broken = verdict.drain is not None and bool(verdict.drain.failing)
    return _BEST_FIRST.index(verdict.health), broken, stale is not None


class Join:
    """Services and checks as apps and verdicts.

    Only what changed is made anew, and what comes out the same is the same object: each app, key and verdict, and every
    collection of them. What it is given must not be changed afterwards.
    """

    def __init__(self, parse: Parse, warning: Warnings) -> None:
        self._warning = warning
        self._reading = Reading(parse)
        self._services: Mapping[str, Service] = {}
        self._checks: Mapping[str, Check] = {}
        self._by_service: dict[str, list[Check]] = {}  # the checks; those of the node under ""
        self._judged: dict[str, Verdict] | None = None  # by ServiceID; None: nothing yet
        self._awaited: dict[str, float] = {}  # apps whose checks are not there yet, and until when they may come
        self._waiting: frozenset[str] = frozenset()  # of these: it is not over yet
        self._apps: tuple[App, ...] = ()
        self._keys: dict[str, tuple[VerdictKey, ...]] = {}  # of the verdicts, by ServiceID
        self._verdicts: dict[VerdictKey, Verdict] = {}
        self.names: frozenset[str] = frozenset()  # services that are judged by name, tagged or not
        self._named: frozenset[str] = frozenset()  # those that are judged so far
        self._unknown: Mapping[str, Stale] = {}
        self.by_name: Mapping[str, Verdict] = {}
        self.unknown_names: Mapping[str, Stale] = {}  # of these: verdicts that rest on an instance that is unknown
        self.next_time = float("inf")  # when to join again though nothing new was heard

    def inherit(self, former: Join) -> None:
        """Go on from what another one, which reads tags in the same way, has read, and judged if it judges the same."""
        self._reading.inherit(former._reading)
        if former._warning == self._warning:
            self._services, self._checks, self._by_service = former._services, former._checks, former._by_service
            self._judged, self._awaited, self._waiting = former._judged, former._awaited, former._waiting
            self._apps, self._keys, self._verdicts = former._apps, former._keys, former._verdicts

    def __call__(
        self,
        services: Mapping[str, Service],
        checks: Mapping[str, Check],
        now: float,
        unknown: Mapping[str, Stale] | None = None,
    ) -> tuple[tuple[App, ...], tuple[Refused, ...], Mapping[VerdictKey, Verdict]]:
        """Join what is believed ``now``. ``unknown``: services, by ServiceID, of which it is not known how they are."""
        former, self._services = self._services, services
        changed = self._reading.take(services) | self._sort(checks)
        every = self._judged is None or "" in changed  # a check of the node is every service's
        come = {name for name in self._waiting if self._awaited[name] <= now}
        self._judge({*former, *services} if every else changed | come, now)
        self._waiting = frozenset(name for name, until in self._awaited.items() if until > now)
        self.next_time = min((self._awaited[name] for name in self._waiting), default=float("inf"))
        apps = self._reading.apps
        if self._waiting:
            apps = tuple(app for app in apps if app.key.id not in self._waiting)
        self._apps = kept(self._apps, apps)
        if self.names or self._named:
            both = (found.get(name) for name in changed for found in (former, services))
            self._judge_names(
                self.names if every else {service.name for service in both if service}, unknown or {}, now
            )
        return self._apps, self._reading.refused, self._verdicts

    def is_app(self, service: Service) -> bool:
        """Tell whether a service is an app, or would be with these tags."""
        return self._reading.is_app(service)

    def _sort(self, checks: Mapping[str, Check]) -> set[str]:
        """Sort the checks by service; returns the ServiceIDs of those that changed."""
        former, self._checks = self._checks, checks
        names = [name for name in differing(former, checks) if former.get(name) != checks.get(name)]
        both = (found.get(name) for name in names for found in (former, checks))
        changed = {check.service_id for check in both if check is not None}
        if changed:
            for name in changed:
                self._by_service[name] = []
            for check in checks.values():
                if check.service_id in changed:
                    self._by_service[check.service_id].append(check)
            for name in changed:
                if not self._by_service[name]:
                    del self._by_service[name]
        return changed

    def _checks_of(self, service_id: str) -> list[Check]:
        return [*self._by_service.get(service_id, ()), *self._by_service.get("", ())]

    def _judge(self, names: Iterable[str], now: float) -> None:
        """Bring the verdicts on these services up to date."""
        gone: list[VerdictKey] = []
        new: dict[VerdictKey, Verdict] = {}
        judged = self._judged = {} if self._judged is None else self._judged
        for name in names:
            former, shown = judged.get(name), self._keys.get(name, ())
            verdict = self._judge_one(name, former, now)
            keys = self._reading.keys(name) if verdict is not None and self._awaited.get(name, now) <= now else ()
            if verdict is not None and (verdict is not former or keys != shown):
                new.update((key, verdict) for key in keys)
            if keys != shown:
                gone += [key for key in shown if key not in keys]
            if keys:
                self._keys[name] = keys
            else:
                self._keys.pop(name, None)
        if gone or new:
            verdicts = {**self._verdicts, **new}
            for key in gone:
                del verdicts[key]
            self._verdicts = verdicts

    def _judge_one(self, name: str, former: Verdict | None, now: float) -> Verdict | None:
        """Judge one service, unless it is gone, or no app that asks for it."""
        assert self._judged is not None
        if not self._reading.keys(name):
            self._judged.pop(name, None)
            self._awaited.pop(name, None)
            return None
        found = judge(name, self._checks_of(name), self._warning)
        since = former.since if former is not None and former.health is found.health else now
        self._judged[name] = verdict = kept(former, replace(found, since=since))
        if verdict.reason is Reason.NO_CHECKS and (former is None or name in self._awaited):
            self._awaited.setdefault(name, now + PATIENCE)
        else:
            self._awaited.pop(name, None)
        return verdict

    def _judge_names(self, changed: Collection[str], unknown: Mapping[str, Stale], now: float) -> None:
        """Bring the verdicts by name up to date. ``changed``: the names of services of which something has changed."""
        names, others = self.names, self.names != self._named
        anew = names if others or unknown != self._unknown else names.intersection(changed)
        self._named, self._unknown = names, unknown
        if not anew and not others:
            return
        instances: dict[str, list[Service]] = {name: [] for name in anew}
        for service in self._services.values():
            if service.name in instances:
                instances[service.name].append(service)
        judged = {name: self._judge_name(name, instances[name], unknown, now) for name in anew}
        verdicts = {name: judged[name][0] if name in judged else self.by_name[name] for name in names}
        stale = {name: judged[name][1] if name in judged else self.unknown_names.get(name) for name in names}
        self.by_name = kept(self.by_name, verdicts)
        known = {name: since for name, since in stale.items() if since is not None}
        self.unknown_names = kept(self.unknown_names, known)

    def _judge_name(
        self, name: str, instances: Iterable[Service], unknown: Mapping[str, Stale], now: float
    ) -> tuple[Verdict, Stale | None]:
        """Judge a service by its best instance on this node, of equal ones by one that is known to be so."""
        found = [
            (judge(service.id, self._checks_of(service.id), self._warning), unknown.get(service.id))
            for service in instances
        ]
        missing = Verdict(Health.FAILING, Reason.MONITOR_FAILING, f"Consul has no service {name!r} on this node")
        best, stale = min(found, key=_better_first, default=(missing, None))
        former = self.by_name.get(name)
        since = former.since if former and former.health is best.health else now
        return kept(former, replace(best, since=since)), kept(self.unknown_names.get(name), stale)
