"""``reload``: have the daemon read its file again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from consulcast.cli import options
from consulcast.cli.exits import UNUSABLE
from consulcast.cli.output import print_json

if TYPE_CHECKING:
    from consulcast.cli.client import Client


@click.command()
@options.daemon
@options.as_json
def reload(client: Client, as_json: bool) -> None:
    """Have the daemon read its configuration file again.

    Exit status 2: the file cannot be used, and nothing is changed. `consulcast plan` tells beforehand what would be.
    """
    from consulcast.cli.client import Failed

    try:
        client.send("POST", "/v1/reload")
    except Failed as error:
        if error.reason == "bad-config":
            error.exit_code = UNUSABLE  # type: ignore[misc]
        raise
    if as_json:
        print_json({"reloaded": True, "daemon": str(client.place)})
    else:
        click.echo("reloaded")
