"""The VIPs' addresses on the host, each with a mark that says whose it is."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from consulcast.executor import ifaddr, routes
from consulcast.executor.kernel import Kernel, link, no_device
from consulcast.executor.protocols import Added, Found, KernelError
from consulcast.executor.requests import Order, Refused, Requests
from consulcast.model import Interface

# IFA_PROTO (Linux 5.18): who made an address, in dumps and in events. 1 to 3 are the kernel's own.
OWNER_MARK = 204
_LABEL = "consulcast"  # the mark of IPv4 addresses on older kernels, which have no room for the app's name
_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_LABEL = 15  # IFNAMSIZ - 1, the device's name included

_SCOPE_HOST = 254  # the kernel never picks such an IPv4 address as a source toward others


class _Seen(NamedTuple):
    """What the device has, read at one time."""

    present: frozenset[Interface]  # addresses that work, but for the device
    marked: frozenset[Interface]  # addresses with our mark
    routed: frozenset[Interface]  # whole IPv6 prefixes that a route of ours makes local, with or without an address
    ours: frozenset[Interface]


class _Told(NamedTuple):
    """What the kernel told of a device, byte by byte: what has not changed is not taken apart again."""

    device: int  # its index
    addresses: list[bytes]
    routes: list[bytes]


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
        self._told: _Told | None = None  # as it was last read
        self._seen = _Seen(frozenset(), frozenset(), frozenset(), frozenset())
        self._read: dict[bytes, tuple[Interface, bool] | None] = {}  # each address and whether it is marked
        self._known: dict[tuple[bytes, int], Interface] = {}  # so that one that was there is the same object
        self._whole = False  # whether a whole IPv6 prefix was ever wanted
        self._routes = True  # whether the table of local routes is worth a look: it has one for each address, too

    def look(self) -> Found:
        """Read what the device has, and what of it is ours. Raises ``KernelError``."""
        device = link(self._name)
        if device is None:
            return Found(trouble=no_device(self._name))
        seen = self._see(device.index)
        trouble = "" if device.up else f"device {self._name} is down: ip link set {self._name} up"
        return Found(seen.present, seen.ours, trouble)

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
        index = self._kernel.device(self._name)
        self._known.update({_key(item): item for item in addresses})
        whole = list(filter(_is_whole, addresses))
        self._whole = self._whole or bool(whole)
        self._routes = self._routes or self._whole
        refused = self._order({item: self._new(index, item, name) for item, name in addresses.items()})
        existing = {item for item, why in refused.items() if why.errno == errno.EEXIST}
        failures = _failures(refused, errno.EEXIST)
        local = {item: routes.new_local(index, item, self._mark) for item in whole if item not in failures}
        failures |= _failures(self._order(local), errno.EEXIST)
        ours = frozenset(addresses) - failures.keys()
        if existing:
            # IPv6 knows an address once, whatever its length: one of another length does not make the prefix local
            found = self.look()
            for address in existing - found.present:
                failures[address] = f"{address.ip} is on {self._name} already, with another prefix length"
            ours -= existing - found.ours
        return Added(ours - failures.keys(), failures)

    def _new(self, index: int, address: Interface, name: str) -> Order:
        if address.version == 4:
            # a whole prefix is local only by its prefix route
            flags = ifaddr.NOPREFIXROUTE if address.network.prefixlen == 32 else 0
            label, scope, preferred = self._label_for(name), _SCOPE_HOST, ifaddr.FOR_EVER
        else:  # deprecated: never a source address of the host's own connections (RFC 6724 section 5)
            flags = ifaddr.NOPREFIXROUTE | ifaddr.NODAD
            label, scope, preferred = "", 0, 0
        return ifaddr.new(index, address, scope=scope, flags=flags, proto=self._mark, label=label, preferred=preferred)

    def _label_for(self, name: str) -> str:
        """``lo:NAME``, where the mark does not need the label. The kernel takes any bytes; others parse it."""
        shown = _NOT_IN_LABELS.sub("", name)
        if not _KEEPS_MARKS or not shown or len(self._name) + 2 > _LONGEST_LABEL:
            return self._label
        return f"{self._name}:{shown}"[:_LONGEST_LABEL]

    def remove(self, addresses: Collection[Interface]) -> dict[Interface, str]:
        """Remove those of ``addresses`` that carry our mark. Returns the failures with the kernel's reason."""
        device = link(self._name)
        if device is None:
            return {}  # and with the device all its addresses
        index, seen = device.index, self._see(device.index)
        # the route that makes a whole IPv6 prefix local is ours, which the kernel did not make by itself
        local = {item: routes.delete_local(index, item, self._mark) for item in addresses if item in seen.routed}
        failures = _failures(self._order(local), errno.ESRCH)
        marked = (item for item in addresses if item in seen.marked and item not in failures)
        return failures | _failures(
            self._order({item: ifaddr.delete(index, item) for item in marked}), errno.EADDRNOTAVAIL
        )

    def _order(self, orders: Mapping[Interface, Order]) -> dict[Interface, Refused]:
        """Have the kernel do all of these; returns what it refuses. Raises ``KernelError``."""
        if not orders:
            return {}
        own = self._kernel.own_changes
        own.expect(orders.values())
        try:
            said = self._kernel.request(lambda requests: requests.order(list(orders.values())))
        except KernelError:
            own.refused(orders.values())  # nobody knows which it has done: of these the events count
            raise
        refused = {item: why for item, why in zip(orders, said, strict=True) if why is not None}
        own.refused(orders[item] for item in refused)
        return refused

    def _see(self, index: int) -> _Seen:
        """Read the addresses, and the local routes of whole IPv6 prefixes once there may be any."""
        device = ifaddr.packed_index(index)

        def of_device(body: bytes) -> bool:
            return ifaddr.device_of(body) == device

        def dump(requests: Requests) -> _Seen:
            asked = (requests.dump(ifaddr.GET, ifaddr.ask(version), of_device) for version in (4, 6))
            addresses = [body for found in asked for body in found]
            local = requests.dump(routes.GET, routes.ask_local(6, index)) if self._routes else []
            told = _Told(index, addresses, local)
            if told != self._told:
                self._seen, self._told = self._judge(told), told
            return self._seen

        return self._kernel.request(dump)

    def _judge(self, told: _Told) -> _Seen:
        before = self._read
        self._read = {body: before[body] if body in before else self._take(body) for body in told.addresses}
        found = [item for item in self._read.values() if item is not None]
        self._known = {_key(address): address for address, _ in found}
        addresses = frozenset(address for address, _ in found)
        marked = frozenset(address for address, is_ours in found if is_ours)
        local = [route for route in map(routes.read, told.routes) if route is not None and _makes_local(route, told)]
        prefixes = {route.prefix for route in local}
        routed = frozenset(route.prefix for route in local if route.proto == self._mark)
        self._routes = self._whole or bool(routed) or any(map(_is_whole, marked))
        without_route = {item for item in addresses if _is_whole(item) and item not in prefixes}
        return _Seen(addresses - without_route, marked, routed, marked | routed)

    def _take(self, body: bytes) -> tuple[Interface, bool] | None:
        """Take apart what the kernel tells of an address; ``None`` for what is none."""
        said = ifaddr.read(body)
        if said is None:
            return None
        return self._known.get((said.packed, said.length)) or said.interface, self._is_ours(said)

    def _is_ours(self, said: ifaddr.IfAddress) -> bool:
        if said.proto is not None:
            return said.proto == self._mark
        # No mark: made by somebody who does not set one, or by us on a kernel that does not keep it.
        return bool(self._label) and not _KEEPS_MARKS and said.label == self._label


def _keeps_marks() -> bool:
    """Whether this kernel has IFA_PROTO, from Linux 5.18 on."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(re.match(r"\d*", minor)[0] or 0)) >= (5, 18)  # type: ignore[index]


_KEEPS_MARKS = _keeps_marks()


def _is_whole(address: Interface) -> bool:
    """Whether it is a whole IPv6 prefix, which the kernel does not make local by itself."""
    return address.version == 6 and address.network.prefixlen < 128 and address.ip == address.network.network_address


def _makes_local(route: routes.Route, told: _Told) -> bool:
    """Whether a route makes a whole prefix of the device local."""
    of_device = route.table == routes.TABLE_LOCAL and route.device == told.device
    return of_device and route.kind == routes.LOCAL and route.packed != b"" and route.length < 8 * len(route.packed)


def _key(address: Interface) -> tuple[bytes, int]:
    return address.packed, address.network.prefixlen


def _failures(refused: Mapping[Interface, Refused], done: int) -> dict[Interface, str]:
    """Word what was refused; ``done``: the error for "it is so"."""
    return {item: str(why) for item, why in refused.items() if why.errno != done}
