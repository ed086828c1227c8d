"""The picture of how samples are spread."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from bench.picture import LEFT, RIGHT, WIDTH, Row, decades, place, strips


def test_axis_has_the_powers_of_ten_around_the_samples() -> None:
    assert decades([0.4, 35.0]) == (0.1, 100.0)
    assert decades([1.0, 10.0]) == (1.0, 10.0)
    assert decades([1.0]) == (1.0, 10.0)
    assert decades([]) == (1.0, 10.0)


def test_each_decade_takes_the_same_room() -> None:
    room = WIDTH - LEFT - RIGHT
    assert [place(value, 1.0, 100.0) - LEFT for value in (1.0, 10.0, 100.0)] == [0, pytest.approx(room / 2), room]
    assert place(0.0, 1.0, 100.0) == LEFT


def test_every_sample_has_its_mark_and_the_picture_is_xml() -> None:
    picture = strips("a & b", [Row("x → y", "consulcast", [1.0, 2.0, 3.0]), Row("", "floor", [0.5, 0.6])])
    root = ElementTree.fromstring(picture)
    marks = [path.get("d", "").count("M") for path in root.iter("{http://www.w3.org/2000/svg}path")]
    assert marks[-4:] == [3, 1, 2, 1]  # the samples and the median of each
    assert "a &amp; b" in picture
    assert re.findall(r"[\d.]+ · [\d.]+", picture) == ["2.00 · 3.0", "0.55 · 0.6"]


def test_it_has_colours_for_a_dark_page() -> None:
    assert "prefers-color-scheme: dark" in strips("x", [Row("x", "floor", [1.0])])
