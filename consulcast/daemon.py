"""Builds the parts, starts them, changes them when the file changes, and stops them in order."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from consulcast import __version__, capabilities, descriptors, garbage, hub, last_words, next_start, tags
from consulcast import config as configuration
from consulcast.capabilities import CapabilityError
from consulcast.changes import Changes
from consulcast.config import Config, consul_settings
from consulcast.consul.hold_down import HoldDown
from consulcast.consul.settings import BadSetting
from consulcast.document import ConfigError
from consulcast.drain_store import DrainStore
from consulcast.executor.addresses import Addresses
from consulcast.executor.bgp.errors import BgpError
from consulcast.executor.bgp.life import Life
from consulcast.executor.bgp.speaker import ExaBgpSpeaker
from consulcast.executor.device_events import DeviceEvents
from consulcast.executor.flows import OpenFlows
from consulcast.executor.kernel import Kernel
from consulcast.executor.nat.choice import Backends
from consulcast.executor.nat.iptables import Iptables
from consulcast.executor.nat.nft import Nft
from consulcast.executor.nat.table import NatTable
from consulcast.executor.network import Network
from consulcast.executor.observe import NoAddresses, NoNat, NoSpeaker
from consulcast.executor.protocols import KernelError
from consulcast.hooks import Hook, Hooks
from consulcast.hub import HubTurns
from consulcast.instruments import Instruments
from consulcast.latency import Cause, Latency
from consulcast.model import App, AppKey, Refused
from consulcast.monitors.command import Programs
from consulcast.monitors.factory import Resources
from consulcast.monitors.runner import Monitors
from consulcast.monitors.schedule import Defaults as Pace
from consulcast.outlook import Outlook, Scene, steps
from consulcast.planner import Defaults
from consulcast.policy import Policy
from consulcast.publication import Publication, Since, publication
from consulcast.reconciler import Reconciler
from consulcast.registrations import Registrations
from consulcast.repairs import Repairs
from consulcast.restart_job import restart_is_under_way
from consulcast.rundir import SOCKET, InUse, RunDir, RunDirError, claim_mark
from consulcast.sd_notify import Notifier
from consulcast.service import READY_ANYWAY, Service, consul_word, summary
from consulcast.surroundings import LOOK_AGAIN, PEER_PATIENCE, Surroundings
from consulcast.values import replace
from consulcast.web.listen import ListenError

if TYPE_CHECKING:
    from consulcast.consul.publisher import Publisher
    from consulcast.consul.source import ConsulSource

log = logging.getLogger(__name__)

STOPPED, FAILED, UNUSABLE = 0, 1, 2  # exit statuses

STOP_TIMEOUT = 10.0  # seconds for withdrawals to be acknowledged, over the drain time
LEAVE_TIMEOUT = 3.0  # seconds for ExaBGP to end its sessions, and itself
RUSH = (
    1.0  # seconds after the start of the parts at which HTTP is answered at the latest, whatever is announced by then
)
LAST_HOOKS = 2.0  # seconds for the last changes to be told to a hook


# Why a file is not taken.
_NOT_TAKEN = (ConfigError, BadSetting, KernelError, BgpError, OSError)


class Daemon:
    """One daemon. ``run`` returns its exit status."""

    def __init__(self, config: Config, path: str, observe: bool = False) -> None:
        """``observe``: do everything but touch the host and speak to routers."""
        self._config, self._path, self._observe = config, path, observe
        self._stop = Event()
        self._up = Event()  # all parts are there, and have begun
        self._calm = Event()  # all was as it should be once
        self._reloading = BoundedSemaphore()
        self._failure: BaseException | None = None
        self._life = Life(config.lease, config.graceful_restart)
        self._repairs = Repairs()
        self._changes = Changes()
        self._instruments = Instruments()
        self._latency = Latency(self._instruments.served)
        self._hooks = Hooks(self._changes, self._hook_of(config), self._instruments)
        self._publisher: Publisher | None = None
        self._since = Since()
        self._notifier = Notifier(os.environ)
        self._restarted = False  # told that we shall be started again at once
        self._claim: socket.socket | None = None
        self._device_events: DeviceEvents | None = None
        self._undo: Callable[[], None] = lambda: None  # ends what has begun, when the rest cannot

    def run(self) -> int:
        """Run until SIGTERM, SIGINT or SIGUSR2 ("you are started again at once"), or until a part fails."""
        sys.setswitchinterval(hub.SWITCH)
        logging.getLogger("consulcast").addHandler(self._changes)
        agent = self._config.agent
        # while observing, state and last words are nobody else's: a daemon that acts keeps its own
        state_dir = self._state_dir = agent.run_dir if self._observe else agent.state_dir
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, self._stop.set)
        gevent.signal_handler(signal.SIGUSR2, self._restart)
        gevent.signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload_when_up))
        for warning in self._config.warnings:
            log.warning("%s", warning, extra={"reason": "config-warning"})
        try:
            if not self._observe:
                capabilities.take_up()
            descriptors.take_up()
            self._run_dir = RunDir(self._config.agent.run_dir)
            if not self._observe:
                self._claim = claim_mark(self._config.agent.vip_device, self._config.agent.owner_mark)
            last_words.forget(state_dir)
            self._notifier.starting(PEER_PATIENCE + READY_ANYWAY)
            if not self._build():
                return STOPPED
            self._start()
            self._up.set()
        except (CapabilityError, RunDirError, BadSetting, BgpError, KernelError, ListenError, OSError) as error:
            extra = {"daemon": __version__, "reason": "cannot-start", "detail": str(error)}
            log.error("cannot start: %s", error, extra=extra)
            self._undo()
            if not isinstance(error, InUse):  # the words of one that runs are its own
                last_words.say(state_dir, f"cannot start: {error}")
            return UNUSABLE
        last_words.forget(state_dir)
        log.info("running as process %d", os.getpid(), extra={"daemon": __version__, "reason": "started"})
        self._stop.wait()
        self._end()
        if self._failure is not None:
            extra = {"daemon": __version__, "reason": "part-failed"}
            log.error("ended because a part failed", exc_info=self._failure, extra=extra)
            last_words.say(state_dir, f"ended because a part failed: {self._failure!r}")
            return FAILED
        log.info("stopped", extra={"daemon": __version__, "reason": "stopped"})
        last_words.say(state_dir, "stopped in order")
        return STOPPED

    # -- the parts ---------------------------------------------------------------------------------------------

    def _build(self) -> bool:
        """Make the parts. Returns whether to go on: not when told to stop meanwhile."""
        config, agent = self._config, self._config.agent
        self._kernel = Kernel()
        self._surroundings = Surroundings(self._kernel, agent.vip_device)
        self._surroundings.wait(config, self._stop, self._state_dir)
        if self._stop.is_set():
            return False
        self._executors()
        self._flows = OpenFlows(self._spoken, self._spawn)
        self._reconciler = Reconciler(
            *(self._addresses, self._nat, self._speaker, agent.drain_time, self._spawn),
            repairs=self._repairs,
            latency=self._latency,
            flows=self._flows,
        )
        # what peers keep over a restart is theirs to keep for as long as they would have without this start
        end = self._speaker.leave if self._life.graceful_restart else self._speaker.stop
        self._undo = lambda: end(timeout=LEAVE_TIMEOUT)
        self._speaker.start()
        gevent.idle()  # it does
        # ExaBGP takes as long to start as the rest of us to be imported: both at once
        from consulcast.core import Core
        from consulcast.explain.collect import Collector
        from consulcast.status import Status
        from consulcast.web.endpoint import Endpoint

        if not self._observe:
            self._device_events = DeviceEvents(
                agent.vip_device, self._kernel.own_changes, self._reconciler.disturbed, self._spawn
            )
        self._programs = Programs()
        self._monitors = Monitors(
            lambda: self._core.wake(Cause.MONITOR, self._monitors.changed_at),
            self._fail,
            resources=Resources(programs=self._programs),
            instruments=self._instruments,
        )
        state = self._run_dir.path if self._observe else Path(agent.state_dir)
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirError(f"{state} cannot be used: {error.strerror}: set agent.state_dir") from None
        self._registrations = Registrations(
            state / "registrations.json",
            lambda: self._core.wake(Cause.HTTP, self._registrations.changed_at),
            self._fail,
        )
        self._drains = DrainStore(state / "drains.json", lambda: self._core.wake(), self._fail)
        self._core = Core(self._registrations, self._monitors, self._reconciler, self._drains, self._latency)
        self._consul = self._consul_source(config)
        self._core.follow(self._consul)
        self._locate_consul()
        self._configure()
        self._service = Service(self._notifier, lambda: self._calm.is_set() and self._web.open, self._summary)
        self._reconciler.after_pass = self._passed
        self._status = status = Status(
            *(self._core, self._reconciler, self._speaker, self._registrations),
            *(self.reload, self._repairs, self._instruments),
            *(self._changes, self._drains),
            Collector(
                *(self._core, self._monitors, self._reconciler, self._speaker, self._kernel),
                *(agent.vip_device, self._changes, lambda: self._surroundings.network.gaps),
            ),
            self.foresee,
        )
        self._turns = HubTurns(self._instruments.turned)
        # while observing, GoCast, or whoever acts, has the other addresses
        api = replace(config.api, listen=()) if self._observe else config.api
        self._web = Endpoint(status, api, str(self._run_dir.path / SOCKET))
        return True

    def _executors(self) -> None:
        """Make what acts; while observing, what keeps what it is told, and does nothing."""
        config, agent, peers = self._config, self._config.agent, self._surroundings.network.peers
        self._addresses: Addresses | NoAddresses
        self._nat: NatTable | NoNat
        self._speaker: ExaBgpSpeaker | NoSpeaker
        if self._observe:
            extra = {"daemon": __version__, "reason": "observing"}
            log.info("observing: nothing on this host or at a router is touched", extra=extra)
            self._addresses, self._nat = NoAddresses(), NoNat(self._spoken)
            self._speaker = NoSpeaker(peers, self._spoken)
            return
        self._addresses = Addresses(self._kernel, agent.vip_device, agent.owner_mark)
        backends = Backends(config.nat.backend, Nft(), Iptables())
        self._nat = NatTable(backends, self._spoken, self._spawn, repairs=self._repairs)
        self._speaker = ExaBgpSpeaker(
            peers,
            self._run_dir.path / "bgp",
            self._spoken,
            life=self._life,
            repairs=self._repairs,
            spawn=self._spawn,
            latency=self._latency,
            instruments=self._instruments,
        )

    def _configure(self) -> None:
        """Hand what the file says, and what the network is, to the planning."""
        config, network = self._config, self._surroundings.network
        self._programs.current = config.rules.commands
        pace = Pace(interval=config.agent.monitor_interval)
        policy, defaults = self._policy(config, network), _defaults(config, network)
        self._core.configure(policy, defaults, pace, config.apps, config.damping)

    def _policy(self, config: Config, network: Network) -> Policy:
        nat = frozenset(address.version for address in network.nat_to)
        reserved = network.reserved | self._surroundings.of_consul
        return Policy(reserved, self._consul is not None, nat, config.rules)

    def _locate_consul(self) -> bool:
        """Find Consul's addresses, which are no VIPs. Returns whether they are others than before."""
        used = self._consul is not None
        return self._surroundings.locate_consul(consul_settings(self._config.consul, os.environ) if used else None)

    def _consul_source(self, config: Config) -> ConsulSource | None:
        consul, prefix = config.consul, config.agent.tag_prefix
        node = os.environ.get("CONSUL_NODE") or consul.node
        if not node:
            text = "no CONSUL_NODE in the environment and no consul.node in the file: Consul is not used"
            log.warning(text, extra={"reason": "consul-unused"})
            return None

        from consulcast.consul.source import ConsulSource

        def parse(key: AppKey, name: str, service_tags: Sequence[str]) -> App | Refused | None:
            return tags.parse(key, name, service_tags, prefix)

        source = ConsulSource(
            consul_settings(consul, os.environ),
            node,
            parse,
            lambda: self._core.wake(Cause.CONSUL, source.changed_at),
            failed=self._fail,
            warning=consul.warning,
            wait=consul.wait,
            max_stale=consul.max_stale,
            restart_grace=consul.restart_grace,
            hold_down=HoldDown(consul.mass_removal, consul.removal_hold),
            tag_prefix=prefix,
        )
        return source

    # -- life --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        garbage.set_aside()
        self._turns.start()
        self._hooks.start()
        self._service.start()
        self._nat.start()
        if self._device_events is not None:
            self._device_events.start()
        self._reconciler.start()
        self._monitors.start()
        self._registrations.start()
        self._drains.start()
        self._planning = self._spawn(self._core.run)
        self._looking = self._spawn(self._look_again)
        if self._consul is not None:
            self._consul.start()
        self._publish()
        self._opening = self._spawn(self._open)

    def _open(self) -> None:
        """Answer HTTP once the first routes are out: what answers takes a while to load, for which they would wait."""
        self._calm.wait(RUSH)
        self._web.start()
        self._reconciler.wake()  # to be ready, HTTP must be answered

    def _look_again(self) -> None:
        """Look every now and then for what has changed around us, and never stop."""
        settled = False
        while True:
            gevent.sleep(LOOK_AGAIN)
            if self._reconciler.ever_complete and not settled:
                garbage.settle()
                settled = True
            with self._reloading:
                moved, elsewhere = self._locate_consul(), True
                if self._device_events is not None:
                    elsewhere = self._device_events.elsewhere
                    self._device_events.elsewhere = False  # before: a change meanwhile is looked for the next time
                if self._surroundings.look_again(self._config, elsewhere, self._speaker.set_peers) or moved:
                    self._configure()

    def _reload_when_up(self) -> None:
        """Read the file again as soon as there are parts to tell of it: at boot we wait for the network first."""
        self._up.wait()
        self.reload()

    def reload(self) -> str | None:
        """Read the file again; the smallest change. Returns why it was not taken; nothing is changed then."""
        asked_at = time.monotonic()
        with self._reloading, self._service.reloading():
            former, consul, around = self._config, self._consul, self._surroundings
            try:
                config = next_start.keep(former, self._read())
                settings = (config.consul, config.agent.tag_prefix)
                consul_changed = settings != (former.consul, former.agent.tag_prefix)
                if consul_changed:
                    consul = self._consul_source(config)
                network = around.of_file(former, config)
                if network is not around.network:
                    self._speaker.set_peers(network.peers)
            except _NOT_TAKEN as error:
                extra = {"daemon": __version__, "reason": "bad-config", "detail": str(error)}
                log.error("reload refused, nothing is changed: %s", error, extra=extra)
                return str(error)
            self._config = config
            around.take(network)
            if consul_changed:
                self._replace_consul(consul, config.agent.tag_prefix == former.agent.tag_prefix)
                self._locate_consul()
            self._core.wake(Cause.FILE, asked_at)
            self._configure()
            self._web.configure(config.api)
            self._hooks.configure(self._hook_of(config))
            if consul_changed or config.publish != former.publish:
                self._publish()
            log.info(
                "reloaded %s", self._path, extra={"daemon": __version__, "reason": "reloaded", "detail": self._path}
            )
            return None

    def foresee(self) -> Outlook | str:
        """Tell what ``reload`` would do now, or why the file would not be taken. Changes nothing."""
        with self._reloading:
            former, around = self._config, self._surroundings
            try:
                read = self._read()
                waits = next_start.waiting(former, read)
                config = next_start.kept(former, read)
                network = around.of_file(former, config)
            except _NOT_TAKEN as error:
                return str(error)
            now = Scene(self._core.registered, self._core.plan, around.network.peers)
            policy = self._policy(config, network)
            then = Scene(*self._core.foresee(policy, _defaults(config, network), config.apps), network.peers)
            unknown = [f"{key} counts from the next start" for key in waits]
            if (config.consul, config.agent.tag_prefix) != (former.consul, former.agent.tag_prefix):
                unknown.append("consul: other settings; what Consul would show with them is not known")
            return Outlook(steps(now, then), (*unknown, *around.news(network)))

    def _read(self) -> Config:
        """Read the file, in a thread: a thousand apps take 0.1 s, which the hub has not. Raises as ``load`` does."""

        def read() -> Config | Exception:
            try:
                return configuration.load(self._path)
            except (ConfigError, BadSetting, OSError) as error:
                return error  # as a value: gevent prints the traceback of what a pool's thread raises

        found = gevent.get_hub().threadpool.apply(read)
        if isinstance(found, Exception):
            raise found
        return found

    def _replace_consul(self, consul: ConsulSource | None, same_tags: bool) -> None:
        """Follow another source. What it does not show at first is believed gone no sooner than it would have been."""
        if self._consul is not None:
            self._consul.stop()
            if consul is not None and same_tags:
                consul.inherit(self._consul)
        self._consul = consul
        self._core.follow(consul)
        if consul is not None:
            consul.start()

    def _publish(self) -> None:
        """Publish as the file says, to the Consul that is followed; what was published before goes."""
        if self._publisher is not None:
            self._publisher.stop(remove=True)()
            self._publisher = None
        config, consul = self._config, self._consul
        wanted = (config.publish.kv or config.publish.service) and not self._observe
        if consul is not None and wanted:
            from consulcast.consul.publisher import Publisher

            settings = consul_settings(config.consul, os.environ)
            self._publisher = Publisher(settings, consul.node, config.publish, self._publication, self._changes)
            self._publisher.start()

    def _hook_of(self, config: Config) -> Hook | None:
        """While observing nobody is told: what hooks do is done to others."""
        return None if self._observe else config.hook

    def _publication(self) -> Publication | None:
        """Write down how all is; nothing while that is not known, so that what a former run has told stands."""
        if not self._reconciler.ever_complete:
            return None
        vips, node = self._status.vips(), self._consul.node if self._consul else ""
        of = {app.key: app.name for app in self._core.registered.apps}
        names = {view.vip: [of[key] for key in view.apps if key in of] for view in vips}
        return publication(node, vips, self._speaker.peers(), self._since.update(vips, time.time()), names)

    def _restart(self) -> None:
        self._restarted = True
        self._stop.set()

    def _hitless(self) -> bool:
        """Whether peers may keep the routes, because we are started again at once, and well."""
        if self._observe or not self._life.graceful_restart:
            if self._restarted:
                text = "SIGUSR2 without bgp.graceful_restart is a stop like any other"
                log.warning(text, extra={"reason": "stopping"})
            return False
        return self._failure is None and (self._restarted or restart_is_under_way())

    def _end(self) -> None:
        """End, and leave all as it is for the next start; or else leave nothing."""
        hitless = self._hitless()
        self._service.stopping(self._config.agent.drain_time + 2 * STOP_TIMEOUT)
        unpublished = self._publisher.stop(remove=not hitless) if self._publisher else None
        if self._device_events is not None:
            self._device_events.stop()
        if self._consul is not None:
            self._consul.stop()
        gevent.killall([self._planning, self._looking, self._opening])
        if hitless:
            extra = {"daemon": __version__, "reason": "restarting"}
            log.info("ending for a restart: peers keep the routes for %d s", self._life.graceful_restart, extra=extra)
            self._reconciler.leave()
            self._speaker.leave(timeout=LEAVE_TIMEOUT)
            self._nat.stop(remove=False)
        else:
            extra = {"daemon": __version__, "reason": "stopping"}
            log.info("stopping: %s", "nothing is to be undone" if self._observe else "withdrawing all", extra=extra)
            self._take_back()
        if unpublished is not None:
            unpublished()
        self._monitors.stop()
        self._hooks.stop(LAST_HOOKS)
        self._web.stop()
        self._turns.stop()
        self._registrations.stop()
        self._drains.stop()
        self._flows.stop()
        if self._claim is not None:
            self._claim.close()
        self._run_dir.close()
        self._notifier.close()

    def _take_back(self) -> None:
        """Withdraw, wait for the acknowledgements and the drain time, remove NAT and addresses, end ExaBGP."""
        self._speaker.let_go()
        done = self._reconciler.stop(self._config.agent.drain_time + STOP_TIMEOUT)
        self._speaker.stop(timeout=LEAVE_TIMEOUT)
        self._nat.stop()
        if not done:  # ExaBGP did not answer; with it gone, no route leads here any more
            try:
                self._addresses.remove(self._addresses.owned())
            except KernelError as error:
                text = "addresses are left on the host; the next start adopts or removes them: %s"
                log.error(text, error, extra={"reason": "address-stays", "detail": str(error)})

    # -- what the parts call -----------------------------------------------------------------------------------

    def _summary(self) -> str:
        return summary(self._reconciler.reasons(), self._speaker.peers(), consul_word(self._consul))

    def _passed(self) -> float | None:
        if self._reconciler.ever_complete:
            self._calm.set()
        return self._service.passed()

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


def _defaults(config: Config, network: Network) -> Defaults:
    """What an app that says nothing else gets."""
    return replace(config.defaults, nat_to=network.nat_to)
