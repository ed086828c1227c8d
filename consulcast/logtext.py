"""The log as text: one line an event, whatever the names in it are made of."""

from __future__ import annotations

import logging
from typing import Any

from consulcast.wording import counted

LONGEST = 4096  # characters of a line


class OneLine(logging.Formatter):
    """Names come from whoever may register a service: a line end in one must not forge a line of the log.

    Nor may a terminal's codes hide one, nor Unicode's directions show it as another, nor a megabyte bury the rest.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the line itself."""
        text = super().formatMessage(record)
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}… ({counted(len(text) - LONGEST, 'more character')})"
        return shown(text)

    def formatException(self, ei: Any) -> str:
        """Format a traceback, indented: what an error's words say must not look like a line of ours."""
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"  {shown(line[:LONGEST])}" for line in lines)


def shown(text: str) -> str:
    """Escape what is not printable: control codes, line ends, directions, joiners, surrogates."""
    if text.isprintable():  # nearly always
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
