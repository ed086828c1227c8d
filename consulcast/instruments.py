"""What the parts count and time while they work, in Prometheus' own types. docs/metrics.md names each."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import Metric

from consulcast.latency import Cause, What
from consulcast.model import IPAddress

_LATENCY = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LOOK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TURN = (0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_RESULTS = {True: "passed", False: "failed", None: "none"}
_KINDS = ("port", "exec", "http", "tcp", "dns")

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter, which says what `process_start_time_seconds` says


class Instruments:
    """One set for the daemon. Nothing here waits, and nothing is registered anywhere else."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry(auto_describe=False)
        self._updates = Counter(
            "consulcast_updates",
            "Routes announced and withdrawn to a peer that was up, as acknowledged by ExaBGP.",
            ("peer", "kind"),
            registry=registry,
        )
        self._latency = Histogram(
            "consulcast_event_to_update_seconds",
            "Time from an event to the acknowledged UPDATE, by what the UPDATE does and what the event was.",
            ("what", "cause"),
            buckets=_LATENCY,
            registry=registry,
        )
        self._looks = Counter(
            "consulcast_monitor_looks",
            "Looks of monitors, by kind and result; none: it could not be looked.",
            ("kind", "result"),
            registry=registry,
        )
        self._look_seconds = Histogram(
            "consulcast_monitor_look_duration_seconds",
            "Time that a look took, waiting for its turn included.",
            ("kind",),
            buckets=_LOOK,
            registry=registry,
        )
        self._turns = Histogram(
            "consulcast_hub_lateness_seconds",
            "Length of each turn of the hub: by so much at most was late what became due meanwhile.",
            buckets=_TURN,
            registry=registry,
        )
        self._hooks = Counter(
            "consulcast_hook_runs",
            "Runs of the hook that have ended, by result.",
            ("result",),
            registry=registry,
        )
        self._missed = Counter(
            "consulcast_hook_changes_dropped",
            "Changes of state that the hook was not told of, since it was slower than they came.",
            registry=registry,
        )
        ProcessCollector(registry=registry)
        # here from the start, so that a first failure is an increase; and kept, since finding them is half of the cost
        self._looked = {
            (kind, passed): (self._looks.labels(kind, result), self._look_seconds.labels(kind))
            for kind in _KINDS
            for passed, result in _RESULTS.items()
        }
        for passed in (True, False):
            self._hooks.labels(_RESULTS[passed])
        for what in What:
            for cause in Cause:
                self._latency.labels(what, cause)

    def peer(self, address: IPAddress) -> None:
        """A peer is there."""
        for kind in ("announce", "withdraw"):
            self._updates.labels(str(address), kind)

    def updated(self, peer: IPAddress, announced: bool) -> None:
        """A peer that is up was told of a route, or that it is gone."""
        self._updates.labels(str(peer), "announce" if announced else "withdraw").inc()

    def served(self, what: What, cause: Cause, seconds: float) -> None:
        """An event was served: all peers that are up are told."""
        self._latency.labels(what, cause).observe(seconds)

    def looked(self, kind: str, passed: bool | None, seconds: float) -> None:
        """A monitor has looked."""
        looks, duration = self._looked[kind, passed]
        looks.inc()
        duration.observe(seconds)

    def hook_ran(self, passed: bool) -> None:
        """The hook has ended, well or not; or it could not be started."""
        self._hooks.labels(_RESULTS[passed]).inc()

    def hook_missed(self, changes: int) -> None:
        """The hook was too slow to be told of so many changes."""
        self._missed.inc(changes)

    def turned(self, seconds: float) -> None:
        """The hub was busy for so long."""
        self._turns.observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """All of them as they are now."""
        return self._registry.collect()
