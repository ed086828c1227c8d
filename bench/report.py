"""The table at the end."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Median and 99th percentile of samples, in milliseconds."""

    median: float
    p99: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Compute it; two samples at least."""
        return cls(statistics.median(samples), statistics.quantiles(samples, n=100, method="inclusive")[98])


def table(samples: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Return one row per measure from its (consulcast, floor) samples, as a table in Markdown."""
    head = ["ms from write to UPDATE", "rounds", "consulcast median", "p99", "floor median", "p99"]
    head += ["ratio", "excess median", "excess p99"]
    rows = [head]
    for name, (ours, floors) in samples.items():
        us, floor = Spread.of(ours), Spread.of(floors)
        numbers = [us.median, us.p99, floor.median, floor.p99, us.median / floor.median]
        numbers += [us.median - floor.median, us.p99 - floor.p99]
        rows.append([name, str(len(ours)), *(f"{number:.2f}" for number in numbers)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in padded]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
