"""Two tables are compared by two numbers each: how many commands made them, and the sum of the checksums of these.

ExaBGP computes them of what it has (``patches.table_in_parts``), which takes it a microsecond for four routes.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from consulcast.executor.bgp import commands
from consulcast.model import IPAddress


class Sum(NamedTuple):
    """Of one peer's table."""

    routes: int = 0
    checksums: int = 0


class Sums:
    """Of each peer's table, kept up to date command by command."""

    def __init__(self) -> None:
        self._sums: dict[IPAddress, Sum] = {}

    def of(self, peer: IPAddress) -> Sum:
        """The sum of all commands that have announced something to that peer, and do so still."""
        return self._sums.get(peer, Sum())

    def replace(self, peer: IPAddress, former: str | None, command: str | None) -> None:
        """A command has come in place of another; ``None``: there was none, or is none any more."""
        known = self.of(peer)
        routes = known.routes + (command is not None) - (former is not None)
        self._sums[peer] = Sum(routes, known.checksums + _checksum(command) - _checksum(former))

    def clear(self) -> None:
        """Nobody has been told anything."""
        self._sums.clear()


def _checksum(command: str | None) -> int:
    return zlib.crc32(commands.less_peer(command).encode()) if command is not None else 0
