"""What is made of other values, kept for as long as those are the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

from consulcast.hub import in_turns

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """A set of such values by key. ``make`` makes one of the values that it is made of."""

    def __init__(self, make: Callable[..., V]) -> None:
        self._make = make
        self._kept: dict[K, tuple[tuple[Any, ...], V]] = {}

    def all(self, wanted: Iterable[tuple[K, tuple[Any, ...]]]) -> list[V]:
        """Return the value of each key, made anew where what it is made of is new; others are forgotten.

        Others get their turn meanwhile: ``wanted`` must not change by that.
        """
        former, now = self._kept, {}
        for key, of in in_turns(wanted):
            known = former.get(key)
            now[key] = known if known is not None and known[0] == of else (of, self._make(*of))
        self._kept = now
        return [value for _, value in now.values()]
