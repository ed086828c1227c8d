"""Since when it is not known how a thing is. Pure: time is passed in."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from consulcast.model import Stale


class Marks:
    """What is unknown, by name, with the time since which it has been without a break."""

    def __init__(self) -> None:
        self.stale: Mapping[str, Stale] = {}  # the same object while nothing has changed

    def update(self, unknown: Mapping[str, str], doubtful: Collection[str], now: float) -> None:
        """Take what is unknown now, and why. What is merely ``doubtful`` begins no unknown, and ends none."""
        before = self.stale
        stale = {name: _stale(before.get(name), now, why) for name, why in unknown.items()}
        stale.update((name, before[name]) for name in doubtful if name in before and name not in stale)
        if stale != before:
            self.stale = stale


def _stale(before: Stale | None, now: float, why: str) -> Stale:
    if before is None:
        return Stale(now, why)
    return before if before.reason == why else Stale(before.since, why)
