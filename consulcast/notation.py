"""GoCast's notation for VIPs, communities, monitors, NAT rules and durations, as values.

Tags, the configuration file and the HTTP endpoint share these; each raises ``BadValue`` with what to write instead.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from consulcast.model import Community, CommunityKind, MonitorSpec, NatRule, Vip


class BadValue(ValueError):
    """A text that does not fit its notation; the message quotes it and says what would."""


# RFC 1997, 3765, 7611, 7999, 8326, 9494
WELL_KNOWN = {
    "graceful-shutdown": "65535:0",
    "accept-own": "65535:1",
    "llgr-stale": "65535:6",
    "no-llgr": "65535:7",
    "blackhole": "65535:666",
    "no-export": "65535:65281",
    "no-advertise": "65535:65282",
    "no-export-subconfed": "65535:65283",
    "no-peer": "65535:65284",
}

EXTENDED = {"target": "target", "rt": "target", "origin": "origin", "soo": "origin"}  # RFC 4360 sections 4 and 5


def vip(text: str) -> Vip:
    """Read ``addr/mask``; host bits are kept."""
    address, slash, length = text.partition("/")
    if not slash and re.fullmatch(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", text):
        bits = 128 if ":" in address else 32
        raise BadValue(f"VIP {text!r} has no prefix length: write {text}/{bits}")
    try:
        if "%" in address or not _is_number(length):
            raise ValueError
        return Vip(ipaddress.ip_interface(text))
    except ValueError:
        raise BadValue(
            f"VIP {text!r} is not an address with prefix length, such as 203.0.113.10/32 or 2001:db8::10/128"
        ) from None


def community(text: str) -> Community:
    """Read ``65000:1`` or ``no-export`` (standard), ``65000:1:2`` (large) or ``target:65000:1`` (extended)."""
    well_known = WELL_KNOWN.get(text.lower().replace("_", "-"))
    if well_known:
        return Community(CommunityKind.STANDARD, well_known)
    head, _, tail = text.partition(":")
    subtype = EXTENDED.get(head.lower())
    if subtype:
        return _extended(text, subtype, tail)
    parts = text.split(":")
    if not all(_is_number(part) for part in parts) or len(parts) not in (2, 3):
        raise BadValue(
            f"community {text!r}: write asn:value (65000:1), a large one as 65000:1:2, an extended one as "
            f"target:65000:1, or one of {', '.join(sorted(WELL_KNOWN))}"
        )
    numbers = [int(part) for part in parts]
    canonical = ":".join(map(str, numbers))
    if len(numbers) == 2:
        if max(numbers) > 0xFFFF:
            raise BadValue(
                f"community {text!r}: each half of a standard community is at most 65535 (RFC 1997); "
                "with a 4-byte AS number use a large community, asn:a:b (RFC 8092)"
            )
        return Community(CommunityKind.STANDARD, canonical)
    if max(numbers) > 0xFFFFFFFF:
        raise BadValue(f"community {text!r}: each part of a large community is at most 4294967295 (RFC 8092)")
    return Community(CommunityKind.LARGE, canonical)


def communities(text: str) -> tuple[Community, ...]:
    """Read a comma-separated list of communities."""
    return tuple(community(part.strip()) for part in text.split(","))


def monitor(text: str | Mapping[str, object]) -> MonitorSpec:
    """Read ``port:tcp:53;fall=3``, ``exec:COMMAND``, ``consul`` …, or a mapping of ``monitor`` and its options."""
    from consulcast.monitors import spec  # in here, because it reads with this module's own words

    return spec.read(text)


def nat(text: str) -> NatRule:
    """Read ``proto:port`` or ``proto:listenPort:destPort``, tcp or udp."""
    protocol, *ports = text.split(":")
    if protocol not in ("tcp", "udp") or len(ports) not in (1, 2):
        raise BadValue(f"NAT rule {text!r}: write proto:port or proto:listenPort:destPort, proto being tcp or udp")
    numbers = [port(item) for item in ports]
    return NatRule(protocol, numbers[0], numbers[-1])


def port(text: str) -> int:
    """Read a port number, 1 to 65535."""
    if not _is_number(text) or not 1 <= int(text) <= 65535:
        raise BadValue(f"port {text!r} is not a number from 1 to 65535")
    return int(text)


LONGEST = 366 * 24 * 3600.0  # seconds
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def duration(text: str) -> float:
    """Read a duration in Go's form (``10s``, ``1h30m``, ``500ms``); returns seconds."""
    parts = _DURATION_PART.findall(text)
    if text == "0":
        return 0.0
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BadValue(f"duration {text!r}: write a number with a unit, such as 10s, 1h30m or 500ms")
    seconds = float(sum(float(number) * _UNITS[unit] for number, unit in parts))
    if seconds > LONGEST:
        raise BadValue(f"duration {text[:20]!r} is longer than a year")
    return seconds


def _extended(text: str, subtype: str, rest: str) -> Community:
    administrator, _, number = rest.rpartition(":")
    try:
        if _is_number(administrator):
            first, second = int(administrator), int(number)
            ok = first <= 0xFFFFFFFF and second <= (0xFFFFFFFF if first <= 0xFFFF else 0xFFFF)
            canonical = f"{subtype}:{first}:{second}"
        else:
            ok = int(number) <= 0xFFFF
            canonical = f"{subtype}:{ipaddress.IPv4Address(administrator)}:{int(number)}"
        if ok and _is_number(number):
            return Community(CommunityKind.EXTENDED, canonical)
    except ValueError:
        pass
    raise BadValue(
        f"extended community {text!r}: write {subtype}:asn:value or {subtype}:a.b.c.d:value (RFC 4360, RFC 5668)"
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10
