"""What every router of the lab can do, and what it tells of a route."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from integration.lab.host import Host
from integration.lab.wait import until


@dataclass(frozen=True)
class Peer:
    """A neighbour that a router accepts a session from."""

    address: str
    asn: int
    name: str = ""  # of the session; made from the address otherwise
    local: str = ""  # the router's own address for this session; any otherwise
    port: int = 179  # that the router listens on for this peer
    password: str = ""  # TCP MD5, RFC 2385
    multihop: int = 0  # the peer may be this many hops away
    ttl_security: bool = False  # RFC 5082: only packets that no router has forwarded
    hold_time: int = 30
    families: tuple[str, ...] = ("ipv4", "ipv6")

    @property
    def session(self) -> str:
        """The session's name: a word."""
        return self.name or "p_" + self.address.replace(".", "_").replace(":", "_")


@dataclass(frozen=True)
class RouteInfo:
    """The best route to a prefix, as the router has it. Communities are sorted text, as Consul tags spell them."""

    prefix: str
    next_hop: str
    as_path: tuple[int, ...]
    origin: str  # igp, egp or incomplete
    communities: tuple[str, ...] = ()  # 65000:1
    large: tuple[str, ...] = ()  # 65000:1:2
    extended: tuple[str, ...] = ()  # target:65000:1
    med: int | None = None
    local_pref: int | None = None
    session: str = ""  # the peer it was learned from; empty where the router does not say


class Router(ABC):
    """A BGP router that learns everything and, unless it is told to, announces nothing."""

    host: Host
    peers: dict[str, Peer]  # by name of the session

    @abstractmethod
    def start(self) -> None:
        """Start it and wait until it answers."""

    @abstractmethod
    def stop(self) -> None:
        """End it in order."""

    @abstractmethod
    def routes(self) -> dict[str, RouteInfo]:
        """Return the best route of every prefix learned over BGP."""

    @abstractmethod
    def established(self, session: str = "") -> bool:
        """Tell whether the session (the only one, if not named) is up."""

    def restart(self) -> None:
        """Stop it and start it again with the same configuration."""
        self.stop()
        self.start()

    def peer(self, session: str = "") -> Peer:
        """Return the peer of that session (the only one, if not named)."""
        if session:
            return self.peers[session]
        (only,) = self.peers.values()
        return only

    def wait_established(self, session: str = "", deadline: float = 15.0) -> None:
        """Wait until the session is up. Raises ``NotInTime``."""
        session = self.peer(session).session
        until(lambda: self.established(session), deadline, f"session {session} at {self.host.name} is established")

    def wait_down(self, session: str = "", deadline: float = 15.0) -> None:
        """Wait until the session is not up. Raises ``NotInTime``."""
        session = self.peer(session).session
        until(lambda: not self.established(session), deadline, f"session {session} at {self.host.name} is down")

    def wait_route(self, prefix: str, present: bool = True, deadline: float = 10.0) -> RouteInfo | None:
        """Wait until there is a route to ``prefix``, or none; returns the route. Raises ``NotInTime``."""
        word = "a route to" if present else "no route to"
        until(lambda: (prefix in self.routes()) is present, deadline, f"{word} {prefix} at {type(self).__name__}")
        return self.routes().get(prefix)

    def wait_routes(self, prefixes: set[str], deadline: float = 10.0) -> dict[str, RouteInfo]:
        """Wait until the routes are those to ``prefixes`` exactly; returns them. Raises ``NotInTime``."""

        def exact() -> bool:
            return set(self.routes()) == prefixes

        until(exact, deadline, f"routes to {sorted(prefixes)} and no other at {type(self).__name__}")
        return self.routes()
