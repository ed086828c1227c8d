"""What a process holds, from the outside: file descriptors, children, threads, memory; and its greenlets."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from integration.chaos import greenlets
from integration.lab import until

# What a process may hold more at the end of a run than when it had warmed up.
MORE_FDS, MORE_CHILDREN, MORE_THREADS, MORE_GREENLETS = 8, 1, 2, 6
MORE_MEMORY = 12_000  # kB; an allocator's own noise is a few


@dataclass(frozen=True)
class Held:
    """What one process holds at a quiet moment. Memory in kB."""

    fds: int
    children: int
    threads: int
    pss: int
    greenlets: int = 0

    def grown(self, since: Held) -> list[str]:
        """What it holds more of than it may, compared with an earlier moment."""
        limits = {
            "fds": MORE_FDS,
            "children": MORE_CHILDREN,
            "threads": MORE_THREADS,
            "pss": MORE_MEMORY,
            "greenlets": MORE_GREENLETS,
        }
        now, before = asdict(self), asdict(since)
        return [
            f"{name}: {before[name]} became {now[name]}"
            for name, limit in limits.items()
            if now[name] - before[name] > limit
        ]


def held(pid: int, directory: Path | None = None) -> Held:
    """Look at a process. With ``directory`` (see ``greenlets.environment``) its greenlets are counted, too."""
    proc = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    rollup = dict(line.split(":", 1) for line in (proc / "smaps_rollup").read_text().splitlines()[1:])
    number = 0
    if directory is not None:
        # those set aside from the garbage collector are not counted, so that there may be none: a list, which is true
        (number,) = until(
            lambda: [found] if (found := greenlets.ask(pid, directory)) is not None else [],
            10.0,
            "the daemon counts its greenlets",
            every=0.05,
        )
    return Held(
        fds=len(list((proc / "fd").iterdir())),
        children=len(children(pid)),
        threads=int(status["Threads"]),
        pss=int(rollup["Pss"].split()[0]),
        greenlets=number,
    )


def children(pid: int) -> list[int]:
    """Return the ids of a process's children; of one that has ended, none."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:  # it has ended meanwhile
            continue
    return found
