"""The intents, and which of them are about one address or one prefix. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from consulcast.difference import differing
from consulcast.model import Intent, Interface, Prefix, Vip

K = TypeVar("K")


class Wanted:
    """What every VIP should be. Of the VIPs of one prefix, or of one address, the lowest comes first."""

    def __init__(self) -> None:
        self.intents: Mapping[Vip, Intent] = {}
        self._at: dict[Interface, list[Vip]] = {}
        self._within: dict[Prefix, list[Vip]] = {}

    def replace(self, intents: Mapping[Vip, Intent]) -> list[Vip]:
        """Replace all. Returns the VIPs of which something else is wanted than before, those that are gone included."""
        before, self.intents = self.intents, intents
        found = differing(before, intents)
        for vip in found:
            if vip not in before:
                _enter(self._at.setdefault(vip.local, []), vip)
                _enter(self._within.setdefault(vip.prefix, []), vip)
            elif vip not in intents:
                _leave(self._at, vip.local, vip)
                _leave(self._within, vip.prefix, vip)
        return found

    def at(self, address: Interface) -> Sequence[Vip]:
        """The VIPs for which this address is on the host."""
        return self._at.get(address, ())

    def within(self, prefix: Prefix) -> Sequence[Vip]:
        """The VIPs for which this prefix is announced."""
        return self._within.get(prefix, ())


def _enter(vips: list[Vip], vip: Vip) -> None:
    vips.append(vip)
    if len(vips) > 1:
        vips.sort(key=lambda each: each.interface)


def _leave(vips: dict[K, list[Vip]], key: K, vip: Vip) -> None:
    vips[key].remove(vip)
    if not vips[key]:
        del vips[key]
