"""One blocking query, for ever.

The rules are those of Consul's documentation of blocking queries and of its best client, consul-template's
``watch/view.go``; each is told where it is obeyed. https://developer.hashicorp.com/consul/api-docs/features/blocking
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

import gevent
from msgspec import Struct, field

from consulcast.consul.ahead import Ahead, Ask
from consulcast.consul.client import Answer, Consistency
from consulcast.consul.errors import ConsulError, NoLeader, RateLimited

T = TypeVar("T")

BURST = 5  # answers that cost no delay
RATE = 1.0  # answers per second after that
FIRST_RETRY = 0.25  # seconds
LAST_RETRY = 30.0
SHARED = (NoLeader, RateLimited)  # trouble that every host of a datacenter has at the same moment
FIRST_SHARED_RETRY = 2.0  # after such trouble
SOONEST_RETRY = 0.1
JITTER = 0.1  # of the wait, so that a fleet's queries do not end together
BREATH = 0.003  # seconds after each answer in which what follows from it has the processor for itself
AFTER_PAUSE = 2.0  # seconds; an agent that restarted during a pause of ours counts anew, and our index waits in vain
LONGER = 1.5  # a poll that follows a wake-up for nothing waits this much longer, see _run


class Pace(Struct, frozen=True):
    """How a watch asks."""

    wait: float = 30.0  # seconds that a query is parked; abandoned ones stay parked in the agent as long
    stale: bool = False  # any server may answer
    max_stale: float = 10.0  # seconds without a word from the leader after which a server is not believed


class Counts(Struct):
    """What a watch has seen since its start."""

    returns: int = 0  # answers, unchanged ones too
    resets: int = 0  # times that the index was thrown away: it went backwards, or meant nothing any more
    errors: Counter[str] = field(default_factory=Counter)  # by kind, see ``ConsulError.kind``


class Watch(Generic[T]):
    """Asks over and over, and hands on every good answer and every error, in the watch's own greenlet.

    ``heard(answer, changed)``: contact with Consul; ``changed`` is whether the data differs from the last.
    ``lost(error)``: no contact; it is tried again by itself, for ever.
    An exception from either ends the greenlet and goes to ``failed``: a defect, not Consul's trouble.
    ``look`` asks the same over another connection; with it the watch is parked beside busy neighbours, too.
    """

    def __init__(
        self,
        ask: Ask[T],
        heard: Callable[[Answer[T], bool], None],
        lost: Callable[[ConsulError], None],
        failed: Callable[[BaseException], None],
        pace: Pace,
        *,
        look: Ask[T] | None = None,
        name: str = "watch",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = gevent.sleep,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._heard, self._lost, self._failed = heard, lost, failed
        self._name, self._pace = name, pace
        self._usual = Consistency.STALE if pace.stale else Consistency.DEFAULT
        self._stronger = Consistency.DEFAULT if pace.stale else Consistency.CONSISTENT
        self._clock, self._sleep, self._rng = clock, sleep, rng
        self._greenlet: gevent.Greenlet[[], None] | None = None
        self._look = look
        self._ahead = None if look is None else Ahead(ask, self._looked, clock)
        self._ask = ask if self._ahead is None else self._ahead
        self.counts = Counts()

    def start(self) -> None:
        """Begin asking."""
        self._greenlet = guarded(self._name, self._run, self._failed)

    def stop(self) -> None:
        """End at once. The agent keeps an abandoned query until its wait ends, which is why ``wait`` is short."""
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None
        if self._ahead is not None:
            self._ahead.close()

    def _looked(self, *, index: int, wait: float, consistency: Consistency) -> Answer[T]:
        assert self._look is not None
        answer = self._look(index=index, wait=wait, consistency=consistency)
        self.counts.returns += 1
        return answer

    def _run(self) -> None:
        # What neighbours write takes nothing of what our own changes may have, or it would be them who decide how soon
        # a failure is seen; and it is limited like them.
        bucket, for_nothing = Bucket(BURST, RATE, self._clock), Bucket(BURST, RATE, self._clock)
        index, consistency, wait = 0, self._usual, self._pace.wait
        errors = shared = 0  # in a row; of these those that every host has at the same moment
        last: Answer[T] | None = None
        in_vain = False
        while True:
            delay = (for_nothing if in_vain else bucket).take()
            in_vain = False
            if delay > 0:
                self._sleep(delay)
                wait = min(wait, AFTER_PAUSE)
            try:
                answer = self._ask(index=index, wait=jittered(wait, self._rng()), consistency=consistency)
                if not answer.known_leader or answer.last_contact > self._pace.max_stale:
                    if consistency is self._stronger:
                        raise NoLeader("Consul answers without a leader: check `consul operator raft list-peers`")
                    index, consistency = 0, self._stronger  # an index means nothing in another mode
                    continue
            except ConsulError as error:
                # What the index counted may be gone after a restart, and an error's own index is always 1: start over.
                self.counts.resets += index > 0
                self.counts.errors[error.kind] += 1
                index, consistency = 0, self._usual
                errors += 1
                shared += isinstance(error, SHARED)
                self._lost(error)
                self._sleep(retry(error, shared if isinstance(error, SHARED) else errors, self._rng()))
                continue
            errors = shared = 0
            self.counts.returns += 1
            changed = last is None or answer.data != last.data  # a new index promises no change
            last = answer
            # Tables have one index for all nodes (consul#12398): what others write makes our next query after a
            # time-out return at once. Waiting longer after such a wake-up keeps the requests per minute as they are.
            woken_for_nothing = not changed and index > 0 and answer.index != index
            in_vain = woken_for_nothing and answer.index > index  # backwards is another matter, and ours
            wait = self._pace.wait * LONGER if woken_for_nothing else self._pace.wait
            if consistency is self._stronger and index > 0:
                index, consistency = 0, self._usual
            else:
                self.counts.resets += answer.index < index
                index = next_index(index, answer.index)
            self._heard(answer, changed)
            if not woken_for_nothing:
                self._sleep(BREATH)


def guarded(name: str, run: Callable[[], None], failed: Callable[[BaseException], None]) -> gevent.Greenlet[[], None]:
    """A greenlet whose unexpected end is not silent: ``failed`` is told of its exception."""

    def ended(greenlet: gevent.Greenlet[[], None]) -> None:
        if greenlet.exception is not None:
            failed(greenlet.exception)

    greenlet = gevent.spawn(run)
    greenlet.name = name
    greenlet.link_exception(ended)
    return greenlet


def next_index(asked: int, answered: int) -> int:
    """The index of the next query; 0 asks without waiting.

    Backwards means another history (snapshot restored, servers rebuilt): start over. 0 would be a busy loop: at least
    1, which parks on an absent node, too.
    """
    if answered < asked:
        return 0
    return max(answered, 1)


def retry(error: ConsulError, errors: int, chance: float) -> float:
    """Seconds before the next try after so many errors in a row, of which this is the last.

    Of ``SHARED`` ones they alone are counted: an agent that restarts is refused for a while, then it looks for its
    servers for a moment, and that moment is not to be taken for a long loss of the leader.

    A leader that is lost is lost for all hosts at once. So their tries are spread over the whole time, not its later
    half, and over more of it than an election takes at the least: the first try is in vain anyway, or waits for the new
    leader in the agent (``rpc_hold_timeout``), and 10,000 hosts are 10,000 queries a second, not 160,000.
    """
    if not isinstance(error, SHARED):
        return backoff(errors, chance)
    full = min(FIRST_SHARED_RETRY * 2.0 ** min(max(errors - 2, 0), 16), LAST_RETRY)
    return max(full * chance, SOONEST_RETRY)


def backoff(errors: int, chance: float) -> float:
    """Seconds before the next try after so many errors in a row: doubling to 30, half of it random."""
    full = min(FIRST_RETRY * 2.0 ** min(errors - 1, 16), LAST_RETRY)
    return full * (0.5 + chance / 2)


def jittered(wait: float, chance: float) -> float:
    """``wait``, 10 % more or less."""
    return wait * (1 + JITTER * (2 * chance - 1))


class Bucket:
    """A token bucket: the first answers of a quiet time cost nothing, a storm costs ``rate`` queries per second."""

    def __init__(self, burst: int, rate: float, clock: Callable[[], float]) -> None:
        self._burst, self._rate, self._clock = burst, rate, clock
        self._tokens, self._at = float(burst), clock()

    def take(self) -> float:
        """Take one; returns how many seconds to wait first."""
        now = self._clock()
        self._tokens = min(self._tokens + (now - self._at) * self._rate, self._burst) - 1
        self._at = now
        return max(0.0, -self._tokens / self._rate)
