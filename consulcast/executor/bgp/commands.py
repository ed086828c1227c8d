"""Writes routes as commands of ExaBGP's API.

Only typed values go in: ExaBGP dies of the word ``json`` in a command, and of a byte that is not ASCII. ``neighbor``
stands in every command, because a command without it that fails for one peer may have been taken by another.
"""

from __future__ import annotations

import functools
import re

from consulcast.executor.bgp.errors import CommandError
from consulcast.executor.bgp.peer import Peer
from consulcast.model import CommunityKind, IPAddress, Prefix, Route

SHOW_NEIGHBORS = "show neighbor json"
# Reads the configuration file again. With `patches.reload_in_order` it is answered in order, and truly.
RELOAD = "reload"
# Wakes ExaBGP from its sleep between the parts of a batch, and before it sends the last. Answered at once, before the
# commands that came earlier; unlike other such answers it begins with a line that tells it from theirs.
NUDGE = "version"

# Asks for what a peer is told, with `patches.table_in_parts`: its address, and for a part the part and how many there
# are; without, only the sum is told.
TABLE = "table"

_LOCAL_PREFERENCE = 100  # of iBGP, as in GoCast; RFC 4271 section 5.1.5

_HALF = r"[0-9]{1,10}"
_KINDS = (
    (CommunityKind.STANDARD, "community", re.compile(rf"{_HALF}:{_HALF}")),
    (CommunityKind.LARGE, "large-community", re.compile(rf"{_HALF}:{_HALF}:{_HALF}")),
    (
        CommunityKind.EXTENDED,
        "extended-community",
        re.compile(rf"(?:target|origin):(?:{_HALF}|[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}}):{_HALF}"),
    ),
)


def announce(peer: Peer, route: Route) -> str | None:
    """Write the command that announces ``route`` to ``peer``; None if the peer has no next hop of its family.

    The order of the communities does not change the command. Raises ``CommandError`` for a community whose text is
    not canonical.
    """
    next_hop = peer.next_hop(route.prefix)
    if next_hop is None:
        return None
    words = [to(peer.address, f"announce route {_text(route.prefix)} next-hop {_text(next_hop)} origin {route.origin}")]
    if route.med is not None:
        words.append(f"med {route.med:d}")
    if peer.internal:
        preference = _LOCAL_PREFERENCE if route.local_preference is None else route.local_preference
        words.append(f"local-preference {preference:d}")
    elif route.prepend:  # a path that is given stands as it is: with the AS that ExaBGP would put there by itself
        words.append(f"as-path [ {' '.join([str(peer.local_as)] * (1 + route.prepend))} ]")
    for kind, keyword, form in _KINDS:
        texts = sorted({community.text for community in route.communities if community.kind is kind}, key=_by_number)
        for text in texts:
            if not form.fullmatch(text):
                raise CommandError(f"{kind} community {text!r} of {route.prefix} is not in canonical form")
        if texts:
            words.append(f"{keyword} [ {' '.join(texts)} ]")
    return " ".join(words)


def withdraw(peer: Peer, prefix: Prefix) -> str:
    """Write the command that withdraws ``prefix`` from ``peer``. Withdrawing what is not there is no error."""
    return to(peer.address, f"withdraw route {_text(prefix)}")


def to(peer: IPAddress, command: str) -> str:
    """Address a command to one peer."""
    return f"neighbor {_text(peer)} {command}"


def less_peer(command: str) -> str:
    """Take what ``to`` has put there away."""
    return command.split(" ", 2)[2]


def end_of_rib(peer: IPAddress, version: int) -> str:
    """Write the command that tells a peer that it has all routes of an IP version (RFC 4724).

    Without a session it is answered `error` at once, ahead of earlier commands: nothing else may be under way.
    """
    return to(peer, f"announce eor ipv{version} unicast")


def table(peer: IPAddress, part: int, parts: int) -> str:
    """Write the question for a part of a peer's table."""
    return f"{TABLE} {peer} {part} {parts}"


def table_sum(peer: IPAddress) -> str:
    """Write the question for the sum of a peer's table."""
    return f"{TABLE} {peer}"


@functools.lru_cache(256)  # a prefix is told to all peers in a row, and peers are few
def _text(value: IPAddress | Prefix) -> str:
    return str(value)


def _by_number(text: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isascii() and part.isdigit() else -1, part) for part in text.split(":")]
