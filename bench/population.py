"""The apps that a host has beside the one that is measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

FIRST_PORT = 20000  # that a port-monitored app listens on; below the kernel's range for outgoing connections
LONG = "86400s"  # no TTL check runs out while it is measured


@dataclass(frozen=True)
class Member:
    """A service with the tags of an app."""

    name: str
    prefix: str
    monitor: str = ""  # as in a tag: consul, port:tcp:NUMBER; "": none
    nat: str = ""
    community: str = ""
    more: tuple[str, ...] = ()  # tags of others

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        ours = (("monitor", self.monitor), ("nat", self.nat), ("vip_communities", self.community))
        given = [f"gocast_{key}={value}" for key, value in ours if value]
        return ["enable_gocast", f"gocast_vip={self.prefix}", *given, *self.more]

    @property
    def port(self) -> int | None:
        """The port that has to be listened on."""
        kind, _, number = self.monitor.rpartition(":")
        return int(number) if kind == "port:tcp" else None


def mixed(count: int, place: int) -> list[Member]:
    """Return ``count`` apps of many kinds. ``place`` numbers the host; no two places share a VIP.

    Half of them are Consul-monitored, a quarter port-monitored, the rest have no monitor; a tenth have NAT; IPv4 and
    IPv6 by turns.
    """
    found = []
    for number in range(count):
        monitor = ("consul", "consul", f"port:tcp:{FIRST_PORT + number}", "")[number % 4]
        nat = f"tcp:80:{FIRST_PORT + number}" if number % 10 == 5 else ""
        found.append(Member(f"mixed-{number:04}", _prefix(place, number, number // 4 % 2 == 1), monitor, nat))
    return found


def consul_monitored(count: int, place: int) -> list[Member]:
    """Return ``count`` apps that Consul's checks decide on, IPv4 and IPv6 by turns."""
    return [Member(f"consul-{number:04}", _prefix(place, number, number % 2 == 1), "consul") for number in range(count)]


def port_monitored(count: int, place: int) -> list[Member]:
    """Return ``count`` apps with a port of their own, IPv4 and IPv6 by turns; no VIP of ``consul_monitored``'s."""
    return [
        Member(f"port-{number:04}", _prefix(place, 2000 + number, number % 2 == 1), f"port:tcp:{FIRST_PORT + number}")
        for number in range(count)
    ]


def with_tags(members: Iterable[Member], count: int) -> list[Member]:
    """Return the same with tags of others, up to ``count`` in all."""
    return [
        replace(
            one, more=tuple(f"traefik.http.routers.{one.name}.rule-{tag:02}=x" for tag in range(count - len(one.tags)))
        )
        for one in members
    ]


def prefixes(members: Iterable[Member]) -> set[str]:
    """Return their VIPs."""
    return {member.prefix for member in members}


def ports(members: Iterable[Member]) -> list[int]:
    """Return the ports that have to be listened on."""
    return [member.port for member in members if member.port is not None]


def definitions(members: Iterable[Member]) -> dict[str, object]:
    """Return them as Consul's configuration has services, beside a check ``host`` of the node that passes."""
    check = {"ttl": LONG, "status": "passing"}
    services = [{"name": one.name, "tags": one.tags, "check": check} for one in members]
    return {"services": services, "checks": [{"id": "host", "name": "host", **check}]}


def _prefix(place: int, number: int, ipv6: bool) -> str:
    if ipv6:
        return f"2001:db8:{0x100 + place:x}::{number + 1:x}/128"
    return f"198.{18 + place // 16}.{place % 16 * 16 + number // 250}.{number % 250 + 1}/32"
