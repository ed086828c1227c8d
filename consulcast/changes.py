"""The last changes of state, for those who ask what happened, when and why.

A line of the log that names a subject and a reason *is* a change of state: there is one such line for each, and none
while nothing changes. So the changes are taken from the log itself, and page, API and log cannot say different things.
Such a line has its subject under its kind and its reason's code as ``extra``, and may have a detail and the reason
before:

    log.info("vip %s: %s", vip, reason, extra={"vip": str(vip), "reason": reason, "detail": …, "former": …})
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Generator, Sequence
from enum import StrEnum
from sys import intern
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from msgspec import Struct

if TYPE_CHECKING:
    from gevent.event import Event

LAST = 1000  # changes that are kept
LAST_OF_ONE, FEWEST_OF_ONE = 20, 4  # changes of each subject that are kept; that are so however many subjects there are
OF_ALL = 16_384  # changes that all subjects share: with more than 819 of them, fewer than 20 are kept of each
SUBJECTS = 4096  # with changes of their own; beyond, the one that has been quiet the longest is forgotten

Level: TypeAlias = Literal["debug", "info", "warning", "error", "critical"]


class Kind(StrEnum):
    """What has changed."""

    APP = "app"  # the subject is source:id
    VIP = "vip"
    PEER = "peer"
    CONSUL = "consul"  # the node
    DRAIN = "drain"  # its target
    DRIFT = "drift"  # what had drifted
    DAEMON = "daemon"  # start, reload, stop


class Change(Struct, frozen=True, gc=False):
    """A change of state. ``at`` is of the wall clock (``time.time``); numbers count up from 1 at the start."""

    number: int
    at: float
    kind: Kind
    subject: str
    reason: str
    detail: str = ""
    former: str = ""  # the reason before; empty: it is new
    level: Level = "info"

    @property
    def about(self) -> tuple[Kind, str]:
        """What it is about."""
        return self.kind, self.subject


class Changes(logging.Handler):
    """Keeps the last changes, and tells those who follow that there are more."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._last: deque[Change] = deque(maxlen=LAST)
        self._of: OrderedDict[tuple[Kind, str], list[Change]] = OrderedDict()
        self._followers: set[Event] = set()
        self.number = 0  # of the last one

    def emit(self, record: logging.LogRecord) -> None:
        """Take in a line of the log."""
        kind = next((kind for kind in Kind if getattr(record, kind, None)), None)
        reason = getattr(record, "reason", None)
        if kind is None or not reason:
            return
        self.number += 1
        # the same words come again and again, of one subject and of others: they are kept once
        subject, reason = intern(str(getattr(record, kind))), intern(str(reason))
        detail, former = (intern(str(getattr(record, name, ""))) for name in ("detail", "former"))
        level = cast(Level, intern(record.levelname.lower()))
        change = Change(self.number, record.created, kind, subject, reason, detail, former, level)
        self._last.append(change)
        of_one = self._of.setdefault(change.about, [])
        of_one.append(change)
        del of_one[: -max(FEWEST_OF_ONE, min(LAST_OF_ONE, OF_ALL // len(self._of)))]
        self._of.move_to_end(change.about)
        while len(self._of) > SUBJECTS:
            self._of.popitem(last=False)
        for follower in self._followers:
            follower.set()

    def after(self, number: int) -> Sequence[Change]:
        """The changes that are kept since the one of that number, the oldest first."""
        missing = min(max(0, self.number - number), len(self._last))
        return list(self._last)[len(self._last) - missing :]

    def of(self, kind: Kind, subject: str) -> Sequence[Change]:
        """The last changes of one subject, the oldest first."""
        return tuple(self._of.get((kind, subject), ()))

    def follow(self, after: int, pause: float) -> Generator[Sequence[Change], None, None]:
        """Give the changes since the one of that number as they come; after ``pause`` seconds without any, none.

        Who takes them too slowly misses the oldest, which the numbers show.
        """
        from gevent.event import Event  # late: the commands that ask a daemon need the kinds alone

        news = Event()
        self._followers.add(news)
        try:
            while True:
                news.clear()
                changes = self.after(after)
                if not changes and news.wait(pause):
                    continue
                after = changes[-1].number if changes else after
                yield changes
        finally:
            self._followers.discard(news)
