"""What can go wrong with BGP, said so that an operator can act on it."""

from __future__ import annotations


class BgpError(Exception):
    """Base of the errors of this package."""


class PeerError(BgpError):
    """A peer's settings contradict each other or cannot be given to ExaBGP; the message names the peer."""


class CommandError(BgpError):
    """A route cannot be written as a command, because a value in it is not of the form it should have."""


class RunDirectoryError(BgpError):
    """The run directory cannot be used; the message names the path and what to change."""
