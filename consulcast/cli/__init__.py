"""The commands, a file for each. No rules: they ask the daemon, or one of its parts, and show what it says.

What a command needs beyond its arguments is imported when it runs: `consulcast status` must answer at once.
"""

from __future__ import annotations

import os

import click

from consulcast import __version__
from consulcast.cli.check import check
from consulcast.cli.explain import explain
from consulcast.cli.run import run
from consulcast.cli.status import status

__all__ = ["cli"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="consulcast")
@click.pass_context
def cli(context: click.Context) -> None:
    """Announce the VIPs of healthy Consul services over BGP."""
    if os.environ.get("NO_COLOR"):  # https://no-color.org; else click colours on a terminal alone
        context.color = False


for _command in (run, check, status, explain):
    cli.add_command(_command)
