"""Where Consul's agent is: its addresses are no VIPs, or a VIP could take the daemon's own Consul away from it."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import gevent
from gevent import socket

from consulcast.consul.settings import ConsulSettings
from consulcast.model import IPAddress

PATIENCE = 2.0  # seconds for a name to be resolved


def addresses(settings: ConsulSettings, patience: float = PATIENCE) -> frozenset[IPAddress] | None:
    """Resolve them; none for a unix socket or loopback. ``None``: the name cannot be resolved now."""
    if settings.unix_socket:
        return frozenset()
    host = urlsplit(settings.url).hostname or ""
    try:
        found = {host} if _is_address(host) else _resolved(host, patience)
    except (OSError, UnicodeError, gevent.Timeout):
        return None
    every = (ipaddress.ip_address(text.partition("%")[0]) for text in found)
    return frozenset(address for address in every if not address.is_loopback)


def _resolved(host: str, patience: float) -> set[str]:
    with gevent.Timeout(patience):
        return {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
