"""The VIPs' addresses on the host, each with a mark that says whose it is."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from consulcast.executor.kernel import Kernel, explain
from consulcast.executor.protocols import Added
from consulcast.model import Interface

# IFA_PROTO (Linux 5.18): who made an address, in dumps and in events. 1 to 3 are the kernel's own.
OWNER_MARK = 204
_LABEL = "consulcast"  # the mark of IPv4 addresses on older kernels, which have no room for the app's name
_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_LABEL = 15  # IFNAMSIZ - 1, the device's name included

_SCOPE_HOST = 254  # the kernel never picks such an IPv4 address as a source toward others
_RT_TABLE_LOCAL = 255
_IFA_F_NODAD = 0x02
_IFA_F_NOPREFIXROUTE = 0x200


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

    def look(self) -> tuple[frozenset[Interface], frozenset[Interface]]:
        """Read which addresses the device has, and which of them carry our mark. Raises ``KernelError``."""
        found = self._dump()
        return frozenset(map(_interface, found)), frozenset(_interface(item) for item in found if self._is_ours(item))

    def present(self) -> frozenset[Interface]:
        """Read which addresses the device has, whoever put them. Raises ``KernelError``."""
        return self.look()[0]

    def owned(self) -> frozenset[Interface]:
        """Read which addresses carry our mark. Raises ``KernelError``."""
        return self.look()[1]

    def add(self, addresses: Mapping[Interface, str]) -> Added:
        """Add what is missing, IPv4 ones labelled with the name that is given, as in GoCast.

        Never ``replace``: that would take over an address that an operator has put there.
        """
        existing: set[Interface] = set()
        failures = self._each(addresses, partial(self._add_one, existing, addresses))
        ours = frozenset(addresses) - failures.keys()
        if existing:
            # IPv6 knows an address once, whatever its length: one of another length does not make the prefix local
            there, owned = self.look()
            for address in existing - there:
                failures[address] = f"{address.ip} is on {self._name} already, with another prefix length"
            ours -= existing - owned
        return Added(ours, failures)

    def remove(self, addresses: Collection[Interface]) -> dict[Interface, str]:
        """Remove those of ``addresses`` that carry our mark. Returns the failures with the kernel's reason."""
        ours = self.owned()
        return self._each([item for item in addresses if item in ours], self._remove_one)

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
        if address.version == 6 and not host_route:
            self._local_prefix(ipr, "add", index, address, errno.EEXIST)

    def _label_for(self, name: str) -> str:
        """``lo:NAME``, where the mark does not need the label. The kernel takes any bytes; others parse it."""
        shown = _NOT_IN_LABELS.sub("", name)
        if not _KEEPS_MARKS or not shown or len(self._name) + 2 > _LONGEST_LABEL:
            return self._label
        return f"{self._name}:{shown}"[:_LONGEST_LABEL]

    def _remove_one(self, ipr: Any, index: int, address: Interface) -> None:
        if address.version == 6 and address.network.prefixlen < 128:
            self._local_prefix(ipr, "del", index, address, errno.ESRCH)
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

    def _dump(self) -> list[Any]:
        index = self._kernel.device(self._name)
        return self._kernel.call(
            lambda ipr: [
                item
                for family in (socket.AF_INET, socket.AF_INET6)
                for item in ipr.get_addr(family=family, index=index)
            ]
        )

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


def _interface(item: Any) -> Interface:
    # on a device that is not point-to-point IFA_LOCAL equals IFA_ADDRESS; IPv6 has the latter alone
    return ipaddress.ip_interface(f"{item.get('local') or item.get('address')}/{item['prefixlen']}")
