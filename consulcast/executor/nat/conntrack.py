"""Flows that began under another rule keep to it for as long as they live: conntrack has them by heart.

A resolver that always asks from the same source port would never see a new rule. So the entries of a changed key
that lead to the wrong place are dropped; what is right already stays, and no connection breaks without need.
Formats: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from consulcast.executor.nat import netlink, rules
from consulcast.executor.nat.netlink import attribute, nested
from consulcast.executor.netlink import attributes
from consulcast.hub import breathe
from consulcast.model import Interface, NatKey, Prefix, Translation

_GET, _DELETE = 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, _DELETE
_ORIGINAL, _REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25  # CTA_…
_IP, _PROTO = 1, 2  # CTA_TUPLE_…
_ADDRESS = {4: (1, 2), 6: (3, 4)}  # CTA_IP_V4_SRC and _DST, CTA_IP_V6_SRC and _DST
_NUMBER, _SOURCE_PORT, _PORT = 1, 2, 3  # CTA_PROTO_…
_BY_ADDRESS, _BY_NUMBER, _BY_PORT = 1 << 1, 1 << 3, 1 << 5  # CTA_FILTER_FLAG_…
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
_FEW = 8  # single addresses that are asked for one by one
_NETFILTER = Path("/proc/sys/net/netfilter")
_COUNT = _NETFILTER / "nf_conntrack_count"

_STATUS, _PROTOINFO, _TIMEOUT = 3, 4, 7  # CTA_…
_TCP, _STATE = 1, 1  # CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE
_OPEN = (2, 3, 4, 5)  # TCP_CONNTRACK_SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT
_ASSURED = 1 << 2  # IPS_ASSURED
_RECENT = 3  # seconds; a UDP flow has no end, so one that nothing came for is over


def changed(before: Iterable[Translation], now: Iterable[Translation]) -> set[NatKey]:
    """Tell which keys lead elsewhere now."""
    old, new = ({item.key: (item.to, item.to_port) for item in items} for items in (before, now))
    return {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}


def drop(before: Collection[Translation], now: Collection[Translation]) -> int:
    """Drop every flow of a changed key that does not lead where ``now`` says. Returns how many. Raises ``OSError``."""
    keys = changed(before, now)
    if not keys or not _any_flow():
        return 0
    ports: dict[tuple[int, str, int], list[Interface]] = {}
    for key in keys:
        ports.setdefault((key.vip.version, key.protocol, key.port), []).append(key.vip)
    dropped = 0
    with netlink.open_socket() as asking, netlink.open_socket() as dropping:
        for (version, protocol, number), vips in ports.items():
            port = Port(version, protocol, number, vips, now)
            for question in port.questions():
                for portion in netlink.dump(asking, _GET, _FAMILIES[version], question):
                    for flow in map(attributes, portion):  # a few hundred
                        if port.is_wrong(flow):
                            dropped += _delete(dropping, _FAMILIES[version], flow)
                        breathe()
    return dropped


def open_to(vips: Collection[Interface], version: int) -> Iterator[list[bytes]]:
    """Yield the (packed) addresses asked for of flows that are open, in portions. Raises ``OSError``.

    Of TCP only flows that are led elsewhere: the others are sockets of this host. ``vips``: which the kernel is to
    look for, where they are few; what it tells of may be more.
    """
    if not _is_tracking():
        return
    source, destination = _ADDRESS[version]
    longest = [_seconds(f"nf_conntrack_udp_timeout{kind}") for kind in ("", "_stream")]
    hosts = [vip for vip in vips if vip.network.prefixlen == vip.max_prefixlen]
    questions = [b""]
    if version == 4 and len(hosts) == len(vips) <= _FEW:  # see Port.questions
        questions = [_question(nested(_IP, attribute(destination, vip.ip.packed)), b"", _BY_ADDRESS) for vip in hosts]
    with netlink.open_socket() as asking:
        for question in questions:
            for portion in netlink.dump(asking, _GET, _FAMILIES[version], question):
                flows = (_if_open(attributes(flow), source, destination, longest) for flow in portion)
                yield [asked for asked in flows if asked]


def _if_open(flow: dict[int, bytes], source: int, destination: int, longest: list[int]) -> bytes | None:
    """The address asked for, of a flow that is open."""
    if not flow.keys() >= {_ORIGINAL, _REPLY, _STATUS, _TIMEOUT}:
        return None
    original, reply = _tuple(flow[_ORIGINAL]), _tuple(flow[_REPLY])
    asked, protocol = original[_IP][destination], original[_PROTO][_NUMBER][0]
    if protocol == socket.IPPROTO_TCP:
        state = attributes(attributes(flow.get(_PROTOINFO, b"")).get(_TCP, b"")).get(_STATE, b"\0")[0]
        is_open = state in _OPEN and reply[_IP][source] != asked
    elif protocol == socket.IPPROTO_UDP:
        assured = bool(int.from_bytes(flow[_STATUS], "big") & _ASSURED)
        is_open = int.from_bytes(flow[_TIMEOUT], "big") >= longest[assured] - _RECENT
    else:
        is_open = False
    return asked if is_open else None


def _seconds(name: str) -> int:
    return int((_NETFILTER / name).read_text())


def _is_tracking() -> bool:
    """Whether there is any flow. To ask where there is no conntrack would load it."""
    try:
        return int(_COUNT.read_text()) > 0
    except FileNotFoundError:
        return False


class Port:
    """One port of some VIPs, with the rules for it as they stand now."""

    def __init__(
        self, version: int, protocol: str, port: int, vips: Iterable[Interface], now: Iterable[Translation]
    ) -> None:
        self._source, self._destination = _ADDRESS[version]
        self._protocol, self._port = _PROTOCOLS[protocol], port
        networks = [vip.network for vip in vips]
        self._hosts = {item.network_address.packed for item in networks if item.prefixlen == item.max_prefixlen}
        self._prefixes = [item for item in networks if item.prefixlen < item.max_prefixlen]
        self._right_hosts: dict[bytes, tuple[bytes, int]] = {}
        self._right_prefixes: dict[Prefix, tuple[bytes, int]] = {}  # the longest first
        for item in rules.in_order(now):
            if (item.vip.version, item.protocol, item.port) == (version, protocol, port):
                network, to = item.vip.network, (item.to.packed, item.to_port)
                if network.prefixlen == network.max_prefixlen:
                    self._right_hosts[network.network_address.packed] = to
                else:
                    self._right_prefixes[network] = to

    def questions(self) -> list[bytes]:
        """Filters for the kernel (Linux 5.8): by protocol and port, and by address where that is little work."""
        # IPv6 addresses are not given: the kernel compares them the wrong way round (ctnetlink_filter_match_tuple, seen
        # on 6.18), and would tell of every flow but those asked for. Each question is a walk through all flows.
        if self._prefixes or len(self._hosts) > _FEW or self._destination != _ADDRESS[4][1]:
            return [self._question(b"", _BY_NUMBER | _BY_PORT)]
        flags = _BY_NUMBER | _BY_PORT | _BY_ADDRESS
        return [self._question(nested(_IP, attribute(self._destination, host)), flags) for host in self._hosts]

    def _question(self, address: bytes, flags: int) -> bytes:
        protocol = attribute(_NUMBER, bytes([self._protocol])) + attribute(_PORT, struct.pack(">H", self._port))
        return _question(address, nested(_PROTO, protocol), flags)

    def is_wrong(self, flow: dict[int, bytes]) -> bool:
        """Whether a flow is about this port of these VIPs, and its answers come from elsewhere than they should."""
        original, reply = _tuple(flow[_ORIGINAL]), _tuple(flow[_REPLY])
        asked = original[_IP][self._destination]
        if original[_PROTO][_NUMBER][0] != self._protocol or _number(original, _PORT) != self._port:
            return False
        if asked not in self._hosts and not _covering(asked, self._prefixes):
            return False
        right = self._right_hosts.get(asked)
        if right is None:
            prefix = _covering(asked, self._right_prefixes)
            right = self._right_prefixes[prefix] if prefix else (asked, self._port)
        return (reply[_IP][self._source], _number(reply, _SOURCE_PORT)) != right


def _question(address: bytes, protocol: bytes, flags: int) -> bytes:
    return nested(_ORIGINAL, address, protocol) + nested(
        _FILTER, attribute(1, struct.pack("=I", flags)), attribute(2, struct.pack("=I", 0))
    )


def _covering(address: bytes, networks: Collection[Prefix]) -> Prefix | None:
    if not networks:
        return None
    parsed = ipaddress.ip_address(address)
    return next((network for network in networks if parsed in network), None)


def _any_flow() -> bool:
    try:
        return int(_COUNT.read_text()) > 0
    except OSError:
        return True  # unknown


def _number(end: dict[int, dict[int, bytes]], kind: int) -> int:
    return int.from_bytes(end[_PROTO].get(kind, b""), "big")


def _tuple(packed: bytes) -> dict[int, dict[int, bytes]]:
    return {kind: attributes(part) for kind, part in attributes(packed).items() if kind in (_IP, _PROTO)}


def _delete(kernel: netlink.Socket, family: int, flow: dict[int, bytes]) -> int:
    named = b"".join(
        attribute(kind | (0x8000 if kind == _ORIGINAL else 0), flow[kind])
        for kind in (_ORIGINAL, _ID, _ZONE)
        if kind in flow
    )
    kernel.send(netlink.message(_DELETE, netlink.REQUEST | netlink.ACK, family, named))
    try:
        list(netlink.messages(kernel.recv(4096)))
    except OSError as error:
        if error.errno != errno.ENOENT:  # it has ended by itself
            raise
        return 0
    return 1
