"""What the exit statuses mean (docs/cli.md). They are stable: scripts and probes look at them."""

from __future__ import annotations

from typing import IO, Any

import click

FINE = 0
AMISS = 1  # not as it should be: something wanted is not announced, a finding of `lint`, a change of `plan`
UNUSABLE = 2  # the call, or a file that it names
NOT_FOUND = 3  # no such app, VIP or drain
NOT_REACHABLE = 4  # no daemon answers, or not as one
NOT_ALLOWED = 5  # the token, or its scope, is missing


class Stop(click.ClickException):
    """Ends the command with one message and an exit status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = status  # type: ignore[misc]  # click reads it of the instance

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message where errors go."""
        from consulcast.cli.output import shown

        lines = "\n".join(map(shown, self.message.split("\n")))
        click.echo(f"consulcast: {lines}", file=file, err=file is None)
