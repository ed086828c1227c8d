"""``plan``: what would change, without doing it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from consulcast.cli import options
from consulcast.cli.exits import AMISS, NOT_REACHABLE, UNUSABLE, Stop
from consulcast.cli.output import colour, print_json, shown
from consulcast.wording import counted

if TYPE_CHECKING:
    from consulcast.cli.client import Client, Json


@click.command()
@click.option(
    *("--config", "path"),
    type=options.FILE,
    metavar="FILE",
    help="Ask no daemon: what would one with this file announce on this host?",
)
@click.option("--exit-code", is_flag=True, help="Exit status 1 when there is something to do.")
@options.daemon_by_url
@options.as_json
@click.pass_context
def plan(context: click.Context, client: Client, path: str | None, exit_code: bool, as_json: bool) -> None:
    """Show what a reload would change, and do nothing.

    The daemon reads its file anew, and compares what it would make of it, with what Consul and the monitors say now,
    with what it makes of the former one. With --config no daemon is asked: Consul is read once, and the kernel.
    """
    found = _rehearse(path) if path else _ask(client)
    if as_json:
        print_json(found)
    else:
        _show(found)
    context.exit(AMISS if exit_code and found["steps"] else 0)


def _ask(client: Client) -> Json:
    from consulcast.cli.client import Failed

    try:
        return client.get("/v1/plan")
    except Failed as error:
        if error.reason == "bad-config":
            error.exit_code = UNUSABLE  # type: ignore[misc]
        raise
    except Stop as error:
        if error.exit_code != NOT_REACHABLE:
            raise
        raise Stop(NOT_REACHABLE, f"{error.message}\nwithout a daemon: consulcast plan --config FILE") from None


def _rehearse(path: str) -> Json:
    import msgspec

    from consulcast.cli.check import load
    from consulcast.consul.errors import ConsulError
    from consulcast.consul.settings import BadSetting
    from consulcast.executor.protocols import KernelError
    from consulcast.rehearsal import rehearse

    try:
        return msgspec.to_builtins(rehearse(load(path), os.environ))
    except BadSetting as error:
        raise Stop(UNUSABLE, str(error)) from None
    except (ConsulError, KernelError) as error:
        raise Stop(NOT_REACHABLE, str(error)) from None


def _show(found: Json) -> None:
    for step in found["steps"]:
        subject = shown(f"{step['kind']} {step['subject']}")
        because = ": ".join(filter(None, (step["reason"], step["detail"])))
        action = colour(step["action"], {"refuse": "error", "wait": "warning"}.get(step["action"], step["action"]))
        click.echo(f"{action} {subject}" + (f" ({shown(because)})" if because else ""))
    for unknown in found["unknown"]:
        click.echo(f"not known: {shown(unknown)}")
    click.echo(counted(len(found["steps"]), "thing") + " to do" if found["steps"] else "nothing to do")
