"""The kernel's messages about routes. Formats: linux/rtnetlink.h, rtnetlink(7)."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from socket import AF_INET, AF_INET6
from typing import NamedTuple

from consulcast.executor.netlink import attribute, attributes
from consulcast.executor.requests import CREATE, Order
from consulcast.model import Interface, IPAddress

GET = 26  # RTM_GETROUTE
_NEW, _DELETE = 24, 25
_HEAD = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, lengths of destination and source, TOS, table, … flags
_DESTINATION, _DEVICE, _GATEWAY, _PRIORITY, _SOURCE, _PATHS, _TABLE = 1, 4, 5, 6, 7, 9, 15  # RTA_…
_PATH = struct.Struct("=HBBi")  # struct rtnexthop: length, flags, weight, device; attributes follow
TABLE_MAIN, TABLE_LOCAL = 254, 255
UNICAST, LOCAL = 1, 2  # RTN_…
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
    priority: int
    source: bytes  # the address that the host would use; "" for none
    gateway: bytes  # "" for none, or for several
    gateways: tuple[bytes, ...]  # it, and those of each path where there are several

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
    gateway = _address(said.get(_GATEWAY), size)
    paths = (_address(path.get(_GATEWAY), size) for path in _paths(said.get(_PATHS, b"")))
    return Route(
        *(packed, length, _number(said.get(_TABLE), table), proto, kind, _number(said.get(_DEVICE), 0)),
        *(_number(said.get(_PRIORITY), 0), _address(said.get(_SOURCE), size), gateway),
        gateways=tuple(each for each in (gateway, *paths) if each),
    )


def _paths(packed: bytes) -> Iterator[dict[int, bytes]]:
    """Take apart the paths of a route that has several."""
    while len(packed) >= _PATH.size:
        length = _PATH.unpack_from(packed)[0]
        if length < _PATH.size:
            return
        yield attributes(packed[_PATH.size : length])
        packed = packed[(length + 3) & ~3 :]


def _address(value: bytes | None, size: int) -> bytes:
    return value if value is not None and len(value) == size else b""


def _number(value: bytes | None, otherwise: int) -> int:
    return int(_UINT.unpack(value)[0]) if value is not None and len(value) == _UINT.size else otherwise


def ask_local(version: int, index: int) -> bytes:
    """Write the question for what a device makes local; kernels before 5.0 tell of all routes in any case."""
    return _about(_FAMILIES[version], 0, 0) + attribute(_DEVICE, _UINT.pack(index))


def ask_main(version: int) -> bytes:
    """Write the question for the main table; kernels before 5.0 tell of all routes in any case."""
    return _HEAD.pack(_FAMILIES[version], 0, 0, 0, TABLE_MAIN, 0, 0, 0, 0)


def is_default(body: bytes) -> bool:
    """Whether a message is about a default route, told from its head alone."""
    return body[1:2] == b"\0"


def ask_way(destination: IPAddress) -> bytes:
    """Write the question for the way to an address."""
    head = _HEAD.pack(_FAMILIES[destination.version], destination.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    return head + attribute(_DESTINATION, destination.packed)


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
