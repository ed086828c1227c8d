"""The log as text: one line an event, whatever the names in it are made of."""

from __future__ import annotations

import logging


class OneLine(logging.Formatter):
    """Names come from whoever may register a service: a line end in one must not forge a line of the log."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the line itself, a traceback left aside."""
        return "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode() for c in super().formatMessage(record)
        )
