"""How late the hub is: all waits of the daemon are in it, so one greenlet that does not yield keeps all others."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent


class HubTurns:
    """Times each turn of gevent's hub, from the end of one wait for the kernel to the beginning of the next.

    It wakes nobody: libev calls it in turns that there are anyway. ``observe`` is given seconds of ``clock``, and must
    not wait.
    """

    def __init__(self, observe: Callable[[float], None], clock: Callable[[], float] = time.perf_counter) -> None:
        self._observe, self._clock = observe, clock
        loop: Any = gevent.get_hub().loop  # its types lack the priorities
        # the first after the wait, and the last before the next, whatever else is due
        self._after = loop.check(ref=False, priority=loop.MAXPRI)
        self._before = loop.prepare(ref=False, priority=loop.MINPRI)
        self._began: float | None = None

    def start(self) -> None:
        """Begin to time."""
        self._after.start(self._begin)
        self._before.start(self._end)

    def stop(self) -> None:
        """Time no more."""
        for watcher in (self._after, self._before):
            watcher.stop()
            watcher.close()

    def _begin(self) -> None:
        self._began = self._clock()

    def _end(self) -> None:
        if self._began is not None:
            self._observe(self._clock() - self._began)
            self._began = None
