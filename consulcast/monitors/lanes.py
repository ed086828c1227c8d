"""Bounds how many probes run at once, so that those that hang take nothing from those that do not."""

from __future__ import annotations

from types import TracebackType

import gevent
from gevent.lock import BoundedSemaphore

PATIENCE = 0.25  # seconds after which a probe is one of the slow


class Lanes:
    """Two lanes: a quick one, and a slow one for what takes longer than ``PATIENCE`` or did so the last time."""

    def __init__(self, quick: int, slow: int, patience: float = PATIENCE) -> None:
        self.quick = BoundedSemaphore(quick)
        self.slow = BoundedSemaphore(slow)
        self.patience = patience


class Turn:
    """One probe's place on the lanes. ``with turn:`` waits for a place and holds it; it may become a slow one."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._was_slow = False
        self._lane = lanes.quick

    def __enter__(self) -> None:
        self._lane = self._lanes.slow if self._was_slow else self._lanes.quick
        self._lane.acquire()
        self._was_slow = False
        self._timer = gevent.get_hub().loop.timer(self._lanes.patience, self._lanes.patience)
        self._timer.start(self._late)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.stop()
        self._timer.close()
        self._lane.release()

    def _late(self) -> None:
        """Leave the quick lane as soon as the slow one has a place; called by the hub."""
        self._was_slow = True
        if self._lane is self._lanes.quick and self._lanes.slow.acquire(blocking=False):
            self._lanes.quick.release()
            self._lane = self._lanes.slow
