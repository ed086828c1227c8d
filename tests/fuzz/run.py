"""Runs a target, or all of them, for as many cases as are asked for, and prints how they ended.

``python -m tests.fuzz.run [TARGET …] [--cases N] [--seed S] [--plain]``

What can be made of any bytes is guided by coverage where atheris is installed; the rest, and all of it with
``--plain``, comes from hypothesis. Each target has a process of its own. A case that ends badly is kept in
``.cache/fuzz``.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import contextlib  # noqa: E402
import importlib  # noqa: E402
import importlib.util  # noqa: E402
import io  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import pickle  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
from collections import Counter  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, NoReturn  # noqa: E402

KEPT = Path(".cache/fuzz")
BATCH = 5000  # cases that hypothesis remembers at once
OF_BYTES = (
    "tags",
    "notation",
    "config",
    "tokens",
    "state",
    "drains",
    "consul",
    "consul-body",
    "events",
    "dns",
    "kernel",
)
NAMES = (*OF_BYTES, "config-example", "policy", "relay", "http", "stream")


class Tally:
    """Runs the cases and counts how they ended."""

    def __init__(self, target: Any, how: str) -> None:
        self._target, self._how = target, how
        self._began, self._slowest = time.monotonic(), 0.0
        self._ends: Counter[str] = Counter()
        self.count = 0

    def __call__(self, case: Any) -> None:
        """Run one."""
        began = time.thread_time()
        self.count += 1
        try:
            self._ends[self._target.once(case)] += 1
        except Exception as error:  # noqa: BLE001  # whatever it is, it is a finding
            self._fail(case, error)
        self._slowest = max(self._slowest, time.thread_time() - began)

    def tell(self) -> None:
        """Print the counts."""
        ends = ", ".join(f"{word} {count:,}" for word, count in self._ends.most_common(12))
        print(
            f"{self._target.name}: {self.count:,} cases in {time.monotonic() - self._began:.0f} s, {self._how}; "
            f"slowest {self._slowest * 1000:.0f} ms of CPU time: {ends}",
            flush=True,
        )

    def _fail(self, case: Any, error: Exception) -> NoReturn:
        KEPT.mkdir(parents=True, exist_ok=True)
        kept = KEPT / f"{self._target.name}-{self.count}.pickle"
        kept.write_bytes(pickle.dumps(case))
        traceback.print_exception(error, file=sys.stdout)
        print(f"{self._target.name}: case {self.count:,} ended badly, kept in {kept}: {case!r:.600}", flush=True)
        os._exit(1)


def find(name: str) -> Any:
    """Import what is fuzzed, and return the target."""
    from tests.fuzz.every import TARGETS

    return TARGETS[name]


def plain(name: str, cases: int, seed: int) -> None:
    """Run cases of hypothesis's making."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    target = find(name)
    tally = Tally(target, f"seed {seed}")
    while tally.count < cases:

        @seeded(seed + tally.count)
        @settings(
            max_examples=min(BATCH, cases - tally.count),
            phases=[Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(target.cases)
        def run(case: Any) -> None:
            tally(case)

        run()
    tally.tell()


def guided(name: str, cases: int, seed: int) -> NoReturn:
    """Run cases that libFuzzer makes of those before, by what they reached."""
    atheris = importlib.import_module("atheris")
    with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["consulcast"]):
        target = find(name)
    tally = Tally(target, f"guided by coverage, seed {seed}")
    directory = tempfile.TemporaryDirectory()

    def run(data: bytes) -> None:
        tally(target.read(data))
        if tally.count >= cases:
            tally.tell()
            directory.cleanup()
            os._exit(0)  # as libFuzzer itself ends

    corpus, words = Path(directory.name, "corpus"), Path(directory.name, "words")
    corpus.mkdir()
    for number, data in enumerate(target.seeds):
        corpus.joinpath(str(number)).write_bytes(data)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words if 0 < len(word) < 64))
    options = [f"-dict={words}", f"-seed={seed or 1}", "-max_len=20000", "-timeout=60", "-verbosity=0"]
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libFuzzer talks
    atheris.Setup([sys.argv[0], *options, str(corpus)], run)
    atheris.Fuzz()
    raise AssertionError("libFuzzer ended by itself")


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def main() -> int:
    """Run what is asked for. Returns how many targets ended badly."""
    parser = argparse.ArgumentParser(description="Fuzz what takes input from others.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--plain", action="store_true", help="not guided by coverage")
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(NAMES):
        parser.error(f"{', '.join(sorted(unknown))}: the targets are {', '.join(NAMES)}")
    logging.getLogger().addHandler(logging.NullHandler())  # else what is logged goes to stderr
    if len(asked.targets) == 1:
        name = asked.targets[0]
        guide = name in OF_BYTES and not asked.plain and importlib.util.find_spec("atheris")
        (guided if guide else plain)(name, asked.cases, asked.seed)
        return 0
    failed = 0
    for name in asked.targets or NAMES:
        more = ["--cases", str(asked.cases), "--seed", str(asked.seed), *(["--plain"] if asked.plain else [])]
        failed += subprocess.run([sys.executable, "-m", "tests.fuzz.run", name, *more], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
