"""The speaker: makes the peers know the wanted routes, through an ExaBGP child."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import gevent

from consulcast.executor.bgp.child import Child, Spawn
from consulcast.executor.bgp.configuration import render
from consulcast.executor.bgp.dialogue import Dialogue
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.bgp.run_directory import RunDirectory
from consulcast.executor.protocols import PeerStatus, RouteState
from consulcast.model import Prefix, Route

_FAREWELL = 0.5  # seconds for the sessions to end with a NOTIFICATION


class ExaBgpSpeaker:
    """Announces routes to every peer, through ExaBGP.

    ``on_change`` is called when a session has changed or a route has come further; it must not wait. ``run_dir`` is a
    directory for this process alone. ``spawn`` starts the greenlets. The constructor and ``start`` raise ``BgpError``.
    """

    def __init__(
        self,
        peers: Iterable[Peer],
        run_dir: Path,
        on_change: Callable[[], None] = lambda: None,
        *,
        spawn: Spawn = gevent.spawn,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        peers = tuple(peers)
        self._clock = clock
        self._directory = RunDirectory(run_dir)
        self._configuration = render(peers, Child.relay_command(self._directory)) if peers else ""
        self._dialogue = Dialogue(peers, on_change, lambda reason: self._child.kill(reason), spawn, clock)
        self._child = Child(self._directory, self._dialogue.connect, self._dialogue.ended, spawn)

    def start(self) -> None:
        """Start ExaBGP, from the main thread. Without a peer there is nothing to start."""
        if self._configuration:
            self._directory.create()
            self._directory.write_configuration(self._configuration)
            self._dialogue.start()
            self._child.start()

    def stop(self, timeout: float) -> None:
        """End the sessions and ExaBGP, within ``timeout`` seconds. Call ``set([])`` and await ``settled`` first."""
        deadline = self._clock() + timeout
        self._dialogue.farewell(min(_FAREWELL, timeout / 2))
        self._child.stop(max(0.1, deadline - self._clock()))
        self._dialogue.close()

    def set(self, routes: Iterable[Route]) -> None:
        """Replace the whole desired table. Returns at once; the same table again sends nothing."""
        self._dialogue.set(routes)

    def route_state(self, prefix: Prefix) -> RouteState:
        """Tell how far ``prefix`` is."""
        return self._dialogue.route_state(prefix)

    def peers(self) -> tuple[PeerStatus, ...]:
        """Every peer's session, in the order of the configuration."""
        return self._dialogue.peers()

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
