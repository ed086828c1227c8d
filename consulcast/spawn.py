"""Children by posix_spawn, whose end the hub tells.

gevent's subprocess would fork this whole process and stall every greenlet for milliseconds; this takes 0.2 ms.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import gevent
from gevent import monkey
from gevent import os as gevent_os

from consulcast import capabilities
from consulcast.capabilities import Capability

# Monkey patched or not: gevent's own would watch the child twice.
_posix_spawn = monkey.get_original("os", "posix_spawn")

_RESET_SIGNALS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE),
    *(signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2),
)


def spawn(
    command: Sequence[str | bytes],
    environment: Mapping[str, str],
    files: Sequence[tuple[Any, ...]],
    ended: Callable[[int], None],
    lend: Collection[Capability] = (),
) -> int:
    """Start a program, given by its path, in a session of its own, and return its id. Raises ``OSError``.

    ``files``: posix_spawn's file actions. ``ended`` is called by the hub, with the wait status; until then the id is
    the child's own. ``lend``: which of our capabilities it gets.
    """

    def start() -> int:
        with capabilities.lent(*lend):
            pid: int = _posix_spawn(
                command[0],
                command,
                environment,
                file_actions=files,
                setsid=True,
                setsigmask=[],
                setsigdef=_RESET_SIGNALS,
            )
        return pid

    gevent.get_hub().loop.install_sigchld()  # fork_and_watch does it after the fork: too late for a quick first child
    return gevent_os.fork_and_watch(lambda watcher: ended(watcher.rstatus), fork=start)
