"""``events``: what has changed, and what changes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from consulcast.cli import options
from consulcast.cli.exits import NOT_REACHABLE, Stop
from consulcast.cli.output import colour, shown

if TYPE_CHECKING:
    from consulcast.cli.client import Client, Json

_SILENCE = 16.0  # seconds; the daemon shows a sign of life every five
_PAUSES = (0.2, 0.5, 1.0)  # seconds before the next try to come back; the last one again and again
_KINDS = ("app", "vip", "peer", "consul", "drain", "drift", "daemon")
_LEVELS = {"warning": "warning", "error": "error", "critical": "error"}


@click.command()
@options.daemon
@options.as_json
@click.option("--follow", "-f", is_flag=True, help="Go on with each event as it happens; Ctrl-C ends it.")
@click.option("--kind", type=click.Choice(_KINDS), help="Those of one kind.")
@click.option("--subject", metavar="TEXT", help="Those about one VIP, app (SOURCE:ID), peer …")
@click.option("--since", type=click.IntRange(0), metavar="N", help="Those after event number N. Default: all kept.")
@click.option("--last", "-n", type=click.IntRange(0), metavar="N", help="Of these the last N. Default with -f: 10.")
def events(
    client: Client,
    as_json: bool,
    follow: bool,
    kind: str | None,
    subject: str | None,
    since: int | None,
    last: int | None,
) -> None:
    """Show what has changed: apps, VIPs, peers, Consul, drains.

    The daemon keeps the last 1000. With --json each is one line.
    """
    last = 10 if last is None and follow and since is None else last
    limit = {} if last is None else {"limit": max(1, last)}
    known = client.get("/v1/events", after=since, kind=kind, subject=subject, **limit)
    for event in known["events"] if last != 0 else ():
        _print(event, as_json)
    if not follow:
        return
    newest = max(known["events"], key=_moment, default=None)
    try:
        for event in _follow(client, known["last"], newest):
            if kind in (None, event["kind"]) and subject in (None, event["subject"]):
                _print(event, as_json)
    except KeyboardInterrupt:
        return


def _follow(client: Client, after: int, newest: Json | None) -> Iterator[Json]:
    """Yield the events after that number for ever. A daemon that is started again is waited for.

    Its numbers begin anew: what it did meanwhile is told by its time.
    """
    failures = 0
    while True:
        try:
            if failures:
                again = client.get("/v1/events")
                missed = [one for one in again["events"] if newest is None or _moment(one) > _moment(newest)]
                yield from missed
                newest, after = max([*missed, *filter(None, [newest])], key=_moment, default=None), again["last"]
                failures = 0
            for line in client.stream("/v1/events/stream", _SILENCE, after=after):
                if line.startswith(b"data:"):
                    newest = json.loads(line[5:])
                    after = newest["number"]
                    yield newest
        except Stop as error:
            if error.exit_code != NOT_REACHABLE:
                raise
            if failures == 0:
                click.echo(f"consulcast: {shown(error.message.splitlines()[0])}; waiting for it", err=True)
        failures += 1
        time.sleep(_PAUSES[min(failures, len(_PAUSES)) - 1])


def _moment(event: Json) -> tuple[str, int]:
    return event["at"], event["number"]


def _print(event: Json, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(event))
        return
    reason = colour(shown(event["reason"]), _LEVELS.get(event["level"], event["reason"]))
    former = f", was {event['former']}" if event["former"] else ""
    detail = f" ({event['detail']})" if event["detail"] else ""
    subject = shown(f"{event['kind']} {event['subject']}")
    click.echo(f"{shown(event['at'])} {subject}: {reason}{shown(former + detail)}")
