"""What is to be looked at again when its time comes. Pure: time is passed in."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Alarms(Generic[T]):
    """One time for each thing at most."""

    def __init__(self) -> None:
        self._at: dict[T, float] = {}
        self.next = math.inf  # not later than the first of them

    def set(self, thing: T, at: float) -> None:
        """Look at it at that time, and not at the one before; infinity: never."""
        if at == math.inf:
            self._at.pop(thing, None)
        else:
            self._at[thing] = at
            self.next = min(self.next, at)

    def ring(self, now: float) -> list[T]:
        """Tell what is due, once."""
        if now < self.next:
            return []
        due = [thing for thing, at in self._at.items() if at <= now]
        for thing in due:
            del self._at[thing]
        self.next = min(self._at.values(), default=math.inf)
        return due
