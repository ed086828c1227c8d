"""What the kernel knows of the network around: the peers that can be spoken to, and the host's own addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from msgspec import Struct

from consulcast.config import PeerConfig
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.kernel import Kernel
from consulcast.executor.nat.destination import destinations
from consulcast.executor.peers import Unresolved, resolve
from consulcast.model import IPAddress
from consulcast.values import replace


class Network(Struct, frozen=True):
    """The network as it was found. Peers are by their key in the file."""

    found: Mapping[str, Peer]
    gaps: tuple[str, ...]  # what could not be found, and what to do about it: peers, next hops
    nat_to: tuple[IPAddress, ...]  # this host's own addresses for NAT, one of a family at most
    own: frozenset[IPAddress]  # the host's own, and its gateways
    needed: frozenset[IPAddress] = frozenset()  # of peers, those that cannot be spoken to yet too, and next hops

    @property
    def reserved(self) -> frozenset[IPAddress]:
        """Addresses that are no VIPs."""
        return self.own | self.needed

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The peers that can be spoken to, in the order of the file."""
        return tuple(self.found.values())


def look(
    configs: Sequence[PeerConfig], router_id: ipaddress.IPv4Address | None, kernel: Kernel, vip_device: str
) -> Network:
    """Look. Raises ``KernelError``."""
    found: dict[str, Peer] = {}
    gaps = []
    for config in configs:
        try:
            peer = found[config.where] = resolve(config, router_id, kernel)
        except Unresolved as why:
            gaps.append(str(why))
            continue
        for family in config.families:
            if (peer.next_hop4 if family == "ipv4" else peer.next_hop6) is None:
                gaps.append(
                    f"peer {peer.address}: no {family} next hop, so no {family} VIPs for it; give the device toward it "
                    f"a global address, or set next_hop_{family}, or leave {family} out of families"
                )
    return Network(
        found,
        tuple(gaps),
        destinations(found.values(), kernel),
        own(kernel, vip_device) | kernel.gateways(),
        _needed(found) | _written(configs, router_id),
    )


def own(kernel: Kernel, vip_device: str) -> frozenset[IPAddress]:
    """Look which addresses are the host's own. Raises ``KernelError``."""
    return kernel.own_addresses(other_than=kernel.device(vip_device))


def filled(network: Network, later: Network) -> Network:
    """Fill the gaps of ``network`` from a later look, and change nothing else.

    What was found stands: an address or a route that is away for a moment must not withdraw anything.
    """
    found: dict[str, Peer] = {}
    for where in [*network.found, *later.found]:
        before, after = network.found.get(where), later.found.get(where)
        if before is None:
            found[where] = later.found[where]
        elif after is not None and after.address == before.address and after.local_address == before.local_address:
            hop4, hop6 = before.next_hop4 or after.next_hop4, before.next_hop6 or after.next_hop6
            found[where] = replace(before, next_hop4=hop4, next_hop6=hop6)
        else:
            found[where] = before
    versions = {address.version for address in network.nat_to}
    nat_to = (*network.nat_to, *(address for address in later.nat_to if address.version not in versions))
    return Network(found, later.gaps, nat_to, later.own, later.needed | _needed(found))


def _written(configs: Sequence[PeerConfig], router_id: IPAddress | None) -> frozenset[IPAddress]:
    """What the file names: a peer without a route is one all the same, and as a VIP would never have one."""
    named = (
        address
        for config in configs
        for address in (config.address, config.local_address, config.next_hop4, config.next_hop6)
        if address is not None
    )
    return frozenset((*named, *((router_id,) if router_id is not None else ())))


def _needed(found: Mapping[str, Peer]) -> frozenset[IPAddress]:
    needed = (
        address
        for peer in found.values()
        for address in (peer.address, peer.local_address, peer.next_hop4, peer.next_hop6)
        if address is not None
    )
    return frozenset(needed)
