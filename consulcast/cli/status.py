"""``status``: the daemon on one screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from consulcast.cli import options
from consulcast.cli.exits import AMISS, NOT_FOUND, Stop
from consulcast.cli.output import age, colour, print_json, print_table, shown, span
from consulcast.wording import counted

if TYPE_CHECKING:
    from consulcast.cli.client import Client, Json

_WELL = ("announced", "observed")  # of VIPs; a daemon that only observes never has the first
_LINES = 12  # of a table with what is well; what is not is always shown


@click.command()
@options.daemon
@options.as_json
@click.option("--quiet", "-q", is_flag=True, help="Print nothing: the exit status says it.")
@click.option("--all", "-a", "whole", is_flag=True, help="Print every line, however many are well.")
@click.pass_context
def status(context: click.Context, client: Client, as_json: bool, quiet: bool, whole: bool) -> None:
    """Show apps, VIPs, peers and Consul at a glance.

    Exit status 1: something wanted is not announced, or refused, or Consul has never said what is wanted. What is
    drained is not wanted.
    """
    found = look(client)
    if as_json and not quiet:
        print_json(found)
    elif not quiet:
        show(found, whole)
    context.exit(0 if found["ok"] else AMISS)


def look(client: Client) -> dict[str, Json]:
    """Ask the daemon for all of it. ``ok``: all that is wanted is announced, and what is wanted is known."""
    vips, apps = client.get("/v1/vips")["vips"], client.get("/v1/apps")["apps"]
    consul = client.get("/v1/consul")
    known = consul["node"] is None or consul["synced"]
    return {
        "ok": known and not (amiss(vips) or any(app["state"] == "refused" for app in apps)),
        "daemon": str(client.place),
        "vips": vips,
        "apps": apps,
        "peers": client.get("/v1/peers")["peers"],
        "consul": consul,
        "drains": drains(client),
    }


def amiss(vips: Sequence[Json]) -> list[Json]:
    """The VIPs that are wanted and not announced."""
    return [vip for vip in vips if vip["state"] not in _WELL and vip["reason"] not in ("draining", "withdrawing")]


def drains(client: Client) -> list[Json]:
    """The drains that are in force; of a daemon that knows none, none."""
    try:
        found = client.get("/v1/drains")
    except Stop as error:
        if error.exit_code != NOT_FOUND:
            raise
        return []
    return list(found["drains"])


def show(found: dict[str, Json], whole: bool) -> None:
    """Print it for people: first how it is altogether, then what is not well, then the rest."""
    vips, apps, peers = found["vips"], found["apps"], found["peers"]
    up = sum(peer["state"] == "up" for peer in peers)
    announced, observed = (sum(vip["state"] == state for vip in vips) for state in _WELL)
    well = "error" if amiss(vips) else "announced"
    words = [
        colour(f"{announced} of {len(vips)} VIPs announced", well),
        colour(f"{up} of {len(peers)} peers up", "up" if up == len(peers) else "error"),
    ]
    if observed:
        words = [colour(f"observing: {observed} of {len(vips)} VIPs would be announced", well)]
    words.append(_consul(found["consul"]))
    click.echo("; ".join(words))
    _table(
        *(vips, "VIP", _WELL[bool(observed)], whole),
        heads=("VIP", "STATE", "REASON", "APPS"),
        row=lambda vip: (
            *(shown(vip["vip"]), colour(vip["state"]), _because(vip), shown(", ".join(vip["apps"])) + _stale(vip)),
        ),
    )
    _table(
        *(apps, "app", "passing", whole),
        heads=("APP", "STATE", "SINCE", "REASON"),
        row=lambda app: (
            *(shown(f"{app['source']}:{app['id']}"), colour(app["state"]), age(app["since"]), _because(app)),
        ),
    )
    _table(
        *(peers, "peer", "up", whole),
        heads=("PEER", "AS", "STATE", "SINCE", "FLAPS", "LAST ERROR"),
        row=lambda peer: (
            *(peer["address"], str(peer["peer_as"]), colour(peer["state"]), age(peer["since"])),
            *(str(peer["flaps"]), shown(peer["last_error"])),
        ),
    )
    if found["drains"]:
        click.echo()
        print_table(
            ("DRAINED", "SINCE", "UNTIL", "REASON"),
            [
                (shown(str(drain["target"])), age(drain.get("since")), *map(_text, _until(drain)))
                for drain in found["drains"]
            ],
        )


def _until(drain: Json) -> tuple[Any, Any]:
    return drain.get("until") or "taken back", drain.get("reason") or ""


def _text(value: Any) -> str:
    return shown(str(value))


def _table(items: Sequence[Json], what: str, well: str, whole: bool, *, heads: Sequence[str], row: Any) -> None:
    """Print what is not well, and of the rest as much as there is room for."""
    if not items:
        return
    bad, good = ([item for item in items if (item["state"] == well) is flag] for flag in (False, True))
    room = len(good) if whole else max(0, _LINES - len(bad))
    click.echo()
    print_table(heads, map(row, (*bad, *good[:room])))
    if len(good) > room:
        click.echo(f"… and {counted(len(good) - room, f'more {what}')}, {well} (--all)")


def _because(item: Json) -> str:
    """The reason, where the state does not say the same, and its detail."""
    reason = "" if item["reason"] == item["state"] else item["reason"]
    return shown(f"{reason}: {item['detail']}" if reason and item["detail"] else reason or item["detail"])


def _stale(item: Json) -> str:
    return colour(f" (Consul stale for {span(item['stale']['seconds'])})", "stale") if item["stale"] else ""


def _consul(consul: Json) -> str:
    """Word what is known of Consul, and how old that is."""
    if consul["node"] is None:
        return "without Consul"
    node, stale = shown(consul["node"]), consul["stale"]
    if stale:
        return colour(f"Consul (node {node}) stale for {span(stale['seconds'])}: {shown(stale['reason'])}", "stale")
    if not consul["synced"]:
        return colour(f"Consul (node {node}) has not answered yet", "stale")
    oldest = max(consul[query]["age"] or 0.0 for query in ("catalog", "health"))
    held = len(consul["held"])
    more = f", {held} apps held against its answer" if held else ""
    return colour(f"Consul (node {node}) fresh, asked {span(oldest)} ago{more}", "fresh")
