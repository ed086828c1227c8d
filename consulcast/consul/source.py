"""Consul as a source: two blocking queries and the second looks, joined into apps and verdicts."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import gevent
from gevent.event import Event
from msgspec import Struct, field

from consulcast.consul.bodies import AgentCheck, Service
from consulcast.consul.client import Answer, Client, Right
from consulcast.consul.errors import ConsulError
from consulcast.consul.hold_down import HoldDown
from consulcast.consul.join import Join
from consulcast.consul.reading import Parse
from consulcast.consul.same import kept
from consulcast.consul.second_look import SecondLook
from consulcast.consul.settings import ConsulSettings
from consulcast.consul.view import View
from consulcast.consul.watch import Counts, Pace, Watch, guarded
from consulcast.model import App, AppKey, Reason, Refused, Stale, Verdict, VerdictKey
from consulcast.monitors.consul import Warnings
from consulcast.wording import counted

T = TypeVar("T")

log = logging.getLogger(__name__)

_PASSING = re.compile(r"\b(catalog|health)/node/\S+| \([^()]*\)")


class ConsulState(Struct, frozen=True):
    """All that Consul says now; replaced as a whole.

    What has not changed from one state to the next is the same object: each mapping and tuple, each app, each key and
    verdict; and the verdicts' keys are in the same order while ``apps`` is the same. So ``is`` tells what is to be
    looked at anew.
    """

    apps: tuple[App, ...] = ()  # the longest registered first
    refused: tuple[Refused, ...] = ()
    verdicts: Mapping[VerdictKey, Verdict] = field(default_factory=dict)  # of every app with a `consul` monitor
    stale_since: float | None = None  # since when the last good view stands for a better one
    stale_reason: str = ""
    synced: bool = False  # whether both queries were answered well once; nothing is announced before
    held: Mapping[AppKey, str] = field(default_factory=dict)  # apps that stand against Consul's last answer, and why
    by_name: Mapping[str, Verdict] = field(default_factory=dict)  # of the services that ``judge_services`` named
    unknown: Mapping[AppKey, Stale] = field(default_factory=dict)  # apps of which it is not known how they are now
    unknown_names: Mapping[str, Stale] = field(default_factory=dict)  # the same of ``by_name``


class ConsulSource:
    """Watches one node. ``state`` is always whole; ``on_change`` is called after it changed, and must not block.

    ``failed`` is told of an exception that ended one of the greenlets: a defect; the daemon should stop. ``tag_prefix``
    is what ``parse`` goes by, for those who explain.
    """

    def __init__(
        self,
        settings: ConsulSettings,
        node: str,
        parse: Parse,
        on_change: Callable[[], None],
        *,
        failed: Callable[[BaseException], None],
        warning: Warnings = "fail",
        wait: float = 30.0,
        restart_grace: float = 15.0,
        max_stale: float = 10.0,
        hold_down: HoldDown | None = None,
        tag_prefix: str = "gocast",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.tag_prefix = settings, tag_prefix
        self._node, self._on_change, self._failed, self._clock = node, on_change, failed, clock
        self.state = ConsulState()
        self.changed_at = 0.0  # when it came in, or was due, what ``on_change`` was last called for
        self._join = Join(parse, warning)
        self._view = View(node, restart_grace, hold_down, self._join.is_app)
        catalog = Client(settings, watching=True)
        health = Client(settings, watching=True, like=catalog)
        self._clients = catalog, health
        self._looks = looks = Client(settings, like=catalog), Client(settings, like=catalog)
        self._second_look = SecondLook(settings, node, self._join.is_app, lambda: self._view.shown, catalog)
        pace, view = Pace(wait, settings.stale, max_stale), self._view
        self._watches = (
            Watch(
                partial(catalog.catalog_node, node),
                self._into(view.catalog_answered),
                self._into(view.catalog_lost),
                failed,
                pace,
                look=partial(looks[0].catalog_node, node),
                name="consul catalog",
            ),
            Watch(
                partial(health.health_node, node),
                self._into(view.health_answered),
                self._into(view.health_lost),
                failed,
                pace,
                look=partial(looks[1].health_node, node),
                name="consul health",
            ),
        )
        self.queries: Mapping[str, Counts] = {
            "catalog": self._watches[0].counts,
            "health": self._watches[1].counts,
        }
        self._contact = Event()  # set by the first good answer
        self._answered = False  # both queries were, by this source's own settings
        self._open = Event()  # something to look at, or a time to wait for
        self._looker: gevent.Greenlet[[], None] | None = None

    def inherit(self, former: ConsulSource) -> None:
        """Before ``start``: go on from what a source with other settings, now stopped, believes of the same node."""
        if former.node == self._node and former.state.synced:
            self._view.inherit(former._view)
            self._join.inherit(former._join)
            self.state = former.state

    def start(self) -> None:
        """Begin watching; returns at once."""
        self._looker = guarded("consul second look", self._look_again, self._failed)
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        """End at once; ``state`` stays as it is."""
        for watch in self._watches:
            watch.stop()
        if self._looker is not None:
            self._looker.kill()
        for closing in (*self._clients, *self._looks, self._second_look):
            closing.close()

    @property
    def node(self) -> str:
        """The node's name."""
        return self._node

    @property
    def shown(self) -> Mapping[str, Service]:
        """Every service of the node as the last good catalog answer shows it, by ServiceID, an app or not."""
        return self._view.shown

    def agent_node(self) -> str:
        """Ask the agent which node it is of; "" where it does not say. Waits for it."""
        client = Client(self.settings)
        try:
            return client.agent_node()
        except ConsulError:
            return ""
        finally:
            client.close()

    def agent_checks(self) -> Mapping[str, AgentCheck]:
        """Ask the agent for its checks, by CheckID, with what they last put out; none where it does not say. Waits."""
        client = Client(self.settings)
        try:
            return client.agent_checks()
        except ConsulError:
            return {}
        finally:
            client.close()

    @property
    def good_at(self) -> Mapping[str, float | None]:
        """When each query was answered well last; ``None``: never."""
        return {"catalog": self._view.catalog_good_at, "health": self._view.health_good_at}

    def judge_services(self, names: frozenset[str]) -> None:
        """Say which services are to be judged by name, for apps that are not Consul's own."""
        if names != self._join.names:
            self._join.names = names
            self._publish(self._clock())

    def _into(self, take: Callable[[Any, float], None]) -> Callable[..., None]:
        """What a watch says as input of the view."""

        def hear(said: object, changed: bool = True) -> None:
            now = self._clock()
            take(said, now)
            if isinstance(said, ConsulError):
                self._second_look.forget()
            else:
                self._contact.set()
            self._publish(said.received_at or now if isinstance(said, Answer) else now)

        return hear

    def _publish(self, came_at: float) -> None:
        """Swap the state for what the view says now, and have time-bound things looked at when their time comes."""
        before, view, now = self.state, self._view, self._clock()
        apps, refused, verdicts, by_name = before.apps, before.refused, before.verdicts, before.by_name
        if view.synced:
            apps, refused, verdicts = self._join(view.services, view.checks, now, view.unknown)
            by_name = self._join.by_name
        if self._next_time() < float("inf"):
            self._open.set()
        state = ConsulState(
            *(kept(before.apps, apps), kept(before.refused, refused), kept(before.verdicts, verdicts)),
            *(view.stale_since, view.stale_reason, view.synced),
            held=kept(before.held, _by_app(apps, view.held)),
            by_name=kept(before.by_name, by_name),
            unknown=kept(before.unknown, _by_app(apps, view.unknown)),
            unknown_names=kept(before.unknown_names, self._join.unknown_names),
        )
        if state.synced and not self._answered and all(counts.returns for counts in self.queries.values()):
            self._answered = True
            extra = {"consul": self._node, "reason": "consul-synced"}
            log.info("in sync with Consul about node %s: %s", self._node, counted(len(state.apps), "app"), extra=extra)
        if state != before:
            self.state, self.changed_at = state, came_at
            _tell(self._node, before, state, now)
            self._on_change()

    def _look_again(self) -> None:
        """Wait for what is open, and settle it. Its own greenlet, so that no blocking query is kept waiting."""
        self._contact.wait()
        self._report_rights()
        while True:
            self._open.clear()
            due = self._next_time()
            left = due - self._clock()
            if left > 0:
                self._open.wait(min(left, 3600.0))
                continue
            doubts = self._view.doubts(self._clock())
            if doubts:
                self._view.confirmed(doubts, self._second_look(doubts), self._clock())
            else:
                self._view.settle(self._clock())
                gevent.sleep(0.01)  # whatever happens, no busy loop
            self._publish(due if due > 0 else self._clock())

    def _next_time(self) -> float:
        return min(self._view.next_time(), self._join.next_time)

    def _report_rights(self) -> None:
        """Say at the start what the token lacks: with it, Consul shows less, and never says so."""
        missing = self._second_look.missing_rights((Right("node", self._node), Right("service", "")))
        if isinstance(missing, tuple) and missing:
            log.warning(
                "the Consul token may not see everything on node %s: what it may not see looks as if it were not "
                "there; give its policy %s",
                self._node,
                " and ".join(map(str, missing)),
                extra={"consul": self._node, "reason": "token-lacks-rights"},
            )


def _by_app(apps: Iterable[App], said: Mapping[str, T]) -> Mapping[AppKey, T]:
    """What is said of services, of those that are apps."""
    return {app.key: said[app.key.id] for app in apps if app.key.id in said} if said else {}


def _troubles(state: ConsulState) -> set[str]:
    """What is wrong, without what changes while it lasts: which of the queries it is, and in the kernel's words how."""
    return set(_PASSING.sub("", state.stale_reason).split("; ")) - {""}


def _tell(node: str, before: ConsulState, state: ConsulState, now: float) -> None:
    """Log the sight of Consul, lost and regained. What becomes of each app is the daemon's to log."""
    if _troubles(state) - _troubles(before):
        what = "the last good answer stands" if state.synced else "nothing is announced before a good answer"
        stale = {"consul": node, "reason": str(Reason.CONSUL_STALE), "detail": state.stale_reason}
        log.warning("%s: %s: %s", Reason.CONSUL_STALE, what, state.stale_reason, extra=stale)
    elif before.stale_reason and not state.stale_reason:
        for_ = now - before.stale_since if before.stale_since is not None else 0.0
        well = {"consul": node, "reason": "consul-believed", "former": str(Reason.CONSUL_STALE)}
        log.info("Consul is believed again, after %.1f s (%s)", for_, before.stale_reason, extra=well)
    for key, why in state.held.items():
        if before.held.get(key) != why:
            log.warning("app %s held: %s", key, why, extra={"app": str(key), "reason": "held", "detail": why})
