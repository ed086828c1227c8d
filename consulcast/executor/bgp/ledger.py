"""What ExaBGP should know, what it was told, and what it has acknowledged: per peer and prefix, and without I/O.

ExaBGP answers commands in order, without an id. So the commands under way are a queue, at most one of them about each
(peer, prefix), and at most ``WINDOW`` in all: more unread answers would fill its pipe, on which it blocks.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from consulcast.executor.bgp import commands
from consulcast.executor.bgp.errors import CommandError
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.protocols import RouteState
from consulcast.model import IPAddress, Prefix, Route

log = logging.getLogger(__name__)

WINDOW = 100  # commands under way; measured: fewer and more are slower
_FIRST_RETRY, _LAST_RETRY = 1.0, 60.0  # seconds after a refusal


class Key(NamedTuple):
    """One prefix at one peer."""

    peer: IPAddress
    prefix: Prefix


@dataclass(frozen=True, slots=True)
class _Command:
    """A command under way. ``key`` is None for one that is about no route; ``announced`` is None to withdraw."""

    line: str
    key: Key | None = None
    announced: str | None = None


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A command that was answered `error`. ``retry`` is when to try again, infinity while that is being done."""

    times: int
    retry: float


class Ledger:
    """The books of the speaker."""

    def __init__(self, peers: Iterable[Peer]) -> None:
        self._peers = {peer.address: peer for peer in peers}
        self._wanted: dict[Prefix, Route] = {}
        self._lines: dict[Key, str] = {}  # wanted: the command that announces
        self._unwritable: set[Prefix] = set()  # wanted, but not of a form that can be sent
        self._told: dict[Key, str] = {}  # acknowledged: the command that announced
        self._suspect: set[Key] = set()  # ExaBGP may know something else than `_told` says
        self._flight: deque[_Command] = deque()
        self._flying: set[Key] = set()
        self._refused: dict[Key, _Refusal] = {}
        # Sets that keep their order. A withdrawal must not wait behind announcements.
        self._withdrawals: dict[Key, None] = {}
        self._announcements: dict[Key, None] = {}
        self._next_retry = math.inf
        self._progress = False  # something was acknowledged since we last wrote
        self._nudging = False  # a nudge waits for its answer

    # What should be

    def set(self, routes: Iterable[Route]) -> None:
        """Replace all that is wanted; the later of two routes for one prefix counts."""
        before, self._wanted = self._wanted, {route.prefix: route for route in routes}
        for prefix in before.keys() - self._wanted.keys():
            self._want(prefix, None)
        for prefix, route in self._wanted.items():
            old = before.get(prefix)
            if old is not route and old != route:
                self._want(prefix, route)

    def _want(self, prefix: Prefix, route: Route | None) -> None:
        self._unwritable.discard(prefix)
        for peer in self._peers.values():
            line = None
            if route is not None:
                try:
                    line = commands.announce(peer, route)
                except CommandError as error:
                    if prefix not in self._unwritable:
                        log.error("%s is not announced: %s", prefix, error)
                    self._unwritable.add(prefix)
            key = Key(peer.address, prefix)
            if line is not None:
                self._lines[key] = line
            else:
                self._lines.pop(key, None)
            self._refused.pop(key, None)
            self._mark(key)

    def _mark(self, key: Key) -> None:
        """Queue what is to be said about ``key``, if anything; while a command about it is under way, wait for that."""
        self._withdrawals.pop(key, None)
        self._announcements.pop(key, None)
        refusal = self._refused.get(key)
        if key in self._flying or (refusal is not None and refusal.retry < math.inf):
            return
        line = self._lines.get(key)
        if line is None:
            if key in self._told or key in self._suspect:
                self._withdrawals[key] = None
        elif key in self._suspect or self._told.get(key) != line:
            self._announcements[key] = None

    # What is said, and answered

    def take(self, now: float) -> list[str]:
        """Take the commands that may be written now; they count as under way from here on."""
        self._retry(now)
        taken: list[_Command] = []
        while len(self._flight) + len(taken) < WINDOW and (self._withdrawals or self._announcements):
            queue = self._withdrawals or self._announcements
            key = next(iter(queue))
            del queue[key]
            announced = None if queue is self._withdrawals else self._lines[key]
            line = announced or commands.withdraw(self._peers[key.peer], key.prefix)
            self._flying.add(key)
            taken.append(_Command(line, key, announced))
        self._flight.extend(taken)
        lines = [command.line for command in taken]
        if self._progress and not lines and not self._nudging:
            # ExaBGP acknowledges part of what it was told, and then sleeps before it sends unless more comes.
            self._nudging = True
            lines.append(commands.NUDGE)
        self._progress = self._progress and not lines
        return lines

    def acknowledge(self, ok: bool, now: float) -> bool:
        """Take the answer to the oldest command in. Returns whether it changes how far a route is.

        Raises ``IndexError`` if nothing was asked.
        """
        command = self._flight.popleft()
        if command.key is None:
            return False
        self._progress = True
        self._flying.discard(command.key)
        if ok:
            self._suspect.discard(command.key)
            self._refused.pop(command.key, None)
            if command.announced is None:
                self._told.pop(command.key, None)
            else:
                self._told[command.key] = command.announced
        else:
            self._suspect.add(command.key)
            self._refuse(command, now)
        self._mark(command.key)
        return True

    def nudged(self) -> None:
        """Take in that a nudge was answered."""
        self._nudging = False

    def _refuse(self, command: _Command, now: float) -> None:
        key = command.key
        assert key is not None
        if self._lines.get(key) != command.announced:
            return  # something else is wanted by now
        times = self._refused[key].times + 1 if key in self._refused else 1
        self._refused[key] = _Refusal(times, now + min(_FIRST_RETRY * 2 ** (times - 1), _LAST_RETRY))
        self._next_retry = min(self._next_retry, self._refused[key].retry)
        log.error("ExaBGP refused, attempt %d: %s", times, command.line)

    def _retry(self, now: float) -> None:
        if now < self._next_retry:
            return
        for key, refusal in self._refused.items():
            if refusal.retry <= now:
                self._refused[key] = _Refusal(refusal.times, math.inf)
                self._mark(key)
        self._next_retry = min((refusal.retry for refusal in self._refused.values()), default=math.inf)

    def resume(self) -> list[str]:
        """Begin again on a new connection: say all that is wanted, and withdraw all that ExaBGP may still know.

        Returns the question to write first. What ExaBGP knows already costs no UPDATE when it is told again.
        """
        self._suspect |= self._told.keys()
        self._queue_all()
        self._flight.append(_Command(commands.SHOW_NEIGHBORS))
        return [commands.SHOW_NEIGHBORS]

    def disconnected(self) -> None:
        """Take in that the connection is lost: of the commands under way nobody knows whether they were taken."""
        self._suspect |= self._flying
        self._flying.clear()
        self._flight.clear()
        self._queue_all()

    def forget(self) -> None:
        """Take in that ExaBGP has ended, and all it knew with it; its sessions are closed, the peers have nothing."""
        self._told.clear()
        self._suspect.clear()
        self._flying.clear()
        self._flight.clear()
        self._queue_all()

    def _queue_all(self) -> None:
        self._progress = self._nudging = False
        self._refused.clear()
        self._next_retry = math.inf
        self._withdrawals.clear()
        self._announcements.clear()
        for key in [*self._suspect, *self._lines]:
            self._mark(key)

    # What can be asked

    @property
    def under_way(self) -> int:
        """How many commands wait for their answer."""
        return len(self._flight)

    @property
    def settled(self) -> bool:
        """Whether ExaBGP has acknowledged all that is wanted, and that all else is withdrawn."""
        return not (self._flying or self._withdrawals or self._announcements or self._refused)

    @property
    def next_retry(self) -> float:
        """When ``take`` has a refused command to try again; infinity if none."""
        return self._next_retry

    def state(self, prefix: Prefix, carried: Callable[[IPAddress, int], bool]) -> RouteState:
        """Tell how far ``prefix`` is. ``carried`` tells whether a peer's session carries an IP version now."""
        keys = [Key(peer, prefix) for peer in self._peers]
        if prefix not in self._wanted:
            known = any(key in self._told or key in self._suspect or key in self._flying for key in keys)
            return RouteState.PENDING if known else RouteState.CLEAR
        if prefix in self._unwritable:
            return RouteState.FAILED
        carriers = [key for key in keys if key in self._lines]
        if not carriers:
            return RouteState.NO_NEXT_HOP
        if any(key in self._refused for key in carriers):
            return RouteState.FAILED
        if any(key in self._flying or key in self._announcements for key in carriers):
            return RouteState.PENDING
        up = any(carried(key.peer, prefix.version) for key in carriers)
        return RouteState.ANNOUNCED if up else RouteState.HANDED_OVER
