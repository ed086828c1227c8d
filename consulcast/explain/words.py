"""Times and sessions in words. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from consulcast.executor.protocols import PeerStatus, SessionState
from consulcast.executor.reach import Reach
from consulcast.explain.explanation import Value
from consulcast.explain.facts import Facts, OfPeer
from consulcast.model import Vip


def ago(moment: float | None, facts: Facts) -> str:
    """Seconds since a moment, as people say it."""
    if moment is None:
        return "never"
    return span(max(0.0, facts.now - moment))


def span(seconds: float) -> str:
    """A duration in its two largest units."""
    whole = round(seconds)
    if whole < 10:
        return f"{seconds:.1f} s"
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"


def at(moment: float | None, facts: Facts) -> str | None:
    """A moment of the monotonic clock as a time of day, RFC 3339."""
    if moment is None:
        return None
    return wall(facts.wall - facts.now + moment)


def wall(moment: float) -> str:
    """A moment of the wall clock, RFC 3339."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def figures(**values: Value) -> dict[str, Value]:
    """Rounded, as nobody reads microseconds."""
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


def no_local_route(vip: Vip, device: str) -> str:
    """Say that an address is there and gets no packets, and how to mend it."""
    ip = vip.interface.ip
    mend = f"`ip addr del {vip.local} dev {device}` has it put back whole"
    return f"the kernel has no local route to {ip}, so nothing arrives: {mend}"


def peer_name(status: PeerStatus) -> str:
    """Name a peer."""
    return f"{status.address} AS{status.peer_as}"


def peer_trouble(peer: OfPeer) -> str:
    """Why a session is not up: the truest that is known, and where to mend it; "" if it is up."""
    status = peer.status
    if status.state is SessionState.UP:
        return ""
    error, reach = status.last_error, peer.reach or Reach()
    if "bad peer AS (2/2)" in error:
        if error.startswith("sent"):
            is_ = error.rpartition(": ")[2] if ": AS" in error else "another one"
            return f"wrong AS: it is {is_}, and not AS {status.peer_as} as peer_as says ({error})"
        return f"wrong AS: it does not know us as AS {status.local_as}, which local_as says ({error})"
    if reach.trouble:
        return reach.trouble
    no_word = not error or error.startswith("no connection")
    before = "" if no_word else f"; the session ended with: {error}"
    if reach.answers is False:
        where = f"{reach.hop} does not answer on {reach.device} (ARP, neighbour discovery)"
        return f"{where}: it is away, or not on this link{before}"
    if peer.silent or not error:
        return _silence(peer, reach) + before
    if no_word and reach.answers:
        return (
            f"{reach.hop} is there on {reach.device}, and the connection is refused or closed: no BGP daemon listens "
            f"there, or none that knows {status.local_address} as a neighbour"
        )
    return error


def _silence(peer: OfPeer, reach: Reach) -> str:
    there = f"{reach.hop} is there on {reach.device}, but there is " if reach.answers else ""
    ours = "ours is set" if peer.password else "ours is not set"
    return (
        f"{there}no answer to our SYN: wrong or missing MD5 password ({ours}), a firewall, or nobody of address "
        f"{peer.status.address}"
    )
