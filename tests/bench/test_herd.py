"""What many watches have said, put together."""

from __future__ import annotations

import json
import time
from typing import Any, cast

import pytest

from bench.endpoints import Kind
from bench.herd import Watchers


class Said:
    """A process that has printed something."""

    def __init__(self, *lines: str) -> None:
        self._text = "".join(f"{line}\n" for line in lines)

    def text(self) -> str:
        return self._text


def line(at: float, **counts: int) -> str:
    return json.dumps(
        {"at": at, "watches": 2, "asked": 0, "answered": 0, "changed": 0, "errors": 0, "blind": 0} | counts
    )


def watchers(*processes: Said) -> Watchers:
    return Watchers([cast(Any, process) for process in processes])


def test_pieces_of_time_have_what_all_processes_did_in_them() -> None:
    now = time.time()
    one = Said(line(now - 2.5, asked=7), line(now - 1.5, asked=1, blind=2), line(now - 0.5, errors=3), "cut off")
    two = Said(line(now - 1.4, asked=2, changed=1), line(now - 0.4, answered=5, blind=1), "cut off")
    first, second = watchers(one, two).since(now - 2.0, 1.0)
    assert (first.at, first.asked, first.changed, first.errors, first.blind) == (1.0, 3, 1, 0, 2)
    assert (second.at, second.asked, second.answered, second.errors, second.blind) == (2.0, 0, 5, 3, 1)


def test_they_have_settled_when_all_have_a_fresh_good_answer() -> None:
    now = time.time()
    well, blind, old = line(now), line(now, blind=1), line(now - 5)
    assert watchers(Said(well, ""), Said(well, "")).settled(4)
    for other in (blind, old):
        assert not watchers(Said(well, ""), Said(other, "")).settled(4)
    assert not watchers(Said(well, ""), Said(well, "")).settled(5)
    assert not watchers(Said(well, ""), Said("")).settled(2)  # one has said nothing yet


def test_watch_that_has_ended_is_told() -> None:
    with pytest.raises(RuntimeError, match="a watch has ended: Traceback"):
        watchers(Said("Traceback", "")).since(time.time() - 1, 0.5)


def test_news_is_counted_from_the_write_to_the_first_after_it_and_before_the_next_write() -> None:
    said = Said("asked 9", "asked 9", "asked 9", "10.003 a", "asked 2", "20.500 a", "20.100 b", "asked 4", "31.000 c")
    kind = Kind("with", cast(Any, said), {"a": [10.0, 20.0], "b": [20.0, 30.0], "c": [29.0, 30.0]})
    took, untold, asked = kind.times()
    assert took == pytest.approx([3.0, 500.0, 100.0, 1000.0], abs=0.01)
    assert untold == 2  # b's last one, and c's first
    assert asked == pytest.approx(3 * 60 / 10)
