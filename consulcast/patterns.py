"""What a policy allows, as patterns: VIP prefixes and lengths, communities, ports. Reading raises ``BadValue``."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from msgspec import Struct

from consulcast import notation
from consulcast.model import Community, CommunityKind, Prefix
from consulcast.notation import EXTENDED, WELL_KNOWN, BadValue

_RESERVED_AS = 65535  # well-known communities: routers act on them without being told to (RFC 1997, RFC 7999)
_MOST = {CommunityKind.STANDARD: 0xFFFF, CommunityKind.LARGE: 0xFFFFFFFF, CommunityKind.EXTENDED: 0xFFFFFFFF}
_RANGE = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?")


class VipRange(Struct, frozen=True):
    """Prefixes within ``prefix`` whose length is from ``shortest`` to ``longest``."""

    prefix: Prefix
    shortest: int
    longest: int

    def allows(self, prefix: Prefix) -> bool:
        """Tell whether ``prefix`` is one of them."""
        same = prefix.version == self.prefix.version
        return same and self.shortest <= prefix.prefixlen <= self.longest and prefix.network_address in self.prefix

    def __str__(self) -> str:
        lengths = f"/{self.shortest}" if self.shortest == self.longest else f"/{self.shortest} to /{self.longest}"
        return f"{self.prefix} of length {lengths}"


def prefix(text: str) -> Prefix:
    """Read a prefix, or an address as the prefix that holds it alone."""
    try:
        if "%" not in text:
            return ipaddress.ip_network(text)
    except ValueError:
        pass
    raise BadValue(f"{text!r} is not a prefix, such as 203.0.113.0/24 (no bits right of the length) or 2001:db8::/48")


def vip_range(written: str | Mapping[str, str | int]) -> VipRange:
    """Read ``203.0.113.0/24``: the single addresses in it; or ``{prefix: 203.0.113.0/24, min: 24, max: 32}``."""
    if isinstance(written, str):
        only = prefix(written)
        return VipRange(only, only.max_prefixlen, only.max_prefixlen)
    unknown = set(written) - {"prefix", "min", "max"}
    if unknown or "prefix" not in written:
        raise BadValue("write a prefix, or {prefix: 203.0.113.0/24, min: 24, max: 32}")
    found = prefix(str(written["prefix"]))
    shortest, longest = written.get("min", found.prefixlen), written.get("max", found.max_prefixlen)
    if not (isinstance(shortest, int) and isinstance(longest, int)):
        raise BadValue("min and max are prefix lengths: write numbers")
    if not found.prefixlen <= shortest <= longest <= found.max_prefixlen:
        raise BadValue(
            f"min {shortest} and max {longest} are no lengths of prefixes in {found}: "
            f"write {found.prefixlen} <= min <= max <= {found.max_prefixlen}"
        )
    return VipRange(found, shortest, longest)


class PortRange(Struct, frozen=True):
    """The ports from ``first`` to ``last``."""

    first: int
    last: int

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def ports(written: str | int) -> PortRange:
    """Read ``53`` or ``8000-8999``."""
    match = _RANGE.fullmatch(str(written))
    if match:
        first, last = int(match[1]), int(match[2] or match[1])
        if 1 <= first <= last <= 65535:
            return PortRange(first, last)
    raise BadValue(f"{written!r} is not a port or a range of ports, such as 53 or 8000-8999")


class _Number(Struct, frozen=True):
    """One part of a community: a range of numbers, or with ``text`` that text alone."""

    first: int
    last: int
    text: str = ""
    any: bool = False

    def allows(self, part: str) -> bool:
        if self.any:
            return True
        if self.text or not part.isdigit():
            return part == self.text
        return self.first <= int(part) <= self.last


class CommunityPattern(Struct, frozen=True):
    """Communities of one kind, part by part."""

    kind: CommunityKind
    parts: tuple[_Number, ...]
    text: str

    def allows(self, community: Community) -> bool:
        """Tell whether ``community`` is one of them.

        ``*`` in the place of the AS number leaves the well-known communities out: what the others do, an operator
        has configured; what these do, routers know by themselves.
        """
        if community.kind is not self.kind:
            return False
        found = community.text.split(":")
        well_known = self.kind is CommunityKind.STANDARD and found[0] == str(_RESERVED_AS)
        if well_known and self.parts[0].any:
            return False
        return len(found) == len(self.parts) and all(map(_Number.allows, self.parts, found))

    def __str__(self) -> str:
        return self.text


def community(text: str) -> CommunityPattern:
    """Read ``64512:*``, ``64512:100-199``, ``no-export``, ``64512:*:1-9`` (large), ``target:64512:*`` (extended)."""
    words = str(text).lower().split(":")
    known = WELL_KNOWN.get(words[0].replace("_", "-")) if len(words) == 1 else None
    subtype = EXTENDED.get(words[0])
    if known:
        kind, words = CommunityKind.STANDARD, known.split(":")
    elif subtype:
        kind, words = CommunityKind.EXTENDED, [subtype, *words[1:]]
    else:
        kind = CommunityKind.STANDARD if len(words) == 2 else CommunityKind.LARGE
    parts = [_Number(0, 0, words[0])] if subtype else []
    parts += [_number(text, word, kind) for word in words[len(parts) :]]
    if len(parts) != (2 if kind is CommunityKind.STANDARD else 3):
        raise BadValue(_hint(text))
    return CommunityPattern(kind, tuple(parts), str(text))


def _number(text: str, word: str, kind: CommunityKind) -> _Number:
    most = _MOST[kind]
    if word == "*":
        return _Number(0, most, any=True)
    match = _RANGE.fullmatch(word)
    if match:
        first, last = int(match[1]), int(match[2] or match[1])
        if first <= last <= most:
            return _Number(first, last)
    elif kind is CommunityKind.EXTENDED:
        try:
            return _Number(0, 0, str(ipaddress.IPv4Address(word)))
        except ValueError:
            pass
    raise BadValue(_hint(text))


def _hint(text: str) -> str:
    return (
        f"{text!r} is not a pattern of communities: write 64512:*, 64512:100-199, a large one as 64512:*:*, "
        f"an extended one as target:64512:*, or one of {', '.join(sorted(notation.WELL_KNOWN))}"
    )
