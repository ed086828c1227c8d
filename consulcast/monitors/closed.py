"""The kernel tells of every socket that is closed: within about a millisecond we know that a listener went.

A busy host closes thousands of connections in a second. A filter in the kernel (classic BPF) keeps all of them from
us but sockets of our ports without a peer. Groups: linux/sock_diag.h, SKNLGRP_INET_TCP_DESTROY and its like.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import struct
from collections.abc import Collection, Iterable

from gevent import socket

from consulcast.monitors.sock_diag import NETLINK_SOCK_DIAG

_GROUPS = (1, 2, 3, 4)  # TCP and UDP of IPv4, TCP and UDP of IPv6
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_ATTACH_FILTER = 26
_PORT, _PEER_PORT = 20, 22  # where a message has them: nlmsghdr 16, inet_diag_msg 4
_LOAD, _EQUAL, _RETURN = 0x28, 0x15, 0x06  # BPF_LD|BPF_H|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
_ALL = 0xFFFFFFFF
_MOST_PORTS = 2000  # a program has 4,096 instructions at most


class Closed:
    """Hears of every socket that is closed on one of the ports to ``watch``. Raises ``OSError`` where it cannot be."""

    def __init__(self) -> None:
        self._kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG)
        self._kernel.setblocking(False)
        try:
            self._kernel.bind((0, 0))  # without a number of its own it would look like the sender, which is left out
            self.watch(())
            for group in _GROUPS:
                self._kernel.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError:
            self._kernel.close()
            raise

    def watch(self, ports: Collection[int]) -> None:
        """Hear of these ports from now on."""
        code = program(ports)
        buffer = ctypes.create_string_buffer(code, len(code))
        argument = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))  # struct sock_fprog
        self._kernel.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, argument)

    def wait(self) -> set[int]:
        """Wait, and return the ports of all that have been closed by then; 0: some were lost, any may be meant."""
        socket.wait_read(self._kernel.fileno())
        found: set[int] = set()
        with contextlib.suppress(BlockingIOError):
            while True:  # a process that ends may close hundreds
                found.add(self._next())
        return found

    def _next(self) -> int:
        try:
            message = self._kernel.recv(4096)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return 0
        return int.from_bytes(message[_PORT:_PEER_PORT], "big")

    def close(self) -> None:
        """Hear no more."""
        self._kernel.close()


def program(ports: Iterable[int]) -> bytes:
    """Assemble the filter: no peer, and the port is one of ``ports``; of too many ports, any."""
    wanted = sorted(set(ports))
    code = [(_LOAD, 0, 0, _PEER_PORT), (_EQUAL, 1, 0, 0), (_RETURN, 0, 0, 0)]
    if len(wanted) <= _MOST_PORTS:
        code.append((_LOAD, 0, 0, _PORT))
        for port in wanted:
            code += [(_EQUAL, 0, 1, port), (_RETURN, 0, 0, _ALL)]
        code.append((_RETURN, 0, 0, 0))
    else:
        code.append((_RETURN, 0, 0, _ALL))
    return b"".join(struct.pack("@HBBI", *instruction) for instruction in code)
