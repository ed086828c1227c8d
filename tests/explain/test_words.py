"""Times as people say them."""

from __future__ import annotations

import pytest

from consulcast.explain.facts import Facts
from consulcast.explain.words import ago, at, span


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (3.14, "3.1 s"),
        (42, "42 s"),
        (60, "1 min"),
        (190, "3 min 10 s"),
        (7500, "2 h 5 min"),
        (90061, "1 d 1 h"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_moments() -> None:
    known = Facts(now=100.0, wall=1_700_000_000.0)
    assert at(90.0, known) == "2023-11-14T22:13:10Z"
    assert (at(None, known), ago(None, known), ago(101.0, known)) == (None, "never", "0.0 s")
