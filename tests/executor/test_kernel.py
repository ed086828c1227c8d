"""What this machine's kernel says of its network; nothing is changed. What pyroute2 makes of it is the measure."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from consulcast.executor import kernel as module
from consulcast.executor.kernel import Kernel
from consulcast.executor.protocols import KernelError
from consulcast.executor.requests import Refused

LOCALHOST = ipaddress.ip_address("127.0.0.1")


def close(kernel: Kernel) -> None:
    """Have it forget its socket, which else lives as long as the process."""
    if kernel._requests is not None:
        kernel._requests.close()


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    kernel = Kernel()
    yield kernel
    close(kernel)


def by_pyroute2(kernel: Kernel, version: int) -> list[Any]:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    found: list[Any] = kernel.call(lambda ipr: list(ipr.get_addr(family=family)))
    return found


@pytest.mark.parametrize("version", [4, 6])
def test_global_addresses_are_those_that_pyroute2_finds(kernel: Kernel, version: int) -> None:
    found = by_pyroute2(kernel, version)
    for device in {item["index"] for item in found}:
        expected = [
            f"{item.get('local') or item.get('address')}/{item['prefixlen']}"
            for item in found
            if item["index"] == device and not item["scope"] and item.get("cacheinfo")["ifa_preferred"]
        ]
        assert list(map(str, kernel.global_addresses(device, version))) == expected


def test_own_addresses_are_those_of_all_devices_but_the_vips(kernel: Kernel) -> None:
    found = [item for version in (4, 6) for item in by_pyroute2(kernel, version) if not item["scope"]]
    for device in {item["index"] for item in found} | {1}:
        others = {item.get("local") or item.get("address") for item in found if item["index"] != device}
        assert set(map(str, kernel.own_addresses(device))) == others


def test_gateways_are_those_that_pyroute2_finds(kernel: Kernel) -> None:
    families = (socket.AF_INET, socket.AF_INET6)
    found = [one for family in families for one in kernel.call(lambda ipr, f=family: list(ipr.get_default_routes(f)))]  # type: ignore[misc]
    hops = [hop for one in found for hop in (one, *(one.get("multipath") or ()))]
    assert set(map(str, kernel.gateways())) == {hop.get("gateway") for hop in hops if hop.get("gateway")}


def test_way_to_this_host_is_local_and_begins_at_it(kernel: Kernel) -> None:
    path = kernel.path(LOCALHOST)
    assert (path.source, path.device) == (LOCALHOST, socket.if_nametoindex("lo"))


def test_what_the_kernel_refuses_is_said_in_its_words_and_the_socket_stays(kernel: Kernel) -> None:
    def refuse(requests: object) -> NoReturn:
        raise Refused(101, "Network is unreachable")

    kernel.path(LOCALHOST)
    before = kernel._port()
    with pytest.raises(KernelError, match=r"^Network is unreachable \(errno 101\)$"):
        kernel.request(refuse)
    assert kernel._port() == before != 0


def test_socket_that_fails_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()

    def fail(requests: object) -> NoReturn:
        raise OSError(105, "No buffer space available")

    with pytest.raises(KernelError, match="No buffer space"):
        kernel.request(fail)
    assert kernel._port() == 0
    assert kernel.path(LOCALHOST).source == LOCALHOST
    close(kernel)

    def none() -> NoReturn:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(module, "Requests", none)
    with pytest.raises(KernelError, match="Too many open files"):
        Kernel().path(LOCALHOST)


ASK = """
import sys
from gevent import monkey; monkey.patch_all()
import ipaddress
import consulcast.daemon
from consulcast.executor.kernel import Kernel
from consulcast.executor.addresses import Addresses
kernel = Kernel()
kernel.gateways(), kernel.default_gateway(), kernel.own_addresses(1), kernel.global_addresses(1, 4)
kernel.path(ipaddress.ip_address("127.0.0.1"))
Addresses(kernel).look()
print([name for name in ("pyroute2", "asyncio") if name in sys.modules])
sys.stdout.flush()
import os; os._exit(0)
"""


def test_nothing_that_is_asked_before_the_first_announcement_needs_pyroute2() -> None:
    run = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=False)
    assert run.stdout == "[]\n", run.stderr
