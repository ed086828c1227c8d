"""Median and percentiles of samples."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.spread import Spread, quantile

SAMPLES = st.lists(st.floats(0, 1e6), min_size=2, max_size=300)


def test_hundred_and_one_samples_have_their_percentiles_among_them() -> None:
    assert Spread.of([float(number) for number in range(100, -1, -1)]) == Spread(101, 50.0, 95.0, 99.0, 100.0)


def test_percentile_between_two_samples_is_between_them_in_proportion() -> None:
    assert quantile([1.0, 2.0], 0.25) == 1.25


def test_one_sample_is_its_own_percentile() -> None:
    assert Spread.of([3.0]) == Spread(1, 3.0, 3.0, 3.0, 3.0)


def test_no_samples_have_no_spread() -> None:
    with pytest.raises(ValueError, match="no samples"):
        Spread.of([])


@given(SAMPLES)
def test_it_is_what_the_standard_library_says(samples: list[float]) -> None:
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    spread = Spread.of(samples)
    assert [spread.p95, spread.p99] == pytest.approx([cuts[94], cuts[98]])
    assert spread.median == statistics.median(samples)
