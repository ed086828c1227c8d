"""``make bench``: play the parts one after the other, and put what they found where docs/performance.md shows it."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import sys
import time
from pathlib import Path

from bench import batches, fleet, latency, machine, memory, neighbours, rest, routes, scale, start
from bench.parts import Part, Run, play, select
from bench.report import Result, filled, machines, targets

# In this order. A new part: a module with a PART, its name here, and its place on the page.
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
)

TOTAL = 890.0  # seconds that all of them have together
DOCS = Path(__file__).parents[1] / "docs"
PAGE, DATA = "performance.md", "performance.json"


def main() -> int:
    """Measure; returns the exit status: 1 if a part failed."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    listed = ", ".join(f"{part.name} ({part.budget:g} s)" for part in PARTS)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"all by default: {listed}")
    parser.add_argument("--rounds", type=int, default=100, help="samples of each measure and side (default 100)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample and table to FILE")
    parser.add_argument("--print", action="store_true", help="print alone; leave the page as it is")
    options = parser.parse_args()
    try:
        chosen = select(PARTS, options.parts)
    except LookupError as error:
        parser.error(str(error))
    if os.geteuid() != 0:
        sys.exit("bench needs root: it makes network namespaces")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    described = machine.describe()
    runs = []
    try:
        end = time.monotonic() + TOTAL
        for part in chosen:
            run = play(part, max(2, options.rounds), machine.load, end - time.monotonic())
            run.result.machine, run.result.at = described, datetime.datetime.now().isoformat(timespec="seconds")
            runs.append(run)
            _show(run.result)
            if not options.print:
                publish(run, DOCS)
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


def _show(result: Result) -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print(f"\n## {result.title}\n\n{result.markdown()}", flush=True)


def publish(run: Run, docs: Path) -> None:
    """Put what a part has found into the data, and the page and its pictures in step with them."""
    data = docs / DATA
    known = json.loads(data.read_text()) if data.exists() else {}
    known[run.result.part] = run.result.data()
    order = [part.name for part in PARTS if part.name in known]
    results = [Result.of(known[name]) for name in order]
    data.write_text(json.dumps({name: known[name] for name in order}, indent=1, ensure_ascii=False) + "\n")
    blocks = {result.part: result.markdown() for result in results}
    blocks |= {"targets": targets(results), "machine": machines(results)}
    page = docs / PAGE
    page.write_text(filled(page.read_text(), blocks))
    for name, picture in run.pictures.items():
        (docs / "images" / name).write_text(picture)


if __name__ == "__main__":
    sys.exit(main())
