"""One app, two apps."""

from __future__ import annotations

import pytest

from consulcast.wording import counted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 apps"), (1, "1 app"), (2, "2 apps"), (11, "11 apps"), (101, "101 apps")]
)
def test_one_is_one_and_anything_else_several(number: int, words: str) -> None:
    assert counted(number, "app") == words


def test_plurals_that_take_more_than_an_s_are_given() -> None:
    assert (counted(1, "address", "addresses"), counted(2, "address", "addresses")) == ("1 address", "2 addresses")
