"""What ExaBGP and the relay may do on this host: nothing but what their user may.

ExaBGP needs no capability: it opens TCP connections, and neither MD5 (RFC 2385) nor a TTL (RFC 5082) asks for one.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable

from consulcast import capabilities
from consulcast.capabilities import Capability, Sets


def drop() -> None:
    """Give up every capability, also of the bounding set as far as that is allowed, and any way to new ones.

    A root that may not read its own program without one, as when that lies in somebody's home, keeps that one.
    """
    sets = Sets.read()
    Sets(0, sets.permitted, 0).write()
    keep = () if all(map(_readable, _program())) else (Capability.DAC_READ_SEARCH,)
    capabilities.give_up(keep)


def _program() -> Iterable[str]:
    """A file of each place that the program comes from."""
    exabgp = importlib.util.find_spec("exabgp")
    return (__file__, sys.executable, os.__file__, *([exabgp.origin] if exabgp and exabgp.origin else []))


def _readable(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except PermissionError:
        return False
    return True
