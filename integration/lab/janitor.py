"""What a lab leaves where its maker is killed (SIGKILL, out of memory), and how the next one removes it.

Everything of a lab that outlives a process has a name that begins with who made it: network namespaces, the folder of
its files, control groups. So nothing is written down that could be lost, and what a living process has made is never
touched. Its processes are those in its namespaces; its cables have both their ends there.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

NAMESPACES = Path("/run/netns")
_GROUPS = Path("/sys/fs/cgroup")
_PREFIX = "cc-"
_NAME = re.compile(rf"{_PREFIX}(\d+)-([0-9a-f]+)-\d+(-|$)")  # process id, its start, number of the lab
_KEPT = "kept"  # a file in a folder that somebody wants to look at
_PATIENCE = 5.0  # seconds for killed processes to be gone


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, named for good: another one that gets its id has another start (in ticks since boot)."""

    pid: int
    started: int

    @classmethod
    def this(cls) -> Owner:
        """The process that asks."""
        pid = os.getpid()
        started = _started(pid)
        assert started is not None
        return cls(pid, started)

    @classmethod
    def of(cls, name: str) -> Owner | None:
        """Who made what has this name; ``None``: no lab did."""
        found = _NAME.match(name)
        return found and cls(int(found[1]), int(found[2], 16))

    @property
    def alive(self) -> bool:
        """Whether it runs. One that has ended and is not waited for yet does not."""
        return _started(self.pid) == self.started

    def prefix(self, number: int) -> str:
        """Return what the names in its lab of this number begin with."""
        return f"{_PREFIX}{self.pid}-{self.started:x}-{number}-"


@dataclass(frozen=True, slots=True)
class Left:
    """What dead owners have left: names of network namespaces, folders, control groups (the inner ones first)."""

    namespaces: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    groups: tuple[Path, ...] = ()

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that still run in the namespaces."""
        return tuple(pid for name in self.namespaces for pid in pids_in(name))


def left() -> Left:
    """List what owners that are no more have left. Changes nothing."""
    folders = tuple(path for path in _orphans(Path(tempfile.gettempdir())) if not (path / _KEPT).exists())
    tops = [top for where in (_GROUPS, *_GROUPS.glob("*/")) for top in _orphans(where)]
    return Left(tuple(path.name for path in _orphans(NAMESPACES)), folders, tuple(_inner_first(tops)))


def sweep() -> Left:
    """Remove what ``left`` lists, which is returned. Several may sweep at once."""
    found = left()
    for name in found.namespaces:
        remove_namespace(name)
    for path in found.folders:
        shutil.rmtree(path, ignore_errors=True)
    remove_groups(found.groups)
    return found


def keep(folder: Path) -> None:
    """Have a lab's folder outlive it and every sweep."""
    (folder / _KEPT).touch()


def pids_in(namespace: str) -> list[int]:
    """Return the ids of the processes in a network namespace, less our own."""
    done = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    return [int(pid) for pid in done.stdout.split() if int(pid) != os.getpid()]


def remove_namespace(name: str) -> None:
    """Kill what runs in a network namespace, and remove it."""
    end = time.monotonic() + _PATIENCE
    while (pids := pids_in(name)) and time.monotonic() < end:  # one may have forked meanwhile
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def groups_of(name: str) -> list[Path]:
    """Return the control groups of this name and those in them, the inner ones first, in every hierarchy."""
    return list(_inner_first([path for path in (_GROUPS / name, *_GROUPS.glob(f"*/{name}")) if path.is_dir()]))


def remove_groups(groups: Iterable[Path]) -> None:
    """Remove control groups; one with processes in it stays."""
    for path in groups:
        with contextlib.suppress(OSError):
            path.rmdir()


def _orphans(folder: Path) -> list[Path]:
    """What stands in a folder under the name of an owner that is no more."""
    named = [(path, Owner.of(path.name)) for path in sorted(folder.glob(f"{_PREFIX}*"))]
    return [path for path, owner in named if owner is not None and not owner.alive]


def _inner_first(tops: list[Path]) -> Iterator[Path]:
    for top in tops:
        yield from sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True)
        yield top


def _started(pid: int) -> int | None:
    """Return when a process was started, in ticks since boot; None: there is no such process, or only its corpse."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in ("Z", "X") else int(rest[18])
