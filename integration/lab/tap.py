"""Sees the BGP UPDATEs that arrive at a router, with the kernel's time stamp of their packets."""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType

from integration.lab.host import Host
from integration.lab.wait import NotInTime

_SO_TIMESTAMPNS = 35
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_ETH_P_ALL = 3
_MARKER = b"\xff" * 16
_UPDATE = 2
_MP_REACH, _MP_UNREACH = 14, 15
_EMPTY = 23  # length of an UPDATE without anything, which ends IPv4; of other families an empty MP_UNREACH_NLRI does


@dataclass(frozen=True)
class Update:
    """One UPDATE message. ``at`` is when its packet reached the router, in ns of ``time.time_ns()``'s clock."""

    at: int
    source: str  # the address that sent it
    announced: frozenset[str]
    withdrawn: frozenset[str]


@dataclass(frozen=True)
class EndOfRib:
    """One End-of-RIB marker (RFC 4724 section 2): no UPDATE of this IP version is missing any more."""

    at: int
    source: str
    version: int


@dataclass
class _Stream:
    """One direction of one TCP connection, put back in order."""

    expected: int | None = None  # the next sequence number
    data: bytearray = field(default_factory=bytearray)
    early: dict[int, bytes] = field(default_factory=dict)  # segments that overtook an earlier one

    def add(self, sequence: int, syn: bool, payload: bytes) -> None:
        if syn:
            self.expected = (sequence + 1) & 0xFFFFFFFF
            self.data.clear()
            self.early.clear()
            return
        if not payload:
            return
        if self.expected is None:  # the connection is older than the tap: begin at a message's start
            if not payload.startswith(_MARKER):
                return
            self.expected = sequence
        self.early[sequence] = payload
        while self.early:
            for begin in self.early:  # used after the loop
                behind = (self.expected - begin) & 0xFFFFFFFF  # bytes of it that are here already
                if behind < 0x80000000:
                    break
            else:
                return
            segment = self.early.pop(begin)
            if behind < len(segment):
                self.data += segment[behind:]
                self.expected = (begin + len(segment)) & 0xFFFFFFFF

    def messages(self) -> Iterator[bytes]:
        """Take the complete BGP messages out."""
        while len(self.data) >= 19:
            length = int.from_bytes(self.data[16:18], "big")
            if not self.data.startswith(_MARKER) or length < 19:
                self.expected = None
                self.data.clear()
                return
            if len(self.data) < length:
                return
            yield bytes(self.data[:length])
            del self.data[:length]


class UpdateTap:
    """Watches a host's network for UPDATEs that come in over the BGP ports. A context manager, or ``close`` it.

    The packets are read by a thread of its own; their times are the kernel's, so the reader may be late.
    """

    def __init__(self, host: Host, ports: tuple[int, ...] = (179,)) -> None:
        self._ports = frozenset(ports)
        self._streams: dict[tuple[bytes, int, bytes, int], _Stream] = {}
        self._updates: list[Update] = []
        self._ends: list[EndOfRib] = []
        self._news = threading.Condition()
        self._closing = False
        self._caught_up = 0  # how often the reader has read everything that was there when it was asked to
        self._nudge, self._nudged = socket.socketpair()
        with host.inside():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
            self._socket.setblocking(False)
        self._thread = threading.Thread(target=self._read, name="update-tap", daemon=True)
        self._thread.start()
        host.lab.on_exit(self.close)

    def __enter__(self) -> UpdateTap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching. What was seen stays."""
        if not self._closing:
            self._closing = True
            self._nudge.send(b"x")
            self._thread.join(5)
            for end in (self._nudge, self._nudged, self._socket):
                end.close()

    def updates(self) -> list[Update]:
        """Return every UPDATE that has arrived since the start, or the last ``clear``; without End-of-RIB markers.

        What the router knows by now is in it: the kernel shows a packet here before it hands it to the router.
        """
        with self._news:
            self._catch_up()
            return list(self._updates)

    def ends_of_rib(self) -> list[EndOfRib]:
        """Return every End-of-RIB marker that has arrived since the start, or the last ``clear``."""
        with self._news:
            self._catch_up()
            return list(self._ends)

    def clear(self) -> None:
        """Forget every UPDATE that has arrived."""
        with self._news:
            self._catch_up()
            self._updates.clear()
            self._ends.clear()

    def count(self, prefix: str) -> int:
        """Return how many UPDATEs announced or withdrew ``prefix``."""
        return sum((prefix in update.announced) + (prefix in update.withdrawn) for update in self.updates())

    def wait(self, prefix: str, announced: bool = True, *, after: int = 0, deadline: float = 10.0) -> Update:
        """Wait for the first UPDATE, ``after`` that time, that announces (or else withdraws) ``prefix``.

        Raises ``NotInTime``.
        """

        def found() -> Update | None:
            for update in self._updates:
                if update.at >= after and prefix in (update.announced if announced else update.withdrawn):
                    return update
            return None

        with self._news:
            self._news.wait_for(lambda: found() is not None, deadline)
            update = found()
            if update is None:
                verb = "announces" if announced else "withdraws"
                raise NotInTime(
                    f"not within {deadline:g} s: an UPDATE that {verb} {prefix} (seen: {self._updates[-5:]})"
                )
            return update

    def lost(self) -> int:
        """Return how many packets the kernel had no room for since the last call; anything but 0 spoils a count."""
        return int(struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1])

    def _catch_up(self) -> None:
        """Wait until the reader has read everything that is there now."""
        if not self._closing:
            wanted = self._caught_up + 1
            self._nudge.send(b"x")
            self._news.wait_for(lambda: self._caught_up >= wanted, 5)

    def _read(self) -> None:
        while not self._closing:
            ready, _, _ = select.select([self._socket, self._nudged], [], [])
            messages = [message for packet, at in self._packets() for message in self._take(packet, at)]
            with self._news:
                self._updates += (message for message in messages if isinstance(message, Update))
                self._ends += (message for message in messages if isinstance(message, EndOfRib))
                if self._nudged in ready:
                    self._caught_up += len(self._nudged.recv(64))
                self._news.notify_all()

    def _packets(self) -> Iterator[tuple[bytes, int]]:
        """Read every packet that is there, with its time."""
        while True:
            try:
                packet, ancillary, _, address = self._socket.recvmsg(1 << 17, 64)
            except BlockingIOError:
                return
            if address[2] != socket.PACKET_OUTGOING:
                at = next((_nanoseconds(data) for _, kind, data in ancillary if kind == _SO_TIMESTAMPNS), 0)
                yield packet, at

    def _take(self, packet: bytes, at: int) -> Iterator[Update | EndOfRib]:
        if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_TCP:
            head = (packet[0] & 15) * 4
            source, target = packet[12:16], packet[16:20]
            segment = packet[head : int.from_bytes(packet[2:4], "big") or None]
        elif packet[0] >> 4 == 6 and packet[6] == socket.IPPROTO_TCP:
            source, target = packet[8:24], packet[24:40]
            segment = packet[40 : 40 + (int.from_bytes(packet[4:6], "big") or len(packet))]
        else:
            return
        from_port, to_port, sequence = struct.unpack("!HHI", segment[:8])
        if not self._ports & {from_port, to_port}:
            return
        syn = bool(segment[13] & 2)
        stream = self._streams.setdefault((source, from_port, target, to_port), _Stream())
        stream.add(sequence, syn, segment[(segment[12] >> 4) * 4 :])
        for message in stream.messages():
            if message[18] == _UPDATE:
                announced, withdrawn = parse_update(message[19:])
                sender = str(ipaddress.ip_address(source))
                if announced or withdrawn:
                    yield Update(at, sender, announced, withdrawn)
                else:
                    yield EndOfRib(at, sender, 6 if len(message) > _EMPTY else 4)


def parse_update(body: bytes) -> tuple[frozenset[str], frozenset[str]]:
    """Return the prefixes that an UPDATE's body announces and withdraws.

    RFC 4271 section 4.3 and RFC 4760, without ADD-PATH.
    """
    size = int.from_bytes(body[:2], "big")
    withdrawn = set(_prefixes(body[2 : 2 + size], 4))
    rest = body[2 + size :]
    size = int.from_bytes(rest[:2], "big")
    attributes, nlri = rest[2 : 2 + size], rest[2 + size :]
    announced = set(_prefixes(nlri, 4))
    while attributes:
        flags, kind = attributes[0], attributes[1]
        head = 4 if flags & 0x10 else 3  # extended length
        size = int.from_bytes(attributes[2:head], "big")
        value, attributes = attributes[head : head + size], attributes[head + size :]
        if kind == _MP_REACH:
            announced.update(_prefixes(value[5 + value[3] :], _width(value)))
        elif kind == _MP_UNREACH:
            withdrawn.update(_prefixes(value[3:], _width(value)))
    return frozenset(announced), frozenset(withdrawn)


def _width(value: bytes) -> int:
    return 16 if value[:2] == b"\x00\x02" else 4


def _prefixes(data: bytes, width: int) -> Iterator[str]:
    while data:
        length = data[0]
        size = (length + 7) // 8
        address = data[1 : 1 + size].ljust(width, b"\0")
        yield f"{ipaddress.ip_address(address)}/{length}"
        data = data[1 + size :]


def _nanoseconds(timespec: bytes) -> int:
    seconds, nanoseconds = struct.unpack("qq", timespec)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
