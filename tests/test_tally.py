"""What is counted and timed."""

from __future__ import annotations

from consulcast.tally import Count, Times


def test_what_takes_as_long_as_a_bound_is_within_it() -> None:
    times = Times("x", "What it is.", (0.001, 0.01), ("kind",))
    for seconds in (0.0, 0.001, 0.0011, 0.01, 0.02):
        times.observe(seconds, "a")
    assert times.values == {("a",): [2, 2, 1]}
    assert round(times.sums["a",], 4) == 0.0321


def test_what_is_expected_is_there_before_it_happens_and_begins_once() -> None:
    count = Count("x", "What it is.", ("kind",), expected=[("a",)])
    count.add("a", more=2)
    count.expect("a")
    count.expect("b")
    assert count.values == {("a",): 2, ("b",): 0}
    assert Times("x", "What it is.", (1.0,), expected=((),)).values == {(): [0, 0]}
