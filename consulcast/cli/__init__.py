"""The commands, a file for each. No rules: they ask the daemon, or one of its parts, and show what it says.

What a command needs beyond its arguments is imported when it runs: `consulcast status` must answer at once.
"""

from __future__ import annotations

import os

import click

from consulcast import __version__
from consulcast.cli import check, completion, drain, events, explain, lint, migrate, plan, reload, run, status

_COMMANDS: tuple[click.Command, ...] = (
    status.status,
    explain.explain,
    events.events,
    drain.drain,
    drain.undrain,
    plan.plan,
    reload.reload,
    check.check,
    lint.lint,
    migrate.migrate,
    run.run,
    completion.completion,
)


class _InOrder(click.Group):
    """Shows its commands in the order in which they are likely to be wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, commands=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="consulcast")
@click.pass_context
def cli(context: click.Context) -> None:
    """Announce the VIPs of healthy Consul services over BGP."""
    if os.environ.get("NO_COLOR"):  # https://no-color.org; else click colours on a terminal alone
        context.color = False
