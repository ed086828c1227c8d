"""That somebody else changed the addresses of the VIPs' device, or the device itself, told by the kernel at once.

Formats: linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from socket import AF_UNSPEC

from consulcast.executor import ifaddr
from consulcast.executor.bgp.child import Spawn
from consulcast.executor.kernel import UP, Link, link
from consulcast.executor.netlink import Heard, Message, Subscription, Watcher, attributes
from consulcast.executor.own_changes import OwnChanges
from consulcast.repairs import Kind

_NETLINK_ROUTE = 0
_GROUPS = (1, 5, 9)  # RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
_NEW_LINK, _DELETE_LINK = 16, 17
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBi")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_NAME = 3  # IFLA_IFNAME
_PAUSE = 0.05  # seconds; who clears a thousand addresses away takes about as long


class DeviceEvents:
    """Calls ``on_event`` with what has changed: an address, the device, or nobody knows (events were lost).

    ``own``: what we change ourselves is no event.
    """

    def __init__(self, device: str, own: OwnChanges, on_event: Callable[[Kind], None], spawn: Spawn) -> None:
        self._device, self._own, self._on_event = device, own, on_event
        self._known: Link | None = None
        self.elsewhere = False  # whether an address of another device has changed since somebody set this to False
        self._watcher = Watcher("addresses", self._subscribe, self._take, spawn, _PAUSE)

    def start(self) -> None:
        """Listen from now on."""
        self._watcher.start()

    def stop(self) -> None:
        """Listen no more."""
        self._watcher.stop()

    def _subscribe(self) -> Subscription:
        subscription = Subscription(_NETLINK_ROUTE, _GROUPS)
        self._known = link(self._device)  # after: a change in between is heard
        self.elsewhere = True  # what was before is not
        return subscription

    def _take(self, heard: Heard) -> bool:
        kinds = {self._judge(message) for message in heard.messages} - {None}
        if heard.lost:
            self._own.lost()
            self.elsewhere = True
            kinds.add(Kind.NETLINK)
            self._known = link(self._device)
        for kind in kinds:
            if kind is not None:
                self._on_event(kind)
        return bool(kinds)

    def _judge(self, message: Message) -> Kind | None:
        """Tell what a message is about, if it is any of our business."""
        address = message.kind in (ifaddr.NEW, ifaddr.DELETE)
        if len(message.body) < (_ADDRESS if address else _LINK).size:
            return None  # not what the kernel says; the sweep looks in any case
        if address:
            if self._own.made(message.kind, message.sender, message.body):
                return None
            if self._known is not None and _ADDRESS.unpack_from(message.body)[4] == self._known.index:
                return Kind.ADDRESS
            self.elsewhere = True
            return None
        if message.kind not in (_NEW_LINK, _DELETE_LINK):
            return None
        family, _, index, flags, _ = _LINK.unpack_from(message.body)
        if family != AF_UNSPEC:
            return None  # what a bridge says of its ports
        name = attributes(message.body[_LINK.size :]).get(_NAME, b"").rstrip(b"\0").decode(errors="replace")
        former = self._known
        if name == self._device:
            self._known = Link(index, bool(flags & UP)) if message.kind == _NEW_LINK else None
        elif former is not None and index == former.index:
            self._known = None  # it has another name now
        return Kind.DEVICE if self._known != former else None
