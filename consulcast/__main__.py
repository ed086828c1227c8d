"""Where the program starts: for the daemon, the standard library is patched before anything else is imported."""

from __future__ import annotations

import sys
from typing import Any

from consulcast import gocast_arguments

_ON_GEVENT = ("run", "plan")  # the commands that use the daemon's parts; the others start faster without


def _patch() -> None:
    import gevent.events
    from gevent import monkey

    # else gevent looks through every installed package for plugins to this, 25 times: a tenth of our start
    events: Any = gevent.events
    events.notify_and_call_entry_points = events.notify
    monkey.patch_all()


def main() -> None:
    """Run a command; GoCast's own call is understood."""
    arguments = gocast_arguments.translate(sys.argv[1:])
    if arguments[:1] and arguments[0] in _ON_GEVENT:
        _patch()
    from consulcast.cli import cli

    cli.main(args=arguments, prog_name="consulcast")


if __name__ == "__main__":
    main()
