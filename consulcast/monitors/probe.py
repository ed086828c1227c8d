"""A probe: one way to look at a service."""

from __future__ import annotations

import errno
from typing import Protocol

from msgspec import Struct

# What this host or this process lacks says nothing of the service.
_OUR_OWN = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EADDRNOTAVAIL}


class Look(Struct, frozen=True):
    """What one look saw. ``passed`` is ``None`` when it could not be taken: the verdict stands, whatever it was."""

    passed: bool | None
    detail: str


class Probe(Protocol):
    """Looks when told to."""

    def look(self, timeout: float) -> Look:
        """Take one look, within ``timeout`` seconds from when its turn comes."""


def failed(error: OSError) -> Look:
    """Word a look that ended with an error of the kernel or the other side."""
    return Look(None if error.errno in _OUR_OWN else False, error.strerror or str(error) or type(error).__name__)
