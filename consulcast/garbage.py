"""Keeps the garbage collector from pausing the hub.

To look for cycles it goes through every object that has lived long, and the hub waits: 50 ms and more for the modules
and a thousand apps. What is there after the start stays there, so it need not be gone through again and again
(``gc.freeze``). It is freed like anything else once nobody has it any more; a cycle in it alone would stay. What comes
later is looked through as ever: cycles never pile up.
"""

from __future__ import annotations

import gc


def set_aside() -> None:
    """Set aside what was loaded: at the start, before anybody waits, and without a search."""
    gc.freeze()


def settle() -> None:
    """Set aside what has come since as well: once all is as it should be. A search through that goes before it."""
    gc.collect()
    gc.freeze()
