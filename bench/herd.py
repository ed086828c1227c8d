"""What many watches do together, and how they come back when the leader is lost."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from bench.parts import Run
from bench.report import Cell, Table
from integration.lab import ConsulCluster, Process

HEAD = ("after the leader's end", "asked/s", "good answers/s", "errors/s", "watches without a good answer")


@dataclass(frozen=True)
class Piece:
    """What all watches did together in a piece of time, which ends ``at`` so many seconds."""

    at: float
    asked: int
    answered: int
    changed: int
    errors: int
    blind: int  # at its end


@dataclass
class Watchers:
    """The processes with the watches."""

    processes: list[Process] = field(default_factory=list)

    def since(self, at: float, length: float) -> list[Piece]:
        """Return what there was since then, in pieces of equal length; the last one may not be over."""
        lines = [self._lines(process) for process in self.processes]
        pieces = []
        for number in range(int((time.time() - at) / length)):
            begin, end = at + number * length, at + (number + 1) * length
            within = [line for said in lines for line in said if begin < line["at"] <= end]
            asked, answered, changed, errors = (
                sum(line[key] for line in within) for key in ("asked", "answered", "changed", "errors")
            )
            latest = [[line["blind"] for line in said if line["at"] <= end] for said in lines]
            blind = sum(each[-1] for each in latest if each)
            pieces.append(Piece((number + 1) * length, asked, answered, changed, errors, blind))
        return pieces

    def settled(self, watches: int) -> bool:
        """Whether all have been answered, and none has just been lost."""
        now = time.time()
        said = [self._lines(process) for process in self.processes]
        if not all(said):
            return False
        latest = [lines[-1] for lines in said]
        fresh = all(now - line["at"] < 1 for line in latest)
        return fresh and sum(line["watches"] for line in latest) == watches and not any(map(_blind, latest))

    def _lines(self, process: Process) -> list[dict[str, Any]]:
        found = []
        for line in process.text().splitlines()[:-1]:
            said: dict[str, Any] = json.loads(line) if line.startswith("{") else {"failed": line}
            if "failed" in said:
                raise RuntimeError(f"a watch has ended: {said['failed']}")
            found.append(said)
        return found


def _blind(line: dict[str, Any]) -> bool:
    return bool(line["blind"])


def herd(run: Run, watchers: Watchers, cluster: ConsulCluster, held: int, seconds: float) -> None:
    """Kill the leader, and report how the watches come back."""
    at = time.time()
    cluster.leader.kill()
    end = time.monotonic() + seconds
    lost = False
    while time.monotonic() < end and not (lost and watchers.settled(held)):
        time.sleep(0.5)
        lost = lost or any(piece.blind for piece in watchers.since(at, 0.5))
    time.sleep(1)
    fine = watchers.since(at, 0.1)
    run.samples["asked after the leader's end, each 0.1 s"] = [float(piece.asked) for piece in fine]
    run.samples["without a good answer, each 0.1 s"] = [float(piece.blind) for piece in fine]
    rows: list[list[Cell]] = [
        [f"{piece.at - 0.5:.1f} – {piece.at:.1f} s", 2 * piece.asked, 2 * piece.answered, 2 * piece.errors, piece.blind]
        for piece in watchers.since(at, 0.5)
    ]
    half, last = (
        next((piece.at for piece in reversed(fine) if piece.blind > held * share), 0.0) for share in (0.5, 0.0)
    )
    busiest = 10 * max(piece.asked for piece in fine)
    note = (
        f"{held:,} watches. Half of them were back after {half:.1f} s, the last after {last:.1f} s; there were "
        f"{sum(piece.errors for piece in fine):,} errors. The busiest tenth of a second had {busiest:,} a second."
    )
    run.add(Table("The leader is killed", HEAD, rows, note))
    run.result.facts |= {"herd_half": half, "herd_last": last, "herd_busiest": float(busiest)}
    if fine[-1].blind:
        run.short(f"{fine[-1].blind:,} watches were not back {fine[-1].at:.0f} s after the leader's end")
