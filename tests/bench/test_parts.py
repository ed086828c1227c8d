"""Which parts are played, for how long, and what becomes of one that fails."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from bench.__main__ import PARTS
from bench.parts import CLOSING, SPARE, Part, Run, play, select
from bench.report import Result, Table


def part(name: str, what: Callable[[Run], None] = lambda run: None, budget: float = 60.0) -> Part:
    return Part(name, name.title(), budget, what)


def load() -> float:
    return 0.5


def test_parts_are_those_that_are_named_in_their_own_order() -> None:
    every = [part("a"), part("b"), part("c")]
    assert [one.name for one in select(every, ["c", "a"])] == ["a", "c"]
    assert select(every, []) == every


def test_unknown_part_is_named_with_those_that_there_are() -> None:
    with pytest.raises(LookupError, match=r"no part is called x; there are a, b"):
        select([part("a"), part("b")], ["a", "x"])


def test_names_of_parts_are_different() -> None:
    assert len({one.name for one in PARTS}) == len(PARTS)


def test_part_that_fails_keeps_what_it_has_found() -> None:
    def fails(run: Run) -> None:
        run.add(Table("Found", ("x",), [[1]]))
        raise AssertionError("not within 3 s: a route")

    result = play(part("a", fails), 100, load).result
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

    result = play(part("a", hangs, CLOSING + 0.05), 100, load).result
    assert result.failed == f"not done within {CLOSING + 0.05:.0f} s"
    assert closed == ["put away"]


def test_part_gets_no_more_than_what_is_left_for_all() -> None:
    played = []
    assert play(part("a", lambda run: played.append(run.left())), 100, load, CLOSING + 20).result.failed == ""
    assert played[0] <= 20
    assert play(part("a", lambda run: played.append(0)), 100, load, 0.0).result.failed.startswith("not done")
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
