"""What both back ends share: the mark of our rules, their order, and a translation as one line of text.

Imported by the one-shot child too: nothing of gevent here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from consulcast.model import Translation

OWNER = "consulcast"  # name of our nft table, and the comment of every rule of ours in iptables
CHAIN = "CONSULCAST"  # our chain in iptables; more than 28 characters are taken there and then not found


def in_order(translations: Iterable[Translation]) -> list[Translation]:
    """Sort for a chain, where the first match counts: the longest prefix first, then by text, always the same way."""
    return sorted(set(translations), key=lambda item: (-item.vip.network.prefixlen, str(item)))


def written(translation: Translation) -> str:
    """Write ``203.0.113.10/32 udp 53 198.51.100.1 8053``."""
    item = translation
    return f"{item.vip} {item.protocol} {item.port} {item.to} {item.to_port}"


def read(text: str) -> Translation:
    """Read what ``written`` wrote. Raises ``ValueError``, also for what may never be a rule."""
    vip, protocol, port, to, to_port = text.split(" ")
    return Translation(ipaddress.ip_interface(vip), protocol, int(port), ipaddress.ip_address(to), int(to_port))
