"""The speaker: makes the peers know the wanted routes, through an ExaBGP child."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import gevent

from consulcast.executor.bgp import events
from consulcast.executor.bgp.child import Child, Spawn
from consulcast.executor.bgp.configuration import render
from consulcast.executor.bgp.dialogue import Dialogue
from consulcast.executor.bgp.life import Heart, Life
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.bgp.peer_change import PeerChange
from consulcast.executor.bgp.run_directory import RunDirectory
from consulcast.executor.bgp.told import Told
from consulcast.executor.protocols import PeerStatus, RouteState
from consulcast.instruments import Instruments
from consulcast.latency import Latency
from consulcast.model import IPAddress, Prefix, Route
from consulcast.repairs import Repairs

_LEFT_WITHOUT_PEERS = 5.0  # seconds for ExaBGP to end when it has no peer left


class ExaBgpSpeaker:
    """Announces routes to every peer, through ExaBGP.

    ``on_change`` is called when a session has changed or a route has come further; it must not wait. ``run_dir`` is a
    directory for this process alone. ``life``: how long we may hang, and what a restart is to peers. ``spawn`` starts
    the greenlets. The constructor, ``start`` and ``set_peers`` raise ``BgpError``.
    """

    def __init__(
        self,
        peers: Iterable[Peer],
        run_dir: Path,
        on_change: Callable[[], None] = lambda: None,
        *,
        life: Life | None = None,
        repairs: Repairs | None = None,
        spawn: Spawn = gevent.spawn,
        clock: Callable[[], float] = time.monotonic,
        latency: Latency | None = None,
        instruments: Instruments | None = None,
    ) -> None:
        self._life, repairs = life or Life(), repairs or Repairs()
        heart = Heart(self._life.lease, clock())
        self._peers = tuple(peers)
        self._clock = clock
        self._spawn = spawn
        self._directory = RunDirectory(run_dir)
        self._configuration = self._render(self._peers)
        self._dialogue = Dialogue(
            self._peers,
            on_change,
            lambda reason: self._child.kill(reason),
            spawn,
            clock,
            self._life,
            heart,
            repairs,
            latency,
            instruments,
        )
        self._child = Child(
            self._directory, self._dialogue.connect, self._dialogue.ended, spawn, self._life, heart, repairs
        )
        self._started = False  # and not stopped
        self._running = False  # ExaBGP is, or is being started again, or is ending
        self._ending: gevent.Greenlet[..., None] | None = None  # ends an ExaBGP that has no peer left

    def start(self) -> None:
        """Start ExaBGP, from the main thread. Without a peer there is nothing to start."""
        self._started = True
        self._run()

    def _run(self) -> None:
        if self._peers:
            self._directory.create()
            self._directory.write_configuration(self._configuration)
            self._dialogue.start()
            self._child.start()
            self._running = True

    def set_peers(self, peers: Iterable[Peer]) -> None:
        """Replace the peers, from the main thread. Returns at once; ``peers`` and ``route_state`` follow at once.

        Peers that stay as they are keep their session and see nothing. Those whose session changes are reset, each
        alone; other next hops are announced over the session that is there. If it raises, nothing has changed.
        """
        peers = tuple(peers)
        configuration = self._render(peers)
        change = PeerChange.between(self._peers, peers)
        if self._running and self._ending is None and peers and change.of_sessions:
            self._directory.write_configuration(configuration)
        elif self._started and not self._running and peers:
            self._directory.create()
        self._peers, self._configuration = peers, configuration
        change.log()
        self._dialogue.set_peers(change, self._running)
        if self._started and self._ending is None:
            if not self._running:
                self._run()
            elif not peers:
                self._ending = self._spawn(self._end)

    def _render(self, peers: Iterable[Peer]) -> str:
        peers = tuple(peers)
        relay = Child.relay_command(self._directory, self._life)
        return render(peers, relay, self._life.graceful_restart) if peers else ""

    def _end(self) -> None:
        """End an ExaBGP that has no peer left, and start another if there are some again by then."""
        self._child.stop(_LEFT_WITHOUT_PEERS)
        self._running, self._ending = False, None
        if self._started:
            self._run()

    def let_go(self) -> None:
        """Wait no more for what peers may hold of sessions before (graceful restart): everything ends now."""
        self._dialogue.let_go()

    def stop(self, timeout: float) -> None:
        """End the sessions, with a Cease, and ExaBGP, within ``timeout`` seconds.

        Call ``set({})`` and await ``settled`` first.
        """
        self._leave(timeout, silently=False)

    def leave(self, timeout: float) -> None:
        """End ExaBGP without a word: peers with graceful restart keep the routes, to be announced again in time."""
        deadline = self._clock() + timeout / 2
        while not self._dialogue.said and self._clock() < deadline:  # what is withdrawn by now shall be so at peers
            gevent.sleep(0.005)
        self._leave(timeout / 2, silently=True)

    def _leave(self, timeout: float, silently: bool) -> None:
        deadline = self._clock() + timeout
        self._started = False
        if self._ending is not None:
            self._ending.join(timeout / 2)
        self._dialogue.leave()
        self._child.stop(max(0.1, deadline - self._clock()), silently)
        self._running = False
        self._dialogue.close()

    def complete(self) -> None:
        """All that should be announced has been set: tell peers with graceful restart to drop all else."""
        self._dialogue.complete()

    def set(self, routes: Mapping[Prefix, Route]) -> None:
        """Replace the whole desired table, which is not changed afterwards. Returns at once.

        The same table again sends nothing; what has not changed should be the same object.
        """
        self._dialogue.set(routes)

    def moved(self) -> Collection[Prefix] | None:
        """Tell of which prefixes ``route_state`` may have changed since this was last asked; ``None``: of any."""
        return self._dialogue.moved()

    def route_state(self, prefix: Prefix) -> RouteState:
        """Tell how far ``prefix`` is."""
        return self._dialogue.route_state(prefix)

    def told(self, prefix: Prefix, timeout: float = 1.0) -> tuple[Told, ...]:
        """Tell how far ``prefix`` is at each peer, and what ExaBGP's table has; waits for that up to ``timeout``."""
        return self._dialogue.told(prefix, timeout)

    def look(self, peer: IPAddress, timeout: float = 1.0) -> events.Session | None:
        """Ask ExaBGP for what it knows of a session: counters, the peer's router ID. ``None``: no answer in time."""
        return self._dialogue.look(peer, timeout)

    def seen(self) -> Mapping[IPAddress, events.Session]:
        """Every session that is up, as ExaBGP last told, a few seconds ago at most."""
        return self._dialogue.seen()

    def peers(self) -> tuple[PeerStatus, ...]:
        """Every peer's session, in the order of the configuration."""
        return self._dialogue.peers()

    def configured(self) -> tuple[Peer, ...]:
        """Every peer as it is configured, in that order."""
        return self._peers

    @property
    def settled(self) -> bool:
        """Whether ExaBGP has acknowledged the whole desired table, and the withdrawal of all else.

        True as well while there is no ExaBGP and nothing is wanted: then no peer has anything.
        """
        return self._dialogue.settled

    @property
    def last_child_error(self) -> str:
        """Why ExaBGP last ended by itself; empty if it never did."""
        return self._child.last_error

    @property
    def child_trouble(self) -> str:
        """Why ExaBGP last ended by itself, unless a session has come up since: then it is no reason of anything."""
        well = any(peer.since > self._child.ended_at for peer in self.peers())
        return "" if well else self._child.last_error
