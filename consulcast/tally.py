"""What is counted and timed while the daemon works. No I/O; /metrics writes it down (web/metrics.py).

Prometheus' own types could do it. To import them takes a web server and its client, at the start, when routes wait; and
a lock and a walk through all bounds at each turn of the hub. All is counted in the hub's thread, where nothing waits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

Labels = tuple[str, ...]  # their values, in the order of the names


class Count:
    """How often something happened. Names are without ``consulcast_`` and ``_total``.

    ``expected``: the labels of which there is a figure before anything happens, so that a first one is an increase.
    """

    def __init__(self, name: str, what: str, labels: Labels = (), expected: Iterable[Labels] = ()) -> None:
        self.name, self.what, self.labels = name, what, labels
        self.values: dict[Labels, int] = dict.fromkeys(expected, 0)

    def expect(self, *labels: str) -> None:
        """There may be such ones from now on."""
        self.values.setdefault(labels, 0)

    def add(self, *labels: str, more: int = 1) -> None:
        """It happened, so often."""
        self.values[labels] = self.values.get(labels, 0) + more


class Times:
    """How long something took, in seconds: how many were within each of ``bounds`` and not the one before."""

    def __init__(
        self, name: str, what: str, bounds: tuple[float, ...], labels: Labels = (), expected: Iterable[Labels] = ()
    ) -> None:
        self.name, self.what, self.bounds, self.labels = name, what, bounds, labels
        self.values: dict[Labels, list[int]] = {}  # of each bound, and of what is longer than the last
        self.sums: dict[Labels, float] = {}
        for values in expected:
            self._begin(values)

    def observe(self, seconds: float, *labels: str) -> None:
        """It took so long."""
        found = self.values.get(labels)
        if found is None:
            found = self._begin(labels)
        found[bisect_left(self.bounds, seconds)] += 1
        self.sums[labels] += seconds

    def _begin(self, labels: Labels) -> list[int]:
        self.sums[labels] = 0.0
        self.values[labels] = found = [0] * (len(self.bounds) + 1)
        return found
