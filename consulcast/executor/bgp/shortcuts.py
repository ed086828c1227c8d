"""Spares ExaBGP work that it does for every command about a route: a table of 10,000 routes at 16 peers is 160,000.

None of it changes what a command does, or how it is answered. Whatever is not of the one form that we write goes
ExaBGP's own way. Like all ``patches``, each stands alone, and refuses code that it was not written for.
"""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import Iterator
from typing import Any

from consulcast.executor.bgp.fingerprint import check

_MOST_KNOWN = 1000  # texts of attributes, or neighbors, that are remembered
_MULTICAST = 0xE0  # the first byte of an IPv4 address, from here on: not of the family that everything else is of


def shared_attributes() -> None:
    """Parse the attributes of routes once for all that have the same.

    They are most of a command, and ExaBGP reads them letter by letter. It compares them by their text, and never
    changes those of a route that it was told; so one object serves all, and a route takes a third of the memory.

    Must run before ``patches.table_in_parts``, which marks every route that comes out of this.
    """
    from exabgp.bgp.message.update.attribute import Attributes
    from exabgp.bgp.message.update.nlri import INET
    from exabgp.bgp.message.update.nlri.cidr import CIDR
    from exabgp.bgp.message.update.nlri.qualifier import PathInfo
    from exabgp.configuration import static
    from exabgp.configuration.configuration import Configuration
    from exabgp.protocol.family import SAFI
    from exabgp.reactor.api import API
    from exabgp.rib.change import Change

    parse = API.api_route
    check(parse, 0x9929AE60)
    check(static.route, 0x74A845E6)
    check(Configuration.partial, 0x73CED272)
    check(Attributes.pack, 0xFA3A8031)
    known: dict[tuple[str, bool, str], tuple[Any, dict[str, Any]]] = {}

    def cidr(prefix: str) -> Any:
        """The prefix, or ``None`` if ExaBGP should say what it makes of it."""
        address, _, length = prefix.partition("/")
        try:
            packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        except OSError:
            return None
        host_bits = len(packed) * 8 - int(length) if length.isdecimal() else -1
        if host_bits < 0 or int.from_bytes(packed, "big") & ((1 << host_bits) - 1):
            return None
        return CIDR(packed, int(length)) if len(packed) > 4 or packed[0] < _MULTICAST else None

    def can_be_shared(changes: list[Any]) -> bool:
        if len(changes) != 1 or type(changes[0].nlri) is not INET:
            return False
        nlri, attributes = changes[0].nlri, changes[0].attributes
        own = nlri.nexthop.SELF or nlri.path_info is not PathInfo.NOPATH or nlri.safi != SAFI.unicast
        return not own and attributes.keys().isdisjoint(Attributes.INTERNAL)

    @functools.wraps(parse)
    def api_route(self: Any, command: str) -> list[Any]:
        action, _, rest = command.partition(" route ")
        prefix, _, text = rest.partition(" ")
        found, form = cidr(prefix), (action, ":" in prefix, text)
        if found is None or form not in known:
            changes: list[Any] = parse(self, command)
            if found is not None and can_be_shared(changes):
                if len(known) >= _MOST_KNOWN:
                    known.clear()
                known[form] = changes[0].attributes, dict(vars(changes[0].nlri))
            return changes
        attributes, like = known[form]
        nlri = object.__new__(INET)
        vars(nlri).update(like, cidr=found)
        return [Change(nlri, attributes)]

    API.api_route = api_route


def light_copies() -> None:
    """Copy of a route what may differ from peer to peer, which is all of it only with "next-hop self".

    ExaBGP copies every object that it can find in it, for each peer.
    """
    from exabgp.bgp.message.update.nlri import INET
    from exabgp.bgp.neighbor import Neighbor

    copy = Neighbor.remove_self
    check(copy, 0xFF72B02F)

    def twin(thing: Any) -> Any:
        copied = object.__new__(type(thing))
        vars(copied).update(vars(thing))
        return copied

    @functools.wraps(copy)
    def remove_self(self: Any, changes: Any) -> Any:
        if changes.nlri.nexthop.SELF or type(changes.nlri) is not INET:
            return copy(self, changes)
        change = twin(changes)
        change.nlri = twin(changes.nlri)
        return change

    Neighbor.remove_self = remove_self


def known_neighbors() -> None:
    """Find the neighbor of a command by what was found before; ExaBGP searches the name of each of them."""
    from exabgp.reactor.api.command import announce, limit

    match = limit.match_neighbors
    check(match, 0x455B2ED6)
    check(limit.match_neighbor, 0xD8EABA9B)

    @functools.lru_cache(_MOST_KNOWN)
    def matching(peers: tuple[str, ...], descriptions: tuple[tuple[str, ...], ...]) -> list[str]:
        return list(match(peers, descriptions))

    @functools.wraps(match)
    def match_neighbors(peers: list[str], descriptions: list[list[str]]) -> list[str]:
        return matching(tuple(peers), tuple(map(tuple, descriptions)))[:]

    announce.match_neighbors = match_neighbors


def routes_first() -> None:
    """Look first whether a command is one about a route, where ExaBGP goes by the alphabet, from the end.

    Must run when all commands are registered, because each sorts them.
    """
    from exabgp.reactor.api import API
    from exabgp.reactor.api.command import Command

    check(API.response, 0x0DECF040)
    check(Command.register, 0x1B053C16)
    Command.functions.sort(key=lambda name: name not in ("announce route", "withdraw route"))


def answers_together() -> None:
    """Write the answers to a turn's commands in one piece, where each wakes the relay, which wakes the daemon.

    In the order in which they are given, and before anything else that is written after them; at the latest before
    ExaBGP waits for what is next.
    """
    from exabgp.reactor.api.processes import ProcessError, Processes
    from exabgp.reactor.loop import Reactor

    answer, write, wait, end = Processes._answer, Processes.write, Reactor._wait_for_io, Processes._terminate
    check(answer, 0x4A3DD2DE)
    check(write, 0x784495D0)
    check(end, 0x830CC260)
    check(wait, 0x272C81B3)
    check(Reactor.run, 0x048E2E05)
    unsaid: dict[str, list[str]] = {}

    @functools.wraps(answer)
    def _answer(self: Any, service: str, string: str, force: bool = False) -> None:
        if force or self._ack[service]:
            unsaid.setdefault(service, []).append(string)

    @functools.wraps(write)
    def write_in_order(self: Any, process: str, string: str | None, neighbor: Any = None) -> Any:
        if string is not None and process in unsaid:
            string = "\n".join([*unsaid.pop(process), string])
        return write(self, process, string, neighbor)

    @functools.wraps(end)
    def _terminate(self: Any, process_name: str) -> Any:
        unsaid.pop(process_name, None)  # who comes after it has asked nothing yet
        return end(self, process_name)

    @functools.wraps(wait)
    def _wait_for_io(self: Any, sleeptime: int) -> Iterator[int]:
        for service in list(unsaid):
            with contextlib.suppress(ProcessError, KeyError):  # who is gone is missed at the next turn
                write(self.processes, service, "\n".join(unsaid.pop(service)))
        yield from wait(self, sleeptime)

    Processes._answer, Processes.write, Processes._terminate = _answer, write_in_order, _terminate
    Reactor._wait_for_io = _wait_for_io


STEPS = 100  # a command about a route takes two


def longer_turns() -> None:
    """Do 50 commands between two looks at the peers, where ExaBGP does 25: what it sends them is in fewer messages.

    50 are half of what may be under way, so the other half comes meanwhile. They take 2 ms.
    """
    from exabgp.reactor.asynchronous import ASYNC

    check(ASYNC._run_async, 0x2AD8C120)
    ASYNC.LIMIT = STEPS


MOST_IN_GROUP = 200  # routes that are sorted at once, 3 ms; they fill a message of 4,096 bytes, or nearly


def ipv6_in_groups() -> None:
    """Tell peers of IPv6 routes that have the same attributes in one message, as of IPv4 ones.

    ExaBGP makes a message of each; what it makes of several of them it knows.
    """
    from exabgp.bgp.message import Update
    from exabgp.bgp.message.update.attribute import MPRNLRI, MPURNLRI
    from exabgp.protocol.family import AFI, SAFI
    from exabgp.rib.outgoing import OutgoingRIB

    one_by_one = OutgoingRIB.updates
    check(one_by_one, 0x41AE0943)
    check(Update._split_nlris, 0x2C1BAD8E)
    check(Update._mp_messages, 0x354C798B)
    check(MPRNLRI.packed_attributes, 0x5938EC18)
    check(MPURNLRI.packed_attributes, 0x1E1CDC5A)

    def may_join(update: Any) -> bool:
        if type(update) is not Update or len(update.nlris) != 1:
            return False
        nlri = update.nlris[0]
        return bool(nlri.afi == AFI.ipv6 and nlri.safi == SAFI.unicast)

    @functools.wraps(one_by_one)
    def updates(self: Any, grouped: bool) -> Iterator[Any]:
        group = None
        for update in one_by_one(self, grouped):
            joins = grouped and may_join(update)
            if joins and group and group.attributes is update.attributes and len(group.nlris) < MOST_IN_GROUP:
                group.nlris.append(update.nlris[0])
                continue
            if group:
                yield group
            group = update if joins else None
            if not joins:
                yield update
        if group:
            yield group

    OutgoingRIB.updates = updates
