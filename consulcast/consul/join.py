"""Services and checks, as they are believed, joined into apps and verdicts. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from consulcast.consul.bodies import Check, Service
from consulcast.model import App, AppKey, Health, Reason, Refused, Source, Stale, Verdict, VerdictKey
from consulcast.monitors.consul import Warnings, judge

KIND = "consul"  # the monitor kind that these verdicts answer

# Seconds that a new app waits for its checks. The catalog tells of a service milliseconds before the health endpoint
# tells of its checks; to count it as failing meanwhile would withdraw a VIP that it shares with a running service.
PATIENCE = 5.0


_BEST_FIRST = (Health.PASSING, Health.DRAINING, Health.UNKNOWN, Health.FAILING)


def _better_first(one: tuple[Verdict, Stale | None]) -> tuple[int, bool, bool]:
    verdict, stale = one
    broken = verdict.drain is not None and bool(verdict.drain.failing)
    return _BEST_FIRST.index(verdict.health), broken, stale is not None


class Parse(Protocol):
    """Reads a service's tags; ``consulcast.tags.parse`` with the prefix filled in."""

    def __call__(self, key: AppKey, name: str, tags: Sequence[str], /) -> App | Refused | None:
        """``None``: the service is not ours."""


class Join:
    """Services and checks as apps and verdicts. Remembers what it made, so that only what changed is made anew."""

    def __init__(self, parse: Parse, warning: Warnings) -> None:
        self._parse, self._warning = parse, warning
        self._parsed: dict[str, _Parsed] = {}
        self._judged: dict[str, tuple[list[Check], Verdict]] = {}
        self._awaited: dict[str, float] = {}  # apps whose checks are not there yet, and until when they may come
        self.names: frozenset[str] = frozenset()  # services that are judged by name, tagged or not
        self.by_name: Mapping[str, Verdict] = {}
        self.unknown_names: Mapping[str, Stale] = {}  # of these: verdicts that rest on an instance that is unknown
        self.next_time = float("inf")  # when to join again though nothing new was heard

    def inherit(self, former: Join) -> None:
        """Go on from what another one, which reads tags in the same way, has read, and judged if it judges the same."""
        self._parsed = former._parsed
        if former._warning == self._warning:
            self._judged, self._awaited = former._judged, former._awaited

    def __call__(
        self,
        services: Mapping[str, Service],
        checks: Mapping[str, Check],
        now: float,
        unknown: Mapping[str, Stale] | None = None,
    ) -> tuple[tuple[App, ...], tuple[Refused, ...], Mapping[VerdictKey, Verdict]]:
        """Join what is believed ``now``. ``unknown``: services, by ServiceID, of which it is not known how they are."""
        unknown = unknown or {}
        self._parsed = {name: self._read(service) for name, service in services.items()}
        by_age = sorted(self._parsed.values(), key=lambda item: (item.service.create_index, item.service.id))
        by_service: dict[str, list[Check]] = {}
        for check in checks.values():
            by_service.setdefault(check.service_id, []).append(check)
        of_node = by_service.get("", [])
        known = [item.app for item in by_age if item.app is not None]
        judged = {
            app.key.id: self._judge(app.key.id, [*by_service.get(app.key.id, ()), *of_node], now)
            for app in known
            if any(monitor.kind == KIND for monitor in app.monitors)
        }
        self._awaited = {
            name: self._awaited.get(name, now + PATIENCE)
            for name, (_, verdict) in judged.items()
            if verdict.reason is Reason.NO_CHECKS and (name not in self._judged or name in self._awaited)
        }
        self.next_time = min((until for until in self._awaited.values() if until > now), default=float("inf"))
        self._judged = judged
        by_name = {name: self._judge_name(name, services, by_service, unknown, now) for name in self.names}
        self.by_name = {name: verdict for name, (verdict, _) in by_name.items()}
        self.unknown_names = {name: stale for name, (_, stale) in by_name.items() if stale is not None}
        apps = tuple(app for app in known if self._awaited.get(app.key.id, now) <= now)
        verdicts = {
            VerdictKey(app.key, monitor): judged[app.key.id][1]
            for app in apps
            for monitor in app.monitors
            if monitor.kind == KIND
        }
        return apps, tuple(item.refused for item in by_age if item.refused is not None), verdicts

    def is_app(self, service: Service) -> bool:
        """Tell whether a service is an app, or would be with these tags."""
        return self._read(service).app is not None

    def _judge_name(
        self,
        name: str,
        services: Mapping[str, Service],
        by_service: Mapping[str, list[Check]],
        unknown: Mapping[str, Stale],
        now: float,
    ) -> tuple[Verdict, Stale | None]:
        """Judge a service by its best instance on this node, of equal ones by one that is known to be so."""
        of_node = by_service.get("", [])
        found = [
            (judge(service.id, [*by_service.get(service.id, ()), *of_node], self._warning), unknown.get(service.id))
            for service in services.values()
            if service.name == name
        ]
        missing = Verdict(Health.FAILING, Reason.MONITOR_FAILING, f"Consul has no service {name!r} on this node")
        best, stale = min(found, key=_better_first, default=(missing, None))
        former = self.by_name.get(name)
        since = former.since if former and former.health is best.health else now
        return replace(best, since=since), stale

    def _read(self, service: Service) -> _Parsed:
        known = self._parsed.get(service.id)
        if known and known.service == service:
            return known
        found = self._parse(AppKey(Source.CONSUL, service.id), service.name, service.tags or ())
        if not isinstance(found, Refused):
            return _Parsed(service, found, None)
        # a slip of the pen must not withdraw a running service: its last readable tags stand
        stands = known.app if known and found.reason is Reason.BAD_TAG else None
        return _Parsed(service, stands, found)

    def _judge(self, name: str, checks: list[Check], now: float) -> tuple[list[Check], Verdict]:
        known = self._judged.get(name)
        if known and known[0] == checks:
            return known
        verdict = judge(name, checks, self._warning)
        since = known[1].since if known and known[1].health is verdict.health else now
        return checks, replace(verdict, since=since)


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A service and what its tags came to: an app, a refusal, neither (not ours), or both (the former app stands)."""

    service: Service
    app: App | None
    refused: Refused | None
