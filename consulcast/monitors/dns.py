"""Monitor ``dns``: passing while a name server answers a question with NOERROR and one record at least.

The verdict is in the answer's header, so the message is read no further (RFC 1035 section 4.1.1).
"""

from __future__ import annotations

import contextlib
import secrets
import struct

from gevent import socket

from consulcast.model import MonitorSpec
from consulcast.monitors import targets
from consulcast.monitors.lanes import Lanes, Turn
from consulcast.monitors.network import connect, within
from consulcast.monitors.probe import Look

_HEADER = struct.Struct(">6H")  # id, flags, counts of questions, answers, authority and additional records
_RESPONSE, _TRUNCATED, _RECURSION_DESIRED = 0x8000, 0x0200, 0x0100
_RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
_TRIES = 3  # datagrams sent within the time-out, as resolvers do


class DnsProbe:
    """Asks over UDP, over TCP when the answer does not fit."""

    def __init__(self, spec: MonitorSpec, lanes: Lanes) -> None:
        self._asked = targets.question(spec)
        self._turn = Turn(lanes)

    def look(self, timeout: float) -> Look:
        """Ask once."""
        with self._turn:
            return within(timeout, lambda: self._ask(timeout / _TRIES))

    def _ask(self, patience: float) -> Look:
        query = message(secrets.randbelow(1 << 16), self._asked)
        answer = self._over_udp(query, patience)
        if flags(answer) & _TRUNCATED:
            answer = self._over_tcp(query)
        return judge(answer)

    def _over_udp(self, query: bytes, patience: float) -> bytes:
        with connect(self._asked.server, socket.SOCK_DGRAM) as server:
            server.settimeout(patience)
            while True:  # the deadline of the whole look ends it
                server.send(query)
                with contextlib.suppress(TimeoutError):
                    while not answers(query, answer := server.recv(1 << 16)):
                        pass
                    return answer

    def _over_tcp(self, query: bytes) -> bytes:
        with connect(self._asked.server) as server, server.makefile("rb") as stream:
            server.sendall(struct.pack(">H", len(query)) + query)
            length = stream.read(2)
            answer = stream.read(*struct.unpack(">H", length)) if len(length) == 2 else b""
        if not answers(query, answer):
            raise OSError("no DNS answer over TCP")
        return answer


def message(number: int, asked: targets.Question) -> bytes:
    """Pack a query."""
    kind = struct.pack(">HH", targets.DNS_TYPES[asked.type], 1)  # class IN
    return _HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 0) + targets.encode_name(asked.name) + kind


def answers(query: bytes, answer: bytes) -> bool:
    """Whether it is a response with the query's id and, letter case aside, its question."""
    if len(answer) < _HEADER.size or answer[:2] != query[:2] or not flags(answer) & _RESPONSE:
        return False
    question = query[_HEADER.size :]
    repeated = _HEADER.unpack_from(answer)[2]
    # some servers leave the question out of an error
    return repeated == 0 or answer[_HEADER.size :][: len(question)].lower() == question.lower()


def flags(answer: bytes) -> int:
    """The second word of the header."""
    return int(_HEADER.unpack_from(answer)[1])


def judge(answer: bytes) -> Look:
    """Judge a response by its header."""
    rcode, records = flags(answer) & 0xF, _HEADER.unpack_from(answer)[3]
    word = _RCODES[rcode] if rcode < len(_RCODES) else f"RCODE {rcode}"
    return Look(rcode == 0 and records > 0, f"{word}, {records} records")
