"""Who may do what over HTTP: decided from who asks, what for, and what the configuration file says."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from enum import StrEnum

from msgspec import Struct, field

from consulcast.web.tokens import Token, find


class Scope(StrEnum):
    """What a caller may do."""

    READ = "read"  # everything that changes nothing
    REGISTER = "register"  # apps over HTTP, and the reload
    DRAIN = "drain"


ALL = frozenset(Scope)

# Answered whoever asks: load balancers and supervisors have no token, and there is nothing to learn.
PROBES = ("/ping", "/healthz", "/readyz", "/v1/openapi.json")
_DRAINS = "/v1/drains"
# GoCast's URLs look at the query alone, whatever the method: two of them change state with a GET.
CHANGING = ("/register", "/unregister")
_READING = ("/info",)


def needed(method: str, path: str) -> Scope | None:
    """Return the scope that a request takes; ``None``: it is open to everybody."""
    if path in PROBES:
        return None
    if path in CHANGING:
        return Scope.REGISTER
    if method in ("GET", "HEAD") or path in _READING:
        return Scope.READ
    return Scope.DRAIN if path == _DRAINS or path.startswith(f"{_DRAINS}/") else Scope.REGISTER


class Peer(Struct, frozen=True):
    """The other end of a connection."""

    client: str  # whose share of the limits it takes: an IPv4 address, an IPv6 /64, this host, a user of it
    here: bool = False  # a process of this host
    owner: bool = False  # root or the daemon's own user, as the kernel says (unix socket)
    certificate: frozenset[str] | None = None  # the names in the client's certificate, which is verified

    @classmethod
    def at(cls, address: str, ours: str = "") -> Peer:
        """Tell who is at an IP address; ``ours`` is the address of the connection's own end.

        A connection from our own end's address comes from this host: nobody else gets our SYN-ACK.
        """
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return cls("unknown")
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        if ip.is_loopback or address == ours:
            return cls("this host", here=True)  # as one: every process here has all of 127.0.0.0/8
        if isinstance(ip, ipaddress.IPv6Address):
            return cls(str(ipaddress.IPv6Network((int(ip) >> 64 << 64, 64))))  # one client has that many
        return cls(str(ip))


class Denied(Struct, frozen=True):
    """Why a request is not answered. ``challenge`` is the value of ``WWW-Authenticate``."""

    code: int
    message: str
    challenge: str = ""


class Access(Struct, frozen=True):
    """What the configuration file says about callers.

    ``here``: what processes of this host may without a token; ``None``: everything until there is another way to show
    who one is, then reading. ``clients``: scopes by the name in a client's certificate; empty: every certificate has
    all scopes; ``None``: no certificate is asked for.
    """

    tokens: tuple[Token, ...] = ()
    tokens_set: bool = False  # a file is named, though it may have no token yet
    clients: Mapping[str, Collection[str]] | None = None
    here: frozenset[str] | None = field(default=None)

    @property
    def authenticates(self) -> bool:
        """Whether a caller can show who he is."""
        return self.tokens_set or self.clients is not None

    def vouches(self, peer: Peer) -> bool:
        """Whether who may register may because of who he is, or of the file's word; not for being on this host."""
        return peer.owner or self.authenticates or self.here is not None

    def anonymous(self, here: bool) -> Collection[str]:
        """Return the scopes of callers who show nothing."""
        if here:
            return self.here if self.here is not None else ({Scope.READ} if self.authenticates else ALL)
        readers = [*(token.scopes for token in self.tokens), *self._certified()]
        return () if any(Scope.READ in scopes for scopes in readers) else (Scope.READ,)

    def _certified(self) -> list[Collection[str]]:
        if self.clients is None:
            return []
        return list(self.clients.values()) or [ALL]

    def of_certificate(self, names: frozenset[str]) -> Collection[str]:
        """Return the scopes of a verified certificate."""
        if not self.clients:
            return ALL if self.clients is not None else ()
        return {scope for name in names for scope in self.clients.get(name, ())}


def decide(access: Access, peer: Peer, authorization: str | None, scope: Scope) -> Denied | None:
    """Decide about one request that needs ``scope``; ``None``: it may go on.

    ``authorization`` is the header as it came. A wrong token is refused even where none is needed: whoever sends one
    should hear that it does not hold.
    """
    if peer.owner:
        return None
    scopes = set(access.anonymous(peer.here))
    if peer.certificate is not None:
        scopes |= set(access.of_certificate(peer.certificate))
    who = "this certificate" if peer.certificate is not None else ""
    if authorization is not None:
        token = find(access.tokens, bearer(authorization))
        if token is None:
            return Denied(401, "this token is not known here", 'Bearer realm="consulcast", error="invalid_token"')
        scopes |= set(token.scopes)
        who = f"token {token.name!r}"
    if scope in scopes:
        return None
    if who:
        challenge = f'Bearer realm="consulcast", error="insufficient_scope", scope="{scope}"'
        return Denied(403, f"{who} has not the scope {scope.value!r}", challenge if authorization is not None else "")
    if access.authenticates:
        return Denied(401, f"send a token with the scope {scope.value!r}: Authorization: Bearer …", _CHALLENGE)
    where = "this host (loopback or the unix socket)"
    return Denied(403, f"changes are taken from {where} alone until api.tokens_file is set")


def caller(access: Access, peer: Peer, authorization: str | None) -> str:
    """Name somebody whose request may go on, for people who read who did it: printable, and short."""
    token = find(access.tokens, bearer(authorization)) if authorization is not None else None
    if token is not None:
        name = token.name
    elif peer.certificate:
        name = sorted(peer.certificate)[0]
    elif peer.owner:
        name = "root" if peer.client == "uid 0" else peer.client
    elif peer.here and not peer.client.startswith("uid "):
        name = "somebody on this host"
    else:
        name = peer.client
    return "".join(letter for letter in name if letter.isprintable()).strip()[:_LONGEST_NAME]


_LONGEST_NAME = 100
_CHALLENGE = 'Bearer realm="consulcast"'


def bearer(authorization: str) -> str:
    """Return the token in the header, or an empty text, which is no token (RFC 6750 section 2.1)."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
