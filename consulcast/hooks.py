"""A command of the host's owner that is told of each change of state (``hooks:``). It has no say in anything.

The changes are kept anyway (``changes.py``), so the queue is a place in them: who is slow misses the oldest.
"""

from __future__ import annotations

import logging
import time

import gevent
from msgspec import Struct

from consulcast import jsontext
from consulcast.changes import Change, Changes, Kind
from consulcast.instruments import Instruments
from consulcast.monitors.command import Command
from consulcast.monitors.exec import Run
from consulcast.monitors.launch import CannotStart
from consulcast.wording import counted

log = logging.getLogger(__name__)

_PAUSE = 3600.0  # seconds; nothing is done without a change
_LONGEST = 1000  # characters of a variable


class Hook(Struct, frozen=True):
    """What is run for each change of these kinds, one at a time, for ``timeout`` seconds each at the longest.

    ``queue``: how many changes may wait; beyond, the oldest are left out.
    """

    command: Command
    kinds: frozenset[Kind] = frozenset(Kind)
    timeout: float = 10.0
    queue: int = 100


class Hooks:
    """Runs the hook in a greenlet of its own."""

    def __init__(self, changes: Changes, hook: Hook | None, instruments: Instruments | None = None) -> None:
        self._changes, self._hook = changes, hook
        self._instruments = instruments or Instruments()
        self._done = 0  # number of the last change that was looked at
        self._greenlet: gevent.Greenlet[[], None] | None = None
        self._running = False
        self._missed = 0  # since it was up to date
        self._trouble = ""  # as last logged

    def start(self) -> None:
        """Begin with the changes that there are."""
        if self._hook is not None and self._greenlet is None:
            self._greenlet = gevent.spawn(self._run)

    def configure(self, hook: Hook | None) -> None:
        """Replace the hook. A new one is told of what comes from now on."""
        if self._hook is None:
            self._done = self._changes.number
        self._hook = hook
        self.start()

    def stop(self, patience: float) -> None:
        """End, when the last changes are told or after ``patience`` seconds; a hook that runs by then is killed."""
        if self._greenlet is None:
            return
        end = time.monotonic() + patience
        while self._waiting() and time.monotonic() < end:
            gevent.sleep(0.01)
        self._greenlet.kill()
        self._greenlet = None

    def _waiting(self) -> bool:
        return self._hook is not None and (self._running or self._done < self._changes.number)

    def _run(self) -> None:
        for _ in self._changes.follow(self._done, _PAUSE):
            while (hook := self._hook) is not None and (change := self._next(hook)) is not None:
                self._running = True
                try:
                    self._tell(hook, change)
                finally:
                    self._running = False
            if self._missed:
                log.warning(
                    "hooks.on_change has caught up; %s left out",
                    counted(self._missed, "change"),
                    extra={"reason": "hook-behind", "detail": f"{counted(self._missed, 'change')} left out"},
                )
                self._missed = 0

    def _next(self, hook: Hook) -> Change | None:
        """Take the oldest change that waits, and leave out those that are too many."""
        news = self._changes.after(self._done)
        missed = news[0].number - self._done - 1 if news else 0
        waiting = [change for change in news if change.kind in hook.kinds]
        missed += max(0, len(waiting) - hook.queue)
        if missed:
            self._instruments.hook_missed(missed)
            if not self._missed:
                log.warning(
                    "hooks.on_change is slower than what happens: the oldest changes are left out",
                    extra={"reason": "hook-behind"},
                )
            self._missed += missed
        waiting = waiting[-hook.queue :]
        self._done = waiting[0].number if waiting else self._changes.number
        return waiting[0] if waiting else None

    def _tell(self, hook: Hook, change: Change) -> None:
        try:
            look = Run(hook.command, _text(change), _variables(change)).look(hook.timeout)
            trouble = "" if look.passed else look.detail
        except OSError as error:
            trouble = f"it could not be started: {error.strerror}"
        except CannotStart as error:
            trouble = str(error)
        self._instruments.hook_ran(not trouble)
        if trouble and not self._trouble:
            extra = {"reason": "hook-failed", "detail": trouble}
            log.warning("hooks.on_change failed (further failures are not logged): %s", trouble, extra=extra)
        elif self._trouble and not trouble:
            log.info("hooks.on_change works again", extra={"reason": "hook-works"})
        self._trouble = trouble


def _text(change: Change) -> bytes:
    from consulcast.web.bodies import EventBody  # all that the API answers with: the first routes do not wait for it

    return jsontext.encode(EventBody.of(change)) + b"\n"


def _variables(change: Change) -> dict[str, str]:
    values = {
        "NUMBER": str(change.number),
        "KIND": change.kind,
        "SUBJECT": change.subject,
        "REASON": change.reason,
        "FORMER": change.former,
        "LEVEL": change.level,
    }
    return {f"CONSULCAST_{name}": _plain(value) for name, value in values.items()}


def _plain(value: str) -> str:
    """As a variable can hold it: no NUL, nothing that is not UTF-8."""
    return value[:_LONGEST].encode(errors="replace").decode().replace("\0", "")
