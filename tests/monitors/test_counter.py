"""Rise and fall."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consulcast.model import Health
from consulcast.monitors.counter import Counter


def healths(looks: list[bool], rise: int, fall: int) -> list[Health]:
    counter, found = Counter(), []
    for passed in looks:
        counter = counter.take(passed, rise, fall)
        found.append(counter.health)
    return found


def test_first_look_decides_at_once_either_way() -> None:
    assert healths([True], 5, 5) == [Health.PASSING]
    assert healths([False], 5, 5) == [Health.FAILING]


def test_fall_looks_in_a_row_make_it_failing_and_rise_passing() -> None:
    looks = [True, False, True, False, False, True, True]
    assert [health.value for health in healths(looks, rise=2, fall=2)] == [
        *("passing", "passing", "passing", "passing", "failing"),
        *("failing", "passing"),
    ]


@given(st.lists(st.booleans(), min_size=1), st.integers(1, 5), st.integers(1, 5))
def test_health_changes_exactly_when_the_last_looks_in_a_row_say_so(looks: list[bool], rise: int, fall: int) -> None:
    found = healths(looks, rise, fall)
    for number in range(1, len(looks)):
        passing = found[number - 1] is Health.PASSING
        needed = fall if passing else rise
        row = looks[max(0, number + 1 - needed) : number + 1]
        # since the last change, or the beginning, there must have been that many
        same = 0
        while number - 1 - same >= 0 and found[number - 1 - same] is found[number - 1]:
            same += 1
        turns = len(row) == needed and all(passed is not passing for passed in row) and same >= needed
        assert (found[number] is not found[number - 1]) == turns


@given(st.lists(st.booleans()), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_enough_equal_looks_always_decide(looks: list[bool], rise: int, fall: int, last: bool) -> None:
    expected = Health.PASSING if last else Health.FAILING
    assert healths([*looks, *[last] * max(rise, fall)], rise, fall)[-1] is expected
