"""Nobody forges a line of the log."""

from __future__ import annotations

import logging

from consulcast.logtext import OneLine


def test_control_characters_are_escaped_and_a_traceback_is_not() -> None:
    try:
        raise ValueError("why")
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("n", logging.INFO, "f", 1, "app %s", ("x\ny\x1b[31m ü",), info)
    first, *rest = OneLine().format(record).splitlines()
    assert first.endswith("app x\\ny\\x1b[31m ü")
    assert rest[0].startswith("Traceback")
