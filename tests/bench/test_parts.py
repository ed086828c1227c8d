"""Which parts are played, for how long, and what becomes of one that fails."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from bench.__main__ import PARTS, TOTAL
from bench.parts import CLOSING, SPARE, STRETCH, Chosen, Part, Purse, Run, play, select
from bench.report import Result, Table
from integration.lab import NotInTime


def part(
    name: str,
    what: Callable[[Run], None] = lambda run: None,
    budget: float = 60.0,
    measures: tuple[str, ...] = (),
    extra: bool = False,
) -> Part:
    return Part(name, name.title(), budget, what, measures, extra)


def load() -> float:
    return 0.5


def test_parts_are_those_that_are_named_in_their_own_order() -> None:
    every = [part("a"), part("b"), part("c")]
    assert [one.part.name for one in select(every, ["c", "a"])] == ["a", "c"]
    assert select(every, []) == [Chosen(one) for one in every]


def test_one_measure_can_be_named_alone_or_by_a_pattern() -> None:
    every = [part("a", measures=("tag", "critical")), part("b", measures=("tag@1", "tag@1000", "critical@1"))]
    assert select(every, ["critical"]) == [Chosen(every[0], frozenset({"critical"}))]
    assert select(every, ["tag@*"]) == [Chosen(every[1], frozenset({"tag@1", "tag@1000"}))]
    assert select(every, ["a", "critical@1"]) == [Chosen(every[0]), Chosen(every[1], frozenset({"critical@1"}))]
    assert select(every, ["tag", "critical"]) == [Chosen(every[0])]


def test_extra_part_is_played_when_it_is_named_alone() -> None:
    every = [part("a"), part("b", extra=True)]
    assert [one.part.name for one in select(every, [])] == ["a"]
    assert [one.part.name for one in select(every, ["b"])] == ["b"]


def test_measure_is_wanted_when_it_is_chosen_or_all_are() -> None:
    asked = []
    chosen = Chosen(part("a", lambda run: asked.extend([run.wants("x"), run.wants("y"), run.wants("y", "x")])))
    play(chosen, 100, load)
    play(Chosen(chosen.part, frozenset({"x"})), 100, load)
    assert asked == [True, True, True, True, False, True]


def test_unknown_name_is_told_with_all_that_there_are() -> None:
    with pytest.raises(LookupError, match=r"no part or measure is called x, y\*; there are\n  a .*: tag\n  b .*"):
        select([part("a", measures=("tag",)), part("b")], ["a", "x", "y*"])


def test_names_of_parts_and_measures_are_different() -> None:
    names = [name for one in PARTS for name in (one.name, *one.measures)]
    assert len(set(names)) == len(names)


def test_budgets_of_all_parts_together_fit_into_the_time() -> None:
    assert sum(one.budget for one in PARTS if not one.extra) <= TOTAL < 15 * 60


def test_part_has_what_those_before_it_have_left() -> None:
    purse = Purse([Chosen(part("a")), Chosen(part("b")), Chosen(part("c"))], 190.0, 1000.0)
    assert purse.budget(0, 1000.0) == 70.0  # ten are nobody's
    assert purse.budget(1, 1020.0) == 110.0
    assert purse.budget(2, 1180.0) == 10.0  # 190 s are the end for all


def test_part_takes_no_more_than_half_its_budget_again() -> None:
    left = []
    play(Chosen(part("a", lambda run: left.append(run.left()), budget=20.0)), 100, load)
    assert 20 * STRETCH - CLOSING - 1 < left[0] <= 20 * STRETCH - CLOSING


def test_what_does_not_come_is_told_and_the_part_goes_on() -> None:
    went = []

    def late() -> int:
        raise NotInTime("not within 3 s: a route")

    def measures(run: Run) -> None:
        went.append(run.tried("start", late))
        went.append(run.tried("end", lambda: 7))

    assert play(Chosen(part("a", measures)), 100, load).result.failed == "start: not within 3 s: a route"
    assert went == [None, 7]


def test_part_that_fails_keeps_what_it_has_found() -> None:
    def fails(run: Run) -> None:
        run.add(Table("Found", ("x",), [[1]]))
        raise AssertionError("not within 3 s: a route")

    result = play(Chosen(part("a", fails)), 100, load).result
    assert result.failed == "AssertionError: not within 3 s: a route"
    assert [table.title for table in result.tables] == ["Found"]
    assert (result.load_begin, result.load_end) == (0.5, 0.5)


def test_part_that_takes_too_long_is_interrupted_and_puts_things_away() -> None:
    closed = []

    def hangs(run: Run) -> None:
        try:
            while True:
                pass  # asleep, gevent's loop would be what is interrupted here
        except Exception:  # noqa: BLE001 - what a part might do
            closed.append("taken for trouble of its own")
        finally:
            closed.append("put away")

    result = play(Chosen(part("a", hangs, CLOSING + 0.05)), 100, load, CLOSING + 0.05).result
    assert result.failed == f"not done within {CLOSING + 0.05:.0f} s"
    assert closed == ["put away"]


def test_part_gets_no_more_than_what_is_left_for_all() -> None:
    played = []
    counts = Chosen(part("a", lambda run: played.append(run.left())))
    assert play(counts, 100, load, CLOSING + 20).result.failed == ""
    assert played[0] <= 20
    assert play(counts, 100, load, 0.0).result.failed.startswith("not done")
    assert len(played) == 1


def test_turns_follow_the_rounds_that_are_asked_for() -> None:
    run = Run(50, time.monotonic() + 60, Result("a", "A"))
    assert list(run.turns(10)) == [0, 1, 2, 3, 4]


def test_turn_that_would_end_too_late_is_not_begun() -> None:
    run = Run(100, time.monotonic() + SPARE + 0.5, Result("a", "A"))
    begun = []
    for turn in run.turns(10):
        begun.append(turn)
        time.sleep(0.2)
    assert begun == [0, 1]


def test_turns_end_with_the_time_but_there_are_two() -> None:
    run = Run(100, time.monotonic() - 1, Result("a", "A"))
    assert list(run.turns(10)) == [0, 1]
    assert list(run.turns(10, least=1)) == [0]
