"""What the parts count and time while they work. docs/metrics.md names each."""

from __future__ import annotations

from collections.abc import Iterable

from consulcast.latency import Cause, What
from consulcast.model import IPAddress
from consulcast.tally import Count, Times

_LATENCY = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LOOK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TURN = (0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_RESULTS = {True: "passed", False: "failed", None: "none"}
_KINDS = ("port", "exec", "http", "tcp", "dns")


class Instruments:
    """One set for the daemon. Nothing here waits."""

    def __init__(self) -> None:
        self._updates = Count(
            "updates",
            "Routes announced and withdrawn to a peer that was up, as acknowledged by ExaBGP.",
            ("peer", "kind"),
        )
        self._latency = Times(
            "event_to_update_seconds",
            "Time from an event to the acknowledged UPDATE, by what the UPDATE does and what the event was.",
            _LATENCY,
            ("what", "cause"),
            ((what, cause) for what in What for cause in Cause),
        )
        self._looks = Count(
            "monitor_looks",
            "Looks of monitors, by kind and result; none: it could not be looked.",
            ("kind", "result"),
            ((kind, result) for kind in _KINDS for result in _RESULTS.values()),
        )
        self._look_seconds = Times(
            "monitor_look_duration_seconds",
            "Time that a look took, waiting for its turn included.",
            _LOOK,
            ("kind",),
            ((kind,) for kind in _KINDS),
        )
        self._turns = Times(
            "hub_lateness_seconds",
            "Length of each turn of the hub: by so much at most was late what became due meanwhile.",
            _TURN,
            expected=((),),
        )
        self._hooks = Count(
            "hook_runs",
            "Runs of the hook that have ended, by result.",
            ("result",),
            ((_RESULTS[passed],) for passed in (True, False)),
        )
        self._missed = Count(
            "hook_changes_dropped",
            "Changes of state that the hook was not told of, since it was slower than they came.",
            expected=((),),
        )

    def peer(self, address: IPAddress) -> None:
        """A peer is there."""
        for kind in ("announce", "withdraw"):
            self._updates.expect(str(address), kind)

    def updated(self, peer: IPAddress, announced: bool) -> None:
        """A peer that is up was told of a route, or that it is gone."""
        self._updates.add(str(peer), "announce" if announced else "withdraw")

    def served(self, what: What, cause: Cause, seconds: float) -> None:
        """An event was served: all peers that are up are told."""
        self._latency.observe(seconds, what, cause)

    def looked(self, kind: str, passed: bool | None, seconds: float) -> None:
        """A monitor has looked."""
        self._looks.add(kind, _RESULTS[passed])
        self._look_seconds.observe(seconds, kind)

    def hook_ran(self, passed: bool) -> None:
        """The hook has ended, well or not; or it could not be started."""
        self._hooks.add(_RESULTS[passed])

    def hook_missed(self, changes: int) -> None:
        """The hook was too slow to be told of so many changes."""
        self._missed.add(more=changes)

    def turned(self, seconds: float) -> None:
        """The hub was busy for so long."""
        self._turns.observe(seconds)

    def all(self) -> Iterable[Count | Times]:
        """All of them as they are now."""
        return (
            *(self._updates, self._latency, self._looks, self._look_seconds),
            *(self._turns, self._hooks, self._missed),
        )
