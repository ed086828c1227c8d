"""What the kernel tells of nftables without a child: whether our table is there, and that somebody changed it.

Formats: linux/netfilter/nf_tables.h. Attribute 1 of every event is the name of its table.
"""

from __future__ import annotations

import errno
import logging
import struct
from collections.abc import Callable
from typing import Any

import gevent
from gevent import socket

from consulcast.executor.bgp.child import Spawn
from consulcast.executor.nat import netlink
from consulcast.executor.nat.rules import OWNER

log = logging.getLogger(__name__)

_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GET_TABLE, _NEW_GENERATION, _GET_GENERATION = _SUBSYSTEM | 1, _SUBSYSTEM | 15, _SUBSYSTEM | 16
_FAMILY_INET = 1
_GROUP = 7  # NFNLGRP_NFTABLES
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_NAME = OWNER.encode() + b"\0"


def table_exists() -> bool:
    """Whether our table is there. An error means that there is no nftables, and so no table."""
    try:
        netlink.ask(_GET_TABLE, _FAMILY_INET, netlink.attribute(1, _NAME))
    except OSError:
        return False
    return True


def generation() -> int | None:
    """Tell the number of the ruleset, which every change by anybody raises; ``None``: the kernel does not say."""
    try:
        found = netlink.attributes(netlink.ask(_GET_GENERATION, socket.AF_UNSPEC))
        return int(struct.unpack(">I", found[1])[0])
    except (OSError, KeyError, struct.error):
        return None


class Watcher:
    """Calls ``on_change`` when our table was changed, by whomever."""

    def __init__(self, on_change: Callable[[], None], spawn: Spawn) -> None:
        self._on_change = on_change
        self._spawn = spawn
        self._greenlet: gevent.Greenlet[..., Any] | None = None

    def start(self) -> None:
        """Listen from now on."""
        try:
            kernel = netlink.open_socket()
            kernel.bind((0, 0))  # a socket without a number of its own is left out of broadcasts
            kernel.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP)
        except OSError as error:
            log.warning("nftables' events cannot be had, changes by others are seen by the sweep: %s", error)
            return
        self._greenlet = self._spawn(self._listen, kernel)

    def stop(self) -> None:
        """Listen no more."""
        if self._greenlet is not None:
            self._greenlet.kill()

    def _listen(self, kernel: netlink.Socket) -> None:
        with kernel:
            while True:
                try:
                    events = list(netlink.messages(kernel.recv(1 << 17)))
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    self._on_change()  # some were lost: ours may have been among them
                    continue
                if any(kind != _NEW_GENERATION and netlink.attributes(body).get(1) == _NAME for kind, body in events):
                    self._on_change()
