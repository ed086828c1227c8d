"""GoCast's command line, ``gocast -config=FILE -logtostderr -v=2``, as ours."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def translate(arguments: Sequence[str]) -> list[str]:
    """Return our form of GoCast's call; any other call as it is.

    Go's flags take one dash or two, and their value after ``=`` or as the next word. glog's flags have no
    meaning here: they are dropped with one warning.
    """
    if not arguments or not arguments[0].startswith("-") or _flag(arguments[0]) in ("h", "help", "version"):
        return list(arguments)
    path, ignored = None, []
    words = iter(arguments)
    for word in words:
        if _flag(word) == "config":
            path = word.partition("=")[2] if "=" in word else next(words, None)
        else:
            ignored.append(word)
    if path is None:
        return list(arguments)
    if ignored:
        print(f"consulcast: ignored, they belong to GoCast's logging: {' '.join(ignored)}", file=sys.stderr)
    return ["run", "--config", path]


def _flag(word: str) -> str:
    return word.lstrip("-").partition("=")[0]
