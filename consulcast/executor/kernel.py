"""rtnetlink in one dedicated thread: the calling greenlet waits, the hub does not.

An answer takes the kernel some microseconds; but whoever else holds its lock of the network configuration (a driver
that resets, a container engine) is waited for, as long as that takes, and the hub has other things to do meanwhile.

The VIPs' addresses, of which there may be thousands, and what is asked before the first announcement go through
``requests.py``. What is asked when somebody wants an explanation goes through pyroute2's ``IPRoute``: it is imported
for the first such question, for that takes 70 ms and 6 MiB. Its version 0.9 runs an asyncio loop inside each call; from
greenlets it fails at once or leaks a socket per greenlet.
"""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from gevent.threadpool import ThreadPool
from msgspec import Struct

from consulcast.executor import ifaddr, routes
from consulcast.executor.own_changes import OwnChanges
from consulcast.executor.protocols import KernelError
from consulcast.executor.requests import Refused, Requests
from consulcast.model import Interface, IPAddress

T = TypeVar("T")

_SCOPE_GLOBAL = 0
_SIOCGIFFLAGS = 0x8913
UP = 1  # IFF_UP, netdevice(7)


class Link(Struct, frozen=True):
    """A network device: its index, and whether it is set up."""

    index: int
    up: bool


def link(name: str) -> Link | None:
    """Look at a device; ``None`` when there is none of that name."""
    try:
        index = socket.if_nametoindex(name)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
            answer = fcntl.ioctl(asking, _SIOCGIFFLAGS, struct.pack("16sh14x", name.encode(), 0))
    except OSError:
        return None
    return Link(index, bool(struct.unpack_from("=h", answer, 16)[0] & UP))


def no_device(name: str) -> str:
    """Word that the VIPs' device is not there."""
    return f"no network device {name!r}: see agent.vip_device in the configuration"


class Path(Struct, frozen=True):
    """How the kernel would reach an address."""

    source: IPAddress
    device: int  # interface index


class Kernel:
    """The kernel's addresses and routes. Calls block the calling greenlet only.

    Thread and socket end with the process: gevent's thread does not always survive being ended before that.
    """

    def __init__(self) -> None:
        self._pool = ThreadPool(1)
        self._ipr: Any = None
        self._requests: Requests | None = None
        self.own_changes = OwnChanges(self._port)  # for those who hear of all

    def _port(self) -> int:
        requests = self._requests
        return requests.port if requests is not None else 0

    def request(self, operation: Callable[[Requests], T]) -> T:
        """Run ``operation(requests)`` in the netlink thread. Raises ``KernelError``."""
        return self._apply(partial(self._with_requests, operation))

    def call(self, operation: Callable[[Any], T]) -> T:
        """Run ``operation(ipr)`` in the netlink thread. Raises ``KernelError``."""
        return self._apply(partial(self._with_pyroute2, operation))

    def _apply(self, run: Callable[[], T | KernelError]) -> T:
        # an error is handed back as a value: gevent prints the traceback of what a pool's thread raises
        result: T | KernelError = self._pool.apply(run)
        if isinstance(result, KernelError):
            raise result
        return result

    def _with_requests(self, operation: Callable[[Requests], T]) -> T | KernelError:
        try:
            if self._requests is None:
                self._requests = Requests()
            return operation(self._requests)
        except Refused as error:
            return KernelError(str(error))
        except OSError as error:
            if self._requests is not None:
                self._requests.close()
                self._requests = None
            return KernelError(str(error))

    def _with_pyroute2(self, operation: Callable[[Any], T]) -> T | KernelError:
        from consulcast.executor.rtnetlink import IPRoute, NetlinkError

        try:
            if self._ipr is None:
                self._ipr = IPRoute(ext_ack=True)
            return operation(self._ipr)
        except NetlinkError as error:
            return KernelError(f"{error.args[1] if len(error.args) > 1 else error} (errno {error.code})")
        except OSError as error:
            return KernelError(str(error))

    def device(self, name: str) -> int:
        """Look up an interface's index. Raises ``KernelError`` when there is none of that name."""
        try:
            return socket.if_nametoindex(name)
        except OSError:
            raise KernelError(no_device(name)) from None

    def default_gateway(self) -> IPAddress | None:
        """Find the gateway of the best default route, IPv4 before IPv6."""
        for version in (4, 6):
            usable = [
                route for route in self._default_routes(version) if route.kind == routes.UNICAST and route.gateway
            ]
            if usable:
                return ipaddress.ip_address(min(usable, key=lambda route: route.priority).gateway)
        return None

    def gateways(self) -> frozenset[IPAddress]:
        """List the gateways of all default routes."""
        found = [route for version in (4, 6) for route in self._default_routes(version)]
        return frozenset(ipaddress.ip_address(gateway) for route in found for gateway in route.gateways)

    def _default_routes(self, version: int) -> list[routes.Route]:
        ask = routes.ask_main(version)
        found = self.request(lambda requests: requests.dump(routes.GET, ask, routes.is_default))
        read = (routes.read(body) for body in found)
        return [route for route in read if route is not None and route.table == routes.TABLE_MAIN]

    def way(self, destination: IPAddress) -> routes.Route:
        """Ask for the way to an address. Raises ``KernelError`` when there is none."""
        answer = self.request(lambda requests: requests.ask(routes.GET, routes.ask_way(destination)))
        route = routes.read(answer.body)
        if route is None:
            raise KernelError(f"no route to {destination}")
        return route

    def path(self, destination: IPAddress) -> Path:
        """Ask which source address and device the kernel would use. Raises ``KernelError`` when there is no route."""
        route = self.way(destination)
        if not route.source:
            raise KernelError(f"no source address toward {destination}")
        return Path(ipaddress.ip_address(route.source), route.device)

    def own_addresses(self, other_than: int) -> frozenset[IPAddress]:
        """List the host's addresses of global scope on all devices but one: they are its own, not VIPs."""
        vips = ifaddr.packed_index(other_than)
        found = [self._addresses(version, lambda body: ifaddr.device_of(body) != vips) for version in (4, 6)]
        return frozenset(said.interface.ip for said in chain(*found))

    def global_addresses(self, device: int, version: int) -> tuple[Interface, ...]:
        """List a device's own addresses of global scope; deprecated ones, such as IPv6 VIPs, are left out."""
        wanted = ifaddr.packed_index(device)
        found = self._addresses(version, lambda body: ifaddr.device_of(body) == wanted)
        return tuple(said.interface for said in found if said.preferred)

    def _addresses(self, version: int, wanted: Callable[[bytes], bool]) -> list[ifaddr.IfAddress]:
        """Read the addresses of global scope."""
        found = self.request(lambda requests: requests.dump(ifaddr.GET, ifaddr.ask(version), wanted))
        return [said for said in map(ifaddr.read, found) if said is not None and said.scope == _SCOPE_GLOBAL]
