"""Builds the parts, starts them, and stops them in order."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import gevent
from gevent.event import Event

from consulcast import tags
from consulcast.config import Config, consul_settings
from consulcast.consul.settings import BadSetting
from consulcast.consul.source import ConsulSource
from consulcast.executor.addresses import Addresses
from consulcast.executor.bgp.errors import BgpError
from consulcast.executor.bgp.peer import Peer
from consulcast.executor.bgp.speaker import ExaBgpSpeaker
from consulcast.executor.kernel import Kernel
from consulcast.executor.peers import Unresolved, resolve
from consulcast.executor.protocols import KernelError
from consulcast.journal import Journal
from consulcast.model import App, AppKey, Refused, Source
from consulcast.planner import plan
from consulcast.policy import Policy
from consulcast.reconciler import Reconciler
from consulcast.registry import Registry
from consulcast.rundir import RunDir, RunDirError, claim_mark

log = logging.getLogger(__name__)

STOPPED, FAILED, UNUSABLE = 0, 1, 2  # exit statuses

PEER_PATIENCE = 30.0  # seconds that the start waits for a route toward a peer
PEER_PAUSE = 5.0  # seconds between two looks
STOP_TIMEOUT = 10.0  # seconds for withdrawals to be acknowledged, over the drain time


class Daemon:
    """One daemon. ``run`` returns its exit status."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stop = Event()
        self._changed = Event()
        self._failure: BaseException | None = None
        self._journal = Journal()

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, or until a part fails."""
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, self._stop.set)
        gevent.signal_handler(signal.SIGHUP, log.warning, "SIGHUP: the configuration is read at start only")
        for warning in self._config.warnings:
            log.warning("%s", warning)
        try:
            self._run_dir = RunDir(self._config.agent.run_dir)
            self._claim = claim_mark(self._config.agent.vip_device, self._config.agent.owner_mark)
            self._build()
        except (RunDirError, BadSetting, BgpError, KernelError, Unresolved) as error:
            log.error("cannot start: %s", error)
            return UNUSABLE
        self._start()
        log.info("running as process %d", os.getpid())
        self._stop.wait()
        self._end()
        if self._failure is not None:
            log.error("ended because a part failed", exc_info=self._failure)
            return FAILED
        log.info("stopped")
        return STOPPED

    def _build(self) -> None:
        config, agent = self._config, self._config.agent
        self._kernel = Kernel()
        peers = self._resolve_peers()
        if not peers and not self._stop.is_set():
            raise Unresolved("no peer can be reached: see the configuration's bgp section and the host's routes")
        self._addresses = Addresses(self._kernel, agent.vip_device, agent.owner_mark)
        self._addresses.present()  # now, so that a wrong device is told at once
        self._speaker = ExaBgpSpeaker(peers, self._run_dir.path / "bgp", self._spoken, spawn=self._spawn)
        self._reconciler = Reconciler(self._addresses, self._speaker, agent.drain_time, self._spawn)
        reserved = {address for peer in peers for address in (peer.address, peer.local_address)}
        self._registry = Registry(Policy(reserved=frozenset(reserved)))
        self._registry.set(Source.CONFIG, config.apps)
        self._consul = self._consul_source()

    def _resolve_peers(self) -> list[Peer]:
        """Resolve what can be; with none, wait a while: at boot the network may be later than we are."""
        deadline = time.monotonic() + PEER_PATIENCE
        told = False
        while True:
            peers, unresolved = [], []
            for item in self._config.peers:
                try:
                    peers.append(resolve(item, self._config.router_id, self._kernel))
                except Unresolved as why:
                    unresolved.append(why)
            if peers or time.monotonic() >= deadline or self._stop.is_set():
                for missing in unresolved:
                    log.error("going on without a peer until the next start: %s", missing)
                return peers
            if not told:
                log.warning("waiting up to %.0f s: %s", PEER_PATIENCE, "; ".join(map(str, unresolved)))
                told = True
            self._stop.wait(PEER_PAUSE)

    def _consul_source(self) -> ConsulSource | None:
        consul, agent = self._config.consul, self._config.agent
        node = os.environ.get("CONSUL_NODE") or consul.node
        if not node:
            log.warning("no CONSUL_NODE in the environment and no consul.node in the file: Consul is not used")
            return None
        settings = consul_settings(consul, os.environ)

        def parse(key: AppKey, name: str, service_tags: Sequence[str]) -> App | Refused | None:
            return tags.parse(key, name, service_tags, agent.tag_prefix)

        return ConsulSource(
            settings,
            node,
            parse,
            self._changed.set,
            failed=self._fail,
            warning=consul.warning,
            wait=consul.wait,
            max_stale=consul.max_stale,
            restart_grace=consul.restart_grace,
        )

    def _start(self) -> None:
        self._speaker.start()
        self._reconciler.start()
        self._planning = self._spawn(self._plan_forever)
        self._changed.set()
        if self._consul is not None:
            self._consul.start()

    def _plan_forever(self) -> None:
        recheck_at: float | None = None
        while True:
            self._changed.wait(None if recheck_at is None else max(0.0, recheck_at - time.monotonic()))
            self._changed.clear()
            recheck_at = self._plan()

    def _plan(self) -> float | None:
        """From what all sources say now to what should be. Returns when time alone will change it."""
        state = self._consul.state if self._consul is not None else None
        if state is not None and state.synced:
            self._registry.set(Source.CONSUL, state.apps, state.refused)
        registered = self._registry.registered
        verdicts = state.verdicts if state is not None else {}
        wanted = plan(registered.apps, verdicts, self._config.defaults, time.monotonic())
        self._reconciler.set(wanted.intents, complete=state is None or state.synced)
        self._journal.record(registered, dict(wanted.health))
        return wanted.recheck_at

    def _spoken(self) -> None:
        self._reconciler.wake()

    def _spawn(self, run: Callable[..., Any], *arguments: Any) -> gevent.Greenlet[..., Any]:
        """Start a greenlet whose unexpected end is not silent."""

        def ended(greenlet: gevent.Greenlet[..., Any]) -> None:
            if greenlet.exception is not None:
                self._fail(greenlet.exception)

        greenlet = gevent.spawn(run, *arguments)
        greenlet.link_exception(ended)
        return greenlet

    def _fail(self, error: BaseException) -> None:
        """A half-dead announcer is worse than a dead one: withdraw and end."""
        self._failure = self._failure or error
        self._stop.set()

    def _end(self) -> None:
        """Withdraw, wait for the acknowledgements and the drain time, remove the addresses, end ExaBGP."""
        log.info("stopping: withdrawing all")
        if self._consul is not None:
            self._consul.stop()
        self._planning.kill()
        done = self._reconciler.stop(self._config.agent.drain_time + STOP_TIMEOUT)
        self._speaker.stop(timeout=3.0)
        if not done:  # ExaBGP did not answer; with it gone, no route leads here any more
            try:
                failures = self._addresses.remove(self._addresses.owned())
                done = not failures
            except KernelError as error:
                log.error("addresses are left on the host; the next start adopts or removes them: %s", error)
        self._kernel.close()
        self._run_dir.close()
