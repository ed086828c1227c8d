"""The daemon with a profiler in it: ``python -m bench.profiled run --config FILE``.

After each piece of processor time (``EVERY``; the kernel may count in larger ones) it notes what the main thread is
about. On SIGUSR1 it writes what was noted since the last one to the next of ``PROFILE-1``, ``PROFILE-2``, … as JSON.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from pathlib import Path  # noqa: E402
from types import FrameType  # noqa: E402

import gevent  # noqa: E402

from consulcast.cli import cli  # noqa: E402

EVERY = 0.001  # seconds


class Profiler:
    """Counts of what was being done, by function: itself (``own``), or it and what it has called (``all``)."""

    def __init__(self, path: str) -> None:
        self._path, self._number, self._cpu = path, 0, 0.0
        self.own: Counter[str] = Counter()
        self.all: Counter[str] = Counter()

    def note(self, _: int, frame: FrameType | None) -> None:
        """Take a sample."""
        if frame is None:
            return
        self.own[_name(frame)] += 1
        seen = set()
        at: FrameType | None = frame
        while at is not None:
            seen.add(_name(at))
            at = at.f_back
        self.all.update(seen)

    def write(self) -> None:
        """Write the counts, and begin anew."""
        self._number += 1
        cpu = time.process_time()
        said = {"cpu": cpu - self._cpu, "own": self.own, "all": self.all}
        self._cpu, self.own, self.all = cpu, Counter(), Counter()
        file = Path(f"{self._path}-{self._number}")
        file.with_suffix(".new").write_text(json.dumps(said))
        file.with_suffix(".new").rename(file)


def _name(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_qualname}"


if __name__ == "__main__":
    profiler = Profiler(os.environ["PROFILE"])
    asked = gevent.signal_handler(signal.SIGUSR1, profiler.write)  # it ends with the last who knows it
    signal.signal(signal.SIGPROF, profiler.note)
    signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
    cli.main(args=sys.argv[1:], prog_name="consulcast")
