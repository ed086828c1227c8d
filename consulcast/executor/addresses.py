"""The VIPs' addresses on the host, each with a mark that says whose it is."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

from consulcast.executor.kernel import Kernel, explain, link, no_device
from consulcast.executor.protocols import Added, Found
from consulcast.executor.rtnetlink import NetlinkError
from consulcast.model import Interface

# IFA_PROTO (Linux 5.18): who made an address, in dumps and in events. 1 to 3 are the kernel's own.
OWNER_MARK = 204
_LABEL = "consulcast"  # the mark of IPv4 addresses on older kernels, which have no room for the app's name
_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_LABEL = 15  # IFNAMSIZ - 1, the device's name included

_SCOPE_HOST = 254  # the kernel never picks such an IPv4 address as a source toward others
_RT_TABLE_LOCAL = 255
_RTN_LOCAL = 2
_IFA_F_NODAD = 0x02
_IFA_F_NOPREFIXROUTE = 0x200


class _Seen(NamedTuple):
    """What the device has, read at one time."""

    addresses: frozenset[Interface]
    marked: frozenset[Interface]  # addresses with our mark
    routed: frozenset[Interface]  # whole IPv6 prefixes that a route of ours makes local, with or without an address
    without_route: frozenset[Interface]  # whole IPv6 prefixes that no route makes local: they do not work


class Addresses:
    """The addresses of one device, ours told from everybody else's by ``mark`` (4 to 255)."""

    def __init__(self, kernel: Kernel, device: str = "lo", mark: int = OWNER_MARK) -> None:
        self._kernel = kernel
        self._name, self._mark = device, mark
        label = f"{device}:{_LABEL}"
        if len(label) > _LONGEST_LABEL:
            label = f"{device}:c{mark}"
        # The default label is the device's name: a cut-off one must never equal that, or all would be ours.
        self._label = label if len(label) <= _LONGEST_LABEL else ""
        self._known: dict[tuple[str, int], Interface] = {}  # as they were last read, for parsing takes its time
        self._whole = False  # whether a whole IPv6 prefix was ever wanted
        self._routes = True  # whether the table of local routes is worth a look: it has one for each address, too

    def look(self) -> Found:
        """Read what the device has, and what of it is ours. Raises ``KernelError``."""
        device = link(self._name)
        if device is None:
            return Found(trouble=no_device(self._name))
        seen = self._see(device.index)
        trouble = "" if device.up else f"device {self._name} is down: ip link set {self._name} up"
        return Found(frozenset(seen.addresses - seen.without_route), seen.marked | seen.routed, trouble)

    def present(self) -> frozenset[Interface]:
        """Read which addresses the device has, whoever put them. Raises ``KernelError``."""
        return self.look().present

    def owned(self) -> frozenset[Interface]:
        """Read which addresses, and which whole IPv6 prefixes, carry our mark. Raises ``KernelError``."""
        return self.look().ours

    def add(self, addresses: Mapping[Interface, str]) -> Added:
        """Add what is missing, IPv4 ones labelled with the name that is given, as in GoCast.

        Never ``replace``: that would take over an address that an operator has put there.
        """
        existing: set[Interface] = set()
        self._known.update({(str(item.ip), item.network.prefixlen): item for item in addresses})
        self._whole = self._whole or any(map(_is_whole, addresses))
        self._routes = self._routes or self._whole
        failures = self._each(addresses, partial(self._add_one, existing, addresses))
        ours = frozenset(addresses) - failures.keys()
        if existing:
            # IPv6 knows an address once, whatever its length: one of another length does not make the prefix local
            found = self.look()
            for address in existing - found.present:
                failures[address] = f"{address.ip} is on {self._name} already, with another prefix length"
            ours -= existing - found.ours
        return Added(ours - failures.keys(), failures)

    def remove(self, addresses: Collection[Interface]) -> dict[Interface, str]:
        """Remove those of ``addresses`` that carry our mark. Returns the failures with the kernel's reason."""
        device = link(self._name)
        if device is None:
            return {}  # and with the device all its addresses
        seen = self._see(device.index)
        ours = [item for item in addresses if item in seen.marked or item in seen.routed]
        return self._each(ours, partial(self._remove_one, seen))

    def _each(
        self, addresses: Collection[Interface], operation: Callable[[Any, int, Interface], None]
    ) -> dict[Interface, str]:
        if not addresses:
            return {}
        index = self._kernel.device(self._name)
        failures: dict[Interface, str] = {}

        def run(ipr: Any) -> None:
            for address in addresses:
                try:
                    operation(ipr, index, address)
                except NetlinkError as error:
                    failures[address] = explain(error)

        self._kernel.call(run)
        return failures

    def _add_one(
        self, existing: set[Interface], names: Mapping[Interface, str], ipr: Any, index: int, address: Interface
    ) -> None:
        host_route = address.network.prefixlen == address.network.max_prefixlen
        flags = _IFA_F_NOPREFIXROUTE if host_route else 0  # a whole prefix is local only by its prefix route
        common = {
            "index": index,
            "address": str(address.ip),
            "prefixlen": address.network.prefixlen,
            "proto": self._mark,
        }
        try:
            if address.version == 4:
                text = self._label_for(names[address])
                label = {"label": text} if text else {}
                ipr.addr("add", **common, **label, scope=_SCOPE_HOST, flags=flags)
            else:  # deprecated: never a source address of the host's own connections (RFC 6724 section 5)
                flags = _IFA_F_NOPREFIXROUTE | _IFA_F_NODAD
                ipr.addr("add", **common, flags=flags, preferred_lft=0, valid_lft=0xFFFFFFFF)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
            existing.add(address)
        if _is_whole(address):
            self._local_prefix(ipr, "add", index, address, errno.EEXIST)

    def _label_for(self, name: str) -> str:
        """``lo:NAME``, where the mark does not need the label. The kernel takes any bytes; others parse it."""
        shown = _NOT_IN_LABELS.sub("", name)
        if not _KEEPS_MARKS or not shown or len(self._name) + 2 > _LONGEST_LABEL:
            return self._label
        return f"{self._name}:{shown}"[:_LONGEST_LABEL]

    def _remove_one(self, seen: _Seen, ipr: Any, index: int, address: Interface) -> None:
        if address in seen.routed:
            self._local_prefix(ipr, "del", index, address, errno.ESRCH)
        if address not in seen.marked:
            return
        try:
            ipr.addr("del", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
        except NetlinkError as error:
            if error.code != errno.EADDRNOTAVAIL:
                raise

    def _local_prefix(self, ipr: Any, verb: str, index: int, address: Interface, done: int) -> None:
        """Make a whole IPv6 prefix local, which IPv4 does by itself on loopback; ``done``: the error for "it is so"."""
        wanted = {"dst": str(address.network), "oif": index, "table": _RT_TABLE_LOCAL, "type": "local"}
        try:
            ipr.route(verb, **wanted, proto=self._mark)
        except NetlinkError as error:
            if error.code != done:
                raise

    def _see(self, index: int) -> _Seen:
        """Read the addresses, and the local routes of whole IPv6 prefixes once there may be any."""

        def dump(ipr: Any) -> tuple[list[Any], list[Any]]:
            families = (socket.AF_INET, socket.AF_INET6)
            addresses = [item for family in families for item in ipr.get_addr(family=family, index=index)]
            routes = ipr.get_routes(family=socket.AF_INET6, table=_RT_TABLE_LOCAL) if self._routes else ()
            return addresses, list(routes)

        found, routes = self._kernel.call(dump)
        local = [item for item in routes if item["type"] == _RTN_LOCAL and item["dst_len"] < 128]
        local = [item for item in local if item.get("oif") == index and item.get("dst")]
        prefixes = frozenset(map(_prefix, local))
        read = [self._read(item) for item in found]
        self._known = {_written(item): address for item, address in zip(found, read, strict=True)}
        addresses = frozenset(read)
        marked = frozenset(address for item, address in zip(found, read, strict=True) if self._is_ours(item))
        routed = frozenset(_prefix(item) for item in local if item["proto"] == self._mark)
        self._routes = self._whole or bool(routed) or any(map(_is_whole, marked))
        without_route = frozenset(item for item in addresses if _is_whole(item) and item not in prefixes)
        return _Seen(addresses, marked, routed, without_route)

    def _read(self, item: Any) -> Interface:
        """Read an address; one that was there the last time is the same object."""
        written = _written(item)
        return self._known.get(written) or ipaddress.ip_interface("{}/{}".format(*written))

    def _is_ours(self, item: Any) -> bool:
        proto = item.get("proto")
        if proto is not None:
            return bool(proto == self._mark)
        # No mark: made by somebody who does not set one, or by us on a kernel that does not keep it.
        return bool(self._label) and not _KEEPS_MARKS and bool(item.get("label") == self._label)


def _keeps_marks() -> bool:
    """Whether this kernel has IFA_PROTO, from Linux 5.18 on."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(re.match(r"\d*", minor)[0] or 0)) >= (5, 18)  # type: ignore[index]


_KEEPS_MARKS = _keeps_marks()


def _is_whole(address: Interface) -> bool:
    """Whether it is a whole IPv6 prefix, which the kernel does not make local by itself."""
    return address.version == 6 and address.network.prefixlen < 128 and address.ip == address.network.network_address


def _prefix(route: Any) -> Interface:
    return ipaddress.ip_interface(f"{route.get('dst')}/{route['dst_len']}")


def _written(item: Any) -> tuple[str, int]:
    # on a device that is not point-to-point IFA_LOCAL equals IFA_ADDRESS; IPv6 has the latter alone
    return item.get("local") or item.get("address"), item["prefixlen"]
