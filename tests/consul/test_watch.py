from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import gevent
import pytest
from gevent.event import Event
from hypothesis import given
from hypothesis import strategies as st

from consulcast.consul.client import Answer, Consistency
from consulcast.consul.errors import ConsulError, NoLeader, RateLimited, TimedOut, Unreachable
from consulcast.consul.watch import AFTER_PAUSE, BREATH, Bucket, Pace, Watch, backoff, jittered, next_index, retry


class Enough(BaseException):
    """The script is played to its end."""


@dataclass
class Played:
    """A watch run against a script, on a clock that only moves when somebody sleeps or a query is parked."""

    script: Sequence[Answer[str] | ConsulError]
    pace: Pace = field(default_factory=Pace)
    chance: float = 0.5
    parked: float = 0.0  # seconds that each query takes
    now: float = 1000.0
    asked: list[tuple[int, float, Consistency]] = field(default_factory=list)
    asked_at: list[float] = field(default_factory=list)
    heard: list[tuple[str, bool]] = field(default_factory=list)
    lost: list[ConsulError] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def play(self) -> Played:
        watch: Watch[str] = Watch(
            self._ask,
            lambda answer, changed: self.heard.append((answer.data, changed)),
            self.lost.append,
            lambda error: None,
            self.pace,
            clock=lambda: self.now,
            sleep=self._sleep,
            rng=lambda: self.chance,
        )
        with pytest.raises(Enough):
            watch._run()
        return self

    @property
    def indexes(self) -> list[int]:
        return [index for index, _, _ in self.asked]

    def _ask(self, *, index: int, wait: float, consistency: Consistency) -> Answer[str]:
        if len(self.asked) == len(self.script):
            raise Enough
        self.asked.append((index, wait, consistency))
        self.asked_at.append(self.now)
        self.now += self.parked
        said = self.script[len(self.asked) - 1]
        if isinstance(said, ConsulError):
            raise said
        return said

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def answer(data: str, index: int, **more: Any) -> Answer[str]:
    return Answer(data, index=index, **more)


def test_the_first_query_does_not_park_and_the_next_one_parks_at_its_index() -> None:
    played = Played([answer("a", 5), answer("b", 9), answer("b", 9)]).play()
    assert played.indexes == [0, 5, 9]


def test_an_index_that_goes_backwards_starts_over() -> None:
    played = Played([answer("a", 50), answer("a", 7), answer("a", 7), answer("a", 7)]).play()
    assert played.indexes == [0, 50, 0, 7]


def test_index_0_never_becomes_a_busy_loop() -> None:
    assert Played([answer("a", 0), answer("a", 1), answer("a", 1)]).play().indexes == [0, 1, 1]


def test_the_index_is_dropped_after_every_error() -> None:
    played = Played([answer("a", 50), TimedOut("t"), answer("a", 50), Unreachable("u"), answer("a", 3)]).play()
    assert played.indexes == [0, 50, 0, 50, 0]


@given(asked=st.integers(0, 2**63), answered=st.integers(0, 2**64))
def test_the_next_index_is_the_answered_one_or_starts_over(asked: int, answered: int) -> None:
    index = next_index(asked, answered)
    assert index in (0, 1, answered)
    assert index == 0 or index >= asked or asked == 0
    assert index > 0 or answered < asked


def test_contact_is_told_with_every_answer_and_change_only_with_other_data() -> None:
    played = Played([answer("a", 5), answer("a", 6), answer("b", 7), answer("b", 7)]).play()
    assert played.heard == [("a", True), ("a", False), ("b", True), ("b", False)]


def test_the_same_data_after_an_error_is_contact_and_no_change() -> None:
    played = Played([answer("a", 5), TimedOut("t"), answer("a", 2)]).play()
    assert played.heard == [("a", True), ("a", False)]
    assert [type(error) for error in played.lost] == [TimedOut]


def test_the_first_events_of_a_quiet_time_cost_no_delay_and_a_storm_is_limited() -> None:
    played = Played([answer(str(n), n) for n in range(1, 31)]).play()
    gaps = [later - earlier for earlier, later in pairwise(played.asked_at)]
    assert max(gaps[:4]) < 0.01
    assert min(gaps[6:]) > 0.95
    assert played.asked_at[-1] - played.asked_at[0] < 30


def test_going_backwards_again_and_again_is_limited_too() -> None:
    played = Played([answer("a", 50 if n % 2 else 7) for n in range(40)]).play()
    assert played.asked_at[-1] - played.asked_at[0] > 30


@given(burst=st.integers(1, 10), gaps=st.lists(st.floats(0, 20), min_size=1, max_size=60))
def test_a_bucket_never_gives_more_than_burst_and_rate(burst: int, gaps: list[float]) -> None:
    now = [0.0]
    bucket, taken = Bucket(burst, 1.0, lambda: now[0]), []
    for gap in gaps:
        now[0] += gap
        now[0] += bucket.take()
        taken.append(now[0])
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - taken[first]) + 1 + 1e-6


def test_backing_off_doubles_to_its_limit_never_gives_up_and_is_reset_by_a_good_answer() -> None:
    played = Played([*[Unreachable("u")] * 12, answer("a", 1), Unreachable("u")], chance=1.0).play()
    retries = [seconds for seconds in played.slept if seconds >= 0.125]
    assert retries == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 0.25]


@given(errors=st.integers(1, 10_000), chance=st.floats(0, 1))
def test_a_retry_waits_at_least_half_of_its_time_and_at_most_30_seconds(errors: int, chance: float) -> None:
    assert 0.125 <= backoff(errors, chance) <= 30
    assert backoff(errors, 0) * 2 == backoff(errors, 1)


def test_tries_after_the_servers_trouble_are_spread_over_the_whole_of_a_time_that_doubles() -> None:
    for chance, expected in ((1.0, [2, 2, 4, 8, 16, 30]), (0.5, [1, 1, 2, 4, 8, 15]), (0.0, [0.1] * 6)):
        for error in (NoLeader("n"), RateLimited("r")):
            assert [retry(error, errors, chance) for errors in range(1, 7)] == expected


def test_what_one_host_alone_suffers_is_tried_again_soon() -> None:
    for error in (Unreachable("u"), TimedOut("t")):
        assert retry(error, 1, 1.0) == backoff(1, 1.0) == 0.25


def test_a_watch_without_a_leader_spreads_its_tries_and_one_without_an_agent_does_not() -> None:
    assert Played([NoLeader("n"), Unreachable("u"), answer("a", 1)], chance=1.0).play().slept[:2] == [2.0, 0.5]


def test_an_agent_that_was_away_and_then_finds_no_server_at_once_is_tried_again_as_after_a_first_loss() -> None:
    away: list[ConsulError] = [Unreachable("u")] * 5
    errors = [*away, NoLeader("n"), Unreachable("u"), NoLeader("n"), NoLeader("n")]
    played = Played([*errors, answer("a", 1), NoLeader("n")], chance=1.0).play()
    assert [seconds for seconds in played.slept if seconds > BREATH] == [0.25, 0.5, 1, 2, 4, 2, 16, 2, 4, 2]


@given(st.floats(0, 1))
def test_the_wait_varies_by_a_tenth(chance: float) -> None:
    assert 27 <= jittered(30, chance) <= 33


def test_every_poll_draws_its_own_wait() -> None:
    chances = iter([0.0, 0.5, 1.0, 0.0])
    played = Played([answer("a", 5), answer("a", 5), answer("a", 5)])
    watch: Watch[str] = Watch(
        played._ask,
        lambda answer, changed: None,
        lambda error: None,
        lambda error: None,
        Pace(),
        clock=lambda: 0.0,
        sleep=lambda seconds: None,
        rng=lambda: next(chances),
    )
    with pytest.raises(Enough):
        watch._run()
    assert [round(wait, 6) for _, wait, _ in played.asked] == [27, 30, 33]


def test_a_wake_up_for_nothing_lengthens_the_next_wait_only() -> None:
    """What neighbours write moves the table's index: after a time-out the next query returns at once."""
    script = [answer("a", 5), answer("a", 5), answer("a", 8), answer("a", 8), answer("b", 9), answer("b", 9)]
    waits = [wait for _, wait, _ in Played(script, parked=10.0).play().asked]
    assert waits == [30, 30, 30, 45, 30, 30]


def test_after_a_wake_up_for_nothing_the_next_query_follows_without_a_breath() -> None:
    """Nothing comes of such an answer, and every millisecond makes it likelier that the next one is for nothing too."""
    played = Played([answer("a", 5), answer("a", 6), answer("a", 7), answer("b", 8)]).play()
    assert played.slept == [BREATH, BREATH]


def test_answers_for_nothing_take_nothing_of_what_changes_of_our_own_may_have() -> None:
    """Neighbours write now and then between our query's answer and the next one: so every change brings two answers."""
    script, number = [answer("0", 0)], 1
    for change in range(3):
        script += [answer(f"{change + 1}", number), answer(f"{change + 1}", number + 1)]
        number += 2
    assert Played(script).play().slept == [BREATH] * 4


def test_after_a_pause_an_answer_for_nothing_is_asked_after_at_once() -> None:
    """The index was old after the pause; the one that it brought is fresh, and a query with it is parked."""
    script = [*(answer(str(n), n) for n in range(1, 10)), *(answer("9", n) for n in range(10, 31))]
    played = Played(script).play()
    gaps = [later - earlier for earlier, later in pairwise(played.asked_at)]
    assert min(gaps[6:9]) > 0.95
    assert gaps[9] < 0.01


def test_answers_for_nothing_are_limited_as_well() -> None:
    played = Played([answer("a", n) for n in range(1, 31)]).play()
    gaps = [later - earlier for earlier, later in pairwise(played.asked_at)]
    assert max(gaps[:5]) < 0.01
    assert min(gaps[8:]) > 0.95


def test_with_a_second_connection_a_watch_is_parked_beside_busy_neighbours() -> None:
    table, asked, parked = [100], [0, 0], Event()

    def ask(*, index: int, wait: float, consistency: Consistency) -> Answer[str]:
        table[0] += 3  # while the query is on its way
        asked[0] += 1
        if index >= table[0]:
            parked.set()
            gevent.sleep(60)
        return answer("a", table[0])

    def look(*, index: int, wait: float, consistency: Consistency) -> Answer[str]:
        asked[1] += 1
        return answer("a", table[0] + 50)

    failures: list[BaseException] = []
    watch: Watch[str] = Watch(
        ask, lambda answer, changed: None, lambda error: None, failures.append, Pace(), look=look, sleep=gevent.sleep
    )
    watch.start()
    with gevent.Timeout(5):
        parked.wait()
        while asked[1] == 0:
            gevent.sleep(0.01)
    watch.stop()
    assert failures == []
    assert asked[0] <= 5
    assert watch.counts.returns == asked[0] - 1 + asked[1]


def test_at_rest_beside_busy_neighbours_two_watches_ask_at_most_six_times_a_minute() -> None:
    @dataclass
    class Busy(Played):
        def _ask(self, *, index: int, wait: float, consistency: Consistency) -> Answer[str]:
            if len(self.asked) == 200:
                raise Enough
            self.asked.append((index, wait, consistency))
            self.asked_at.append(self.now)
            table = int(self.now)  # moves all the time, and is read before the query is parked
            if index < table:
                return answer("a", table)
            self.now += wait
            return answer("a", index)

    for chance in (0.0, 0.5, 1.0):
        played = Busy([], chance=chance).play()
        assert 2 * len(played.asked) / (played.now - played.asked_at[0]) * 60 <= 6


def test_a_stale_answer_that_is_too_old_is_asked_for_again_at_the_leader() -> None:
    script = [answer("old", 5, last_contact=11.0), answer("new", 6), answer("new", 6), answer("new", 6)]
    played = Played(script, Pace(stale=True)).play()
    assert [(index, consistency.value) for index, _, consistency in played.asked] == [
        (0, "stale"),
        (0, "default"),  # at once, and no index is carried from one mode to another
        (6, "default"),
        (0, "stale"),  # one poll at the leader was good: any server may answer again
    ]
    assert played.heard[0] == ("new", True)


def test_a_stale_answer_without_a_leader_is_asked_for_again_at_the_leader() -> None:
    script: list[Answer[str] | ConsulError] = [answer("old", 5, known_leader=False), NoLeader("n"), answer("new", 6)]
    played = Played(script, Pace(stale=True)).play()
    assert [consistency.value for _, _, consistency in played.asked] == ["stale", "default", "stale"]
    assert played.heard == [("new", True)]
    assert [type(error) for error in played.lost] == [NoLeader]


def test_an_answer_without_a_leader_is_no_answer_even_when_asked_for_again() -> None:
    played = Played([answer("a", 5, known_leader=False), answer("a", 5, known_leader=False), answer("a", 6)]).play()
    assert [consistency.value for _, _, consistency in played.asked] == ["default", "consistent", "default"]
    assert [type(error) for error in played.lost] == [NoLeader]
    assert played.heard == [("a", True)]


def test_persistent_staleness_is_no_busy_loop() -> None:
    script = [answer("a", 5, last_contact=99.0), answer("a", 5), answer("a", 5)] * 10
    played = Played(script, Pace(stale=True), parked=0.0).play()
    assert played.asked_at[-1] - played.asked_at[0] > 20


def run(ask: Callable[..., Answer[str]], failed: Callable[[BaseException], None]) -> Watch[str]:
    watch: Watch[str] = Watch(ask, lambda answer, changed: None, lambda error: None, failed, Pace())
    watch.start()
    return watch


def test_stopping_a_parked_watch_ends_it_at_once_and_is_no_failure() -> None:
    parked: list[int] = []
    failures: list[BaseException] = []

    def ask(**_: object) -> Answer[str]:
        parked.append(1)
        gevent.sleep(60)
        raise AssertionError

    watch = run(ask, failures.append)
    gevent.sleep(0.01)
    with gevent.Timeout(1):
        watch.stop()
    assert (parked, failures) == ([1], [])


def test_a_defect_in_a_watch_is_told_and_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[BaseException] = []
    monkeypatch.setattr(gevent.get_hub(), "print_exception", lambda *_: None)

    def ask(**_: object) -> Answer[str]:
        raise ZeroDivisionError

    run(ask, failures.append)
    gevent.sleep(0.01)
    assert [type(error) for error in failures] == [ZeroDivisionError]


def test_after_a_pause_the_wait_is_short_because_the_agent_may_count_anew() -> None:
    played = Played([answer(str(n), n) for n in range(1, 12)]).play()
    waits = [wait for _, wait, _ in played.asked]
    assert waits[:5] == [30.0] * 5
    assert waits[-1] == AFTER_PAUSE
