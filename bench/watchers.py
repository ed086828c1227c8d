"""Real watches of many nodes: ``python -m bench.watchers CONSUL FIRST COUNT RAMP WAIT``.

For each of the nodes ``host-FIRST`` and on, the two watches that a daemon has, with the daemon's own code and WAIT
seconds of patience, begun one after the other over RAMP seconds. Every ``EVERY`` seconds it prints, as JSON, what there
was since the last line.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import partial  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from consulcast.consul.client import Answer, Client  # noqa: E402
from consulcast.consul.errors import ConsulError  # noqa: E402
from consulcast.consul.settings import settings_from  # noqa: E402
from consulcast.consul.watch import Pace, Watch  # noqa: E402

EVERY = 0.1  # seconds


class Fleet:
    """The watches, and counts of what they do."""

    def __init__(self, consul: str, pace: Pace) -> None:
        self._pace = pace
        self._settings = settings_from({}, address=consul)
        self._watches: list[Watch[Any]] = []
        self.asked = self.answered = self.changed = self.errors = 0
        self.blind: set[str] = set()  # the watches without a good answer since their last error

    def add(self, node: str) -> None:
        """Watch a node."""
        for half in ("catalog", "health"):
            name = f"{half} {node}"
            asks = Client(self._settings, watching=True)
            looks = Client(self._settings, like=asks)
            queries = [
                partial(client.catalog_node if half == "catalog" else client.health_node, node)
                for client in (asks, looks)
            ]
            ask, look = (partial(self._ask, query) for query in queries)
            heard, lost = partial(self._heard, name), partial(self._lost, name)
            self.blind.add(name)
            watch: Watch[Any] = Watch(ask, heard, lost, _failed, self._pace, look=look, name=name)
            watch.start()
            self._watches.append(watch)

    def line(self) -> str:
        """Return what there was since the last call."""
        said = {
            "at": time.time(),
            "watches": len(self._watches),
            "asked": self.asked,
            "answered": self.answered,
            "changed": self.changed,
            "errors": self.errors,
            "blind": len(self.blind),
            "cpu": time.process_time(),
        }
        self.asked = self.answered = self.changed = self.errors = 0
        return json.dumps(said)

    def _ask(self, query: Callable[..., Answer[Any]], **how: object) -> Answer[Any]:
        self.asked += 1
        return query(**how)

    def _heard(self, name: str, _: Answer[Any], changed: bool) -> None:
        self.answered += 1
        self.changed += changed
        self.blind.discard(name)

    def _lost(self, name: str, _: ConsulError) -> None:
        self.errors += 1
        self.blind.add(name)


def _failed(error: BaseException) -> None:
    print(json.dumps({"failed": repr(error)}), flush=True)


def main() -> None:
    """Watch until the end."""
    consul, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    ramp, wait = map(float, sys.argv[4:6])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    fleet = Fleet(consul, Pace(wait=wait))

    def start() -> None:
        for number in range(first, first + count):
            fleet.add(f"host-{number:05}")
            gevent.sleep(ramp / count)

    gevent.spawn(start)
    due = time.monotonic()
    while True:
        due = max(due + EVERY, time.monotonic())
        gevent.sleep(max(0.0, due - time.monotonic()))
        print(fleet.line(), flush=True)


if __name__ == "__main__":
    main()
