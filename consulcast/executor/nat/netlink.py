"""The little of netlink's netfilter family that is needed here: questions and answers over a plain socket.

pyroute2 cannot be used from greenlets and parses a flow in 0.2 ms; a resolver has a hundred thousand of them.
Formats: linux/netlink.h, linux/netfilter/nfnetlink.h. The kernel answers inside ``send``, so no answer is waited for.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from typing import TypeAlias

from gevent import socket

from consulcast.executor.netlink import HEADER, split

Socket: TypeAlias = socket.socket

NETLINK_NETFILTER = 12
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300  # nlmsg_flags
_ERROR, _DONE = 2, 3
_NESTED = 0x8000
_GENERIC = struct.Struct(">BBH")  # struct nfgenmsg: family, version, resource id
_ATTRIBUTE = struct.Struct("=HH")
_CODE = struct.Struct("=i")
_LAST_ERROR = 4095  # the kernel's MAX_ERRNO
_BUFFER = 1 << 17


def attribute(kind: int, payload: bytes) -> bytes:
    """Pack one attribute, padded to four bytes."""
    packed = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), kind) + payload
    return packed + bytes(-len(packed) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Pack an attribute of attributes."""
    return attribute(kind | _NESTED, b"".join(attributes))


def message(kind: int, flags: int, family: int, payload: bytes, sequence: int = 1) -> bytes:
    """Pack a netfilter message; ``kind`` is subsystem and message type (``subsystem << 8 | type``)."""
    length = HEADER.size + _GENERIC.size + len(payload)
    return HEADER.pack(length, kind, flags, sequence, 0) + _GENERIC.pack(family, 0, 0) + payload


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split what one ``recv`` gave into (kind, attributes). Raises ``OSError`` at an error message."""
    for kind, _, body in split(data):
        if kind == _ERROR:
            if len(body) < _CODE.size:
                raise OSError(errno.EBADMSG, "an answer of netfilter is cut short")
            number = min(-_CODE.unpack_from(body)[0], _LAST_ERROR)
            if number:
                raise OSError(number, os.strerror(number))
            yield kind, b""
        else:
            yield kind, body[_GENERIC.size :]


def open_socket() -> Socket:
    """Open a socket to the kernel's netfilter."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)


def ask(kind: int, family: int, payload: bytes = b"") -> bytes:
    """Ask for one thing and return its attributes. Raises ``OSError`` (ENOENT: there is none)."""
    with open_socket() as kernel:
        kernel.send(message(kind, REQUEST, family, payload))
        for _, body in messages(kernel.recv(_BUFFER)):
            return body
    raise OSError(errno.EPROTO, "no answer")


def dump(kernel: Socket, kind: int, family: int, payload: bytes) -> Iterator[list[bytes]]:
    """Ask for all that fits ``payload``; yields the attributes of each, in portions. Raises ``OSError``."""
    kernel.send(message(kind, REQUEST | DUMP, family, payload))
    while True:
        portion: list[bytes] = []
        for found, body in messages(kernel.recv(_BUFFER)):
            if found == _DONE:
                yield portion
                return
            portion.append(body)
        yield portion
