"""The monitors without the daemon: ``python -m integration.monitors_alone INTERVAL MONITOR…``.

Prints a JSON line for each change of a health: monitor, health, detail, and when, on the monotonic clock. Every second
a line tells how late a ticker of 10 ms was at most, so far and since the last line. SIGTERM stops it in order.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Sequence  # noqa: E402

import gevent  # noqa: E402
from gevent.event import Event  # noqa: E402

from consulcast import notation  # noqa: E402
from consulcast.model import AppKey, Health, MonitorSpec, Source, VerdictKey  # noqa: E402
from consulcast.monitors.runner import Monitors  # noqa: E402
from consulcast.monitors.schedule import Defaults  # noqa: E402

TICK = 0.01


def main(interval: str, texts: Sequence[str]) -> None:
    """Run until SIGTERM."""
    stop, changed = Event(), Event()
    gevent.signal_handler(signal.SIGTERM, stop.set)
    failures: list[BaseException] = []

    def fail(error: BaseException) -> None:
        failures.append(error)
        stop.set()

    monitors = Monitors(changed.set, fail, Defaults(interval=notation.duration(interval)))
    app = AppKey(Source.CONFIG, "app")
    monitors.set(VerdictKey(app, notation.monitor(text)) for text in texts)
    monitors.start()
    printing = gevent.spawn(_print_changes, monitors, changed)
    ticking = gevent.spawn(_tick)
    stop.wait()
    monitors.stop()
    gevent.killall([printing, ticking])
    _line(stopped=True)
    if failures:
        raise failures[0]


def _print_changes(monitors: Monitors, changed: Event) -> None:
    known: dict[MonitorSpec, Health] = {}
    while True:
        changed.wait()
        changed.clear()
        for key, verdict in monitors.verdicts.items():
            if known.get(key.monitor) is not verdict.health:
                known[key.monitor] = verdict.health
                _line(monitor=str(key.monitor), health=verdict.health, detail=verdict.detail, at=verdict.since)


def _tick() -> None:
    most = 0.0
    while True:
        end = time.monotonic() + 1.0
        late = 0.0
        while (now := time.monotonic()) < end:
            gevent.sleep(TICK)
            late = max(late, time.monotonic() - now - TICK)
        most = max(most, late)
        _line(late=round(late * 1000, 1), most=round(most * 1000, 1))


def _line(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
