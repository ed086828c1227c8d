"""A BGP neighbour, fully resolved: nothing in it is looked up any more."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct
from msgspec.structs import force_setattr

from consulcast.executor.bgp.errors import PeerError
from consulcast.model import IPAddress, Prefix, hashed_once

_LARGEST_AS = 2**32 - 1
_LONGEST_PASSWORD = 80  # TCP_MD5SIG_MAXKEYLEN of the kernel, in bytes


class Peer(Struct, frozen=True):
    """One session: who the neighbour is, who we are to it, and the next hops that it is given.

    ``next_hop4`` and ``next_hop6`` are the next hops of IPv4 and IPv6 prefixes, whatever the session itself runs
    over; None says that this peer cannot be given prefixes of that family. ``next_hop4`` may be an IPv6 address
    when ``extended_next_hop`` is set (RFC 8950).

    ``ttl`` is the TTL of what we send (None: the kernel's, which reaches any number of hops up to 64);
    ``ttl_security`` is the largest number of hops to the peer that is believed (RFC 5082, 1 is a neighbour on the
    link, 0 does not check), and sends with TTL 255. ``hold_time`` is in seconds, 0 for none.

    Raises ``PeerError`` when the values do not fit together.
    """

    address: IPAddress
    peer_as: int
    local_as: int
    local_address: IPAddress
    router_id: IPv4Address
    next_hop4: IPAddress | None = None
    next_hop6: IPv6Address | None = None
    port: int = 179
    password: str | None = None
    ttl: int | None = None
    ttl_security: int = 0
    hold_time: int = 30
    extended_next_hop: bool = False

    def __post_init__(self) -> None:
        for fits, fault in (
            (self.address.version == self.local_address.version, "local address is of another family"),
            (not _zoned(self.address) and not _zoned(self.local_address), "link-local peers are not supported"),
            (0 < self.peer_as <= _LARGEST_AS, f"AS number {self.peer_as} is not within 1-{_LARGEST_AS}"),
            (0 < self.local_as <= _LARGEST_AS, f"local AS number {self.local_as} is not within 1-{_LARGEST_AS}"),
            (0 < self.port < 2**16, f"port {self.port} is not within 1-65535"),
            (self.hold_time == 0 or 3 <= self.hold_time < 2**16, "hold time must be 0 or 3-65535 seconds"),
            (self.ttl is None or 0 < self.ttl < 256, "TTL must be within 1-255"),
            (0 <= self.ttl_security < 256, "hops of TTL security must be within 0-255"),
            (not (self.ttl and self.ttl_security), "TTL and TTL security exclude each other"),
            (
                not isinstance(self.next_hop4, IPv6Address) or self.extended_next_hop,
                "an IPv6 next hop of IPv4 prefixes needs extended_next_hop",
            ),
            (self.password is None or _quotable(self.password), _PASSWORD_FAULT),
        ):
            if not fits:
                raise PeerError(f"peer {self.address}: {fault}")
        # The address is in the key of every book of what peers are told; the text of all three is asked for as often.
        for name in ("address", "next_hop4", "next_hop6"):
            value = getattr(self, name)
            force_setattr(self, name, value and hashed_once(value))

    @property
    def internal(self) -> bool:
        """Whether this is iBGP."""
        return self.peer_as == self.local_as

    def next_hop(self, prefix: Prefix) -> IPAddress | None:
        """The next hop of ``prefix`` towards this peer, or None if it cannot be carried."""
        return self.next_hop4 if prefix.version == 4 else self.next_hop6

    @property
    def versions(self) -> tuple[int, ...]:
        """The IP versions whose prefixes are carried; the session's own if there is none, so that it comes up."""
        carried = ((4, self.next_hop4), (6, self.next_hop6))
        return tuple(version for version, hop in carried if hop is not None) or (self.address.version,)

    def differing(self, other: Peer) -> tuple[str, ...]:
        """The names of the settings that differ."""
        return tuple(name for name in self.__struct_fields__ if getattr(self, name) != getattr(other, name))

    def same_session(self, other: Peer) -> bool:
        """Whether one session serves both: they differ in next hops at most, and carry the same families."""
        return self.versions == other.versions and _NEXT_HOPS.issuperset(self.differing(other))


_NEXT_HOPS = frozenset(("next_hop4", "next_hop6"))
_PASSWORD_FAULT = "the password must be 1-80 printable ASCII characters without quotes"


def _quotable(password: str) -> bool:
    # ExaBGP's tokeniser knows no escape for a quote inside quotes, and its pipes carry ASCII only.
    return (
        0 < len(password) <= _LONGEST_PASSWORD
        and password.isascii()
        and password.isprintable()
        and not set(password) & {'"', "'"}
    )


def _zoned(address: IPAddress) -> bool:
    return isinstance(address, IPv6Address) and (address.is_link_local or address.scope_id is not None)
