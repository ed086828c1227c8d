"""The talk with ExaBGP over its relay's connection: commands out, acknowledgements and events in."""

from __future__ import annotations

import functools
import logging
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import gevent
from gevent import socket as gevent_socket
from gevent.event import AsyncResult, Event

from consulcast.executor.bgp import commands, events
from consulcast.executor.bgp.child import Spawn
from consulcast.executor.bgp.drift import PART, Drift, Question, part_of
from consulcast.executor.bgp.graceful import GracefulRestart
from consulcast.executor.bgp.ledger import Key, Ledger
from consulcast.executor.bgp.life import Heart, Life
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.bgp.peer_change import PeerChange
from consulcast.executor.bgp.sessions import Sessions
from consulcast.executor.bgp.told import Told
from consulcast.executor.protocols import PeerStatus, RouteState
from consulcast.instruments import Instruments
from consulcast.latency import Latency
from consulcast.model import IPAddress, Prefix, Route
from consulcast.repairs import Repairs
from consulcast.values import replace

log = logging.getLogger(__name__)

WEDGED = 10.0  # seconds without an answer after which ExaBGP is ended; it then keeps no session alive either
GRACE = 1.0  # seconds to read what came meanwhile, should it have been us who stood still
ASK = 5.0  # seconds between two questions to an ExaBGP that has nothing to do, which shows that it answers
SWEEP = 30.0  # seconds between two looks at ExaBGP's table
TAKEN_OVER = 5.0  # seconds that ExaBGP has to take over other peers, after which it is ended; a reload takes 0.02
_CHECK_AGAIN = 0.2  # seconds
_UNSENT = 0.01  # seconds to wait for room in the socket; the window of commands nearly always fits
_CHUNK = 65536
_ALIVE = b"\0"  # a sign of life, which the relay keeps to itself


class Dialogue:
    """Keeps what ExaBGP knows the same as what is wanted, whatever becomes of the connection.

    ``on_change`` is called when a session has changed or a route has come further. ``kill`` ends ExaBGP, with the
    reason, when it is wedged or does not keep to its protocol.
    """

    def __init__(
        self,
        peers: Sequence[Peer],
        on_change: Callable[[], None],
        kill: Callable[[str], None],
        spawn: Spawn,
        clock: Callable[[], float],
        life: Life | None = None,
        heart: Heart | None = None,
        repairs: Repairs | None = None,
        latency: Latency | None = None,
        instruments: Instruments | None = None,
    ) -> None:
        self._life = life or Life()
        self._heart = heart or Heart(self._life.lease, clock())
        self._peers = peers
        self._on_change = on_change
        self._kill = kill
        self._spawn = spawn
        self._clock = clock
        self._latency, self._instruments = latency or Latency(), instruments or Instruments()
        self._ledger = Ledger(peers, self._acknowledged)
        self._sessions = Sessions(peers, clock)
        self._all_moved = True  # any route may have come further, or fallen back, since it was last asked which have
        self._connection: gevent_socket.socket | None = None
        self._lost: gevent_socket.socket | None = None  # the last connection, while ExaBGP should make another
        self._greenlets: list[gevent.Greenlet[..., Any]] = []
        self._unsent = bytearray()
        self._nudged = False  # the next acknowledgement is that of a nudge
        self._answered = clock()  # when ExaBGP last answered, or had nothing to answer
        self._wake = Event()
        self._closing = False
        self._unproven: float | None = None  # since when ExaBGP has not shown that it has the peers as they are
        self._watching = False
        self._looked = Event()  # ExaBGP has told how its sessions are
        self._ask_at, self._sweep_at = 0.0, 0.0
        self._asked: list[tuple[Question, AsyncResult[Mapping[Prefix, str]]]] = []  # by those who wait for the answer
        self._drift = Drift(self._ledger, repairs or Repairs())
        self._restart = GracefulRestart(self._life.graceful_restart, (peer.address for peer in peers), clock())
        self._ending_rib = False  # an End-of-RIB is under way
        self._count_updates()

    def start(self) -> None:
        """Begin to watch over the connection that will be made."""
        if not self._watching:
            self._watching = True
            self._greenlets += [self._spawn(self._watch), self._spawn(self._pulse)]

    def complete(self) -> None:
        """All that should be announced is wanted by now."""
        if self._restart.complete():
            self._advance()

    def set(self, routes: Mapping[Prefix, Route]) -> None:
        """Replace the whole desired table, which is not changed afterwards."""
        self._ledger.set(routes)
        self._forget_needless(self._latency.just_handed())
        self._advance()

    def moved(self) -> Collection[Prefix] | None:
        """Tell of which prefixes ``route_state`` may have changed since this was last asked; ``None``: of any."""
        moved, self._all_moved = None if self._all_moved else self._ledger.moved, False
        self._ledger.moved = set()
        return moved

    def _forget_needless(self, prefixes: Iterable[Prefix]) -> None:
        """Have no acknowledgement waited for of what is as it should be already, or can be told to nobody."""
        for prefix in prefixes:
            if all(self._is_said(peer.address, prefix) for peer in self._peers):
                self._latency.needless(prefix)

    def set_peers(self, change: PeerChange, running: bool) -> None:
        """Replace the peers; the configuration file has them already if ExaBGP is ``running``."""
        self._peers = change.peers
        self._count_updates()
        self._ledger.set_peers(change, running)
        for peer in change.removed:
            self._restart.removed(peer.address, self._clock())
        self._sessions.set_peers(change)
        self._all_moved = True
        self._forget_needless(self._latency.open)
        if running and change.of_sessions:
            self._unproven = self._clock() if change.peers else None
        self._advance()
        self._on_change()

    def look(self, peer: IPAddress, timeout: float) -> events.Session | None:
        """Ask ExaBGP how a session is, and wait up to ``timeout`` seconds for the answer; ``None``: there was none."""
        if self._connection is None:
            return None
        seen = self._looked = Event()
        self._ledger.check()
        self._advance()
        return self._sessions.seen.get(peer) if seen.wait(timeout) else None

    def told(self, prefix: Prefix, timeout: float) -> tuple[Told, ...]:
        """Tell how far ``prefix`` is at each peer, and ask ExaBGP's table of it; wait for that ``timeout`` at most."""
        deadline = self._clock() + timeout
        found = []
        for peer in self._peers:
            table = self._table(peer.address, prefix, max(0.0, deadline - self._clock()))
            known = self._ledger.told_to(peer.address, prefix)
            carried = self._sessions.carries(peer.address, prefix.version)
            found.append(replace(known, carried=carried, table=table))
        return tuple(found)

    def _table(self, peer: IPAddress, prefix: Prefix, timeout: float) -> str | None:
        """Ask ExaBGP what it has of a prefix for a peer."""
        if self._connection is None or not timeout:
            return None
        parts = sum(key.peer == peer for key in self._ledger.all_told()) // PART + 1
        question = Question(peer, part_of(prefix, parts), parts)
        answer: AsyncResult[Mapping[Prefix, str]] = AsyncResult()
        self._asked.append((question, answer))
        self._ledger.ask(commands.table(question.peer, question.part, question.parts), lambda _: None)
        self._advance()
        routes = answer.wait(timeout)
        self._asked.remove((question, answer))
        return None if routes is None else routes.get(prefix, "")

    def route_state(self, prefix: Prefix) -> RouteState:
        """Tell how far ``prefix`` is."""
        state = self._ledger.state(prefix, self._sessions.carries)
        held = state is RouteState.CLEAR and self._restart.holds(prefix, self._clock())
        return RouteState.PENDING if held else state

    def seen(self) -> Mapping[IPAddress, events.Session]:
        """Every session that is up, as ExaBGP last told."""
        up = self._sessions.up()
        return {peer: session for peer, session in self._sessions.seen.items() if peer in up and session.established}

    def peers(self) -> tuple[PeerStatus, ...]:
        """Every peer's session."""
        return self._sessions.statuses()

    @property
    def settled(self) -> bool:
        """Whether ExaBGP has acknowledged the whole desired table, and the withdrawal of all else."""
        return self._ledger.settled

    @property
    def said(self) -> bool:
        """Whether ExaBGP has answered every command about a route."""
        return self._ledger.said

    def let_go(self) -> None:
        """Wait no more for peers to drop what they may hold of a session before: everything ends now."""
        self._restart.let_go()
        self._turned()

    def leave(self) -> None:
        """Say nothing more about routes: the sessions are about to end."""
        self._closing = self._sessions.closing = True

    def close(self) -> None:
        """Stop reading and writing."""
        self._closing = True
        gevent.killall(self._greenlets)
        self._drop()

    def connect(self, connection: gevent_socket.socket) -> None:
        """Begin anew on the connection of a new relay."""
        self._drop()
        self._connection = connection
        self._nudged = False
        self._answered = self._clock()
        if self._unproven is not None:
            self._unproven = self._answered
        self._greenlets = [greenlet for greenlet in self._greenlets if not greenlet.dead]
        self._greenlets.append(self._spawn(self._read, connection))
        self._say(self._ledger.resume())
        self._advance()

    def ended(self, reason: str) -> None:
        """Take in that ExaBGP has ended."""
        self._drop()
        self._unproven = None  # the next one reads the file as it is
        before = self._sessions.up()
        self._sessions.ended(reason)
        self._follow(before)  # asks the ledger what they know
        self._ledger.forget()
        self._forget_needless(self._latency.open)
        self._wake.set()
        self._turned()

    def _drop(self) -> None:
        self._lost = None
        self._unsent.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._all_moved = True
            self._ledger.disconnected()
            self._drift.end()
            self._ending_rib = False

    # Writing. It never waits: a change is on its way to ExaBGP when `set` returns.

    def _advance(self) -> None:
        """Write what may be written now."""
        if self._connection is None or self._closing:
            return
        now = self._clock()
        if not self._ledger.under_way:
            self._answered = now
        self._drift.ask()
        self._end_rib()
        self._say([] if self._unsent else self._ledger.take(now))
        self._wake.set()

    def _say(self, lines: Iterable[str]) -> None:
        assert self._connection is not None
        self._unsent += "".join(f"{line}\n" for line in lines).encode("ascii")
        try:
            while self._unsent:
                del self._unsent[: os.write(self._connection.fileno(), self._unsent)]
        except BlockingIOError:
            pass
        except OSError as error:
            log.debug("connection to ExaBGP's relay: %s", error)  # the reader sees its end, and acts

    def _watch(self) -> None:
        """Do what is due though nothing happens: write the rest, try again what was refused, end a wedged ExaBGP."""
        now = self._clock()
        while True:
            dropped_at = self._restart.next_deadline(now)
            due = not self._wake.wait(self._patience())
            self._wake.clear()
            if self._ledger.under_way and self._clock() - self._answered > WEDGED:
                self._end_if_wedged(self._answered)
            if self._connection is not None and self._clock() > self._taken_over_by():
                self._unproven = None
                self._kill(f"it did not take over its new peers in {TAKEN_OVER:.0f} s, so all sessions are reset")
            if due:
                self._advance()
            now = self._clock()
            if now >= dropped_at:  # by then a peer has dropped what it held
                self._turned()

    def _pulse(self) -> None:
        """Say that we live, and look after what no event tells of."""
        while True:
            gevent.sleep(self._life.pause)
            now = self._clock()
            self._heart.beat(now)
            if self._connection is None:
                continue
            self._unsent += _ALIVE
            self._say([])
            if now >= self._ask_at and not self._ledger.under_way:
                self._ask_at = now + ASK
                self._ledger.check()
            if now >= self._sweep_at:
                self._sweep_at = now + SWEEP
                self._drift.begin(peer.address for peer in self._peers)
            self._advance()

    def _patience(self) -> float | None:
        """Seconds until something is due; None if nothing is."""
        deadline = self._restart.next_deadline(self._clock())
        if self._connection is not None and not self._closing:
            if self._unsent:
                return _UNSENT
            deadline = min(deadline, self._ledger.next_retry, self._taken_over_by())
            if self._ledger.under_way:
                deadline = min(deadline, self._answered + WEDGED)
        return None if deadline == math.inf else max(_UNSENT, deadline - self._clock())

    def _taken_over_by(self) -> float:
        return math.inf if self._unproven is None else self._unproven + TAKEN_OVER

    def _end_if_wedged(self, answered: float) -> None:
        gevent.sleep(GRACE)
        if self._answered == answered:
            self._kill(f"no answer for {WEDGED:.0f} s")

    # Reading

    def _read(self, connection: gevent_socket.socket) -> None:
        rest = b""
        while True:
            try:
                chunk = connection.recv(_CHUNK)
            except OSError:
                chunk = b""
            if connection is not self._connection:
                return
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            changed = [self._take_in(line) for line in lines]
            self._advance()
            if any(changed):
                self._on_change()
        self._drop()
        self._lost = connection
        log.debug("the connection to ExaBGP's relay is lost")
        self._turned()
        gevent.sleep(WEDGED)
        if self._lost is connection:
            self._kill(f"its relay did not come back in {WEDGED:.0f} s")

    def _take_in(self, line: bytes) -> bool:
        """Take in one line. Returns whether a session has changed or a route has come further."""
        try:
            event = events.parse(line)
            if isinstance(event, events.Acknowledged):
                return self._acknowledge(event.ok)
        except (ValueError, IndexError) as error:
            # Answers are matched by their order, so nothing after this can be trusted.
            log.error("ExaBGP said %r: %s", line[:200], error, extra={"reason": "exabgp-protocol"})
            self._kill("it does not keep to its protocol")
            return False
        if isinstance(event, events.Nudged):
            self._nudged = True
            return False
        if isinstance(event, events.Snapshot):
            self._check(event)
            self._sessions.seen = {session.peer: session for session in event.sessions}
            self._looked.set()
        if isinstance(event, events.Table):
            for question, answer in self._asked:
                if question == Question(event.peer, event.part, event.parts):
                    answer.set(event.routes)
            self._drift.compare(event)
            return False
        if isinstance(event, events.TableSum):
            self._drift.weigh(event)
            return False
        before = self._sessions.up()
        changed = event is not None and self._sessions.apply(event)
        self._all_moved = self._all_moved or changed or isinstance(event, events.Negotiated)
        self._follow(before)
        return changed

    def _turned(self) -> None:
        """Tell that any route may have come further, or fallen back."""
        self._all_moved = True
        self._on_change()

    def _follow(self, before: Iterable[IPAddress]) -> None:
        """Tell the books about graceful restart which sessions have begun or ended."""
        after = self._sessions.up()
        for peer in set(before).difference(after):
            self._restart.down(peer, self._ledger.known_to(peer), self._clock())
        for peer in set(after).difference(before):
            self._restart.up(peer, self._sessions.versions(peer))

    def _end_rib(self) -> None:
        """Say End-of-RIB to whom it is due, one after the other."""
        due = self._restart.next() if self._ledger.said and not self._ending_rib else None
        if due is not None:
            self._ending_rib = True
            self._ledger.say_alone(commands.end_of_rib(*due), functools.partial(self._rib_ended, *due))

    def _rib_ended(self, peer: IPAddress, version: int, ok: bool) -> None:
        self._ending_rib = False
        self._restart.said(peer, version, ok)
        self._turned()

    def _count_updates(self) -> None:
        for peer in self._peers:
            self._instruments.peer(peer.address)

    def _acknowledged(self, key: Key, announced: bool, new: bool) -> None:
        """Count what a peer was told, and tell when the last that is up has been."""
        prefix = key.prefix
        if new and self._sessions.carries(key.peer, prefix.version):
            self._instruments.updated(key.peer, announced)
        # They are told in the order in which they are configured, so the last ones are those that are waited for.
        everyone = [peer.address for peer in reversed(self._peers)]
        unsaid = (peer for peer in everyone if not self._is_said(peer, prefix))
        if any(self._sessions.carries(peer, prefix.version) for peer in unsaid):
            return
        up = any(self._sessions.carries(peer, prefix.version) for peer in everyone)
        if up or all(self._is_said(peer, prefix) for peer in everyone):
            self._latency.acknowledged(prefix, self._ledger.wanted(prefix), self._clock(), up)

    def _is_said(self, peer: IPAddress, prefix: Prefix) -> bool:
        return not self._ledger.unsure(Key(peer, prefix))

    def _check(self, snapshot: events.Snapshot) -> None:
        """Look whether ExaBGP has the peers that it should have; if not, have it read them again."""
        if self._unproven is None or self._ledger.outdated:
            return
        if {session.configured for session in snapshot.sessions} == set(map(events.Configured.of, self._peers)):
            self._unproven = None
        else:  # a session that is being reset still shows how it was
            self._ledger.reload(self._clock() + _CHECK_AGAIN)

    def _acknowledge(self, ok: bool) -> bool:
        if self._nudged:
            self._nudged = False
            self._ledger.nudged()
            return False
        if self._closing:
            return False
        self._answered = self._clock()
        return self._ledger.acknowledge(ok, self._answered)
