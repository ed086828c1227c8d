"""What the exit statuses mean. They are stable: scripts and probes look at them."""

from __future__ import annotations

from typing import IO, Any

import click

FINE = 0
AMISS = 1
UNUSABLE = 2
NOT_FOUND = 3
NOT_REACHABLE = 4
NOT_ALLOWED = 5

MEANINGS = {
    FINE: "fine",
    AMISS: "not as it should be: something wanted is not announced (status), something to mend (lint, migrate), "
    "something to do (plan --exit-code), not withdrawn in time (drain --wait)",
    UNUSABLE: "the call, or a file that it names, cannot be used",
    NOT_FOUND: "there is no such app, VIP or drain",
    NOT_REACHABLE: "no daemon answers, or not as one; plan --config: nor does Consul",
    NOT_ALLOWED: "the token is missing, unknown, or without the scope; or the socket is not for this user",
}


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
