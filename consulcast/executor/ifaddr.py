"""The kernel's messages about addresses of devices. Formats: linux/if_addr.h, rtnetlink(7)."""

from __future__ import annotations

import ipaddress
import struct
from socket import AF_INET, AF_INET6
from typing import NamedTuple

from consulcast.executor.netlink import attribute, attributes
from consulcast.executor.requests import CREATE, Order
from consulcast.model import Interface

NODAD, NOPREFIXROUTE = 0x02, 0x200  # IFA_F_…
FOR_EVER = 0xFFFFFFFF  # INFINITY_LIFE_TIME

NEW, DELETE, GET = 20, 21, 22  # RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR
_HEAD = struct.Struct("=BBBBi")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_LIVES = struct.Struct("=IIII")  # struct ifa_cacheinfo: preferred, valid (seconds), created, updated
_ADDRESS, _LOCAL, _LABEL, _CACHEINFO, _FLAGS, _PROTO = 1, 2, 3, 6, 8, 11  # IFA_…
_INDEX = struct.Struct("=i")
_UINT = struct.Struct("=I")
_FAMILIES = {4: AF_INET, 6: AF_INET6}
_BYTES = {AF_INET: 4, AF_INET6: 16}


class IfAddress(NamedTuple):
    """An address of a device, as the kernel tells of it."""

    packed: bytes
    length: int  # of its prefix
    device: int  # its index
    scope: int
    label: str
    proto: int | None  # ``None``: it carries no mark, or the kernel keeps none
    preferred: int  # seconds for which it may be a source address

    @property
    def interface(self) -> Interface:
        """The address with its prefix length."""
        return ipaddress.ip_interface((self.packed, self.length))


def read(body: bytes) -> IfAddress | None:
    """Read a message about an address; ``None`` for what is none of IPv4 or IPv6."""
    if len(body) < _HEAD.size:
        return None
    family, length, _, scope, index = _HEAD.unpack_from(body)
    said = attributes(body[_HEAD.size :])
    # On a device that is not point-to-point both are equal; IPv6 has the second alone.
    packed = said.get(_LOCAL) or said.get(_ADDRESS) or b""
    if len(packed) != _BYTES.get(family) or length > 8 * len(packed):
        return None
    label = said.get(_LABEL, b"").rstrip(b"\0").decode(errors="replace")
    proto, lives = said.get(_PROTO), said.get(_CACHEINFO, b"")
    preferred = _LIVES.unpack_from(lives)[0] if len(lives) >= _LIVES.size else FOR_EVER
    return IfAddress(packed, length, index, scope, label, proto[0] if proto else None, preferred)


def ask(version: int) -> bytes:
    """Write the question for all addresses of a family, of all devices.

    The kernel can be asked for those of one device; but then it does not tell that they have changed meanwhile
    (net/ipv4/devinet.c), and may leave out one that was there all the time.
    """
    return _HEAD.pack(_FAMILIES[version], 0, 0, 0, 0)


def device_of(body: bytes) -> bytes:
    """Which device a message is about, as ``packed_index`` writes it; told without taking the rest apart."""
    return body[4:8]


def packed_index(device: int) -> bytes:
    """Write the index of a device."""
    return _INDEX.pack(device)


def new(index: int, address: Interface, *, scope: int, flags: int, proto: int, label: str, preferred: int) -> Order:
    """Write the order to add an address, unless it is there."""
    more = attribute(_FLAGS, _UINT.pack(flags)) + attribute(_PROTO, bytes((proto,)))
    if label:
        more += attribute(_LABEL, label.encode() + b"\0")
    if preferred != FOR_EVER:
        more += attribute(_CACHEINFO, _LIVES.pack(preferred, FOR_EVER, 0, 0))
    return Order(NEW, CREATE, _about(index, address, scope) + more)


def delete(index: int, address: Interface) -> Order:
    """Write the order to remove an address."""
    return Order(DELETE, 0, _about(index, address, 0))


def _about(index: int, address: Interface, scope: int) -> bytes:
    packed = address.packed
    head = _HEAD.pack(_FAMILIES[address.version], address.network.prefixlen, 0, scope, index)
    return head + attribute(_LOCAL, packed) + attribute(_ADDRESS, packed)
