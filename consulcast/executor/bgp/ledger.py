"""What ExaBGP should know, what it was told, and what it has acknowledged: per peer and prefix, and without I/O.

ExaBGP answers commands in order, without an id. So the commands under way are a queue, at most one of them about each
(peer, prefix), and at most ``WINDOW`` in all: more unread answers would fill its pipe, on which it blocks.

When it must read its configuration again, nothing else is under way meanwhile: what was said before is about the
peers before, what is said after about those after.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Set

from msgspec import Struct

from consulcast.difference import differing
from consulcast.executor.bgp import commands
from consulcast.executor.bgp.errors import CommandError
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.bgp.peer_change import PeerChange
from consulcast.executor.bgp.sums import Sum, Sums
from consulcast.executor.bgp.told import Told
from consulcast.executor.protocols import RouteState
from consulcast.model import IPAddress, Prefix, Reason, Route

log = logging.getLogger(__name__)

WINDOW = 100  # commands under way; measured: fewer and more are slower
_FIRST_RETRY, _LAST_RETRY = 1.0, 60.0  # seconds after a refusal
_RELOAD_RETRY = 0.5  # seconds after a refusal to read the configuration


class Key(Struct, frozen=True, cache_hash=True, gc=False):
    """One prefix at one peer."""

    peer: IPAddress
    prefix: Prefix


class _Command(Struct, frozen=True):
    """A command under way. ``key`` is None for one that is about no route; ``announced`` is None to withdraw.

    ``answered`` is called with whether it was answered `done`.
    """

    line: str
    key: Key | None = None
    announced: str | None = None
    answered: Callable[[bool], None] | None = None


class _Refusal(Struct, frozen=True):
    """A command that was answered `error`. ``retry`` is when to try again, infinity while that is being done."""

    times: int
    retry: float


class Ledger:
    """The books of the speaker."""

    def __init__(self, peers: Iterable[Peer], acknowledged: Callable[[Key, bool, bool], None] | None = None) -> None:
        """``acknowledged`` is given what ExaBGP has taken, whether it announces, and whether that is new."""
        self._acknowledged = acknowledged or (lambda key, announced, new: None)
        self._peers = {peer.address: peer for peer in peers}
        self._wanted: Mapping[Prefix, Route] = {}
        self._lines: dict[Key, str] = {}  # wanted: the command that announces
        self._unwritable: set[Prefix] = set()  # wanted, but not of a form that can be sent
        self._told: dict[Key, str] = {}  # acknowledged: the command that announced
        self._sums = Sums()  # of it
        self._suspect: set[Key] = set()  # ExaBGP may know something else than `_told` says
        self._flight: deque[_Command] = deque()
        self._flying: set[Key] = set()
        self._refused: dict[Key, _Refusal] = {}
        # Sets that keep their order. A withdrawal must not wait behind announcements. Plain ones would look at all
        # that was taken from their beginning, each time that more is.
        self._withdrawals: OrderedDict[Key, None] = OrderedDict()
        self._announcements: OrderedDict[Key, None] = OrderedDict()
        self.moved: set[Prefix] = set()  # whose state may be another than when this was last emptied
        self._next_retry = math.inf
        self._progress = False  # something was acknowledged since we last wrote
        self._nudging = False  # a nudge waits for its answer
        self._reload_at = math.inf  # when ExaBGP must be told to read its configuration
        self._reloading = False  # that is under way
        self._refused_to_read = False  # as was logged
        self._checking = False  # it has; now it is asked what it makes of it
        self._alone: _Command | None = None  # to be said when nothing else is under way
        self._questions: deque[_Command] = deque()  # to be asked when nothing else is to be said
        # Peers whose session ends or begins anew with the next reading of the configuration, or with the one under way.
        self._leaving: set[IPAddress] = set()
        self._renewed: set[IPAddress] = set()
        self._leaving_now: set[IPAddress] = set()
        self._renewed_now: set[IPAddress] = set()

    # What should be

    def set(self, routes: Mapping[Prefix, Route]) -> None:
        """Replace all that is wanted, in a table that is not changed afterwards."""
        before, self._wanted = self._wanted, routes
        found = differing(before, routes)
        for prefix in found:
            route = routes.get(prefix)
            if route != before.get(prefix):
                self._want(prefix, route)
        self.moved.update(found)

    def set_peers(self, change: PeerChange, running: bool) -> None:
        """Replace the peers; the configuration file has them already if ExaBGP is ``running``.

        What a removed peer was told is not forgotten before ExaBGP has dropped it.
        """
        self._peers = {peer.address: peer for peer in change.peers}
        self._leaving = self._leaving - self._peers.keys() | {peer.address for peer in change.removed}
        self._leaving_now -= self._peers.keys()
        self._renewed = self._renewed & self._peers.keys() | change.renewed
        for books in (self._lines, self._refused, self._withdrawals, self._announcements):
            for key in [key for key in books if key.peer not in self._peers]:
                del books[key]
        self._doubt(change.renewed)
        again = [*(peer for peer in change.added), *(after for _, after in (*change.reset, *change.rerouted))]
        for prefix, route in self._wanted.items():
            self._want(prefix, route, again)
        if not running:
            self._settle_configuration()
        elif self._peers and change.of_sessions:
            self._reload_at = -math.inf
        elif not self._peers:
            self._reload_at = math.inf  # it will be ended

    def reload(self, at: float) -> None:
        """Have ExaBGP read its configuration again, at that time."""
        self._reload_at = min(self._reload_at, at)

    def _doubt(self, peers: Collection[IPAddress]) -> None:
        """ExaBGP may not know any more what it was told about ``peers``."""
        doubtful = [key for key in self._told if key.peer in peers]
        self._suspect.update(doubtful)
        for key in doubtful:
            self._mark(key)

    def _want(self, prefix: Prefix, route: Route | None, peers: Iterable[Peer] | None = None) -> None:
        if peers is None:
            self._unwritable.discard(prefix)
        for peer in self._peers.values() if peers is None else peers:
            line = None
            if route is not None:
                try:
                    line = commands.announce(peer, route)
                except CommandError as error:
                    if prefix not in self._unwritable:
                        extra = {"prefix": str(prefix), "reason": str(Reason.BGP_FAILED), "detail": str(error)}
                        log.error("%s is not announced: %s", prefix, error, extra=extra)
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
        self.moved.add(key.prefix)
        self._withdrawals.pop(key, None)
        self._announcements.pop(key, None)
        if key.peer not in self._peers:
            return
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
        if now >= self._reload_at:
            taken = [] if self._flight else [self._take_reload()]
        elif self._alone is not None:
            taken = [] if self._flight else [self._alone]
            self._alone = None if taken else self._alone
        else:
            taken = [] if self._reloading else self._take_routes()
        self._flight.extend(taken)
        lines = [command.line for command in taken]
        if self._progress and not lines and not self._nudging:
            # ExaBGP acknowledges part of what it was told, and then sleeps before it sends unless more comes.
            self._nudging = True
            lines.append(commands.NUDGE)
        self._progress = self._progress and not lines
        return lines

    def _take_routes(self) -> list[_Command]:
        taken: list[_Command] = []
        if self._checking:
            self._checking = False
            taken.append(_Command(commands.SHOW_NEIGHBORS))
        while len(self._flight) + len(taken) < WINDOW and (self._withdrawals or self._announcements):
            queue = self._withdrawals or self._announcements
            key, _ = queue.popitem(last=False)
            announced = None if queue is self._withdrawals else self._lines[key]
            line = announced or commands.withdraw(self._peers[key.peer], key.prefix)
            self._flying.add(key)
            taken.append(_Command(line, key, announced))
        if self._questions and not self._flight and not taken:
            taken = [self._questions.popleft()]
        return taken

    def _take_reload(self) -> _Command:
        self._reload_at = math.inf
        self._reloading = True
        self._leaving_now = set(self._leaving)
        self._renewed_now, self._renewed = self._renewed, set()
        self._doubt(self._renewed_now)  # once more: they may have been told things since they were changed
        return _Command(commands.RELOAD)

    def check(self) -> None:
        """Have ExaBGP asked how its sessions are."""
        self._checking = True

    def ask(self, line: str, answered: Callable[[bool], None]) -> None:
        """Have something asked when nothing else is to be said."""
        self._questions.append(_Command(line, answered=answered))

    def say_alone(self, line: str, answered: Callable[[bool], None]) -> None:
        """Have something said when nothing else is under way."""
        self._alone = _Command(line, answered=answered)

    def say_again(self, keys: Iterable[Key]) -> None:
        """Have said again what should be known about ``keys``: ExaBGP knows something else."""
        for key in keys:
            self._suspect.add(key)
            self._mark(key)

    def acknowledge(self, ok: bool, now: float) -> bool:
        """Take the answer to the oldest command in. Returns whether it changes how far a route is.

        Raises ``IndexError`` if nothing was asked.
        """
        command = self._flight.popleft()
        if command.line == commands.RELOAD:
            return self._reloaded(ok, now)
        if command.answered is not None:
            command.answered(ok)
        if command.key is None:
            return False
        self._progress = True
        self._flying.discard(command.key)
        if ok:
            self._suspect.discard(command.key)
            self._refused.pop(command.key, None)
            new = self._told.get(command.key) != command.announced
            self._know(command.key, command.announced)
        else:
            self._suspect.add(command.key)
            self._refuse(command, now)
        self._mark(command.key)
        if ok:
            self._acknowledged(command.key, command.announced is not None, new)
        return True

    def _know(self, key: Key, command: str | None) -> None:
        """ExaBGP has taken a command in, or knows nothing of that prefix any more."""
        self._sums.replace(key.peer, self._told.get(key), command)
        if command is None:
            self._told.pop(key, None)
        else:
            self._told[key] = command

    def _reloaded(self, ok: bool, now: float) -> bool:
        self._reloading = False
        if not ok:
            level = logging.DEBUG if self._refused_to_read else logging.ERROR
            log.log(level, "ExaBGP refused to read its configuration, retried", extra={"reason": "exabgp-refused"})
            self._refused_to_read = True
            self._renewed |= self._renewed_now & self._peers.keys()
            self.reload(now + _RELOAD_RETRY)
            return False
        self._checking, self._refused_to_read = True, False
        for key in [key for key in (*self._told, *self._suspect) if key.peer in self._leaving_now]:
            self._know(key, None)
            self._suspect.discard(key)
            self.moved.add(key.prefix)
        self._leaving -= self._leaving_now
        return True

    def nudged(self) -> None:
        """Take in that a nudge was answered."""
        self._nudging = False

    def _refuse(self, command: _Command, now: float) -> None:
        key = command.key
        assert key is not None
        if key.peer not in self._peers or self._lines.get(key) != command.announced:
            return  # something else is wanted by now
        times = self._refused[key].times + 1 if key in self._refused else 1
        self._refused[key] = _Refusal(times, now + min(_FIRST_RETRY * 2 ** (times - 1), _LAST_RETRY))
        self._next_retry = min(self._next_retry, self._refused[key].retry)
        extra = {"prefix": str(key.prefix), "reason": str(Reason.BGP_FAILED), "detail": command.line}
        level = logging.ERROR if times == 1 else logging.DEBUG
        log.log(level, "ExaBGP refused, attempt %d, retried: %s", times, command.line, extra=extra)

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
        if self._reloading:
            self._renewed |= self._renewed_now & self._peers.keys()
            self.reload(-math.inf)
        self._reloading = self._checking = False
        self._alone = None
        self._questions.clear()
        self._queue_all()

    def forget(self) -> None:
        """Take in that ExaBGP has ended, and all it knew with it; its sessions are closed, the peers have nothing."""
        self._told.clear()
        self._sums.clear()
        self._suspect.clear()
        self._flying.clear()
        self._flight.clear()
        self._alone = None
        self._questions.clear()
        self._settle_configuration()  # the next ExaBGP will have read it
        self._queue_all()

    def _settle_configuration(self) -> None:
        self._reload_at = math.inf
        self._reloading = self._checking = False
        for peers in (self._leaving, self._renewed):
            peers.clear()

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
        routes = self._flying or self._withdrawals or self._announcements or self._refused
        return not (routes or self._leaving or self.outdated)

    @property
    def said(self) -> bool:
        """Whether all that can be said is: every command about a route is answered, some perhaps refused."""
        return not (self._flying or self._withdrawals or self._announcements or self.outdated)

    def told(self, key: Key) -> str | None:
        """What was acknowledged about ``key``: the command that announced it."""
        return self._told.get(key)

    def sum(self, peer: IPAddress) -> Sum:
        """The sum of what was acknowledged about all prefixes of a peer."""
        return self._sums.of(peer)

    def told_to(self, peer: IPAddress, prefix: Prefix) -> Told:
        """How far ``prefix`` is at a peer, as far as it is known here."""
        key = Key(peer, prefix)
        refusal = self._refused.get(key)
        return Told(
            peer,
            wanted=self._lines.get(key, ""),
            told=self._told.get(key, ""),
            under_way=self.unsure(key),
            refused=refusal.times if refusal else 0,
        )

    def all_told(self) -> Collection[Key]:
        """Every prefix at every peer that was announced."""
        return self._told.keys()

    def unsure(self, key: Key) -> bool:
        """Whether something about ``key`` is under way, or is yet to be said, or ExaBGP may know something else."""
        return key in self._flying or key in self._suspect or key in self._withdrawals or key in self._announcements

    def wanted(self, prefix: Prefix) -> Route | None:
        """The route that should be known."""
        return self._wanted.get(prefix)

    def known_to(self, peer: IPAddress) -> Set[Prefix]:
        """Every prefix that a peer may have been told."""
        return {key.prefix for key in (*self._told, *self._suspect, *self._flying) if key.peer == peer}

    @property
    def outdated(self) -> bool:
        """Whether ExaBGP has yet to read the configuration as it is."""
        return self._reloading or self._reload_at < math.inf

    @property
    def next_retry(self) -> float:
        """When ``take`` has something to try again; infinity if never."""
        return min(self._next_retry, self._reload_at)

    def state(self, prefix: Prefix, carried: Callable[[IPAddress, int], bool]) -> RouteState:
        """Tell how far ``prefix`` is. ``carried`` tells whether a peer's session carries an IP version now."""
        keys = [Key(peer, prefix) for peer in (*self._peers, *self._leaving)]
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
