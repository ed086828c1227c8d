"""Peers as configured become peers as spoken to: the kernel is asked for what the file leaves open."""

from __future__ import annotations

import ipaddress

from consulcast.config import PeerConfig
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.kernel import Kernel
from consulcast.executor.protocols import KernelError
from consulcast.model import IPAddress

EBGP_TTL = 255  # as GoCast: multihop, whatever the number of hops


class Unresolved(Exception):
    """A peer that cannot be spoken to yet; the message says what is missing."""


def resolve(config: PeerConfig, router_id: ipaddress.IPv4Address | None, kernel: Kernel) -> Peer:
    """Find the peer's address, our address toward it and the next hops. Raises ``Unresolved``.

    The next hop of the session's own family is our address toward the peer (RFC 4271 section 5.1.3); of the other
    family the first global address on the same device.
    """
    try:
        address = config.address or kernel.default_gateway()
        if address is None:
            raise Unresolved(f"{config.where}: no peer address is set and the host has no default gateway")
        local = config.local_address
        hop4: IPAddress | None = config.next_hop4
        hop6: IPAddress | None = config.next_hop6
        if local is None or hop4 is None or hop6 is None:
            path = kernel.path(address)
            local = local or path.source
            if hop4 is None:
                hop4 = local if local.version == 4 else _first(kernel, path.device, 4)
            if hop6 is None:
                hop6 = local if local.version == 6 else _first(kernel, path.device, 6)
    except KernelError as error:
        raise Unresolved(f"{config.where}: peer {config.address or '(default gateway)'}: {error}") from None
    identifier = router_id or (local if local.version == 4 else hop4)
    if not isinstance(identifier, ipaddress.IPv4Address):
        raise Unresolved(f"{config.where}: no IPv4 address to be the router ID toward {address}: set bgp.router_id")
    if hop4 is None and config.extended_next_hop:
        hop4 = hop6
    return Peer(
        address=address,
        peer_as=config.peer_as,
        local_as=config.local_as,
        local_address=local,
        router_id=identifier,
        next_hop4=hop4 if "ipv4" in config.families else None,
        next_hop6=hop6 if "ipv6" in config.families and isinstance(hop6, ipaddress.IPv6Address) else None,
        port=config.port,
        password=config.password,
        ttl=config.ttl or (EBGP_TTL if config.peer_as != config.local_as and not config.ttl_security else None),
        ttl_security=config.ttl_security,
        hold_time=config.hold_time,
        extended_next_hop=config.extended_next_hop,
    )


def _first(kernel: Kernel, device: int, version: int) -> IPAddress | None:
    return next((item.ip for item in kernel.global_addresses(device, version)), None)
