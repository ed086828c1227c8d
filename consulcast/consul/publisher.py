"""Keeps Consul's picture of this host's announcements: keys in its store, and a service for its name server.

It only ever tells. Each of the two has a greenlet and a connection of its own, hands on the whole present state, and is
late rather than busy: nothing waits for it, and what it writes wakes the daemon's own queries no more often than every
few seconds.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol, TypeAlias, TypeVar

import gevent

from consulcast.changes import Changes
from consulcast.consul import writer
from consulcast.consul.bodies import OURS
from consulcast.consul.errors import ConsulError
from consulcast.consul.library import segment
from consulcast.consul.settings import ConsulSettings, Publishing
from consulcast.consul.watch import backoff
from consulcast.consul.writer import BATCH, Conflict, Writer
from consulcast.publication import Publication

log = logging.getLogger(__name__)

T = TypeVar("T")
_Change: TypeAlias = tuple[str, bytes | None]  # a key, and its value or that it goes

SETTLE = 0.2  # seconds after a change in which others come that belong to it
SWEEP = 60.0  # seconds between two looks at whether others have changed our keys
LAST_WORDS = 2.0  # seconds at the stop for Consul to hear of it


class Form(Protocol):
    """A way to publish."""

    what: str
    pause: float  # seconds between two changes at the least

    def bring(self, publication: Publication, now: float) -> None:
        """Make Consul show it. The same again costs only what keeps it alive. Raises ``ConsulError``."""

    def remove(self) -> None:
        """Take all back. Raises ``ConsulError``."""


class Keys:
    """One key for the node and one for each VIP, all held by a session: they go when it ends."""

    what = "publish.kv"
    pause = 1.0

    def __init__(self, consul: Writer, node: str, prefix: str, ttl: float) -> None:
        self._consul, self._node, self._ttl = consul, node, ttl
        self._place = f"{prefix}{segment(node)}/"
        self._session = ""
        self._alone = False  # whether what a former run has left is gone
        self._told: dict[str, bytes] = {}
        self._renew_at = self._sweep_at = 0.0

    def bring(self, publication: Publication, now: float) -> None:
        """Write what differs from what was written."""
        if self._session and now >= self._renew_at:
            if not self._consul.renew_session(self._session):
                self._session = ""
            self._renew_at = now + self._ttl / 3
        if not self._session:
            self._session = self._consul.open_session(self._node, f"consulcast on {self._node}", self._ttl)
            self._alone, self._told = False, {}
            self._renew_at, self._sweep_at = now + self._ttl / 3, now + SWEEP
        elif now >= self._sweep_at:
            self._sweep_at = now + SWEEP
            self._told = self._found()
        try:
            self._write(publication)
        except Conflict:  # the session has ended, or another run's holds a key: begin anew
            self._session = ""
            raise

    def remove(self) -> None:
        """End the session, and the keys with it."""
        if self._session:
            self._consul.end_session(self._session)

    def _write(self, publication: Publication) -> None:
        wanted = publication.keys
        changes: list[_Change] = [(name, None) for name in self._told.keys() - wanted.keys()]
        changes += [(name, value) for name, value in wanted.items() if self._told.get(name) != value]
        if not self._alone:  # in one transaction with the first keys: a watcher sees no gap
            first = changes[: BATCH - 1]
            self._consul.transact([writer.delete_tree(self._place), *map(self._operation, first)])
            self._alone = True
            self._note(first)
            changes = changes[BATCH - 1 :]
        for some in _batches(changes, BATCH):
            self._consul.transact([self._operation(one) for one in some])
            self._note(some)

    def _operation(self, change: _Change) -> Mapping[str, object]:
        name, value = change
        place = f"{self._place}{name}"
        return writer.delete_key(place) if value is None else writer.set_key(place, value, self._session)

    def _note(self, changes: Sequence[_Change]) -> None:
        for name, value in changes:
            if value is None:
                self._told.pop(name, None)
            else:
                self._told[name] = value

    def _found(self) -> dict[str, bytes]:
        """What of ours is in the store as we wrote it; anything else there has a value that nobody wants."""
        found = self._consul.keys(self._place)
        return {
            name.removeprefix(self._place): entry.content if entry.session == self._session else b""
            for name, entry in found.items()
        }


class Announcer:
    """A service of this node's agent, tagged with what is announced, and a TTL check that says that we live.

    The check is this service's alone: one on an app's service would be a part of that app's health for everybody.
    """

    what = "publish.service"
    pause = 5.0  # each registration wakes our own queries, whose answers are rationed

    def __init__(self, consul: Writer, name: str, ttl: float) -> None:
        self._consul, self._name, self._ttl = consul, name, ttl
        self._id = f"{OURS}{name}"
        self._tags: tuple[str, ...] | None = None
        self._summary = ""
        self._renew_at = 0.0

    def bring(self, publication: Publication, now: float) -> None:
        """Register it with its tags, and say what is announced."""
        if self._tags != publication.tags:
            self._register(publication)
        elif self._summary == publication.summary and now < self._renew_at:
            return
        if not self._consul.passing(self._id, publication.summary):  # the agent has lost it
            self._register(publication)
            self._consul.passing(self._id, publication.summary)
        self._summary, self._renew_at = publication.summary, now + self._ttl / 3

    def remove(self) -> None:
        """Deregister it."""
        self._consul.deregister(self._id)

    def _register(self, publication: Publication) -> None:
        self._tags = None
        check = {
            "CheckID": self._id,
            "Name": "consulcast is alive",
            "TTL": f"{self._ttl:g}s",
            "Status": "passing",
            "DeregisterCriticalServiceAfter": "24h",
        }
        service = {"ID": self._id, "Name": self._name, "Tags": list(publication.tags), "Check": check}
        self._consul.register(service)
        self._tags = publication.tags


class Publisher:
    """Publishes what ``current`` says, in one greenlet for each form, until it is stopped. ``None``: nothing yet."""

    def __init__(
        self,
        settings: ConsulSettings,
        node: str,
        wanted: Publishing,
        current: Callable[[], Publication | None],
        changes: Changes,
    ) -> None:
        self._settings, self._node, self._wanted = settings, node, wanted
        self._current, self._changes = current, changes
        self._forms: list[tuple[Form, Writer]] = []
        self._greenlets: list[gevent.Greenlet[..., None]] = []

    def start(self) -> None:
        """Begin; returns at once."""
        wanted = self._wanted
        if wanted.kv:
            consul = Writer(self._settings)
            self._forms.append((Keys(consul, self._node, wanted.kv, wanted.ttl), consul))
        if wanted.service:
            consul = Writer(self._settings)
            self._forms.append((Announcer(consul, wanted.service, wanted.ttl), consul))
        self._greenlets = [gevent.spawn(self._run, form) for form, _ in self._forms]

    def stop(self, remove: bool) -> Callable[[], None]:
        """End at once, and take back what was published, if told to. Call what it returns to wait for that."""
        gevent.killall(self._greenlets)
        removing = [gevent.spawn(_remove, form) for form, _ in self._forms] if remove else []

        def wait() -> None:
            gevent.joinall(removing, timeout=LAST_WORDS)
            gevent.killall(removing)
            for _, consul in self._forms:
                consul.close()

        return wait

    def _run(self, form: Form) -> None:
        errors, trouble = 0, ""
        for _ in self._changes.follow(0, self._wanted.ttl / 6):
            gevent.sleep(SETTLE)
            publication = self._current()
            if publication is None:
                continue
            try:
                form.bring(publication, time.monotonic())
            except ConsulError as error:
                errors += 1
                if not trouble:
                    extra = {"reason": "publish-failed", "detail": str(error)}
                    log.warning(
                        "%s: Consul does not take it, which changes nothing else: %s", form.what, error, extra=extra
                    )
                trouble = str(error)
                gevent.sleep(backoff(errors, random.random()))
            else:
                if trouble:
                    log.info("%s: published again (%s)", form.what, trouble, extra={"reason": "published"})
                errors, trouble = 0, ""
                gevent.sleep(form.pause)


def _remove(form: Form) -> None:
    with contextlib.suppress(ConsulError):  # then it goes by itself: its time to live
        form.remove()


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
