"""What the kernel tells of changes over netlink, of whatever family, heard through a plain socket in the hub.

Formats: linux/netlink.h. What the kernel is asked and told to do goes another way: ``requests.py``.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import gevent
from gevent import socket
from msgspec import Struct

from consulcast.executor.bgp.child import Spawn

log = logging.getLogger(__name__)

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port of the sender
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE = 33
_ROOM = 1 << 20  # bytes of events that may wait; a thousand take 0.3 MB of the kernel's account
_BUFFER = 1 << 17
_PORTION = 4096  # events that are taken before others get their turn


class Message(NamedTuple):
    """One message: its type, the port of whoever caused it (0: the kernel itself), and what it says."""

    kind: int
    sender: int
    body: bytes


class Heard(Struct, frozen=True):
    """What has come. ``lost``: more came than could wait, and nobody knows what it was."""

    messages: tuple[Message, ...]
    lost: bool


def split(data: bytes) -> Iterator[Message]:
    """Split what one ``recv`` gave."""
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, _, _, sender = HEADER.unpack_from(data, at)
        if length < HEADER.size:
            return
        yield Message(kind, sender, data[at + HEADER.size : at + length])
        at += (length + 3) & ~3


def packed(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Pack one message to the kernel, padded so that another may follow."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) & 3)


def attribute(kind: int, value: bytes) -> bytes:
    """Pack one attribute, padded."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) & 3)


def attributes(payload: bytes) -> dict[int, bytes]:
    """Unpack a list of attributes; those of attributes stay packed."""
    found = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = payload[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


class Subscription:
    """Hears the multicast groups of one netlink family from now on. Raises ``OSError`` where they cannot be had."""

    def __init__(self, protocol: int, groups: Iterable[int], room: int = _ROOM) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        try:
            self._socket.setblocking(False)
            for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):  # the second needs root, and passes rmem_max
                with contextlib.suppress(PermissionError):
                    self._socket.setsockopt(socket.SOL_SOCKET, option, room)
            self._socket.bind((0, 0))  # a socket without a number of its own is left out of broadcasts
            for group in groups:
                self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError:
            self._socket.close()
            raise

    def wait(self) -> Heard:
        """Wait, and return all that has come by then. Raises ``OSError``."""
        socket.wait_read(self._socket.fileno())
        found: list[Message] = []
        lost = False
        while len(found) < _PORTION:
            try:
                found += split(self._socket.recv(_BUFFER))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # the socket stays usable after that
                    raise
                lost = True
        return Heard(tuple(found), lost)

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


class Watcher:
    """Listens in a greenlet of its own, and hands on what it hears.

    ``take`` tells whether it was of interest: then ``pause`` seconds pass before the next is heard, so that a storm
    of events is a few calls, the first of them at once.
    """

    def __init__(
        self,
        what: str,
        subscribe: Callable[[], Subscription],
        take: Callable[[Heard], bool],
        spawn: Spawn,
        pause: float = 0.0,
    ) -> None:
        self._what, self._subscribe, self._take, self._pause = what, subscribe, take, pause
        self._spawn = spawn
        self._greenlet: gevent.Greenlet[..., Any] | None = None

    def start(self) -> None:
        """Listen from now on; where that cannot be, the sweep sees what has changed."""
        try:
            subscription = self._subscribe()
        except OSError as error:
            text = "the kernel's events of %s cannot be had, changes are seen by the sweep: %s"
            log.warning(text, self._what, error, extra={"reason": "no-kernel-events"})
            return
        self._greenlet = self._spawn(self._listen, subscription)

    def stop(self) -> None:
        """Listen no more."""
        if self._greenlet is not None:
            self._greenlet.kill()

    def _listen(self, subscription: Subscription) -> None:
        with contextlib.closing(subscription):
            while True:
                if self._take(subscription.wait()):
                    gevent.sleep(self._pause)
