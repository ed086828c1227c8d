"""Where the log goes, in which form, and what of it. docs/logs.md."""

from __future__ import annotations

import datetime
import json
import logging
import sys

from consulcast.logtext import LONGEST, OneLine
from consulcast.wording import counted

FORMATS = ("text", "json")  # for people, for programs
LEVELS = ("debug", "info", "warning", "error")


def start(form: str = "text", level: str = "info") -> None:
    """Log to the standard error from now on: one of ``FORMATS``, what is of one of ``LEVELS`` or worse."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine() if form == "json" else OneLine())
    # What others' libraries have to say below a warning is about connections, once for each.
    root = logging.getLogger()
    handler.setLevel(_number(level))
    root.addHandler(handler)
    root.setLevel(max(logging.INFO, _number(level)))
    # Changes of state are kept whether or not they are shown here (changes.py).
    logging.getLogger("consulcast").setLevel(min(logging.INFO, _number(level)))


def _number(level: str) -> int:
    return int(getattr(logging, level.upper()))


# What every record has; all else in one is a field of the line.
_OWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class JsonLine(logging.Formatter):
    """One object a line, of printable ASCII: names come from whoever may register a service.

    ``ts`` (UTC), ``level``, ``logger`` and ``msg``; the fields that the line is about, each as its caller gave it;
    ``exception``: the whole traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        line: dict[str, object] = {
            "ts": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat("T", "milliseconds")[:-6]
            + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": _cut(record.getMessage()),
        }
        for name, value in vars(record).items():
            if name not in _OWN and value not in (None, ""):
                line.setdefault(name, value if isinstance(value, bool | int | float) else _cut(str(value)))
        if record.exc_info:
            line["exception"] = _cut(self.formatException(record.exc_info), 4 * LONGEST)
        return json.dumps(line).replace("\x7f", "\\u007f")


def _cut(text: str, longest: int = LONGEST) -> str:
    text = text.encode(errors="backslashreplace").decode()  # half of a surrogate pair is no JSON
    return text if len(text) <= longest else f"{text[:longest]}… ({counted(len(text) - longest, 'more character')})"
