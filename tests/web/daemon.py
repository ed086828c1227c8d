"""A daemon without a host: registers by the real rules, and says of the rest what it is told to."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from consulcast import drains
from consulcast.changes import Changes
from consulcast.drains import Drain, Target, UnknownTarget
from consulcast.executor.protocols import PeerStatus, SessionState
from consulcast.explain.explanation import Explanation, Mark, Stage, Step, Unknown
from consulcast.instruments import Instruments
from consulcast.kept_file import NotStored
from consulcast.model import AppKey, IPAddress, Reason, Refused, Source
from consulcast.outlook import Outlook
from consulcast.registration import Registration
from consulcast.registry import Registry
from consulcast.tally import Count, Times
from consulcast.web.view import AppState, AppView, ConsulView, DrainView, Messages, SessionInfo, VipView
from tests.policies import open_policy

BOTH = frozenset({4, 6})
PEER = PeerStatus(
    address=ipaddress.ip_address("198.51.100.1"),
    peer_as=65000,
    local_as=65001,
    local_address=ipaddress.ip_address("198.51.100.2"),
    state=SessionState.UP,
    since=0.0,
)


def rules() -> Registry:
    return Registry(open_policy(reserved=frozenset({PEER.address, PEER.local_address}), nat=BOTH))


@dataclass
class Daemon:
    """``registered`` is by name; ``calls`` counts what changed."""

    registered: dict[str, Registration] = field(default_factory=dict)
    registry: Registry = field(default_factory=rules)
    disk: NotStored | None = None
    session: SessionInfo | None = None
    bad_file: str | None = None
    trouble: str | None = None
    outlook: Outlook = field(default_factory=Outlook)
    seen: ConsulView | None = None
    others: list[AppView] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    instruments: Instruments = field(default_factory=Instruments)
    drained: dict[Target, Drain] = field(default_factory=dict)

    def register(self, registration: Registration, *, vouched: bool) -> AppView | Refused:
        app = registration.app()
        if not vouched and (stranger := self.registry.would_refuse(app, (), vouched=False)):
            return stranger
        wanted = {**self.registered, registration.name: registration}
        for refusal in self.registry.set(Source.HTTP, [item.app() for item in wanted.values()]).refused:
            if refusal.key == app.key:
                self.registry.set(Source.HTTP, [item.app() for item in self.registered.values()])
                return refusal
        if self.disk:
            raise self.disk
        if wanted != self.registered:
            self.calls.append(f"register {registration.name}")
        self.registered = wanted
        return self._view(registration)

    def unregister(self, name: str) -> bool:
        if self.disk:
            raise self.disk
        if name in self.registered:
            self.calls.append(f"unregister {name}")
        return self.registered.pop(name, None) is not None

    def drains(self) -> list[DrainView]:
        return [DrainView(drain, tuple(self.vips())) for drain in self.drained.values()]

    def drain(self, target: str, seconds: float | None, reason: str, who: str, force: bool) -> DrainView:
        if self.disk:
            raise self.disk
        apps = [item.app() for item in self.registered.values()]
        found = drains.find(target, apps, self.drained.values())
        if found is None and not force:
            raise UnknownTarget(drains.unknown(target, apps))
        found = found or Target.read(target)
        self.drained[found] = Drain(found, 0.0, seconds, "", reason, who)
        return DrainView(self.drained[found])

    def undrain(self, target: str) -> None:
        if self.disk:
            raise self.disk
        found = drains.find(target, (), self.drained.values())
        if found is None or self.drained.pop(found, None) is None:
            raise UnknownTarget(drains.not_drained(target, self.drained.values()))

    def apps(self) -> list[AppView]:
        return [*map(self._view, self.registered.values()), *self.others]

    def vips(self) -> list[VipView]:
        apps = [item.app() for item in self.registered.values()]
        return [VipView(vip, Reason.ANNOUNCED, "", (app.key,)) for app in apps for vip in app.vips]

    def peers(self) -> list[PeerStatus]:
        return [PEER]

    def consul(self) -> ConsulView | None:
        return self.seen

    def repairs(self) -> Mapping[str, int]:
        return {"address": 2, "nat": 0}

    def explain(self, target: str) -> Explanation | Unknown:
        if target == "203.0.113.99/32":
            return Unknown(target, "unknown-target", f"{target} is not known here", ("written most alike: dns",))
        steps = (Step(Stage.MONITOR, "http:dns", Mark.WRONG, "nobody listens", "monitor-failing", {"rise": 1}),)
        line = f"{target} is NOT announced: monitor-failing: nobody listens"
        return Explanation(target, False, line, "monitor-failing", "nobody listens", "Mend it.", steps)

    def sent(self) -> Mapping[IPAddress, tuple[Messages, Messages]]:
        return {PEER.address: (Messages(open=1, update=5), Messages(keepalive=3))}

    def measured(self) -> Iterable[Count | Times]:
        return self.instruments.all()

    def info(self) -> SessionInfo | None:
        return self.session

    def reload(self) -> str | None:
        self.calls.append("reload")
        return self.bad_file

    def foresee(self) -> Outlook | str:
        return self.bad_file or self.outlook

    def ready(self) -> str | None:
        return self.trouble

    def healthy(self) -> str | None:
        return self.trouble

    def _view(self, asked: Registration) -> AppView:
        key = AppKey(Source.HTTP, asked.name)
        expires_at = 100.0 if asked.ttl else None
        return AppView(key, asked, AppState.PASSING, Reason.PASSING, since=0.0, expires_at=expires_at)
