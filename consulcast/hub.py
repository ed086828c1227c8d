"""The hub: all waits of the daemon are in it, so one greenlet that does not yield keeps all others.

How long its turns are is timed, and what takes long is done in slices.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import gevent
from gevent.hub import Waiter

T = TypeVar("T")

SLICE = 0.002  # seconds of a turn of the hub after which what may wait lets others go first
# Seconds that a thread which is at work keeps the interpreter for, while the hub's waits for it: the hub asks for it
# again after every wait and every call of the kernel, and with Python's 5 ms is late by as much each time.
SWITCH = 0.0005
# Any time that is over by when the hub looks. With 0 a greenlet is called again in the same turn, before timers and
# sockets have been looked at: gevent calls what is due at once while libev prepares to wait, and looks at the time
# after 50 calls only (CALLBACK_CHECK_COUNT in 26.9). From 0.1 ms on the hub would really wait, for a millisecond, as
# epoll counts in those.
_SOON = 1e-6


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


class _Turn:
    """When the present turn of a hub began, and who waits for a later one."""

    def __init__(self, hub: Any) -> None:
        self.hub, self.began = hub, time.perf_counter()
        self._waiting: deque[Waiter[None]] = deque()
        self._after = hub.loop.check(ref=False, priority=hub.loop.MAXPRI)
        self._after.start(self._begin)
        self._soon = hub.loop.timer(_SOON)

    def _begin(self) -> None:
        self.began = time.perf_counter()

    @property
    def was_long(self) -> bool:
        """Whether this one has been long enough."""
        return time.perf_counter() - self.began >= SLICE

    def wait_for_later(self) -> None:
        """Go on in a later one: who came first goes first."""
        waiter: Waiter[None] = Waiter(self.hub)
        if not self._waiting:
            self._soon.start(self._go_on)
        self._waiting.append(waiter)
        try:
            waiter.get()
        except BaseException:  # killed meanwhile, or out of time
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiter)
            raise

    def _go_on(self) -> None:
        """Let them go on, one at least, for as long as the turn is not long."""
        while self._waiting:
            self._waiting.popleft().switch(None)
            if self.was_long:
                break
        if self._waiting:
            self._soon.start(self._go_on)


_turn: _Turn | None = None


def breathe() -> None:
    """Let timers, sockets and everybody else have a turn, if this one has been long: for between two small pieces.

    The turn counts whole, whoever used it, so that ten who do so together are no longer than one. In the hub's own
    thread alone.
    """
    global _turn
    if _turn is None or _turn.hub is not gevent.get_hub():
        _turn = _Turn(gevent.get_hub())
    if _turn.was_long:
        _turn.wait_for_later()


def in_turns(things: Iterable[T]) -> Iterator[T]:
    """Give each of them; others get their turn between two."""
    for thing in things:
        yield thing
        breathe()
