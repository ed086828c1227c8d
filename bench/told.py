"""Real watches that print their news: ``python -m bench.told CONSUL NAME COUNT LOOK``.

One watch of the checks of each of the nodes ``NAME-00000`` and on, with the daemon's own code; LOOK is ``1`` or ``0``:
with, or without, what it does about answers in vain. A line for each piece of news: the time (Unix) and the node; and
once a second a line ``asked`` with how often was asked since the last one.
"""

from gevent import monkey

monkey.patch_all()

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


class Told:
    """The watches, and how often they have asked."""

    def __init__(self, consul: str, look: bool) -> None:
        self._settings, self._look = settings_from({}, address=consul), look
        self.asked = 0

    def watch(self, node: str) -> None:
        """Watch a node's checks."""
        asks = Client(self._settings, watching=True)
        looks = Client(self._settings, like=asks)
        ask, look = (partial(self._ask, partial(client.health_node, node)) for client in (asks, looks))

        def heard(_: Answer[Any], changed: bool) -> None:
            if changed:
                print(f"{time.time():.6f} {node}", flush=True)

        watch: Watch[Any] = Watch(ask, heard, _lost, _failed, Pace(), look=look if self._look else None, name=node)
        watch.start()

    def _ask(self, query: Callable[..., Answer[Any]], **how: object) -> Answer[Any]:
        self.asked += 1
        return query(**how)


def _lost(_: ConsulError) -> None:
    pass


def _failed(error: BaseException) -> None:
    print(f"failed {error!r}", flush=True)


def main() -> None:
    """Watch until the end."""
    consul, name, count, look = sys.argv[1:5]
    told = Told(consul, look == "1")
    for number in range(int(count)):
        told.watch(f"{name}-{number:05}")
    while True:
        gevent.sleep(1)
        print(f"asked {told.asked}", flush=True)
        told.asked = 0


if __name__ == "__main__":
    main()
