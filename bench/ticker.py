"""The daemon with a ticker in its hub: ``python -m bench.ticker run --config FILE``.

Every 5 ms the ticker notes how late it is: whatever holds the hub, or the machine, is in that figure. Beside it, of
each turn of the hub, the time on a processor that the hub's thread used: what the machine does besides is not in it.
The notes go to the file that ``TICKS`` names, a line of each kind a second: the time (Unix), the kind, milliseconds.
"""

from gevent import monkey

monkey.patch_all()

import gc  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import gevent  # noqa: E402

from consulcast.cli import cli  # noqa: E402
from consulcast.hub import HubTurns  # noqa: E402

EVERY = 0.005  # seconds
LATE, TURN, COLLECTION = "late", "turn", "gc"  # the kinds of notes; the last: pauses of the garbage collector


class Notes:
    """What was noted since it was last written."""

    def __init__(self) -> None:
        self.of: dict[str, list[float]] = {LATE: [], TURN: [], COLLECTION: []}
        self._collecting = 0.0

    def turned(self, seconds: float) -> None:
        """A turn of the hub is over."""
        self.of[TURN].append(seconds)

    def collected(self, phase: str, info: dict[str, int]) -> None:
        """The garbage collector begins, or is done."""
        if phase == "start":
            self._collecting = time.thread_time()
        else:
            self.of[COLLECTION].append(time.thread_time() - self._collecting)

    def lines(self) -> str:
        """Write them as lines, and forget them."""
        noted, self.of = self.of, {kind: [] for kind in self.of}
        now = time.time()
        return "".join(
            f"{now:.3f} {kind} {' '.join(f'{second * 1000:.2f}' for second in seconds)}\n"
            for kind, seconds in noted.items()
        )


def tick(path: str, notes: Notes) -> None:
    """Tick for ever."""
    due = time.monotonic()
    with open(path, "a") as file:
        while True:
            due += EVERY
            gevent.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            notes.of[LATE].append(now - due)
            due = max(due, now - EVERY)  # one delay is one late tick
            if len(notes.of[LATE]) * EVERY >= 1:
                file.write(notes.lines())
                file.flush()


def watch() -> None:
    """Begin to note."""
    notes = Notes()
    HubTurns(notes.turned, time.thread_time).start()
    gc.callbacks.append(notes.collected)
    gevent.spawn(tick, os.environ["TICKS"], notes)


if __name__ == "__main__":
    watch()
    cli.main(args=sys.argv[1:], prog_name="consulcast")
