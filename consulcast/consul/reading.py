"""Services as the apps that their tags ask for. No I/O."""

from __future__ import annotations

from bisect import insort
from collections.abc import Container, Mapping, Sequence
from operator import attrgetter
from typing import Protocol

from msgspec import Struct

from consulcast.consul.bodies import Service
from consulcast.consul.same import kept
from consulcast.difference import differing
from consulcast.model import App, AppKey, Reason, Refused, Source, VerdictKey
from consulcast.values import replace

KIND = "consul"  # the monitor kind that Consul's checks answer


class Parse(Protocol):
    """Reads a service's tags; ``consulcast.tags.parse`` with the prefix filled in."""

    def __call__(self, key: AppKey, name: str, tags: Sequence[str], /) -> App | Refused | None:
        """``None``: the service is not ours."""


class Reading:
    """What the tags of all services came to. Only what changed is read; what comes out the same is the same object."""

    def __init__(self, parse: Parse) -> None:
        self._parse = parse
        self._services: Mapping[str, Service] = {}
        self._read: dict[str, _Read] = {}
        self._by_age: list[_Read] = []  # the longest registered first
        self._ahead: dict[str, _Read] = {}  # for ``is_app``, of services that are not taken yet
        self.apps: tuple[App, ...] = ()  # the longest registered first
        self.refused: tuple[Refused, ...] = ()

    def inherit(self, former: Reading) -> None:
        """Go on from what another one, which reads tags in the same way, has read."""
        self._services, self._read, self._by_age = former._services, former._read, former._by_age
        self.apps, self.refused = former.apps, former.refused

    def take(self, services: Mapping[str, Service]) -> set[str]:
        """Read the services; returns the ServiceIDs of those that are new, gone or changed."""
        former = self._services
        changed = [name for name in differing(former, services) if former.get(name) != services.get(name)]
        if changed:
            read = {name: self._read_one(services[name]) for name in changed if name in services}
            for name in changed:
                self._read.pop(name, None)
            self._read |= read
            self._ahead.clear()
            self._services = services
            by_age = self._by_age = self._in_order(set(changed), read)
            self.apps = kept(self.apps, tuple(item.app for item in by_age if item.app is not None))
            self.refused = kept(self.refused, tuple(item.refused for item in by_age if item.refused is not None))
        return set(changed)

    def _in_order(self, changed: Container[str], read: Mapping[str, _Read]) -> list[_Read]:
        """All of them, with what is new in its place; few of many are not worth a sort."""
        by_age = [item for item in self._by_age if item.service.id not in changed]
        if len(read) > _FEW:
            return sorted([*by_age, *read.values()], key=_AGE)
        for item in read.values():
            insort(by_age, item, key=_AGE)
        return by_age

    def is_app(self, service: Service) -> bool:
        """Tell whether a service is an app, or would be with these tags."""
        return self._read_one(service).app is not None

    def keys(self, service_id: str) -> tuple[VerdictKey, ...]:
        """What of this app Consul's checks are to answer."""
        return self._read[service_id].keys if service_id in self._read else ()

    def _read_one(self, service: Service) -> _Read:
        known = self._read.get(service.id)
        for former in (known, self._ahead.get(service.id)):
            if former is not None and former.service.tags == service.tags and former.service.name == service.name:
                return former if former.service is service else replace(former, service=service)
        found = self._parse(AppKey(Source.CONSUL, service.id), service.name, service.tags or ())
        refused = found if isinstance(found, Refused) else None
        app = found if isinstance(found, App) else None
        if known is not None and refused is not None and refused.reason is Reason.BAD_TAG:
            app = known.app  # a slip of the pen must not withdraw a running service: its last readable tags stand
        elif known is not None:
            app = kept(known.app, app)
        keys = tuple(VerdictKey(app.key, monitor) for monitor in app.monitors if monitor.kind == KIND) if app else ()
        self._ahead[service.id] = read = _Read(service, app, refused, kept(known.keys, keys) if known else keys)
        return read


class _Read(Struct, frozen=True):
    """A service and what its tags came to: an app, a refusal, neither (not ours), or both (the former app stands)."""

    service: Service
    app: App | None
    refused: Refused | None
    keys: tuple[VerdictKey, ...]


_AGE = attrgetter("service.create_index", "service.id")
_FEW = 8
