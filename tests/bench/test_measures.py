"""Which measures are played for those that are wanted, and how turns are taken."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from bench.latency import in_turn, needed
from bench.measures import Measure


def names(*wanted: str) -> list[str]:
    return [measure.name for measure in needed(lambda name: name in wanted)]


def test_measures_of_the_service_bring_each_other_about_and_the_others_stand_alone() -> None:
    assert names("critical") == ["tag", "critical", "passing", "deregister"]
    assert names("listener") == ["listener"]
    assert names("register", "tag") == ["tag", "critical", "passing", "deregister", "register"]


def test_both_sides_have_each_change_in_turn_and_are_told_of_before_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    went: list[Any] = []

    def measure(name: str) -> Measure:
        def play(side: Any) -> float:
            went.append((name, side))
            return 1.0

        return Measure(name, name, play)

    samples: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ("tag", "critical")}
    pair = cast(Any, ("us", "floor"))
    in_turn(
        pair,
        [measure("tag"), measure("critical")],
        samples,
        swapped=True,
        pairs=1,
        before=lambda which, name: went.append((which, name)),
    )
    assert went == [
        *[(1, "tag"), ("tag", "floor"), (0, "tag"), ("tag", "us")],
        *[(1, "critical"), ("critical", "floor"), (0, "critical"), ("critical", "us")],
        *[(1, ""), (0, "")],
    ]
    assert samples == {"tag": ([1.0], [1.0]), "critical": ([1.0], [1.0])}
