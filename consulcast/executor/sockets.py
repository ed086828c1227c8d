"""TCP connections of this host that are open, by their own address, asked of the kernel: NETLINK_SOCK_DIAG.

The kernel answers inside ``send``, so no answer is waited for. Formats: linux/inet_diag.h.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator

from gevent import socket

from consulcast.executor.netlink import HEADER, split
from consulcast.model import Prefix

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3
_QUERY = struct.Struct("=BBBxI48s")  # struct inet_diag_req_v2: family, protocol, extensions, states, id
# TCP_ESTABLISHED, TCP_SYN_RECV, TCP_FIN_WAIT1, TCP_CLOSE_WAIT, TCP_LAST_ACK: one end still has something to say
_OPEN = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 8 | 1 << 9
_BYTECODE, _SOURCE = 1, 7  # INET_DIAG_REQ_BYTECODE, INET_DIAG_BC_S_COND
_ADDRESS = slice(8, 24)  # of the socket itself, in struct inet_diag_msg
_CODE = struct.Struct("=i")
_MAPPED = bytes(10) + b"\xff\xff"
_LAST_ERROR = 4095  # the kernel's MAX_ERRNO
_BUFFER = 1 << 17


def open_at(network: Prefix | None, version: int) -> Iterator[list[bytes]]:
    """Yield the own (packed) addresses of open connections of an IP version, in portions. Raises ``OSError``.

    ``network``: those in it alone, as the kernel compares; ``None``: all of them.
    """
    # IPv4 connections that a socket of ``::`` has accepted are listed with those of IPv6.
    for family in (socket.AF_INET, socket.AF_INET6) if version == 4 else (socket.AF_INET6,):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as kernel:
            query = _QUERY.pack(family, socket.IPPROTO_TCP, 0, _OPEN, b"") + (_condition(network) if network else b"")
            kernel.send(HEADER.pack(HEADER.size + len(query), _BY_FAMILY, _REQUEST_DUMP, 1, 0) + query)
            done = False
            while not done:
                portion, done = parse(kernel.recv(_BUFFER), family, version)
                yield portion


def _condition(network: Prefix) -> bytes:
    """Write "the own address is within this prefix" as the kernel's bytecode: past its end is yes, beyond that no."""
    address = network.network_address.packed
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    host = struct.pack("=BBxxi", family, network.prefixlen, -1) + address  # struct inet_diag_hostcond; -1: any port
    size = 4 + len(host)
    code = struct.pack("=BBH", _SOURCE, size, size + 4) + host
    return struct.pack("=HH", 4 + len(code), _BYTECODE) + code


def parse(data: bytes, family: int, version: int) -> tuple[list[bytes], bool]:
    """Read what one ``recv`` gave: addresses, and whether that was all. Raises ``OSError``."""
    found: list[bytes] = []
    for kind, _, body in split(data):
        if kind == _DONE:
            return found, True
        if kind == _ERROR and len(body) >= _CODE.size:
            number = min(-_CODE.unpack_from(body)[0], _LAST_ERROR)
            raise OSError(number, os.strerror(number))
        if len(body) < _ADDRESS.stop:
            raise OSError(errno.EBADMSG, "an answer of sock_diag is cut short")
        address = body[_ADDRESS]
        if family == socket.AF_INET:
            found.append(address[:4])
        elif version == 6:
            found.append(address)
        elif address.startswith(_MAPPED):
            found.append(address.removeprefix(_MAPPED))
    return found, False
