"""Monitors ``port``: passing while somebody listens on a port of this host. One actor serves all of them.

A dump of the kernel's listeners answers for every port that is due. A closed socket is told by the kernel; the verdict
comes from asking anew for that port, since another may listen on it still (SO_REUSEPORT, a restart). Of a new listener
nothing is told: so while a port fails, there is a dump every ``RECOVERY`` seconds.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import gevent
from gevent.event import Event
from msgspec import Struct

from consulcast.model import MonitorSpec
from consulcast.monitors import sock_diag, targets
from consulcast.monitors.closed import Closed
from consulcast.monitors.probe import Look, failed
from consulcast.monitors.sock_diag import Listener

log = logging.getLogger(__name__)

RECOVERY = 0.25  # seconds between two dumps while a port fails …
LONG_RECOVERY = 1.0  # … and when all that fail have failed for ``LONG`` seconds
LONG = 30.0
_LISTENS, _NOBODY = Look(True, "somebody listens"), Look(False, "nobody listens")
_FEW = 4  # ports that are asked for one by one; more of them by a dump of all

Listening: TypeAlias = Mapping[int, Sequence[Listener]]


class _Watched(Struct):
    port: targets.Port
    interval: float
    due: float = 0.0  # when the next look counts, whatever it sees
    last: Look | None = None  # the last one that counted
    since: float = 0.0  # when looks began to say what it says

    def changes(self, look: Look) -> bool:
        return self.last is None or self.last.passed is not look.passed

    def counts(self, look: Look, now: float) -> bool:
        """Whether a look counts; if so, it is the last one now."""
        changes = self.changes(look)
        if not changes and now < self.due:
            return False
        if changes:
            self.since = now
        self.last = look
        # on a grid that all monitors share, so that one dump serves those of one interval
        self.due = (now // self.interval + 1) * self.interval
        return True


class Ports:
    """Looks at all ports that were ``set``, and hands each look that counts to ``take``, with when it began.

    A look counts when the monitor's interval is over, and whenever it differs from the one before.
    """

    def __init__(
        self, take: Callable[[MonitorSpec, Look, float], None], spawn: Callable[..., gevent.Greenlet[..., Any]]
    ) -> None:
        self._take = take
        self._spawn = spawn
        self._watched: dict[MonitorSpec, _Watched] = {}
        self._by_port: dict[int, list[MonitorSpec]] = {}
        self._wake = Event()
        self._anew = False  # other monitors are wanted than were looked at last
        self._closed: Closed | None = None
        self._greenlets: list[gevent.Greenlet[..., Any]] = []

    def set(self, intervals: Mapping[MonitorSpec, float]) -> None:
        """Replace all monitors that are wanted, with the seconds from one look to the next."""
        if {spec: item.interval for spec, item in self._watched.items()} == intervals:
            return
        former = self._watched
        self._watched = {}
        self._by_port = {}
        for spec, interval in intervals.items():
            watched = former.get(spec) or _Watched(targets.port(spec), interval)
            if watched.interval != interval:
                watched.interval, watched.due = interval, 0.0
            self._watched[spec] = watched
            self._by_port.setdefault(watched.port.number, []).append(spec)
        self._anew = True
        self._begin()
        if self._closed is not None:
            self._closed.watch(self._by_port)  # before the look, so that nothing is missed between the two
        self._wake.set()

    def due(self, spec: MonitorSpec) -> float | None:
        """When the next look at a port counts, whatever it sees."""
        watched = self._watched.get(spec)
        return None if watched is None else watched.due

    def stop(self) -> None:
        """Look no more."""
        gevent.killall(self._greenlets)
        self._greenlets = []
        if self._closed is not None:
            self._closed.close()
            self._closed = None

    def _begin(self) -> None:
        """Hosts without a port monitor pay nothing."""
        if self._greenlets or not self._watched:
            return
        self._greenlets = [self._spawn(self._tick)]
        try:
            self._closed = Closed()
        except OSError as error:
            text = "closed listeners are seen at the interval only: the kernel does not tell of them: %s"
            log.warning(text, error, extra={"reason": "no-kernel-events"})
        else:
            self._greenlets.append(self._spawn(self._listen, self._closed))

    def _listen(self, closed: Closed) -> None:
        while True:
            ports = closed.wait()
            if 0 in ports or len(ports) > _FEW:
                self._look(self._watched)
            else:
                for port in ports:
                    self._look(self._by_port.get(port, ()), port)
            self._wake.set()  # to the next dump it is not as long while a port fails

    def _tick(self) -> None:
        at = math.inf  # when to look
        while True:
            now = time.monotonic()
            pause = self._pause(now)
            at = math.inf if pause is None else min(at, now + pause)
            woken = self._wake.wait(None if at == math.inf else max(at - now, 0.0))
            self._wake.clear()
            if woken and not self._anew and time.monotonic() < at:
                continue  # the pause is another one; a withdrawal does not wait for a dump of all
            at, self._anew = math.inf, False
            self._look(self._watched)

    def _pause(self, now: float) -> float | None:
        """Seconds to the next dump."""
        if not self._watched:
            return None
        due = min(watched.due for watched in self._watched.values()) - now
        failing = [now - item.since for item in self._watched.values() if item.last is None or not item.last.passed]
        if failing:
            due = min(due, RECOVERY if min(failing) < LONG else LONG_RECOVERY)
        return max(due, 0.01)

    def _look(self, specs: Iterable[MonitorSpec], port: int = 0) -> None:
        """Look at these monitors with one dump for each protocol; of one port, if it is said."""
        now = time.monotonic()
        by_protocol: dict[str, list[tuple[MonitorSpec, _Watched]]] = {}
        for spec in specs:
            watched = self._watched[spec]
            by_protocol.setdefault(watched.port.protocol, []).append((spec, watched))
        for protocol, group in by_protocol.items():
            looks = _judge_all(group, protocol, port)
            if not port and any(
                look.passed is False and watched.changes(look) for (_, watched), look in zip(group, looks, strict=True)
            ):
                # a dump of many comes in portions, between which one can be missed while others come and go
                looks = _judge_all(group, protocol, port)
            for (spec, watched), look in zip(group, looks, strict=True):
                if watched.counts(look, now):
                    self._take(spec, look, now)


def _judge_all(group: Iterable[tuple[MonitorSpec, _Watched]], protocol: str, port: int) -> list[Look]:
    listening = _dump(protocol, port)
    return [_judge(watched, listening) for _, watched in group]


def _dump(protocol: str, port: int) -> Listening | OSError:
    found: dict[int, list[Listener]] = {}
    try:
        for listener in sock_diag.listeners(protocol, port):
            found.setdefault(listener.port, []).append(listener)
    except OSError as error:
        return error
    return found


def _judge(watched: _Watched, listening: Listening | OSError) -> Look:
    if isinstance(listening, OSError):
        module = f"{watched.port.protocol}_diag"
        return Look(None, f"the kernel does not tell (module {module}): {failed(listening).detail}")
    listeners, address = listening.get(watched.port.number), watched.port.address
    if address is None:
        return _LISTENS if listeners else _NOBODY
    if any(listener.takes(address.packed) for listener in listeners or ()):
        return _LISTENS
    return Look(False, f"nobody listens on {address}")
