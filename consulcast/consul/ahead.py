"""Asking ahead of the index, for a datacenter in which others write all the time.

Consul wakes a query for its own node only, but it *parks* one only while the index of the whole table is not past the
one that is asked with, and ``health/node`` has no other (the state store's ``NodeChecks``; hashicorp/consul#12398 is
the same of ``catalog/node``, mended since by #12399). Where neighbours' checks change a few hundred times a second, the
index has moved on before the next query is there: it is never parked, every answer is the same, and the limit on
answers per second becomes the time in which a failure is seen. docs/scale.md has the figures.

So the query is asked with an index that is a little ahead, by what neighbours write in ``LEAD`` seconds. It parks. Our
own change could hide among these few indexes: it would wake the query, whose index would not be past. That is what a
second, unparked look is for, as soon as the index must have passed: it shows every change up to its own index, which is
past, and every later one wakes the query. If it is not past, neighbours have fallen silent: the query is given up, and
the next one is exact again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import gevent

from consulcast.consul.client import Answer, Consistency
from consulcast.consul.errors import ConsulError

T = TypeVar("T")

LEAD = 0.03  # seconds of others' writes; a query needs a few milliseconds to where it is parked
LOOKS = (0.06, 0.12, 0.24)  # seconds before each look
AT_ONCE = 0.1  # seconds; an answer that takes longer was parked, and woken by something of our own
VAIN = 2  # answers at once and for nothing, one after the other; a single one follows every time-out (see watch.py)


class Ask(Protocol[T]):
    """A query of the client with the node filled in."""

    def __call__(self, *, index: int, wait: float, consistency: Consistency) -> Answer[T]:
        """Ask; raises ``ConsulError``."""


class Ahead(Generic[T]):
    """An ``Ask`` that is parked whatever others write. ``look`` asks the same over a connection of its own.

    Where others write little it is ``ask`` and nothing else. Of one greenlet; ``close`` after it has ended.
    """

    def __init__(self, ask: Ask[T], look: Ask[T], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._look, self._clock = ask, look, clock
        self.lead = 0  # indexes; 0: exact
        self._vain = 0
        self._last: Answer[T] | None = None
        self._at = 0.0  # when it came
        self._parked: gevent.Greenlet[..., Answer[T] | ConsulError] | None = None
        self._parked_after: tuple[int, Consistency] | None = None  # the look that it may go on after

    def __call__(self, *, index: int, wait: float, consistency: Consistency) -> Answer[T]:
        """Ask; raises ``ConsulError``."""
        began = self._clock()
        if self._parked is not None and self._parked_after == (index, consistency):
            answer = self._result_after_look(self._parked, index, consistency)
        else:
            self.close()
            ahead = self.lead if index > 0 else 0
            query = self._ask_ahead if ahead else self._ask
            answer = query(index=index + ahead, wait=wait, consistency=consistency)
        now = self._clock()
        self._learn(index, answer, now - began)
        self._last, self._at = answer, now
        return answer

    def close(self) -> None:
        """Give up what is parked. The agent keeps it until its wait ends."""
        if self._parked is not None:
            self._parked.kill()
            self._parked = None

    def _learn(self, index: int, answer: Answer[T], took: float) -> None:
        vain = took < AT_ONCE and 0 < index < answer.index and self._last is not None
        self._vain = self._vain + 1 if vain and self._last is not None and answer.data == self._last.data else 0
        if self._vain >= VAIN:  # so much is written while a query is on its way
            self.lead = max(2 * self.lead, 4 * (answer.index - index))

    def _ask_ahead(self, *, index: int, wait: float, consistency: Consistency) -> Answer[T]:
        parked = self._parked = gevent.spawn(_said, self._ask, index, wait, consistency)
        self._parked_after = None
        former, lead = self._last, self.lead
        try:
            for pause in LOOKS:
                parked.join(pause)
                if parked.ready():
                    return self._result(parked)
                seen = self._look(index=0, wait=0.0, consistency=consistency)
                if seen.index >= index:
                    grown = seen.index - (index - lead)
                    self.lead = int(grown / max(self._clock() - self._at, LEAD) * LEAD)
                    if former is not None and seen.data == former.data:
                        return self._result(parked)
                    self._parked_after = (seen.index, consistency)
                    return seen
                if former is not None and seen.index > index - lead and seen.data != former.data:
                    self.close()  # it would sleep through what comes between the two indexes
                    return seen
            self.lead = 0
            self.close()
            if consistency is Consistency.STALE and seen.index < index - lead:  # of a server that lags behind
                return self._ask(index=index - lead, wait=wait, consistency=consistency)
            return seen
        except BaseException:
            self.close()
            raise

    def _result_after_look(
        self, parked: gevent.Greenlet[..., Answer[T] | ConsulError], index: int, consistency: Consistency
    ) -> Answer[T]:
        """What the query says that went on after a look told of ``index``, unless that is old by now.

        What woke it may have come before the look's answer, or long before anybody asked.
        """
        old = parked.ready()
        answer = self._result(parked)
        if not old and answer.index >= index:
            return answer
        return max(self._look(index=0, wait=0.0, consistency=consistency), answer, key=lambda one: one.index)

    def _result(self, parked: gevent.Greenlet[..., Answer[T] | ConsulError]) -> Answer[T]:
        try:
            said = parked.get()
        except BaseException:
            self.close()
            raise
        self._parked = None
        if isinstance(said, ConsulError):
            raise said
        return said


def _said(ask: Ask[T], index: int, wait: float, consistency: Consistency) -> Answer[T] | ConsulError:
    try:
        return ask(index=index, wait=wait, consistency=consistency)
    except ConsulError as error:  # a value: an exception that ends a greenlet is printed
        return error
