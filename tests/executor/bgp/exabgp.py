"""A stand-in for ExaBGP's side of the pipe: reads commands in order, keeps a table, answers each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from consulcast.executor.bgp import commands


class Fake:
    """Knows what a real one would. ``refuse`` is how many commands it answers `error` from now on."""

    def __init__(self) -> None:
        self.unread: deque[str] = deque()
        self.table: dict[tuple[str, str], str] = {}
        self.read: list[str] = []
        self.refuse = 0

    def receive(self, lines: Iterable[str]) -> int:
        """Take commands in. Returns how many nudges were among them: these are answered at once, before all else."""
        lines = list(lines)
        self.unread.extend(line for line in lines if line != commands.NUDGE)
        return lines.count(commands.NUDGE)

    def step(self) -> bool:
        """Read one command, act on it, and return the acknowledgement."""
        line = self.unread.popleft()
        self.read.append(line)
        words = line.split()
        if words[0] != "neighbor":
            return True
        if self.refuse:
            self.refuse -= 1
            return False
        key = words[1], words[4]
        if words[2] == "announce":
            self.table[key] = line
        else:
            self.table.pop(key, None)
        return True
