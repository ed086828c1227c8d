"""One log line per change of state of an app: registered, refused, healthy or not, gone."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from consulcast.difference import differing
from consulcast.model import App, AppKey, Health, Reason, Refused, Source, Verdict
from consulcast.registry import Registered
from consulcast.wording import counted

log = logging.getLogger(__name__)

_CROWDED = (Reason.TOO_MANY_APPS, Reason.TOO_MANY_VIPS, Reason.TOO_MANY_MONITORS)
_OF_A_CROWD = 10  # lines at once about apps that are too many


class Journal:
    """Compares each present state with the former one and logs what differs."""

    def __init__(self) -> None:
        self._registered = Registered()
        self._apps: dict[AppKey, App] = {}
        self._refused: dict[AppKey, Refused] = {}
        self._health: Mapping[AppKey, Verdict] = {}

    def record(self, registered: Registered, health: Mapping[AppKey, Verdict]) -> None:
        """Log what is new in the present state."""
        if registered is not self._registered:
            self._registered = registered
            self._record_registered(registered)
        for key in differing(self._health, health):
            former, verdict = self._health.get(key), health.get(key)
            if verdict is not None and (former is None or former.health is not verdict.health):
                level = logging.WARNING if verdict.health is Health.FAILING else logging.INFO
                _line(level, key, verdict.reason, verdict.detail, former.reason if former else "")
        self._health = health

    def _record_registered(self, registered: Registered) -> None:
        apps = {app.key: app for app in registered.apps}
        refused = {item.key: item for item in registered.refused}
        for key in differing(self._apps, apps):
            former, app = self._apps.get(key), apps.get(key)
            if app is not None and former != app:
                _line(logging.INFO, key, "changed" if former else "registered", _wants(app))
                if app.ignored and (former is None or former.ignored != app.ignored):
                    tags = ", ".join(map(repr, app.ignored))
                    _line(logging.WARNING, key, "unknown-tag", f"ignored, as in GoCast: {tags}; is one misspelt?")
        crowd: dict[tuple[Source, Reason], int] = {}
        for key, refusal in refused.items():
            if self._refused.get(key) == refusal:
                continue
            if refusal.reason in _CROWDED:  # the more there are, the less each of them tells
                crowd[key.source, refusal.reason] = crowd.get((key.source, refusal.reason), 0) + 1
                if crowd[key.source, refusal.reason] > _OF_A_CROWD:
                    continue
            stands = "; its last readable registration stands" if key in apps else ""
            _line(logging.WARNING, key, refusal.reason, f"refused: {refusal.detail}{stands}")
        for (source, reason), number in crowd.items():
            if number > _OF_A_CROWD:
                extra = {"source": str(source), "reason": str(reason)}
                more = counted(number - _OF_A_CROWD, "more app")
                log.warning("%s of %s refused: %s", more, source, reason, extra=extra)
        for key in self._apps.keys() - apps.keys() - refused.keys():
            _line(logging.INFO, key, "removed", "")
        self._apps, self._refused = apps, refused


def _line(level: int, key: AppKey, reason: str, detail: str, former: str = "") -> None:
    extra = {"app": str(key), "reason": str(reason), "detail": detail, "former": str(former)}
    log.log(level, "app %s: %s%s", key, reason, f" ({detail})" if detail else "", extra=extra)


def _wants(app: App) -> str:
    words = [f"service {app.name}", *(f"vip {vip}" for vip in app.vips), *(f"monitor {spec}" for spec in app.monitors)]
    words += [f"nat {rule.protocol}:{rule.listen_port}:{rule.dest_port}" for rule in app.nats]
    words += [f"community {community}" for community in app.communities]
    return ", ".join(words)
