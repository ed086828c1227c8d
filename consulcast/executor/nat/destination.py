"""Where NAT leads to: this host's own addresses, as GoCast's ``local_ip``."""

from __future__ import annotations

from collections.abc import Iterable

from consulcast.executor.bgp.peer import Peer
from consulcast.executor.kernel import Kernel
from consulcast.executor.protocols import KernelError
from consulcast.executor.routes import LOCAL
from consulcast.model import IPAddress


def destinations(peers: Iterable[Peer], kernel: Kernel) -> tuple[IPAddress, ...]:
    """Find an address of each family: ours toward a peer, else the next hop that is given to one, when it is ours.

    A loopback address is none: the kernel does not lead others' packets there (``route_localnet``).
    """
    peers = tuple(peers)
    known = [peer.local_address for peer in peers]
    known += [hop for peer in peers for hop in (peer.next_hop4, peer.next_hop6) if hop is not None]
    usable = [item for item in dict.fromkeys(known) if not item.is_loopback and _is_ours(item, kernel)]
    first = (next((item for item in usable if item.version == version), None) for version in (4, 6))
    return tuple(item for item in first if item is not None)


def _is_ours(address: IPAddress, kernel: Kernel) -> bool:
    try:
        return kernel.way(address).kind == LOCAL
    except KernelError:
        return False
