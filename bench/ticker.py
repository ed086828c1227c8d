"""The daemon with a ticker in its hub: ``python -m bench.ticker run --config FILE``.

Every 5 ms the ticker notes how late it is. Whatever holds the hub, or the machine, is in that figure. The notes go to
the file that ``TICKS`` names: a line a second, with the time (Unix) and the milliseconds.
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import gevent  # noqa: E402

from consulcast.cli import cli  # noqa: E402

EVERY = 0.005  # seconds


def tick(path: str) -> None:
    """Tick for ever."""
    due = time.monotonic()
    late: list[float] = []
    with open(path, "a", buffering=1) as file:
        while True:
            due += EVERY
            gevent.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            late.append(round((now - due) * 1000, 2))
            due = max(due, now - EVERY)  # one delay is one late tick
            if len(late) * EVERY >= 1:
                file.write(f"{time.time():.3f} {' '.join(map(str, late))}\n")
                late.clear()


if __name__ == "__main__":
    gevent.spawn(tick, os.environ["TICKS"])
    cli.main(args=sys.argv[1:], prog_name="consulcast")
