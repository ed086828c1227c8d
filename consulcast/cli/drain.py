"""``drain`` and ``undrain``: take what works out of service, and put it back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from consulcast.cli import options
from consulcast.cli.completion import complete_drained, complete_target
from consulcast.cli.exits import AMISS, Stop
from consulcast.cli.output import print_json, shown

if TYPE_CHECKING:
    from consulcast.cli.client import Client

_NODE = "node"
_LOOK = 0.25  # seconds between two looks
_THERE = ("lowered", "withdrawing")  # phases in which a router may have the route
_PLANNED = 4  # looks until a drain shows at the VIPs that it concerns, if there are any

_target = click.argument("target", required=False, metavar="APP|SERVICE|VIP", shell_complete=complete_target)
_node = click.option("--node", is_flag=True, help="This host: every app.")


@click.command()
@_target
@_node
@click.option(
    "--for", "duration", default="", metavar="DURATION", help="How long, such as 30m. Default: until undrain."
)
@click.option("--reason", "-m", default="", metavar="TEXT", help="Why: shown in log, status and events.")
@click.option("--wait", "-w", type=click.FloatRange(0), metavar="SECONDS", help="Wait until its VIPs are withdrawn.")
@click.option("--force", is_flag=True, help="Drain what is not here at the moment, too.")
@options.daemon
@options.as_json
def drain(
    client: Client,
    target: str | None,
    node: bool,
    duration: str,
    reason: str,
    wait: float | None,
    force: bool,
    as_json: bool,
) -> None:
    """Take an app, a service, a VIP or the host out of service, though it works.

    With --wait, exit status 1: not withdrawn in that time. It stays drained.
    """
    from consulcast.cli.client import Failed, segment

    name = _chosen(target, node)
    wish = {"for": duration, "reason": reason, **({"force": True} if force else {})}
    try:
        done = client.send("PUT", f"/v1/drains/{segment(name)}", wish)
    except Failed as error:
        message = error.message.replace('"force": true', "--force")  # the API's word, and ours
        raise Failed(error.exit_code, error.code, error.reason, message) from None
    left = _wait(client, done["target"], wait) if wait is not None else []
    if as_json:
        print_json({"drain": done, "announced": left} if wait is not None else done)
    else:
        until = f" until {done['until']}" if done["until"] else ""
        click.echo(f"drained: {shown(done['target'] + until)}")
    if left:
        raise Stop(AMISS, f"after {wait:g} s still announced: {', '.join(left)}")


@click.command()
@click.argument("target", required=False, metavar="APP|SERVICE|VIP", shell_complete=complete_drained)
@_node
@options.daemon
@options.as_json
def undrain(client: Client, target: str | None, node: bool, as_json: bool) -> None:
    """Put back into service what `drain` took out. Exit status 3: it was not drained."""
    from consulcast.cli.client import segment

    name = _chosen(target, node)
    client.send("DELETE", f"/v1/drains/{segment(name)}")
    if as_json:
        print_json({"undrained": name})
    else:
        click.echo(f"not drained any more: {shown(name)}")


def _chosen(target: str | None, node: bool) -> str:
    if node == (target is not None):
        raise click.UsageError("write an app, a service or a VIP, or --node")
    return _NODE if target is None else target


def _wait(client: Client, target: str, seconds: float) -> list[str]:
    """Wait until what the drain concerns is withdrawn. Returns the VIPs that are not, in the end.

    A VIP that another instance keeps is not concerned: it has no drain of its own.
    """
    deadline, looks = time.monotonic() + seconds, 0
    while True:
        standing = [drain for drain in client.get("/v1/drains")["drains"] if drain["target"] == target]
        concerned = [vip for drain in standing for vip in drain["vips"] if vip["drain"]]
        left = [str(vip["vip"]) for vip in concerned if vip["drain"]["phase"] in _THERE]
        looks += 1
        if not left and (concerned or looks >= _PLANNED):
            return []
        if time.monotonic() >= deadline:
            return left
        time.sleep(_LOOK)
