"""What is the same as before, and what is not. Pure.

Whoever comes later tells by ``is`` that nothing changed, which costs nothing at any number of services.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def kept(former: T | None, now: T) -> T:
    """``former``, if ``now`` equals it."""
    return former if former is not None and former == now else now


def differing(former: Mapping[str, T], now: Mapping[str, T]) -> list[str]:
    """The names of what is new or changed, in order, and then of what is gone."""
    if former is now:
        return []
    names = [name for name, entry in now.items() if (old := former.get(name)) is not entry and old != entry]
    if not former.keys() <= now.keys():
        names += [name for name in former if name not in now]
    return names
