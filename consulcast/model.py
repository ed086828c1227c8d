"""The values that the parts hand to each other. All are frozen, compare by value and do no I/O.

Times are seconds of one monotonic clock (``time.monotonic``) unless a name says otherwise. No value can be part of a
cycle, being made of such that were there before it: so the garbage collector need not know of them (``gc=False``).
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from msgspec import Struct
from msgspec.structs import force_setattr

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Prefix: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Interface: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface


class Reason(StrEnum):
    """Why an app or a VIP is in its state. The codes are stable: log, API and docs show the same ones."""

    ANNOUNCED = "announced"  # the route is at one established peer at least
    ANNOUNCING = "announcing"  # wanted; address or acknowledgement still under way
    WOULD_ANNOUNCE = "would-announce"  # all is as it must be for that; the daemon only observes (`run --observe`)
    PEER_DOWN = "peer-down"  # wanted and handed over, but no session is established
    NOT_NEGOTIATED = "family-not-negotiated"  # sessions are up, but none carries the VIP's address family
    NO_NEXT_HOP = "no-next-hop"  # no peer can be given a usable next hop of the VIP's family
    ADDRESS_FAILED = "address-failed"  # the kernel refused the VIP's address; retried
    NAT_FAILED = "nat-failed"  # its NAT rules do not stand, and without them it would be a black hole; retried
    BGP_FAILED = "bgp-failed"  # ExaBGP refused the route; retried
    MONITOR_FAILING = "monitor-failing"
    MONITOR_PENDING = "monitor-pending"  # no verdict yet
    MONITOR_UNSUPPORTED = "monitor-unsupported"
    MONITOR_NOT_ALLOWED = "monitor-not-allowed"
    NAT_UNSUPPORTED = "nat-unsupported"
    NO_CHECKS = "no-checks"  # monitor `consul` on a service without any check: never passes, as in GoCast
    SUPPRESSED = "suppressed"  # it came and went too often; held back until the time that is shown
    DRAINING = "draining"  # asked for over the API, or by Consul's maintenance mode: wanted, not failed
    CLEANED_UP = "cleaned-up"  # failing for longer than cleanup_timer: address removed too
    WITHDRAWING = "withdrawing"  # not wanted any more; withdrawal or removal under way
    VIP_NOT_ALLOWED = "vip-not-allowed"
    COMMUNITY_NOT_ALLOWED = "community-not-allowed"
    NAT_NOT_ALLOWED = "nat-not-allowed"
    TOO_MANY_APPS = "too-many-apps"  # its source holds as many as the policy lets it
    TOO_MANY_VIPS = "too-many-vips"
    TOO_MANY_MONITORS = "too-many-monitors"
    VIP_CONFLICT = "vip-conflict"
    BAD_TAG = "bad-tag"
    CONSUL_STALE = "consul-stale"  # the last good answer stands; its age is shown
    PASSING = "passing"


class Source(StrEnum):
    """Which input an app comes from."""

    __hash__ = str.__hash__  # in C; it is part of every app's key

    CONFIG = "config"
    CONSUL = "consul"
    HTTP = "http"


class AppKey(NamedTuple):
    """Identity of an app. From Consul the id is the ServiceID, elsewhere the app's name."""

    source: Source
    id: str

    def __str__(self) -> str:
        return f"{self.source}:{self.id}"


# The keys of every book are a VIP's prefix and its address on the host, and the address of a peer. These hash once,
# which else takes the interpreter one to three microseconds each time; they equal what they are made from, and hash to
# the same.


class _Once:
    # With a prefix length unless it is an address alone; text takes twice as long.
    def __init__(self, numbers: tuple[int, int] | int) -> None:
        super().__init__(numbers)  # type: ignore[call-arg]  # the class of addresses that it is mixed with
        self._once = super().__hash__()

    def __hash__(self) -> int:
        return self._once


class _Network4(_Once, ipaddress.IPv4Network):
    pass


class _Network6(_Once, ipaddress.IPv6Network):
    pass


class _Interface4(_Once, ipaddress.IPv4Interface):
    pass


class _Interface6(_Once, ipaddress.IPv6Interface):
    pass


class _Address4(_Once, ipaddress.IPv4Address):
    pass


class _Address6(_Once, ipaddress.IPv6Address):
    pass


def hashed_once(address: IPAddress) -> IPAddress:
    """Make the same address, which hashes once; one with a zone is left as it is."""
    if isinstance(address, ipaddress.IPv4Address):
        return _Address4(int(address))
    return _Address6(int(address)) if address.scope_id is None else address


_ITS_OWN: Any = None  # what a value fills in itself, whatever it is given


class Vip(Struct, frozen=True, cache_hash=True, gc=False):
    """A VIP as it was asked for: an address with prefix length.

    With host bits (``10.0.0.5/24``) the address alone is put on the host and the /24 is announced;
    without (``10.0.0.0/24``) the whole prefix is made local and announced.
    """

    interface: Interface
    prefix: Prefix = _ITS_OWN  # that is announced
    local: Interface = _ITS_OWN  # what is put on the host's device

    def __post_init__(self) -> None:
        # made once: both take the interpreter microseconds, and are asked for at every change
        network, address = self.interface.network, self.interface.ip
        whole = address == network.network_address
        length, all_bits = network.prefixlen, network.max_prefixlen
        prefix, local = (_Network4, _Interface4) if network.version == 4 else (_Network6, _Interface6)
        force_setattr(self, "prefix", prefix((int(network.network_address), length)))
        force_setattr(self, "local", local((int(address), length if whole else all_bits)))

    def __repr__(self) -> str:
        return f"Vip({self.interface!r})"

    def __str__(self) -> str:
        return str(self.interface)


class CommunityKind(StrEnum):
    """Which BGP community attribute a community belongs to."""

    STANDARD = "standard"  # RFC 1997
    LARGE = "large"  # RFC 8092
    EXTENDED = "extended"  # RFC 4360


class Community(Struct, frozen=True, order=True, gc=False):
    """A BGP community in canonical text: ``65000:1``, ``65000:1:2`` (large), ``target:65000:1`` (extended)."""

    kind: CommunityKind
    text: str

    def __str__(self) -> str:
        return self.text


class Origin(StrEnum):
    """The ORIGIN attribute, RFC 4271 section 5.1.1; ``unknown`` is GoCast's word for INCOMPLETE."""

    IGP = "igp"
    EGP = "egp"
    INCOMPLETE = "incomplete"


class Route(Struct, frozen=True, gc=False):
    """What is announced to every peer: a prefix and its attributes. The next hop is each peer's own matter.

    ``med``: RFC 4271 section 5.1.4; ``None``: there is none. ``prepend``: how often our AS stands in the path beyond
    the once that it must, at external peers. ``local_preference`` is for internal peers; ``None``: the usual one.
    """

    prefix: Prefix
    communities: tuple[Community, ...] = ()
    origin: Origin = Origin.IGP
    med: int | None = None
    prepend: int = 0
    local_preference: int | None = None


class MonitorSpec(Struct, frozen=True, cache_hash=True, gc=False):
    """One health check of an app: its kind (``consul``, ``port``, ``exec`` …), what it looks at, and how often.

    What is ``None`` is left to the defaults. ``options`` are those that only its kind has, sorted (monitors/spec.py).
    """

    kind: str
    target: str = ""
    interval: float | None = None  # seconds from one look to the next
    timeout: float | None = None  # seconds that a look may take
    rise: int | None = None  # looks in a row that make it passing again
    fall: int | None = None  # looks in a row that make it failing
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        seconds = (("interval", self.interval), ("timeout", self.timeout))
        words = [f"{name}={value:.3f}".rstrip("0").rstrip(".") + "s" for name, value in seconds if value is not None]
        counts = (("rise", self.rise), ("fall", self.fall))
        words += [f"{name}={value}" for name, value in (*counts, *self.options) if value is not None]
        return ";".join((f"{self.kind}:{self.target}" if self.target else self.kind, *words))


class NatRule(Struct, frozen=True, gc=False):
    """Traffic to a VIP's ``listen_port`` is sent to ``dest_port`` of the host's own address."""

    protocol: str  # tcp or udp
    listen_port: int
    dest_port: int


class NatKey(NamedTuple):
    """Which traffic a translation is about: at most one translation has it."""

    vip: Interface
    protocol: str
    port: int


class Translation(Struct, frozen=True, gc=False):
    """A NAT rule as it stands on a host. ``vip`` is as it is put on the host: one address, or a whole prefix.

    Raises ``ValueError`` for what no back end may be given: both of them take some of it, and do something else.
    """

    vip: Interface
    protocol: str  # tcp or udp
    port: int
    to: IPAddress  # this host's own address
    to_port: int

    def __post_init__(self) -> None:
        if self.protocol not in ("tcp", "udp") or not all(1 <= port <= 65535 for port in (self.port, self.to_port)):
            raise ValueError(f"NAT of {self}: no such protocol or port")
        if self.to.version != self.vip.version:
            raise ValueError(f"NAT of {self}: the two addresses are of two families")
        if self.to.is_loopback or self.to.is_unspecified or self.to.is_multicast or "%" in str(self.to):
            raise ValueError(f"NAT of {self}: the kernel does not lead others' packets to such an address")

    @property
    def key(self) -> NatKey:
        """Which traffic it is about."""
        return NatKey(self.vip, self.protocol, self.port)

    def __str__(self) -> str:
        return f"{self.vip} {self.protocol} {self.port} to {self.to} {self.to_port}"


class App(Struct, frozen=True, gc=False):
    """One thing to announce, from one source. ``name`` is the service's name, shared by its instances."""

    key: AppKey
    name: str
    vips: tuple[Vip, ...]
    monitors: tuple[MonitorSpec, ...] = ()
    nats: tuple[NatRule, ...] = ()
    communities: tuple[Community, ...] = ()
    ignored: tuple[str, ...] = ()  # tags that look like ours and are none, such as a misspelt one


class Refused(Struct, frozen=True, gc=False):
    """An app that was asked for and is not taken, with the reason and what to do about it."""

    key: AppKey
    name: str
    reason: Reason
    detail: str


class Health(StrEnum):
    """What a monitor says of an app."""

    PASSING = "passing"
    FAILING = "failing"
    DRAINING = "draining"
    UNKNOWN = "unknown"  # never looked yet; a source that loses sight keeps its last verdict instead


class Drained(Struct, frozen=True, gc=False):
    """What is to be known of a drain beside who wants it, and why."""

    failing: str = ""  # what drains does not work either, and why
    asked: bool = False  # over the API; else it is Consul's maintenance mode
    until: float | None = None  # when it lapses by itself


class Verdict(Struct, frozen=True, gc=False):
    """A monitor's word on an app. ``since`` is when ``health`` last changed. ``drain`` is set while it is draining.

    Two that say the same are equal, since whenever they do.
    """

    health: Health
    reason: Reason
    detail: str = ""
    since: float = 0.0
    drain: Drained | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verdict) and self._said == other._said

    def __ne__(self, other: object) -> bool:
        return not self == other  # Struct has one of its own, of all fields

    def __hash__(self) -> int:
        return hash(self._said)

    @property
    def _said(self) -> tuple[object, ...]:
        return self.health, self.reason, self.detail, self.drain


class Stale(Struct, frozen=True, gc=False):
    """The last good answer stands for a better one: since when, and why."""

    since: float
    reason: str


class VerdictKey(NamedTuple):
    """Which monitor of which app a verdict belongs to."""

    app: AppKey
    monitor: MonitorSpec


class Draining(Struct, frozen=True, gc=False):
    """The drain of a VIP. While the VIP is announced, it is so with the lower preference."""

    since: float
    lowered_until: float  # when it is withdrawn at the latest
    how: str  # the lower preference in words
    flows: float  # seconds that open flows are waited for at most, before NAT and address go
    asked: bool = False  # over the API, by an operator
    until: float | None = None  # when it lapses by itself


class Intent(Struct, frozen=True, gc=False):
    """What a VIP should be on this host now, and why."""

    vip: Vip
    route: Route
    address: bool  # the VIP's address should be on the host
    announce: bool  # the route should be at the peers (implies ``address``)
    reason: Reason
    detail: str = ""
    apps: tuple[AppKey, ...] = ()
    nats: tuple[Translation, ...] = ()  # without them the route must not be announced
    name: str = ""  # of the oldest app that uses it: for people who look at the host
    drain: Draining | None = None  # an announcement is then for what is announced already
