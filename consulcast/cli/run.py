"""``run``: the daemon itself."""

from __future__ import annotations

import logging
import os
import sys

import click

from consulcast.cli import options
from consulcast.cli.check import load


@click.command()
@options.config
@click.option("--observe", is_flag=True, help="Touch neither host nor routers; say what would be announced.")
def run(path: str, observe: bool) -> None:
    """Run the daemon in the foreground. SIGTERM or SIGINT withdraws, removes and ends."""
    settings = load(path)
    from consulcast.logtext import OneLine

    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setFormatter(OneLine())
    logging.basicConfig(level=logging.INFO, handlers=[to_terminal])
    from consulcast.daemon import Daemon

    status = Daemon(settings, path, observe).run()
    logging.shutdown()
    os._exit(status)  # all is ended in order; the thread of executor/kernel.py goes with the process
