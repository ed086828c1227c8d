"""Keeps the garbage collector from pausing the hub.

To look for cycles it goes through every object that has lived long, and the hub waits: 50 ms and more for the modules
and a thousand apps. What is there after the start stays there, so it need not be gone through again and again
(``gc.freeze``). It is freed like anything else once nobody has it any more; a cycle in it alone would stay. What comes
later is looked through as ever: cycles never pile up. While modules are loaded there is nothing to be found, and
to look for it takes a tenth of the time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def not_yet() -> None:
    """Look for nothing until ``set_aside``."""
    gc.disable()


def set_aside() -> None:
    """Set aside what was loaded: at the start, before anybody waits, and without a search."""
    gc.freeze()
    gc.enable()


@contextmanager
def put_off() -> Iterator[None]:
    """Look for nothing while modules are loaded, and set them aside."""
    gc.disable()
    try:
        yield
    finally:
        set_aside()


def settle() -> None:
    """Set aside what has come since as well: once all is as it should be. A search through that goes before it."""
    gc.collect()
    gc.freeze()
