"""What people read on a terminal: tables, times, colours. What scripts read: JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click

from consulcast.logtext import shown

__all__ = ["age", "colour", "print_json", "print_table", "shown", "span"]

_COLOURS = {
    "announced": "green",
    "observed": "green",
    "passing": "green",
    "up": "green",
    "fresh": "green",
    "pending": "yellow",
    "unknown": "yellow",
    "draining": "yellow",
    "stale": "yellow",
    "warning": "yellow",
    "add": "green",
    "change": "yellow",
    "withdraw": "red",
    "down": "red",
    "failing": "red",
    "refused": "red",
    "error": "red",
}


def colour(word: str, as_: str = "") -> str:
    """Colour a word by what it means, or by what ``as_`` means. ``click.echo`` takes colours out off a terminal."""
    found = _COLOURS.get(as_ or word)
    return click.style(word, fg=found) if found and word else word


def print_json(value: Any) -> None:
    """Print as JSON, in ASCII: names come from whoever may register a service."""
    click.echo(json.dumps(value, indent=2))


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns as wide as they need to be; the last one is as long as it is. Cells may be coloured."""
    table = [tuple(heads), *map(tuple, rows)]
    widths = [max(len(click.unstyle(row[column])) for row in table) for column in range(len(heads) - 1)]
    for number, row in enumerate(table):
        cells = [cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(row, widths, strict=False)]
        line = "  ".join((*cells, row[-1])).rstrip()
        click.echo(click.style(line, dim=True) if number == 0 else line)


def span(seconds: float) -> str:
    """Write a time span in its two largest units: ``42s``, ``3m10s``, ``2h5m``, ``9d4h``."""
    whole = max(0, int(seconds))
    for large, small, per, unit in ((86400, 3600, 24, "dh"), (3600, 60, 60, "hm"), (60, 1, 60, "ms")):
        if whole >= large:
            rest = whole // small % per
            return f"{whole // large}{unit[0]}" + (f"{rest}{unit[1]}" if rest else "")
    return f"{whole}s"


def age(moment: str | None) -> str:
    """Write how long ago a moment of the API's (RFC 3339) was."""
    if not moment:
        return ""
    try:
        return span(time.time() - datetime.fromisoformat(moment).timestamp())
    except ValueError:
        return shown(moment)
