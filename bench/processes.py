"""What processes take: time of the processor, wake-ups, memory."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
_USER_PAGES = 2**47 // PAGE
_PRESENT, _FRAME = 1 << 63, (1 << 55) - 1


@dataclass(frozen=True)
class Work:
    """What a process has done since its start: seconds on a processor, and how often it has waited and been woken."""

    cpu: float
    waits: int

    def __sub__(self, earlier: Work) -> Work:
        return Work(self.cpu - earlier.cpu, self.waits - earlier.waits)

    def __add__(self, other: Work) -> Work:
        return Work(self.cpu + other.cpu, self.waits + other.waits)


@dataclass(frozen=True)
class Memory:
    """MiB. ``pss`` counts what several processes share in equal parts, so the PSS of several can be added."""

    rss: float
    pss: float

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.rss + other.rss, self.pss + other.pss)


def work(pids: Iterable[int]) -> Work:
    """Return what all of them have done, their threads included (those that live)."""
    total = Work(0.0, 0)
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            cpu = int((task / "schedstat").read_text().split()[0]) / 1e9
            total += Work(cpu, _number((task / "status").read_text(), "voluntary_ctxt_switches"))
    return total


def memory(pids: Iterable[int]) -> Memory:
    """Return what all of them hold (``/proc/PID/smaps_rollup``)."""
    total = Memory(0.0, 0.0)
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += Memory(_number(text, "Rss") / 1024, _number(text, "Pss") / 1024)
    return total


def _number(text: str, key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE)
    assert found is not None, f"there is no {key}"
    return int(found[1])


def frames(pids: Iterable[int]) -> float:
    """Return the MiB of memory that the processes hold together, each page counted once, whoever else holds it.

    What their PSS would come to, were they alone. Needs root (Documentation/admin-guide/mm/pagemap.rst).
    """
    seen: set[int] = set()
    for pid in pids:
        with open(f"/proc/{pid}/pagemap", "rb") as pagemap:
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                begin, end = (int(text, 16) // PAGE for text in line.split()[0].split("-"))
                if begin >= _USER_PAGES:
                    continue  # vsyscall, which is the kernel's
                pagemap.seek(begin * 8)
                entries = array("Q", pagemap.read((end - begin) * 8))
                seen.update(entry & _FRAME for entry in entries if entry & _PRESENT)
    return len(seen) * PAGE / 2**20
