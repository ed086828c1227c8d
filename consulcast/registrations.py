"""The apps registered over HTTP: kept over a restart, and let go when their time to live is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import gevent
from gevent.event import AsyncResult, Event
from msgspec import Struct, field

from consulcast import registration_file
from consulcast.kept_file import STOPPING, KeptFile, NotStored
from consulcast.model import App
from consulcast.registration import Registration
from consulcast.registration_file import Held, State
from consulcast.wording import counted

log = logging.getLogger(__name__)


class _Change(Struct, eq=False):
    """One request: to hold ``held``, or with ``None`` to let ``name`` go."""

    name: str
    held: Held | None
    asked_at: float
    existed: bool = False
    done: AsyncResult[bool] = field(default_factory=AsyncResult)


class Registrations:
    """Holds them, in order of age, and writes them in one greenlet: what comes meanwhile goes with the next write.

    A new or changed registration is written before it counts: without that, it is refused. A removal, a lapse and a
    renewal count at once, and are written when the disk lets them: a full disk neither keeps a VIP nor withdraws one.
    """

    def __init__(
        self,
        path: Path,
        changed: Callable[[], None],
        failed: Callable[[BaseException], None],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._changed, self._failed = changed, failed
        self._clock, self._wall = clock, wall
        self._file = KeptFile(path, clock)
        self._queue: list[_Change] = []
        self._wake = Event()
        self._stopping = False
        self._greenlet: gevent.Greenlet[[], None] | None = None
        self._state = self._load()
        self.changed_at = 0.0  # when it was asked for what ``changed`` was last called for

    @property
    def apps(self) -> tuple[App, ...]:
        """Every app that is registered, the oldest first."""
        return self._state.apps

    def held(self, name: str) -> Held | None:
        """Look up one registration."""
        return self._state.held.get(name)

    def put(self, registration: Registration) -> None:
        """Register, change in place or renew; returns when it is written. Raises ``BadValue``, ``NotStored``."""
        lifetime = registration.lifetime
        expires_at = None if lifetime is None else self._clock() + lifetime
        self._ask(_Change(registration.name, Held(registration, registration.app(), expires_at), self._clock()))

    def remove(self, name: str) -> bool:
        """Unregister; tells whether it was registered. Raises ``NotStored``: it is gone, but may come back."""
        return self._ask(_Change(name, None, self._clock()))

    def wake(self) -> None:
        """Look again: time has passed."""
        self._wake.set()

    # -- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to take changes, and to let lapse."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self, timeout: float = 2.0) -> None:
        """Write what was asked for, and end."""
        self._stopping = True
        self._wake.set()
        if self._greenlet is not None:
            self._greenlet.join(timeout)
            self._greenlet.kill()
        self._refuse_rest()
        self._file.close()

    def _ask(self, change: _Change) -> bool:
        if self._stopping or self._greenlet is None:
            raise NotStored(STOPPING)
        self._queue.append(change)
        self._wake.set()
        return bool(change.done.get())

    def _run(self) -> None:
        try:
            while not self._stopping or self._queue:
                self._wake.wait(self._pause())
                self._wake.clear()
                self._step()
        except Exception as error:
            self._failed(error)
            raise
        finally:
            self._stopping = True
            self._refuse_rest()

    def _refuse_rest(self) -> None:
        for change in self._queue:
            change.done.set_exception(NotStored(STOPPING))
        self._queue.clear()

    def _pause(self) -> float | None:
        return self._file.pause(one.expires_at for one in self._state.held.values() if one.expires_at is not None)

    # -- one step ----------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """Take what was asked for since the last step, and let lapse what is due."""
        changes = self._next_changes()
        former, now = self._state, self._clock()
        growing = [change for change in changes if _grows(change, former)]
        asked_at = min((change.asked_at for change in changes), default=now)
        self._set(_apply([change for change in changes if change not in growing], former, now), asked_at)
        for name in former.held.keys() - self._state.held.keys() - {change.name for change in changes}:
            ttl, extra = former.held[name].registration.ttl, {"app": f"http:{name}", "reason": "lapsed"}
            log.warning("app http:%s: lapsed: not renewed within %s", name, ttl, extra=extra)
        wanted = _apply(growing, self._state, now)
        again = self._file.due() or (self._stopping and self._file.behind)
        trouble = self._write(wanted) if again or wanted != former else None
        if trouble is None:
            self._set(wanted, asked_at)
        del self._queue[: len(changes)]
        for change in changes:
            if trouble is not None and (change in growing or (change.held is None and change.existed)):
                what = "nothing is changed" if change in growing else "unregistered; a restart may bring it back"
                change.done.set_exception(self._file.not_stored(what, trouble))
            else:
                change.done.set(change.existed)

    def _next_changes(self) -> list[_Change]:
        """The queue as far as no name comes twice: their order among themselves does not matter then."""
        names: set[str] = set()
        for number, change in enumerate(self._queue):
            if change.name in names:
                self._wake.set()
                return self._queue[:number]
            names.add(change.name)
        return self._queue[:]

    def _set(self, state: State, asked_at: float) -> None:
        former, self._state = self._state, state
        if state.apps != former.apps:
            self.changed_at = asked_at
            self._changed()

    def _write(self, state: State) -> OSError | None:
        return self._file.write(registration_file.encode(state, self._wall() - self._clock()))

    # -- at start ----------------------------------------------------------------------------------------------

    def _load(self) -> State:
        now = self._clock()
        try:
            data = self._file.read()
            state = State() if data is None else registration_file.decode(data, self._wall() - now, now)
        except (OSError, ValueError) as error:
            self._set_aside(error)
            return State()
        if state.held:
            extra = {"reason": "registrations-taken"}
            number = counted(len(state.held), "registration")
            log.info("%s of a former run taken from %s", number, self._file, extra=extra)
        return state

    def _set_aside(self, why: Exception) -> None:
        where = self._file.set_aside()
        text = "%s cannot be read (%s); no registration of a former run stands; %s"
        log.warning(text, self._file, why, where, extra={"reason": "registrations-unreadable"})


def _grows(change: _Change, state: State) -> bool:
    """Whether a change asks for more or other than what stands, rather than to renew or to let go."""
    former = state.held.get(change.name)
    return change.held is not None and (former is None or former.app != change.held.app)


def _apply(changes: list[_Change], state: State, now: float) -> State:
    """Make the changes in their order, then let lapse what is due."""
    held, unreadable = dict(state.held), dict(state.unreadable)
    for change in changes:
        change.existed = change.name in held or change.name in unreadable
        unreadable.pop(change.name, None)
        if change.held is None:
            held.pop(change.name, None)
        else:
            held[change.name] = change.held
    held = {name: one for name, one in held.items() if one.expires_at is None or one.expires_at > now}
    return State(held, unreadable)
