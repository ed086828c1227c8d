"""Whether a neighbour is there at all: what the kernel knows of the way to it, for those who ask why it is silent."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from consulcast.executor import routes
from consulcast.executor.kernel import Kernel
from consulcast.executor.protocols import KernelError
from consulcast.executor.requests import Refused, Requests
from consulcast.model import IPAddress

# linux/neighbour.h: NUD_…
_INCOMPLETE, _FAILED = 0x01, 0x20
_KNOWN = 0x02 | 0x04 | 0x08 | 0x10  # reachable, stale, delay, probe: its link-layer address is known


class Reach(Struct, frozen=True):
    """The way to an address. ``hop`` is itself where it is on the link."""

    trouble: str = ""  # why there is no way
    device: str = ""
    hop: IPAddress | None = None
    answers: bool | None = None  # whether ``hop`` answers on the link (ARP, neighbour discovery); ``None``: unknown


def reach(kernel: Kernel, address: IPAddress) -> Reach:
    """Look at the route to an address and at its first hop's neighbour entry. Waits for the kernel."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6

    def ask(ipr: Any) -> Reach:
        ways = list(ipr.route("get", dst=str(address), family=family))
        if not ways:
            return Reach(trouble=f"no route to {address}")
        hop = ipaddress.ip_address(ways[0].get("gateway") or str(address))
        index = ways[0].get("oif")
        entries = [item for item in ipr.get_neighbours(family=family, ifindex=index) if item.get("dst") == str(hop)]
        state = entries[0]["state"] if entries else 0
        answers = True if state & _KNOWN else False if state & (_INCOMPLETE | _FAILED) else None
        return Reach(device=socket.if_indextoname(index) if index else "", hop=hop, answers=answers)

    try:
        return kernel.call(ask)
    except KernelError as error:
        return Reach(trouble=f"no route to {address}: {error}")


def undelivered(kernel: Kernel, addresses: Iterable[IPAddress]) -> frozenset[IPAddress]:
    """Tell which addresses' packets the kernel would not give to this host. Raises ``KernelError``.

    The kernel makes a local route with each address; somebody may take it away again and leave the address.
    """
    asked = tuple(addresses)

    def ask(requests: Requests) -> frozenset[IPAddress]:
        return frozenset(address for address in asked if not _is_local(requests, address))

    return kernel.request(ask)


def _is_local(requests: Requests, address: IPAddress) -> bool:
    try:
        route = routes.read(requests.ask(routes.GET, routes.ask_way(address)).body)
    except Refused:  # there is none at all
        return False
    return route is not None and route.kind == routes.LOCAL
