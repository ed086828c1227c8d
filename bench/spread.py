"""What samples come to: median and percentiles. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """How samples are spread, in their own unit."""

    count: int
    median: float
    p95: float
    p99: float
    most: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Compute it. Raises ``ValueError`` without samples."""
        if not samples:
            raise ValueError("no samples")
        ordered = sorted(samples)
        return cls(
            len(ordered), statistics.median(ordered), quantile(ordered, 0.95), quantile(ordered, 0.99), ordered[-1]
        )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the samples lie, between two of them in proportion (R's type 7)."""
    place = (len(ordered) - 1) * share
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
