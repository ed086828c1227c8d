"""From what every source says now to what should be: registry, monitors, planner, reconciler."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from gevent.event import Event

from consulcast.consul.source import ConsulSource, ConsulState
from consulcast.damping import Damping, Limits
from consulcast.difference import differing
from consulcast.drain_store import DrainStore
from consulcast.drains import Drain
from consulcast.journal import Journal
from consulcast.latency import Cause, Latency
from consulcast.model import App, AppKey, Health, MonitorSpec, Reason, Refused, Source, Stale, Verdict, VerdictKey, Vip
from consulcast.monitors.runner import Monitors
from consulcast.monitors.schedule import Defaults as Pace
from consulcast.planner import Defaults, Plan, Planner, plan
from consulcast.policy import Policy
from consulcast.reconciler import Reconciler
from consulcast.registrations import Registrations
from consulcast.registry import Registered, Registry

_CONSUL = MonitorSpec("consul")
_UNKNOWN = Verdict(Health.UNKNOWN, Reason.MONITOR_PENDING, "Consul has not answered yet")


class Core:
    """Holds what is wanted. Every input is read whole whenever one of them has changed; one greenlet plans."""

    def __init__(
        self,
        registrations: Registrations,
        monitors: Monitors,
        reconciler: Reconciler,
        drains: DrainStore | None = None,
        latency: Latency | None = None,
    ) -> None:
        self._registrations, self._monitors, self._reconciler = registrations, monitors, reconciler
        self._drains = drains
        self._registry = Registry(Policy())
        self._consul: ConsulSource | None = None
        self._said: ConsulState | None = None  # the last state that both queries stood behind
        self._waiting_since = 0.0  # while a source has not been in sync yet: since when that is not known better
        self._defaults, self._pace = Defaults(), Pace()
        self._journal = Journal()
        self._unrecorded: Registered | None = None  # of the last plan, until the journal has it
        reconciler.before_telling = self._record
        self._latency = latency or Latency()
        self._planner, self._damping = Planner(), Damping()
        self._announced: set[Vip] = set()
        self._monitored: tuple[tuple[App, ...], Pace] | None = None  # what the monitors were last told
        self._by_name: tuple[App, ...] = ()  # the apps that Consul judges, and that are not its own
        self._changed = Event()
        self.plan = Plan()
        self.verdicts: Mapping[VerdictKey, Verdict] = {}  # of every monitor that has looked
        self.stale: Mapping[AppKey, Stale] = {}  # the apps that rest on an answer of Consul's that may be true no more

    @property
    def consul(self) -> ConsulSource | None:
        """The Consul source, if Consul is used."""
        return self._consul

    @property
    def registered(self) -> Registered:
        """The apps that are taken, and those that are refused."""
        return self._registry.registered

    @property
    def asked(self) -> tuple[App, ...]:
        """Every app that could be read, taken or not."""
        return self._registry.asked

    @property
    def damping(self) -> Damping:
        """What is remembered of routes that flap."""
        return self._damping

    @property
    def health(self) -> Mapping[AppKey, Verdict]:
        """The verdict on each app that is taken."""
        return self.plan.health

    @property
    def complete(self) -> bool:
        """Whether every source has answered once."""
        return self._consul is None or self._said is not None

    def wake(self, cause: Cause | None = None, at: float = 0.0) -> None:
        """Some input has changed: by an event that came in ``at`` that time, or by none that is timed."""
        if cause is not None:
            self._latency.happened(cause, at)
        self._changed.set()

    def configure(
        self, policy: Policy, defaults: Defaults, pace: Pace, apps: Iterable[App], damping: Limits | None = None
    ) -> None:
        """Replace what the configuration file says."""
        self._defaults, self._pace = defaults, pace
        self._damping.limits = damping or Limits()
        self._registry.set_policy(policy)
        self._registry.set(Source.CONFIG, apps)
        self.wake()

    def follow(self, consul: ConsulSource | None) -> None:
        """Replace the Consul source; what the former one said last stands until the new one is in sync."""
        if self._consul is None or self._consul.state.synced:
            self._waiting_since = time.monotonic()
        self._consul = consul
        if consul is None:
            self._said = None
            self._registry.set(Source.CONSUL, ())
        self.wake()

    def try_registration(self, app: App, *, vouched: bool) -> Refused | None:
        """Tell whether an app over HTTP would be taken, as things stand. Changes nothing."""
        return self._registry.would_refuse(app, self._registrations.apps, vouched=vouched)

    def foresee(self, policy: Policy, defaults: Defaults, apps: Iterable[App]) -> tuple[Registered, Plan]:
        """Tell what a file with these would make of what the sources and monitors say now. Changes nothing.

        Monitors that are new have no verdict, and damping, which counts what happens, is left out.
        """
        registered = self._registry.trial(policy).set(Source.CONFIG, apps)
        verdicts = {**self._monitors.verdicts, **self._said_by_consul(_judged_by_name(registered.apps))}
        stale, now, standing = self._stale(registered.apps), time.monotonic(), (self._asked_drains(), self._announced)
        return registered, plan(registered.apps, verdicts, defaults, now, self.health, stale, *standing)

    def run(self) -> None:
        """Plan for ever."""
        while True:
            self._changed.clear()
            self._plan()
            recheck_at = self.plan.recheck_at
            self._changed.wait(None if recheck_at is None else max(0.0, recheck_at - time.monotonic()))

    def _plan(self) -> None:
        self._record()  # each plan has its lines
        if self._consul is not None and self._consul.state.synced:
            self._said = self._consul.state
            self._registry.set(Source.CONSUL, self._said.apps, self._said.refused)
        registered = self._registry.set(Source.HTTP, self._registrations.apps)
        self._monitor(registered.apps)
        self.verdicts = {**self._monitors.verdicts, **self._said_by_consul(self._by_name)}
        now = time.monotonic()
        self.stale = self._stale(registered.apps)
        planned = self._planner.plan(
            *(registered.apps, self.verdicts, self._defaults, now, self.stale),
            *(self._asked_drains(), self._announced),
        )
        intents, reuse_at = self._damping.apply(planned.intents, now, time.time())
        for vip in differing(self.plan.intents, intents):
            if vip in intents and intents[vip].announce:
                self._announced.add(vip)
            else:
                self._announced.discard(vip)
        times = [at for at in (planned.recheck_at, reuse_at) if at is not None]
        self.plan = Plan(intents, planned.health, min(times, default=None))
        self._latency.planned()
        self._reconciler.set(intents, complete=self.complete)
        self._unrecorded = registered

    def _record(self) -> None:
        """Log what the last plan has changed.

        The reconciler has it done when the routers know: a line takes as long as the whole of its pass until then.
        """
        registered, self._unrecorded = self._unrecorded, None
        if registered is not None:
            self._journal.record(registered, self.health)

    def _monitor(self, apps: tuple[App, ...]) -> None:
        """Have looked at what these apps want looked at."""
        if self._monitored is None or self._monitored[0] is not apps or self._monitored[1] != self._pace:
            self._monitored = apps, self._pace
            self._by_name = _judged_by_name(apps)
            looked_at = ((app.key, spec) for app in apps for spec in app.monitors if spec.kind != _CONSUL.kind)
            self._monitors.set((VerdictKey(key, spec) for key, spec in looked_at), self._pace)
        if self._consul is not None:
            self._consul.judge_services(frozenset(app.name for app in self._by_name))

    def _asked_drains(self) -> Iterable[Drain]:
        return self._drains.drains if self._drains is not None else ()

    def _said_by_consul(self, others: Iterable[App]) -> Mapping[VerdictKey, Verdict]:
        """What Consul answers to the monitor `consul`: of a service by its id, of ``others`` by their names."""
        if self._said is None:
            return {VerdictKey(app.key, _CONSUL): _UNKNOWN for app in others}
        by_name = {VerdictKey(app.key, _CONSUL): self._said.by_name.get(app.name, _UNKNOWN) for app in others}
        return {**self._said.verdicts, **by_name}

    def _stale(self, apps: Iterable[App]) -> Mapping[AppKey, Stale]:
        """Which apps Consul has to say something about and does not: its own, and those with the monitor `consul`."""
        if self._consul is None:
            return {}
        state, said = self._consul.state, self._said or ConsulState()
        if state.synced and not said.unknown and not said.unknown_names:
            return {}
        concerned = [app for app in apps if app.key.source is Source.CONSUL or _CONSUL in app.monitors]
        found = {
            app.key: said.unknown.get(app.key) if app.key.source is Source.CONSUL else said.unknown_names.get(app.name)
            for app in concerned
        }
        if state.synced:
            return {key: stale for key, stale in found.items() if stale is not None}
        why = state.stale_reason or _UNKNOWN.detail
        return {key: Stale(stale.since if stale else self._waiting_since, why) for key, stale in found.items()}


def _judged_by_name(apps: Iterable[App]) -> tuple[App, ...]:
    return tuple(app for app in apps if app.key.source is not Source.CONSUL and _CONSUL in app.monitors)
