"""Nobody forges a line of the log."""

from __future__ import annotations

import logging

import pytest

from consulcast.logtext import LONGEST, OneLine


@pytest.mark.parametrize(
    "name",
    [
        *(
            "a\nb",
            "a\r\nb",
            "a\x1b[2Kb",
            "\x9b31mb",
            "a\u202eb",
            "a\u2066b",
            "a\u200bb",
            "a\u2028b",
            "a\u0085b",
            "a\0b",
        ),
        *("\ud800", "\ufeffa", "a\x7fb", "a\u00adb", "a" * 1_000_000, "\U000e0041"),
    ],
)
def test_hostile_name_is_one_printable_line_of_bounded_length(name: str) -> None:
    record = logging.LogRecord("n", logging.INFO, "f", 1, "app %s: registered", (name,), None)
    line = OneLine().format(record)
    assert line.isprintable()
    assert line.isascii() or "…" in line
    assert len(line) < LONGEST + 100


def test_words_of_an_error_do_not_look_like_a_line_of_the_log() -> None:
    forged = "2026-01-01T00:00:00.000 INFO    consulcast all is well\x1b[8m"
    try:
        raise ValueError(f"x\n{forged}")
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("n", logging.INFO, "f", 1, "ended", (), info)
    _, *rest = OneLine().format(record).split("\n")
    assert all(line.startswith("  ") and line.isprintable() for line in rest)
    assert any("all is well\\x1b[8m" in line for line in rest)


def test_control_characters_are_escaped_and_a_traceback_is_not() -> None:
    try:
        raise ValueError("why")
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("n", logging.INFO, "f", 1, "app %s", ("x\ny\x1b[31m ü",), info)
    first, *rest = OneLine().format(record).splitlines()
    assert first.endswith("app x\\ny\\x1b[31m ü")
    assert rest[0].startswith("  Traceback")
