"""Who takes away what we put back, again and again, is not to be outrun. Pure: time is passed in."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T", bound=Hashable)

AT_ONCE = 3  # losses of one thing that are repaired at once
QUIET = 60.0  # seconds without a loss after which the former ones are forgotten
PAUSE_MIN, PAUSE_MAX = 1.0, 30.0  # seconds before the next repair, doubled with each loss


class _Loss(Struct, frozen=True):
    times: int
    last: float


class Losses(Generic[T]):
    """How often each thing was lost of late."""

    def __init__(self) -> None:
        self._losses: dict[T, _Loss] = {}

    def pause(self, thing: T, now: float) -> float:
        """Count a loss. Returns how many seconds to wait before it is put back."""
        self._losses = {known: loss for known, loss in self._losses.items() if now - loss.last < QUIET}
        former = self._losses.get(thing)
        times = former.times + 1 if former else 1
        self._losses[thing] = _Loss(times, now)
        if times <= AT_ONCE:
            return 0.0
        return min(PAUSE_MIN * 2.0 ** (times - AT_ONCE - 1), PAUSE_MAX)
