"""What the kernel tells of nftables without a child: whether our table is there, and that somebody changed it.

Formats: linux/netfilter/nf_tables.h. Attribute 1 of every event is the name of its table.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from gevent import socket

from consulcast.executor.bgp.child import Spawn
from consulcast.executor.nat import netlink
from consulcast.executor.nat.rules import OWNER
from consulcast.executor.netlink import Heard, Subscription, Watcher, attributes

_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GET_TABLE, _NEW_GENERATION, _GET_GENERATION = _SUBSYSTEM | 1, _SUBSYSTEM | 15, _SUBSYSTEM | 16
_FAMILY_INET = 1
_GROUP = 7  # NFNLGRP_NFTABLES
_GENERIC = 4  # bytes of struct nfgenmsg
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
        found = attributes(netlink.ask(_GET_GENERATION, socket.AF_UNSPEC))
        return int(struct.unpack(">I", found[1])[0])
    except (OSError, KeyError, struct.error):
        return None


def watcher(on_change: Callable[[bool], None], spawn: Spawn) -> Watcher:
    """Make what calls ``on_change`` when our table was changed, by whomever; with ``True`` when events were lost."""

    def take(heard: Heard) -> bool:
        changed = any(
            kind != _NEW_GENERATION and attributes(body[_GENERIC:]).get(1) == _NAME for kind, _, body in heard.messages
        )
        if changed or heard.lost:
            on_change(heard.lost)
        return False  # who reads the table is slower than this

    return Watcher("nftables", lambda: Subscription(netlink.NETLINK_NETFILTER, (_GROUP,)), take, spawn)
