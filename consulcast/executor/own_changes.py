"""Which of the kernel's events about addresses tell of what we have changed ourselves.

An event about an IPv4 address names the socket that has caused it; one about an IPv6 address names none (the kernel's
``inet6_ifa_notify``). So of these it is remembered what we have had added, and what we are having removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from socket import AF_INET6
from typing import NamedTuple

from consulcast.executor import ifaddr
from consulcast.executor.requests import Order


class _Address(NamedTuple):
    device: int  # its index
    packed: bytes
    length: int


class OwnChanges:
    """Remembers them. ``port``: of our socket; 0 while there is none, which is the kernel's own number."""

    def __init__(self, port: Callable[[], int]) -> None:
        self._port = port
        self._added: set[_Address] = set()
        self._leaving: set[_Address] = set()

    def expect(self, orders: Iterable[Order]) -> None:
        """The kernel is about to be given these orders."""
        for order in orders:
            address = _read(order.body)
            if address is not None:
                into, other = (self._added, self._leaving) if order.kind == ifaddr.NEW else (self._leaving, self._added)
                into.add(address)
                other.discard(address)

    def refused(self, orders: Iterable[Order]) -> None:
        """The kernel has not done these."""
        for order in orders:
            address = _read(order.body)
            if address is not None:
                (self._added if order.kind == ifaddr.NEW else self._leaving).discard(address)

    def lost(self) -> None:
        """Events were lost: nobody knows which of these are still to come."""
        self._leaving.clear()

    def made(self, kind: int, sender: int, body: bytes) -> bool:
        """Tell whether an event is about a change of ours."""
        if sender:
            return sender == self._port()
        address = _read(body)
        if address is None:
            return False
        if kind == ifaddr.NEW:  # as often as the kernel likes: it tells of a new one, and that it is deprecated
            return address in self._added
        self._added.discard(address)
        ours = address in self._leaving
        self._leaving.discard(address)
        return ours


def _read(body: bytes) -> _Address | None:
    """Read which IPv6 address a message is about."""
    said = ifaddr.read(body) if body[:1] == bytes((AF_INET6,)) else None
    return _Address(said.device, said.packed, said.length) if said is not None else None
