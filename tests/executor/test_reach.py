"""The way to a neighbour, asked of this machine's kernel; nothing is changed, and nothing is sent."""

from __future__ import annotations

import ipaddress
from typing import NoReturn

import pytest

from consulcast.executor.kernel import Kernel
from consulcast.executor.protocols import KernelError
from consulcast.executor.reach import reach


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return Kernel()


def test_this_host_is_reached_by_loopback(kernel: Kernel) -> None:
    address = ipaddress.ip_address("127.0.0.1")
    found = reach(kernel, address)
    assert (found.device, found.hop, found.trouble) == ("lo", address, "")
    assert found.answers is not False


class Unreachable(Kernel):
    """A kernel without a route."""

    def call(self, operation: object) -> NoReturn:
        raise KernelError("Network is unreachable (errno 101)")


def test_no_way_is_said_in_the_kernel_s_words() -> None:
    found = reach(Unreachable(), ipaddress.ip_address("198.51.100.2"))
    assert found.trouble == "no route to 198.51.100.2: Network is unreachable (errno 101)"
