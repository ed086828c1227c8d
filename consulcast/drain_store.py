"""The drains that were asked for over HTTP: kept over a restart, and ended when their time is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path

import gevent
from gevent.event import AsyncResult, Event

from consulcast import drain_file
from consulcast.drains import MAX_DRAINS, Drain, Target
from consulcast.kept_file import STOPPING, KeptFile, NotStored
from consulcast.notation import BadValue

log = logging.getLogger(__name__)


class DrainStore:
    """Holds them, and writes them in one greenlet: what comes meanwhile goes with the next write.

    Every change counts at once and is written when the disk lets it: a full disk must not keep an operator from taking
    a broken host out of service, nor from putting it back. Who asked is told when a restart would not know of it.
    """

    def __init__(
        self,
        path: Path,
        changed: Callable[[], None],
        failed: Callable[[BaseException], None],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._changed, self._failed = changed, failed
        self._clock, self._wall = clock, wall
        self._file = KeptFile(path, clock)
        self._waiting: list[AsyncResult[OSError | None]] = []  # who wants to know whether it is written
        self._dirty = False  # what stands is not what the file says
        self._wake = Event()
        self._stopping = False
        self._greenlet: gevent.Greenlet[[], None] | None = None
        self._drains = {drain.target: drain for drain in self._load()}

    @property
    def drains(self) -> Collection[Drain]:
        """Every drain that stands, in order of asking."""
        return tuple(self._drains.values())

    def put(self, target: Target, seconds: float | None, reason: str, who: str) -> Drain:
        """Drain, for so many seconds or until it is ended; or change how long and why. Returns when it is written.

        Raises ``BadValue``, ``NotStored``: it counts, but a restart may forget it.
        """
        former, now = self._drains.get(target), self._clock()
        if former is None and len(self._drains) >= MAX_DRAINS:
            raise BadValue(f"there are {MAX_DRAINS} drains already: end some, or drain the node")
        until = None if seconds is None else now + seconds
        ends = "" if seconds is None else drain_file.moment(self._wall() + seconds)
        drain = Drain(target, former.since if former else now, until, ends, reason, who)
        self._check_running()
        extra = {"drain": str(target), "reason": "drain-begun", "detail": drain.why}
        log.info("drain of %s: %s%s", target, "changed: " if former else "", drain.why, extra=extra)
        self._change({**self._drains, target: drain}, "it is drained, but a restart may forget that")
        return drain

    def remove(self, target: Target) -> bool:
        """End a drain; tells whether there was one. Raises ``NotStored``: it is ended, but may come back."""
        self._check_running()
        if target not in self._drains:
            return False
        log.info("drain of %s: ended", target, extra={"drain": str(target), "reason": "drain-ended"})
        rest = {other: drain for other, drain in self._drains.items() if other != target}
        self._change(rest, "the drain is ended, but a restart may bring it back")
        return True

    def wake(self) -> None:
        """Look again: time has passed."""
        self._wake.set()

    # -- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to take changes, and to let lapse."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self, timeout: float = 2.0) -> None:
        """Write what was asked for, and end."""
        self._stopping = True
        self._wake.set()
        if self._greenlet is not None:
            self._greenlet.join(timeout)
            self._greenlet.kill()
        self._file.close()

    def _check_running(self) -> None:
        if self._stopping or self._greenlet is None:
            raise NotStored(STOPPING)

    def _change(self, drains: dict[Target, Drain], what: str) -> None:
        self._drains, self._dirty = drains, True
        self._changed()
        done: AsyncResult[OSError | None] = AsyncResult()
        self._waiting.append(done)
        self._wake.set()
        trouble = done.get()
        if trouble is not None:
            raise self._file.not_stored(what, trouble)

    def _run(self) -> None:
        try:
            while not self._stopping or self._waiting:
                self._wake.wait(self._pause())
                self._wake.clear()
                self._lapse()
                again = self._file.due() or (self._stopping and self._file.behind)
                if self._waiting or again or (self._dirty and not self._file.behind):
                    self._write()
        except Exception as error:
            self._failed(error)
            raise
        finally:
            self._stopping = True
            for done in self._waiting:
                done.set(OSError("the daemon is stopping"))

    def _pause(self) -> float | None:
        return self._file.pause(drain.until for drain in self._drains.values() if drain.until is not None)

    def _lapse(self) -> None:
        now = self._clock()
        over = {target for target, drain in self._drains.items() if drain.until is not None and drain.until <= now}
        if over:
            for target in over:
                extra = {"drain": str(target), "reason": "drain-ended", "detail": "its time is over"}
                log.info("drain of %s: its time is over", target, extra=extra)
            self._drains = {target: drain for target, drain in self._drains.items() if target not in over}
            self._dirty = True
            self._changed()

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._dirty = False  # what changes during the write makes it so again
        data = drain_file.encode(tuple(self._drains.values()), self._wall() - self._clock())
        trouble = self._file.write(data)
        if trouble is not None:
            self._dirty = True
        for done in waiting:
            done.set(trouble)

    def _load(self) -> list[Drain]:
        now = self._clock()
        try:
            data = self._file.read()
            found = () if data is None else drain_file.decode(data, self._wall() - now, now)
        except (OSError, ValueError) as error:
            self._set_aside(error)
            return []
        for drain in found:
            if drain.until is not None and drain.until <= now:
                extra = {"drain": str(drain.target), "reason": "drain-ended", "detail": "while the daemon did not run"}
                log.info("drain of %s: its time was over while the daemon did not run", drain.target, extra=extra)
            else:
                extra = {"drain": str(drain.target), "reason": "drain-begun", "detail": f"of a former run: {drain.why}"}
                log.info("drain of %s of a former run stands: %s", drain.target, drain.why, extra=extra)
        return [drain for drain in found if drain.until is None or drain.until > now]

    def _set_aside(self, why: Exception) -> None:
        where = self._file.set_aside()
        extra = {"reason": "drains-unreadable", "detail": str(why)}
        log.error("%s cannot be read (%s); no drain of a former run stands; %s", self._file, why, where, extra=extra)
