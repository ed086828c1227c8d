"""``make bench``: play the parts one after the other, and put what they found where the pages of docs/ show it."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import (
    batches,
    endpoints,
    fleet,
    latency,
    machine,
    memory,
    neighbours,
    paper,
    profile,
    rest,
    routes,
    scale,
    start,
)
from bench.parts import Chosen, Part, Purse, Run, listed, play, select
from bench.report import Result, filled, machines, targets

# In this order. A new part: a module with a PART, its name here, and its place on a page.
PARTS: tuple[Part, ...] = (
    latency.PART,
    scale.PART,
    start.PART,
    batches.PART,
    routes.PART,
    rest.PART,
    memory.PART,
    neighbours.PART,
    fleet.PART,
    endpoints.PART,
    profile.PART,
)

TOTAL = 890.0  # seconds that all of them have together
DOCS = Path(__file__).parents[1] / "docs"
DATA = "performance.json"
PAGES = {"performance.md": {part.name for part in PARTS} - {"endpoints"} | {"targets", "machine"}}
PAGES["scale.md"] = {"endpoints", "paper"}


def main() -> int:
    """Measure; returns the exit status: 1 if a part failed."""
    parser = argparse.ArgumentParser(
        prog="bench",
        description=__doc__,
        epilog=f"parts, with the time that each has, and their measures:\n{listed(PARTS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts or measures (or patterns); all by default")
    parser.add_argument("--rounds", type=int, default=100, help="samples of each measure and side (default 100)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample and table to FILE")
    parser.add_argument("--print", action="store_true", help="print alone; leave the pages as they are")
    parser.add_argument("--publish", action="store_true", help="put parts that are named on the pages, too")
    options = parser.parse_args()
    try:
        chosen = select(PARTS, options.names)
    except LookupError as error:
        parser.error(str(error))
    if os.geteuid() != 0:
        sys.exit("bench needs root: it makes network namespaces")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    # The figures of a page are of one run. What is named by itself gets there when that is asked for, and is told by
    # its date; a part of which some measures only were played never does.
    shown = not options.print and (options.publish or not options.names)
    try:
        runs = _played(chosen, max(2, options.rounds), shown)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    if options.json:
        told = {run.result.part: {**run.result.data(), "samples": run.samples} for run in runs}
        options.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    print(f"\n{targets(run.result for run in runs)}\n\n{machines(run.result for run in runs)}")
    failed = [run.result for run in runs if run.result.failed]
    for result in failed:
        print(f"\n{result.part}: {result.failed}", file=sys.stderr)
    return 1 if failed else 0


def _played(chosen: list[Chosen], rounds: int, shown: bool) -> list[Run]:
    described, began = machine.describe(), datetime.datetime.now().isoformat(timespec="minutes")
    runs, purse = [], Purse(chosen, TOTAL, time.monotonic())
    for number, one in enumerate(chosen):
        run = play(one, rounds, machine.load, purse.budget(number, time.monotonic()))
        run.result.machine, run.result.run = described, f"{began.replace('T', ' ')}, {machine.commit()}"
        run.result.at = datetime.datetime.now().isoformat(timespec="seconds")
        runs.append(run)
        _show(run.result)
        if shown and one.measures is None:
            publish(run, DOCS)
    return runs


def _show(result: Result) -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print(f"\n## {result.title}\n\n{result.markdown()}", flush=True)


def publish(run: Run, docs: Path) -> None:
    """Put what a part has found into the data, and the pages and pictures in step with them."""
    data = docs / DATA
    known = json.loads(data.read_text()) if data.exists() else {}
    known[run.result.part] = run.result.data()
    known = {part.name: known[part.name] for part in PARTS if part.name in known}
    data.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    every = blocks(known)
    for name, theirs in PAGES.items():
        page = docs / name
        page.write_text(filled(page.read_text(), {key: text for key, text in every.items() if key in theirs}))
    for name, picture in run.pictures.items():
        (docs / "images" / name).write_text(picture)


def blocks(known: Mapping[str, Any]) -> dict[str, str]:
    """Return what stands on the pages, by the names of the places: all of it is made of the data alone."""
    results = [Result.of(data) for data in known.values()]
    found = {result.part: result.markdown() for result in results}
    found |= {"targets": targets(results), "machine": machines(results)}
    fleet_found = next((result for result in results if result.part == fleet.PART.name), None)
    if fleet_found is not None:
        found["paper"] = paper.markdown(fleet_found.facts)
    return found


if __name__ == "__main__":
    sys.exit(main())
