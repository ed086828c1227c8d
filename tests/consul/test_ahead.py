from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import gevent
import pytest
from gevent.event import AsyncResult, Event
from hypothesis import given, settings
from hypothesis import strategies as st

from consulcast.consul import ahead
from consulcast.consul.ahead import Ahead
from consulcast.consul.client import Answer, Consistency
from consulcast.consul.errors import ConsulError, TimedOut
from consulcast.consul.watch import next_index


@pytest.fixture(autouse=True, scope="module")
def short_pauses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead, "LOOKS", (0.001, 0.001, 0.001))
        yield


@dataclass
class Table:
    """One index for all nodes; a parked query is woken by its own node's writes alone, and goes on if not past."""

    index: int = 100
    data: str = "a"
    busy: int = 0  # indexes that neighbours write while a query is on its way
    parked: int = 0
    asked: list[int] = field(default_factory=list)
    looks: int = 0
    error: ConsulError | None = None  # of the next parked query, or look
    woken: Event = field(default_factory=Event)
    now: float = 0.0

    def neighbours(self, number: int) -> None:
        self.index += number

    def own(self, data: str) -> None:
        self.index += 1
        self.data = data
        self.wake()

    def wake(self) -> None:
        self.woken.set()
        self.woken = Event()

    def ask(self, *, index: int, wait: float, consistency: Consistency) -> Answer[str]:
        self.asked.append(index)
        self.now += 0.003
        self.neighbours(self.busy)
        self.parked += 1
        try:
            while index > 0 and self.index <= index:
                self.woken.wait()
                if self.error is not None:
                    raise self.error
        finally:
            self.parked -= 1
        return Answer(self.data, self.index)

    def look(self, *, index: int, wait: float, consistency: Consistency) -> Answer[str]:
        self.looks += 1
        self.now += 0.06
        self.neighbours(20 * self.busy)
        if self.error is not None:
            raise self.error
        return Answer(self.data, self.index)


@dataclass
class Watched:
    """A greenlet that asks for ever, as the watch does."""

    table: Table
    ahead: Ahead[str] = field(init=False)
    answers: list[Answer[str] | ConsulError] = field(default_factory=list)
    hold_at: str = ""  # asks no more after this answer
    greenlet: gevent.Greenlet[[], None] = field(init=False)

    def __post_init__(self) -> None:
        self.ahead = Ahead(self.table.ask, self.table.look, lambda: self.table.now)
        self.greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        index = 0
        while True:
            try:
                answer = self.ahead(index=index, wait=30, consistency=Consistency.DEFAULT)
            except ConsulError as error:
                self.answers.append(error)
                index = 0
                gevent.sleep(0.001)
                continue
            self.answers.append(answer)
            index = next_index(index, answer.index)
            gevent.sleep(60 if answer.data == self.hold_at else 0)

    def stop(self) -> None:
        self.greenlet.kill()
        self.ahead.close()

    def settle(self) -> None:
        """Wait until it is parked and looks no more."""
        with gevent.Timeout(5):
            while True:
                before = (len(self.answers), self.table.looks, len(self.table.asked))
                gevent.sleep(0.01)
                if self.table.parked == 1 and before == (len(self.answers), self.table.looks, len(self.table.asked)):
                    return


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def watched(table: Table) -> Iterator[Watched]:
    watched = Watched(table)
    yield watched
    watched.stop()


def test_in_a_quiet_datacenter_every_query_is_exact_and_none_is_looked_after(table: Table, watched: Watched) -> None:
    for data in "bcd":
        watched.settle()
        table.own(data)
    watched.settle()
    assert table.asked == [0, 100, 101, 102, 103]
    assert table.looks == 0


def test_a_single_answer_for_nothing_is_asked_after_exactly(table: Table, watched: Watched) -> None:
    watched.settle()
    table.neighbours(50)
    table.wake()  # the time-out
    watched.settle()
    assert (table.asked, table.looks) == ([0, 100, 150], 0)


def test_beside_busy_neighbours_it_is_parked_after_a_few_queries(table: Table, watched: Watched) -> None:
    table.busy = 3
    watched.settle()
    assert len(table.asked) <= 5
    assert table.looks == 1


def test_a_parked_query_beside_busy_neighbours_tells_of_our_own_change(table: Table, watched: Watched) -> None:
    table.busy = 3
    watched.settle()
    asked = len(table.asked)
    table.own("b")
    gevent.sleep(0.005)
    assert isinstance(watched.answers[-1], Answer)
    assert [answer.data for answer in watched.answers if isinstance(answer, Answer)].count("b") == 1
    watched.settle()
    assert len(table.asked) == asked + 1  # still ahead: no query in vain


def test_our_change_among_the_indexes_ahead_is_seen_by_the_look(table: Table, watched: Watched) -> None:
    table.busy = 3
    watched.settle()
    seen = len(watched.answers)
    table.own("b")
    gevent.sleep(0)  # the next query parks
    while table.parked == 0:
        gevent.sleep(0)
    asked = list(table.asked)
    assert table.index < asked[-1]
    table.own("c")  # wakes the query, which goes on, for its index is not past
    watched.settle()
    assert [answer.data for answer in watched.answers[seen:] if isinstance(answer, Answer)] == ["b", "c"]
    assert table.asked == asked  # the parked query stands
    table.own("d")
    watched.settle()
    last = watched.answers[-1]
    assert isinstance(last, Answer)
    assert last.data == "d"


def test_when_neighbours_fall_silent_the_query_is_given_up_and_the_next_is_exact(
    table: Table, watched: Watched
) -> None:
    table.busy = 3
    watched.settle()
    table.busy = 0
    table.own("b")
    watched.settle()
    assert watched.ahead.lead == 0
    assert table.asked[-1] == table.index
    assert table.parked == 1


def test_an_error_of_the_parked_query_is_raised(table: Table, watched: Watched) -> None:
    table.busy = 3
    watched.settle()
    table.error = TimedOut("t")
    table.wake()
    gevent.sleep(0.005)
    assert TimedOut in map(type, watched.answers)
    table.error = None
    watched.settle()


def test_an_error_of_the_look_is_raised_and_nothing_stays_parked(table: Table, watched: Watched) -> None:
    table.busy = 3
    watched.settle()
    table.own("b")
    table.error = TimedOut("t")
    gevent.sleep(0.05)
    table.error = None
    assert TimedOut in map(type, watched.answers)
    watched.settle()
    assert table.parked == 1


def test_ending_the_greenlet_ends_what_it_has_parked(table: Table, watched: Watched) -> None:
    table.busy = 3
    watched.settle()
    watched.stop()
    gevent.sleep(0)
    assert table.parked == 0


def test_what_is_parked_is_given_up_when_another_index_is_asked_with(table: Table) -> None:
    table.busy = 3
    watched = Watched(table, hold_at="c")
    watched.settle()
    table.own("b")
    gevent.sleep(0)
    while table.parked == 0:
        gevent.sleep(0)
    table.own("c")
    gevent.sleep(0.02)
    assert table.parked == 1
    watched.greenlet.kill()
    with gevent.Timeout(1):
        assert watched.ahead(index=0, wait=30, consistency=Consistency.CONSISTENT).data == "c"
    gevent.sleep(0)
    assert table.parked == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("busy"), st.integers(0, 8)),
            st.tuples(st.just("own"), st.integers(0, 9)),
            st.tuples(st.just("turns"), st.integers(1, 4)),
            st.tuples(st.just("time"), st.just(2)),
        ),
        max_size=25,
    )
)
def test_whatever_neighbours_do_our_last_change_is_told_without_a_time_out(events: list[tuple[str, int]]) -> None:
    table = Table()
    watched = Watched(table)
    for what, number in events:
        if what == "busy":
            table.busy = number
        elif what == "own":
            table.own(str(number))
        elif what == "turns":
            for _ in range(number):
                gevent.sleep(0)
        else:
            gevent.sleep(0.002)
    table.own("the last")
    watched.settle()
    watched.stop()
    last = watched.answers[-1]
    assert isinstance(last, Answer)
    assert last.data == "the last"


class Scripted:
    """Queries whose answers come when the test says so; the time that a look takes is ``LOOKS`` and no more."""

    def __init__(self, consistency: Consistency = Consistency.DEFAULT) -> None:
        self.consistency = consistency
        self.asked: list[int] = []
        self.answered: AsyncResult[Answer[str] | ConsulError] = AsyncResult()
        self.seen: list[Answer[str] | ConsulError] = []
        self.at_look: list[Answer[str]] = []  # the parked query is woken with this while a look is on its way
        self.ahead: Ahead[str] = Ahead(self._ask, self._see)
        self.ahead._last, self.ahead.lead = Answer("a", 100), 10

    def __call__(self, index: int) -> Answer[str]:
        with gevent.Timeout(5):
            said = self.ahead(index=index, wait=30, consistency=self.consistency)
        return said

    def _ask(self, *, index: int, wait: float, consistency: Consistency) -> Answer[str]:
        self.asked.append(index)
        said = self.answered.get()
        assert said is not None
        if isinstance(said, ConsulError):
            raise said
        return said

    def _see(self, *, index: int, wait: float, consistency: Consistency) -> Answer[str]:
        if self.at_look:
            self.answered.set(self.at_look.pop())
            gevent.sleep(0)
        said = self.seen.pop(0)
        if isinstance(said, ConsulError):
            raise said
        return said


def test_an_answer_that_is_older_than_what_a_look_told_is_not_told_after_it() -> None:
    script = Scripted()
    script.at_look = [Answer("failing", 115)]
    script.seen = [Answer("well", 120), Answer("well", 121)]
    assert script(100) == Answer("well", 120)
    assert script(120) == Answer("well", 121)
    script.ahead.close()


def test_an_answer_that_is_on_its_way_and_older_than_a_look_is_not_told_after_it() -> None:
    script = Scripted()
    script.seen = [Answer("well", 120), Answer("well", 121)]
    assert script(100) == Answer("well", 120)
    gevent.spawn_later(0.001, script.answered.set, Answer("failing", 115))
    assert script(120) == Answer("well", 121)
    script.ahead.close()


def test_an_answer_that_lay_there_while_nobody_asked_is_not_what_is_told_last() -> None:
    script = Scripted()
    script.seen = [Answer("b", 120), Answer("d", 140)]
    assert script(100) == Answer("b", 120)
    script.answered.set(Answer("c", 130))
    gevent.sleep(0)
    assert script(120) == Answer("d", 140)
    script.ahead.close()


def test_an_error_that_lay_there_while_nobody_asked_is_raised() -> None:
    script = Scripted()
    script.seen = [Answer("b", 120)]
    assert script(100) == Answer("b", 120)
    script.answered.set(TimedOut("t"))
    gevent.sleep(0)
    with pytest.raises(TimedOut):
        script(120)


def test_an_index_that_went_backwards_while_parked_is_told() -> None:
    script = Scripted()
    script.seen = [Answer("b", 120), Answer("restored", 8)]
    assert script(100) == Answer("b", 120)
    script.answered.set(Answer("restored", 7))
    assert script(120) == Answer("restored", 8)


def test_our_change_is_told_by_the_first_look_though_neighbours_have_fallen_silent() -> None:
    script = Scripted()
    script.seen = [Answer("b", 101)]
    assert script(100) == Answer("b", 101)
    assert script.asked == [110]
    assert script.ahead._parked is None  # it would sleep through what comes up to 110


def test_looks_at_a_follower_that_lags_behind_do_not_tell_what_was_before() -> None:
    script = Scripted(Consistency.STALE)
    script.seen = [Answer("before", 90)] * 3
    gevent.spawn_later(0.03, script.answered.set, Answer("c", 111))
    assert script(100) == Answer("c", 111)
    assert script.asked == [110, 100]


def test_looks_at_a_leader_whose_index_went_backwards_tell_so() -> None:
    script = Scripted()
    script.seen = [Answer("restored", 90)] * 3
    assert script(100) == Answer("restored", 90)
