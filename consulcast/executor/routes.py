"""The kernel's messages about routes. Formats: linux/rtnetlink.h, rtnetlink(7)."""

from __future__ import annotations

import ipaddress
import struct
from socket import AF_INET, AF_INET6
from typing import NamedTuple

from consulcast.executor.netlink import attribute, attributes
from consulcast.executor.requests import CREATE, Order
from consulcast.model import Interface

GET = 26  # RTM_GETROUTE
_NEW, _DELETE = 24, 25
_HEAD = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, lengths of destination and source, TOS, table, … flags
_DESTINATION, _DEVICE, _TABLE = 1, 4, 15  # RTA_DST, RTA_OIF, RTA_TABLE
TABLE_LOCAL = 255
LOCAL = 2  # RTN_LOCAL
_UINT = struct.Struct("=I")
_FAMILIES = {4: AF_INET, 6: AF_INET6}
_BYTES = {AF_INET: 4, AF_INET6: 16}


class Route(NamedTuple):
    """A route, as the kernel tells of it."""

    packed: bytes  # the destination; "" for the default route
    length: int  # of its prefix
    table: int
    proto: int
    kind: int  # RTN_…
    device: int  # index

    @property
    def prefix(self) -> Interface:
        """The destination, as the address of that number would be written."""
        return ipaddress.ip_interface((self.packed, self.length))


def read(body: bytes) -> Route | None:
    """Read a message about a route; ``None`` for what is none of IPv4 or IPv6."""
    if len(body) < _HEAD.size:
        return None
    family, length, _, _, table, proto, _, kind, _ = _HEAD.unpack_from(body)
    said = attributes(body[_HEAD.size :])
    packed = said.get(_DESTINATION, b"")
    size = _BYTES.get(family)
    if size is None or len(packed) not in (0, size) or length > 8 * len(packed):
        return None
    return Route(packed, length, _number(said.get(_TABLE), table), proto, kind, _number(said.get(_DEVICE), 0))


def _number(value: bytes | None, otherwise: int) -> int:
    return int(_UINT.unpack(value)[0]) if value is not None and len(value) == _UINT.size else otherwise


def ask_local(version: int, index: int) -> bytes:
    """Write the question for what a device makes local; kernels before 5.0 tell of all routes in any case."""
    return _about(_FAMILIES[version], 0, 0) + attribute(_DEVICE, _UINT.pack(index))


def new_local(index: int, prefix: Interface, proto: int) -> Order:
    """Write the order to make a whole prefix local, unless it is."""
    return Order(_NEW, CREATE, _prefix(index, prefix, proto))


def delete_local(index: int, prefix: Interface, proto: int) -> Order:
    """Write the order that it be so no more, where the route is of ``proto``."""
    return Order(_DELETE, 0, _prefix(index, prefix, proto))


def _prefix(index: int, prefix: Interface, proto: int) -> bytes:
    head = _about(_FAMILIES[prefix.version], prefix.network.prefixlen, proto)
    return head + attribute(_DESTINATION, prefix.network.network_address.packed) + attribute(_DEVICE, _UINT.pack(index))


def _about(family: int, length: int, proto: int) -> bytes:
    return _HEAD.pack(family, length, 0, 0, TABLE_LOCAL, proto, 0, LOCAL, 0)
