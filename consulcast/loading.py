"""Modules that are loaded while the daemon works, so that the first routes need not wait for them.

Flask and what it needs take a tenth of a second, which the hub has not. So others have their turn between two modules.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent

from consulcast import garbage, hub


class _Turns:
    """Is asked for each module before it is loaded, and finds none."""

    def __init__(self, loading: object) -> None:
        self._loading = loading

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if gevent.getcurrent() is self._loading:
            hub.breathe()


@contextmanager
def in_turns() -> Iterator[None]:
    """What this greenlet imports meanwhile, it imports in pieces. One that needs the same waits until it is there."""
    turns = _Turns(gevent.getcurrent())
    sys.meta_path.insert(0, turns)
    try:
        with garbage.put_off():
            yield
    finally:
        sys.meta_path.remove(turns)
