"""The daemon as the HTTP endpoint sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set

from consulcast import drains
from consulcast.changes import Changes
from consulcast.core import Core
from consulcast.drain_store import DrainStore
from consulcast.drains import Drain, Kind, Target, UnknownTarget
from consulcast.executor.bgp.speaker import ExaBgpSpeaker
from consulcast.executor.observe import NoSpeaker
from consulcast.executor.protocols import PeerStatus
from consulcast.explain.collect import Collector
from consulcast.explain.explanation import Explanation, Unknown
from consulcast.instruments import Instruments
from consulcast.kept import Kept
from consulcast.model import App, AppKey, Draining, Health, IPAddress, Reason, Refused, Source, Stale, Verdict, Vip
from consulcast.outlook import Outlook
from consulcast.reconciler import Reconciler
from consulcast.registration import Registration
from consulcast.registration_file import Held
from consulcast.registrations import Registrations
from consulcast.repairs import Repairs
from consulcast.tally import Count, Times
from consulcast.vip_status import VipStatus
from consulcast.web.view import (
    AppState,
    AppView,
    ConsulView,
    DrainView,
    Messages,
    QueryView,
    SessionInfo,
    VipDrain,
    VipView,
)

_STATES = {
    Health.PASSING: AppState.PASSING,
    Health.FAILING: AppState.FAILING,
    Health.DRAINING: AppState.DRAINING,
    Health.UNKNOWN: AppState.UNKNOWN,
}


class Status:
    """Answers ``web.view.View`` from the parts; what it has answered is kept while the parts say the same."""

    def __init__(
        self,
        core: Core,
        reconciler: Reconciler,
        speaker: ExaBgpSpeaker | NoSpeaker,
        registrations: Registrations,
        reload: Callable[[], str | None],
        repairs: Repairs,
        instruments: Instruments,
        changes: Changes,
        drain_store: DrainStore,
        collector: Collector,
        foresee: Callable[[], Outlook | str],
    ) -> None:
        self.changes, self._foresee = changes, foresee
        self._collector = collector
        self._core, self._reconciler, self._speaker = core, reconciler, speaker
        self._registrations, self._reload, self._repairs = registrations, reload, repairs
        self._instruments = instruments
        self._drains = drain_store
        self._taken: Kept[AppKey, AppView] = Kept(_app)
        self._refused: Kept[AppKey, AppView] = Kept(_refused)
        self._vips: Kept[Vip, VipView] = Kept(_vip)

    def register(self, registration: Registration, *, vouched: bool) -> AppView | Refused:
        """Register, change in place or renew. What is refused is not kept. Raises ``BadValue``, ``NotStored``."""
        app = registration.app()
        refused = self._core.try_registration(app, vouched=vouched)
        if refused is not None:
            return refused
        self._registrations.put(registration)
        verdict = self._core.health.get(app.key)
        return _app(app, verdict, verdict.since if verdict else None, self._held(app), self._core.stale.get(app.key))

    def unregister(self, name: str) -> bool:
        """Let a registration over HTTP go; tells whether there was one. Raises ``NotStored``."""
        return self._registrations.remove(name)

    def apps(self) -> Sequence[AppView]:
        """Every app of every source, the refused ones too."""
        # all as it is now: others get their turn meanwhile
        registered, health, stale = self._core.registered, self._core.health, self._core.stale
        taken = self._taken.all(
            (app.key, (app, verdict, verdict.since if verdict else None, self._held(app), stale.get(app.key)))
            for app in registered.apps
            for verdict in (health.get(app.key),)
        )
        keys = {app.key for app in registered.apps}
        return taken + self._refused.all((item.key, (item,)) for item in registered.refused if item.key not in keys)

    def vips(self) -> Sequence[VipView]:
        """Every VIP that is asked for."""
        # all as it is now: others get their turn meanwhile
        found, stale, intents = self._reconciler.status(), self._core.stale, self._core.plan.intents
        return self._vips.all(
            (vip, (item, keys, intent and intent.drain, _oldest(stale, keys)))
            for vip, item in found.items()
            for intent in (intents.get(vip),)
            for keys in (intent.apps if intent else (),)
        )

    def drains(self) -> Sequence[DrainView]:
        """Every drain that was asked for over the API."""
        vips = self.vips()
        return [self._drained(drain, vips) for drain in self._drains.drains]

    def drain(self, target: str, seconds: float | None, reason: str, who: str, force: bool) -> DrainView:
        """Drain, for so many seconds or until it is ended; or change how long and why. ``force``: the absent, too.

        Raises ``BadValue``, ``UnknownTarget``, ``NotStored``.
        """
        apps = self._core.registered.apps
        found = drains.find(target, apps, self._drains.drains)
        if found is None and not force:
            raise UnknownTarget(drains.unknown(target, apps))
        return self._drained(self._drains.put(found or Target.read(target), seconds, reason, who), self.vips())

    def undrain(self, target: str) -> None:
        """End a drain. Raises ``BadValue``, ``UnknownTarget``, ``NotStored``."""
        standing = self._drains.drains
        found = drains.find(target, (), standing)
        if found is None or not self._drains.remove(found):
            raise UnknownTarget(drains.not_drained(target, standing))

    def peers(self) -> Sequence[PeerStatus]:
        """Every peer, in the order of the configuration."""
        return self._speaker.peers()

    def consul(self) -> ConsulView | None:
        """What is known of Consul; ``None``: it is not used."""
        consul = self._core.consul
        if consul is None:
            return None
        state = consul.state
        queries = {
            name: QueryView(consul.good_at[name], counts.returns, counts.resets, dict(counts.errors))
            for name, counts in consul.queries.items()
        }
        stale = None if state.stale_since is None else Stale(state.stale_since, state.stale_reason)
        return ConsulView(consul.node, state.synced, stale, queries, state.held)

    def repairs(self) -> Mapping[str, int]:
        """How many things were found drifted and repaired since the start, by kind."""
        return {str(kind): number for kind, number in self._repairs.counts.items()}

    def explain(self, target: str) -> Explanation | Unknown:
        """Say whether an app or a VIP is announced, and if not, why not."""
        return self._collector.explain(target)

    def sent(self) -> Mapping[IPAddress, tuple[Messages, Messages]]:
        """BGP messages sent and received in every session that is up, as ExaBGP last told."""
        seen = self._speaker.seen()
        return {peer: (_messages(item.sent), _messages(item.received)) for peer, item in seen.items()}

    def measured(self) -> Iterable[Count | Times]:
        """What the parts count and time themselves."""
        return self._instruments.all()

    def info(self) -> SessionInfo | None:
        """The first peer's session; ``None`` before the first announcement."""
        peers = self._speaker.peers()
        if not peers or not self._reconciler.ever_announced:
            return None
        found = self._speaker.look(peers[0].address)
        if found is None:
            return SessionInfo(peers[0])
        return SessionInfo(peers[0], found.router_id, _messages(found.sent), _messages(found.received))

    def reload(self) -> str | None:
        """Read the configuration file anew. Returns why it was not taken; nothing is changed then."""
        return self._reload()

    def foresee(self) -> Outlook | str:
        """Tell what a reload would do now, or why the file would not be taken. Changes nothing."""
        return self._foresee()

    def ready(self) -> str | None:
        """Why the host is not yet as it should be after the start; ``None`` once it has been."""
        if not self._core.complete:
            return "Consul has not given a good answer yet"
        return None if self._reconciler.ever_complete else "the first reconcile is not complete"

    def healthy(self) -> str | None:
        """Why the daemon does not do its work; ``None`` while it does."""
        return None  # a part that fails ends the daemon

    def _held(self, app: App) -> Held | None:
        return self._registrations.held(app.name) if app.key.source is Source.HTTP else None

    def _drained(self, drain: Drain, vips: Iterable[VipView]) -> DrainView:
        covered = {app.key for app in self._core.registered.apps if drain.target.covers(app)}
        return DrainView(drain, tuple(view for view in vips if _concerns(drain.target, view, covered)))


def _app(app: App, verdict: Verdict | None, since: float | None, held: Held | None, stale: Stale | None) -> AppView:
    """``since``: the verdict's, which is not compared with it."""
    asked = held.registration if held else Registration.of(app)
    expires_at = held.expires_at if held else None
    if verdict is None:
        return AppView(app.key, asked, AppState.UNKNOWN, Reason.MONITOR_PENDING, expires_at=expires_at)
    state, since = _STATES[verdict.health], since or None  # an app without a monitor has no moment of its own
    return AppView(app.key, asked, state, verdict.reason, verdict.detail, since, expires_at, stale)


def _refused(item: Refused) -> AppView:
    return AppView(item.key, Registration(item.name), AppState.REFUSED, item.reason, item.detail)


def _vip(found: VipStatus, apps: tuple[AppKey, ...], drain: Draining | None, stale: Stale | None) -> VipView:
    return VipView(found.vip, found.reason, found.detail, apps, stale, _drain(found, drain))


def _oldest(stale: Mapping[AppKey, Stale], apps: Iterable[AppKey]) -> Stale | None:
    found = [mark for key in apps if (mark := stale.get(key))] if stale else ()
    return min(found, key=lambda mark: mark.since, default=None)


def _concerns(target: Target, view: VipView, covered: Set[AppKey]) -> bool:
    return str(view.vip) == target.name if target.kind is Kind.VIP else not covered.isdisjoint(view.apps)


def _drain(found: VipStatus, drain: Draining | None) -> VipDrain | None:
    if drain is None or found.phase is None:
        return None
    return VipDrain(found.phase, drain.since, drain.lowered_until, drain.until, found.flows)


def _messages(counts: Mapping[str, int]) -> Messages:
    return Messages(*(counts.get(kind, 0) for kind in ("open", "update", "keepalive", "notification")))
