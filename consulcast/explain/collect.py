"""Asks the daemon's parts for what is known now. Waits for the kernel, and a second at most for ExaBGP and Consul."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Set
from typing import TypeVar

import gevent
from msgspec import Struct

from consulcast.changes import Change, Changes, Kind
from consulcast.consul.bodies import AgentCheck
from consulcast.consul.reading import KIND
from consulcast.consul.source import ConsulSource
from consulcast.core import Core
from consulcast.executor.bgp.speaker import ExaBgpSpeaker
from consulcast.executor.kernel import Kernel
from consulcast.executor.observe import NoSpeaker
from consulcast.executor.protocols import Found, KernelError, SessionState
from consulcast.executor.reach import reach, undelivered
from consulcast.explain import answer
from consulcast.explain.explanation import Explanation, Unknown
from consulcast.explain.facts import Facts, OfConsul, OfPeer, OfVip, Shown
from consulcast.explain.find import Subject, find
from consulcast.model import Health, IPAddress, Source, Stale, Vip
from consulcast.monitors import sock_diag
from consulcast.monitors.runner import Monitors
from consulcast.reconciler import Reconciler
from consulcast.values import replace

T = TypeVar("T")

PATIENCE = 1.0  # seconds that ExaBGP's table and Consul's agent are waited for
LAST = 20  # changes that are shown
LAST_OF_THE_GONE = 3


class Collector(Struct, frozen=True):
    """The parts that know something. ``gaps``: the peers and next hops that could not be found, in words."""

    core: Core
    monitors: Monitors
    reconciler: Reconciler
    speaker: ExaBgpSpeaker | NoSpeaker
    kernel: Kernel
    device: str
    changes: Changes
    gaps: Callable[[], tuple[str, ...]] = tuple

    def explain(self, target: str) -> Explanation | Unknown:
        """Answer about a target."""
        facts = self._facts()
        subject = find(target, facts)
        if subject is None:
            consul = self._with_agent_node(facts.consul) if facts.consul is not None else None
            gone = self._changes_of_the_gone(target.strip())
            return answer.unknown(target, replace(facts, consul=consul, peers=self._peers(), changes=gone))
        return answer.explain(target, subject, self._about(subject, facts))

    def _facts(self) -> Facts:
        core = self.core
        registered = core.registered
        standing, failures = self.reconciler.translations()
        return Facts(
            now=time.monotonic(),
            wall=time.time(),
            apps=registered.apps,
            asked=core.asked,
            refused=registered.refused,
            health=core.health,
            verdicts={**core.verdicts, **self.monitors.verdicts},  # the last look: only a change of health is planned
            stale=core.stale,
            intents=core.plan.intents,
            device=self.device,
            standing=standing,
            nat_failures=failures,
            gaps=self.gaps(),
            exabgp=self.speaker.child_trouble,
            consul=_of_consul(core.consul),
            complete=core.complete,
        )

    def _about(self, subject: Subject, facts: Facts) -> Facts:
        """Add what takes a question to somebody else."""
        found, trouble = self._found()
        specs = {monitor for app in facts.apps if app.key in subject.apps for monitor in app.monitors}
        looked = {spec: item for spec in specs if (item := self.monitors.looked(spec)) is not None}
        return replace(
            facts,
            looked=looked,
            found=found,
            kernel_trouble=trouble,
            vips=self._vips(subject.vips, facts.now, self._undelivered(subject.vips, found)),
            peers=self._peers(),
            checks=self._checks(subject, facts),
            changes=self._changes(subject),
        )

    def _found(self) -> tuple[Found | None, str]:
        try:
            return self.reconciler.found(), ""
        except KernelError as error:
            return None, str(error)

    def _undelivered(self, vips: Iterable[Vip], found: Found | None) -> frozenset[IPAddress]:
        present = found.present if found is not None else frozenset()
        try:
            return undelivered(self.kernel, [vip.local.ip for vip in vips if vip.local in present])
        except KernelError:
            return frozenset()

    def _vips(self, vips: Iterable[Vip], now: float, undelivered: Set[IPAddress]) -> Mapping[Vip, OfVip]:
        deadline = time.monotonic() + PATIENCE
        found = {}
        for vip in vips:
            told = self.speaker.told(vip.prefix, max(0.0, deadline - time.monotonic()))
            status = self.reconciler.status().get(vip)
            found[vip] = OfVip(
                vip,
                status.reason if status is not None else None,
                status.detail if status is not None else "",
                self.speaker.route_state(vip.prefix),
                self.reconciler.why_missing(vip.local),
                self.core.damping.flaps(vip.prefix, now),
                told,
                vip.local.ip in undelivered,
            )
        return found

    def _peers(self) -> tuple[OfPeer, ...]:
        configured = {peer.address: peer for peer in self.speaker.configured()}
        return tuple(
            OfPeer(
                status,
                peer is not None and peer.password is not None,
                peer.versions if peer is not None else (),
                None if status.state is SessionState.UP else reach(self.kernel, status.address),
                status.state is SessionState.DOWN
                and _is_silent(status.address, peer.port if peer is not None else 179),
            )
            for status in self.speaker.peers()
            for peer in (configured.get(status.address),)
        )

    def _changes(self, subject: Subject) -> tuple[Change, ...]:
        about = [(Kind.APP, str(key)) for key in subject.apps] + [(Kind.VIP, str(vip)) for vip in subject.vips]
        about += [(Kind.DRAIN, what) for _, what in about]
        about += [(Kind.PEER, str(status.address)) for status in self.speaker.peers()]
        changes = [change for kind, what in about for change in self.changes.of(kind, what)]
        return tuple(sorted(changes, key=lambda change: change.number)[-LAST:])

    def _changes_of_the_gone(self, target: str) -> tuple[Change, ...]:
        """What was told last of an app or a VIP that nobody asks for any more."""
        about = [(Kind.APP, target), *((Kind.APP, f"{source}:{target}") for source in Source)]
        about += [(Kind.VIP, vip) for vip in (target, f"{target}/32", f"{target}/128")]
        changes = [change for kind, what in about for change in self.changes.of(kind, what)]
        return tuple(sorted(changes, key=lambda change: change.number)[-LAST_OF_THE_GONE:])

    def _with_agent_node(self, consul: OfConsul) -> OfConsul:
        """Ask the agent for its node's name where the one that we ask about is not known."""
        source = self.core.consul
        if source is None or consul.stale is None or "does not know node" not in consul.stale.reason:
            return consul
        return replace(consul, agent_node=_within(PATIENCE, source.agent_node) or "")

    def _checks(self, subject: Subject, facts: Facts) -> Mapping[str, AgentCheck]:
        """Ask the agent what its checks have put out, where one of Consul's apps fails by them."""
        source = self.core.consul
        failing = (
            key.app.source is Source.CONSUL and key.monitor.kind == KIND and verdict.health is Health.FAILING
            for key, verdict in facts.verdicts.items()
            if key.app in subject.apps
        )
        return (_within(PATIENCE, source.agent_checks) or {}) if source is not None and any(failing) else {}


def _within(seconds: float, ask: Callable[[], T]) -> T | None:
    """Ask somebody who may not answer; ``None``: not in time."""
    asking = gevent.spawn(ask)
    asking.join(seconds)
    asking.kill()
    return asking.value if not isinstance(asking.value, gevent.GreenletExit) else None


def _is_silent(address: IPAddress, port: int) -> bool:
    try:
        return bool(sock_diag.unanswered(address, port))
    except OSError:
        return False  # the kernel does not tell


def _of_consul(source: ConsulSource | None) -> OfConsul | None:
    if source is None:
        return None
    state, settings = source.state, source.settings
    return OfConsul(
        node=source.node,
        tag_prefix=source.tag_prefix,
        synced=state.synced,
        stale=None if state.stale_since is None else Stale(state.stale_since, state.stale_reason),
        has_token=bool(settings.token or settings.token_file),
        where=settings.unix_socket or settings.url,
        services={item.id: Shown(item.id, item.name, tuple(item.tags or ())) for item in source.shown.values()},
        held=state.held,
    )
