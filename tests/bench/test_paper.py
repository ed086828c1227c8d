"""What follows from a fleet's figures for a larger one."""

from __future__ import annotations

import pytest

from bench.paper import AGENTS_STAGGER, markdown, rows

FACTS = {
    "held": 2000.0,
    "wait": 20.0,
    "asked": 2000.0 / (20.0 * AGENTS_STAGGER),  # each query once a wait
    "answers": 97.0,
    "cpu_leader": 10.0,
    "cpu_follower": 1.0,
    "cpu_passing": 4.0,
    "cpu_agent": 5.0,
    "http_kib": 100.0,
    "rpc_kib": 97.0,
    "kib_leader": 30.0,
    "kib_passing": 40.0,
    "goroutines_leader": 2.0,
    "goroutines_passing": 1.0,
    "herd_busiest": 5000.0,
}


def test_what_is_held_grows_with_the_queries() -> None:
    held, goroutines, memory = rows(FACTS)[:3]
    assert held[1:] == [20000, 6667, 6667]
    assert goroutines[1:] == [40000.0, pytest.approx(6666.7, abs=0.1), pytest.approx(13333.3, abs=0.1)]
    assert memory[1:] == [pytest.approx(585.9, abs=0.1), pytest.approx(260.4, abs=0.1), pytest.approx(195.3, abs=0.1)]


def test_what_is_asked_shrinks_with_the_wait_and_work_goes_with_it() -> None:
    table = {str(row[0]): row[1:] for row in rows(FACTS)}
    asked = table["`wait: 30s`: requests per second"]
    assert asked == [pytest.approx(646.5, abs=0.1), pytest.approx(215.5, abs=0.1), pytest.approx(215.5, abs=0.1)]
    assert table["`wait: 120s`: requests per second"][0] == pytest.approx(161.6, abs=0.1)
    (cores,) = [row for row in rows(FACTS) if row[0] == "… cores that they take"][:1]
    assert cores[1] == pytest.approx(646.5 * 10 / 97 / 100, rel=0.01)
    assert cores[2] == pytest.approx(215.5 * 4 / 97 / 100, rel=0.01)


def test_busiest_second_after_a_lost_leader_is_in_proportion() -> None:
    assert rows(FACTS)[-1][1] == 50000.0


def test_without_figures_nothing_is_told() -> None:
    assert markdown({}) == "Not measured yet."
