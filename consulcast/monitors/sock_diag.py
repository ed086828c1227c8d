"""Who listens on this host, asked of the kernel: NETLINK_SOCK_DIAG over a plain socket, without a bind.

pyroute2's DiagSocket runs an asyncio loop, which greenlets break, and takes 13 ms for what takes 0.4 ms here. The
kernel answers inside ``send``, so no answer is waited for. Formats: linux/netlink.h, linux/inet_diag.h.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator

from gevent import socket
from msgspec import Struct

from consulcast.model import IPAddress

NETLINK_SOCK_DIAG = 4
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3
_V6ONLY = 11  # INET_DIAG_SKV6ONLY
_HEADER = struct.Struct("=IHHII")
_QUERY = struct.Struct("=BBBxI")  # struct inet_diag_req_v2: family, protocol, extensions, states
_CODE = struct.Struct("=i")
_LAST_ERROR = 4095  # the kernel's MAX_ERRNO
_SOCKET_ID = struct.Struct(">HH16s16s12s")  # struct inet_diag_sockid: ports, addresses, interface and cookie
_RETRANSMITS = 3  # place of idiag_retrans in struct inet_diag_msg
_MESSAGE = 72  # bytes of struct inet_diag_msg, after which attributes come
_ATTRIBUTE = struct.Struct("=HH")
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
# TCP_LISTEN; a UDP socket that is bound and not connected is in TCP_CLOSE
_LISTENING = {"tcp": 1 << 10, "udp": 1 << 7}
_SYN_SENT = 1 << 2
_MAPPED = bytes(10) + b"\xff\xff"
_BUFFER = 1 << 17


class Listener(Struct, frozen=True):
    """A socket that takes traffic. ``address`` is packed; all zeros: any."""

    port: int
    address: bytes
    v6only: bool = False

    def takes(self, address: bytes) -> bool:
        """Whether traffic to a (packed) address of this host arrives here. ``::`` takes IPv4 too, unless v6only."""
        if any(self.address):
            return self.address.removeprefix(_MAPPED) == address
        return len(self.address) == len(address) or (len(self.address) == 16 and not self.v6only)


def listeners(protocol: str, port: int = 0) -> Iterator[Listener]:
    """All listeners of a protocol, or those of one port. Raises ``OSError``."""
    with _ask() as kernel:
        for family in _FAMILIES:
            query = _QUERY.pack(family, _PROTOCOLS[protocol], 0, _LISTENING[protocol])
            yield from map(parse, _dump(kernel, query + _socket_id(port, 0)))


def unanswered(address: IPAddress, port: int) -> int | None:
    """How often SYNs to a port elsewhere were sent again so far; ``None``: no connection is being made.

    Raises ``OSError``.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with _ask() as kernel:
        query = _QUERY.pack(family, socket.IPPROTO_TCP, 0, _SYN_SENT) + _socket_id(0, port)
        sent_again = None
        for message in _dump(kernel, query):
            _, _, _, other, _ = _SOCKET_ID.unpack_from(message, 4)
            if other[: len(address.packed)] == address.packed:
                sent_again = max(sent_again or 0, message[_RETRANSMITS])
        return sent_again


def _ask() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG)


def _socket_id(port: int, other_port: int) -> bytes:
    return _SOCKET_ID.pack(port, other_port, b"", b"", bytes(4) + b"\xff" * 8)  # INET_DIAG_NOCOOKIE


def _dump(kernel: socket.socket, query: bytes) -> Iterator[bytes]:
    kernel.send(_HEADER.pack(_HEADER.size + len(query), _BY_FAMILY, _REQUEST_DUMP, 1, 0) + query)
    return _answers(kernel)


def _answers(kernel: socket.socket) -> Iterator[bytes]:
    """Yield each ``struct inet_diag_msg`` of an answer, with its attributes."""
    while True:
        data = kernel.recv(_BUFFER)
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, _, _, _ = _HEADER.unpack_from(data, at)
            body = data[at + _HEADER.size : at + length]
            if kind == _DONE:
                return
            if kind == _ERROR and len(body) >= _CODE.size:
                number = min(-_CODE.unpack_from(body)[0], _LAST_ERROR)
                raise OSError(number, os.strerror(number))
            if len(body) < _MESSAGE:
                raise OSError(errno.EBADMSG, "an answer of sock_diag is cut short")
            yield body
            at += (length + 3) & ~3


def parse(message: bytes) -> Listener:
    """Read a ``struct inet_diag_msg`` with its attributes."""
    port, _, source, _, _ = _SOCKET_ID.unpack_from(message, 4)
    if message[0] != socket.AF_INET6:
        return Listener(port, source[:4])
    return Listener(port, source, v6only=not any(source) and _v6only(message))


def _v6only(message: bytes) -> bool:
    at = _MESSAGE
    while at + _ATTRIBUTE.size < len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if kind == _V6ONLY:
            return message[at + _ATTRIBUTE.size] == 1
        at += max(_ATTRIBUTE.size, (length + 3) & ~3)
    return False
