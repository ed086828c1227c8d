"""What the exit statuses mean. They are stable: scripts and probes look at them."""

from __future__ import annotations

import json
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

    reason = ""  # the daemon's word for it, if it has one

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = status  # type: ignore[misc]  # click reads it of the instance
        context = click.get_current_context(silent=True)  # while there is one: it is over when the error is shown
        self._as_json = context is not None and bool(context.params.get("as_json"))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message where errors go; with ``--json`` as an object where the answer would have been."""
        from consulcast.cli.output import shown

        if self._as_json and self.exit_code != AMISS:  # that one comes after an answer
            body = {"error": self.message, "reason": self.reason or None, "status": self.exit_code}
            click.echo(json.dumps(body), file=file)
            return
        lines = "\n".join(map(shown, self.message.split("\n")))
        click.echo(f"consulcast: {lines}", file=file, err=file is None)
