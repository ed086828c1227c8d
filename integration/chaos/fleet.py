"""The services of the world, and the truth about each: what the daemon has to find out. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

CONSUL, CONFIG, HTTP = "consul", "config", "http"

SERVICE_PORT = 8053  # where NAT leads to


@dataclass(frozen=True)
class Service:
    """One instance of a service. What it is comes first, the truth about it at the moment last."""

    id: str
    vip: str
    source: str = CONSUL
    name: str = ""  # as the daemon knows it; the id if empty
    ttl: bool = False  # monitor `consul`, by a TTL check that is set by hand
    probe: int = 0  # monitor `consul`, by a TCP check of Consul's own at this port, every second
    port: str = ""  # monitor `port`, as `udp:1123`
    script: bool = False  # monitor `exec`
    nats: tuple[str, ...] = ()

    registered: bool = True
    check: str = "passing"
    listening: bool = True
    mode: str = "pass"  # of the script: pass, fail or hang
    maintenance: bool = False

    @property
    def service(self) -> str:
        """Instances of one service: any is enough. Several services on a VIP: all are needed."""
        return self.name or self.id

    @property
    def listens_at(self) -> str:
        """Where its program listens, as `udp:1123`; empty: there is none."""
        return self.port or (f"tcp:{self.probe}" if self.probe else "")

    @property
    def monitors(self) -> tuple[str, ...]:
        """Its monitors, but for the script's."""
        consul = ("consul",) if self.ttl or self.probe else ()
        return (*consul, *((f"port:{self.port}",) if self.port else ()))

    @property
    def healthy(self) -> bool:
        """Whether all that looks at it must find it well."""
        ttl = not self.ttl or self.check == "passing"
        listening = not self.listens_at or self.listening
        script = not self.script or self.mode == "pass"
        drained = self.maintenance and "consul" in self.monitors  # who does not ask Consul is not told
        return ttl and listening and script and not drained


def truth(services: Iterable[Service]) -> dict[str, bool]:
    """Whether each VIP that is asked for has to be announced; a VIP that nobody asks for is not there."""
    users: dict[str, dict[str, bool]] = {}
    for one in services:
        if one.registered:
            names = users.setdefault(one.vip, {})
            names[one.service] = names.get(one.service, False) or one.healthy
    return {vip: all(names.values()) for vip, names in users.items()}


def flips(before: Mapping[str, bool], after: Mapping[str, bool]) -> list[tuple[str, bool]]:
    """Which VIPs have to be announced now and had not to before, or the other way."""
    up = {vip for vip, is_up in after.items() if is_up}
    was_up = {vip for vip, is_up in before.items() if is_up}
    return [(vip, vip in up) for vip in sorted(up ^ was_up)]


def translations(services: Iterable[Service]) -> dict[str, set[tuple[str, str, int]]]:
    """The NAT rules of each VIP that has to be announced: VIP, protocol, port."""
    services = tuple(services)
    found: dict[str, set[tuple[str, str, int]]] = {}
    for vip, up in truth(services).items():
        rules = {rule for one in services if one.vip == vip and one.registered for rule in one.nats}
        if up and rules:
            parts = (rule.split(":") for rule in rules)
            found[vip] = {(vip.partition("/")[0], part[0], int(part[1])) for part in parts}
    return found


def fleet() -> dict[str, Service]:
    """Services of every kind, all well; by id."""
    services = (
        Service("dns", "203.0.113.10/32", ttl=True),
        Service("ntp", "203.0.113.11/32", port="udp:1123"),
        Service("web", "203.0.113.12/32", ttl=True, port="tcp:1080"),
        Service("nat", "203.0.113.13/32", ttl=True, nats=(f"udp:53:{SERVICE_PORT}", f"tcp:53:{SERVICE_PORT}")),
        Service("v6", "2001:db8:53::10/128", ttl=True, nats=(f"udp:53:{SERVICE_PORT}",)),
        Service("left", "203.0.113.14/32", ttl=True),
        Service("right", "203.0.113.14/32", ttl=True),
        Service("twin-1", "203.0.113.15/32", name="twin", ttl=True),
        Service("twin-2", "203.0.113.15/32", name="twin", ttl=True),
        Service("plain", "203.0.113.16/32"),
        Service("probed", "203.0.113.17/32", probe=1117),
        Service("script", "203.0.113.18/32", source=CONFIG, script=True),
        Service("adhoc", "203.0.113.19/32", source=HTTP, port="tcp:1119"),
        Service("late", "203.0.113.20/32", ttl=True, registered=False),
    )
    return {one.id: one for one in services}


def changed(service: Service, **truth: object) -> Service:
    """The same service with another truth about it."""
    return replace(service, **truth)  # type: ignore[arg-type]  # the fields' own types
