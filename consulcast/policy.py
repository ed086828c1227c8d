"""What a source may ask for. Pure: an app either passes whole, or is refused with the rule that refused it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from consulcast.model import App, IPAddress, Reason, Refused, Source, Vip

# Never a VIP, whoever asks: RFC 1122 section 3.2.1.3, RFC 3927, RFC 4291, RFC 1112 section 4, RFC 5771
_BANNED = {
    "unspecified": ("0.0.0.0/8", "::/128"),
    "loopback": ("127.0.0.0/8", "::1/128"),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "reserved": ("240.0.0.0/4",),
    "IPv4-mapped": ("::ffff:0:0/96",),
}
_BANNED_PREFIXES = tuple((word, ipaddress.ip_network(text)) for word, texts in _BANNED.items() for text in texts)


_SHORTEST = {4: 8, 6: 16}  # prefix lengths; nobody is allotted more


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules in force."""

    reserved: frozenset[IPAddress] = frozenset()  # addresses that the host or its peers need for themselves
    consul: bool = True  # whether Consul is used on this host
    exec_from: frozenset[Source] = frozenset({Source.CONFIG})  # who may have commands run
    nat: frozenset[int] = frozenset()  # IP versions of which this host has an address of its own to send NAT traffic to


def judge(app: App, policy: Policy) -> Refused | None:
    """Apply ``policy`` to ``app``; ``None`` means allowed."""
    for vip in app.vips:
        objection = _object_to_vip(vip, policy)
        if objection:
            return Refused(app.key, app.name, Reason.VIP_NOT_ALLOWED, f"VIP {vip}: {objection}")
    for monitor in app.monitors:
        if monitor.kind == "consul" and app.key.source is not Source.CONSUL and not policy.consul:
            detail = "monitor 'consul': Consul is not used on this host; set CONSUL_NODE or consul.node"
            return Refused(app.key, app.name, Reason.MONITOR_UNSUPPORTED, detail)
        if monitor.kind == "exec" and app.key.source not in policy.exec_from:
            detail = (
                f"monitor {str(monitor)!r}: a command from {app.key.source} would run as this daemon's user, whoever "
                f"wrote it; to allow it, set policy.{app.key.source}.exec: allow"
            )
            return Refused(app.key, app.name, Reason.MONITOR_NOT_ALLOWED, detail)
    for vip in app.vips if app.nats else ():
        if vip.interface.version not in policy.nat:
            family = f"IPv{vip.interface.version}"
            detail = f"VIP {vip}: it asks for NAT, and this host has no {family} address of its own to send it to"
            return Refused(app.key, app.name, Reason.NAT_UNSUPPORTED, detail)
    return None


def _object_to_vip(vip: Vip, policy: Policy) -> str:
    prefix = vip.prefix
    if prefix.prefixlen == 0:
        return "the default route is never announced"
    if prefix.prefixlen < _SHORTEST[prefix.version]:
        return f"a prefix shorter than /{_SHORTEST[prefix.version]} is never announced"
    for word, banned in _BANNED_PREFIXES:
        if prefix.version == banned.version and prefix.overlaps(banned):
            return f"{word} addresses ({banned}) are never announced"
    for address in sorted(policy.reserved, key=str):
        if address in prefix:
            return f"it covers {address}, which this host or a peer of it uses for itself"
    return ""
