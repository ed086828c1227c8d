"""``run``: the daemon itself."""

from __future__ import annotations

import logging
import os

import click

from consulcast import garbage, logs
from consulcast.cli import options
from consulcast.cli.check import load


@click.command()
@options.config
@click.option(
    "--log-format",
    type=click.Choice(logs.FORMATS),
    default="text",
    show_default=True,
    envvar="CONSULCAST_LOG_FORMAT",
    show_envvar=True,
    help="For people, or an object a line.",
)
@click.option(
    "--log-level",
    type=click.Choice(logs.LEVELS),
    default="info",
    show_default=True,
    envvar="CONSULCAST_LOG_LEVEL",
    show_envvar=True,
    help="What to log: this and worse.",
)
@click.option("--observe", is_flag=True, help="Touch neither host nor routers; say what would be announced.")
def run(path: str, log_format: str, log_level: str, observe: bool) -> None:
    """Run the daemon in the foreground. SIGTERM or SIGINT withdraws, removes and ends."""
    garbage.not_yet()  # what is loaded stays
    settings = load(path)
    logs.start(log_format, log_level)
    from consulcast.daemon import Daemon

    status = Daemon(settings, path, observe).run()
    logging.shutdown()
    os._exit(status)  # all is ended in order; the thread of executor/kernel.py goes with the process
