"""Who makes new processes, told by the kernel (Documentation/driver-api/connector.rst, linux/cn_proc.h)."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def forks() -> Iterator[socket.socket]:
    """Listen to every process of the machine for as long as the block lasts; ``drain`` reads what came."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 11) as events:  # NETLINK_CONNECTOR
        events.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE: a minute of everybody's forks
        events.bind((0, 1))  # CN_IDX_PROC
        listen = struct.pack("=I", 1)  # PROC_CN_MCAST_LISTEN
        message = struct.pack("=IIIIHH", 1, 1, 0, 0, len(listen), 0) + listen
        events.send(struct.pack("=IHHII", 16 + len(message), 3, 0, 0, os.getpid()) + message)
        yield events


def drain(events: socket.socket) -> Iterator[tuple[int, int]]:
    """Read what has come: parent and child of every new process (threads are left out)."""
    events.setblocking(False)
    while True:
        try:
            message = events.recv(4096)
        except BlockingIOError:
            return
        (what,) = struct.unpack_from("=I", message, 36)
        if what == 1:  # PROC_EVENT_FORK
            _, parent, child_pid, child = struct.unpack_from("=4I", message, 52)
            if child_pid == child:
                yield parent, child


def descendants(pid: int) -> list[int]:
    """Return the ids of a process' children, theirs, and so on, as they are now."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found
