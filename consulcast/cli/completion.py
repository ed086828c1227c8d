"""``completion``: the shell's, and what it offers for targets, asked of the running daemon."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, get_completion_class

from consulcast.cli import bash as _bash  # noqa: F401 - takes the place of click's own
from consulcast.cli.exits import Stop

if TYPE_CHECKING:
    from consulcast.cli.client import Client

_VARIABLE = "_CONSULCAST_COMPLETE"
_PATIENCE = 1.0  # seconds; whoever presses Tab does not want to wait
_WORD = re.compile(r"[\w@%+=:,./][\w@%+=:,./-]*")
_CONNECTION = ("url", "file", "token_file", "ca_file", "cert_file", "key_file")


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion for a shell.

    \b
    bash: consulcast completion bash >/etc/bash_completion.d/consulcast
    zsh:  consulcast completion zsh >"${fpath[1]}/_consulcast"
    fish: consulcast completion fish >~/.config/fish/completions/consulcast.fish
    """  # noqa: D301 - click wants the character
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, "consulcast", _VARIABLE).source())


def complete_target(context: click.Context, _: click.Parameter, start: str) -> list[CompletionItem]:
    """Offer what a daemon that answers knows: VIPs, apps, services."""
    client = _client(context)
    try:
        names = [(vip["vip"], vip["reason"]) for vip in client.get("/v1/vips")["vips"]]
        for app in client.get("/v1/apps")["apps"]:
            names += [(f"{app['source']}:{app['id']}", app["reason"]), (app["name"], "service")]
    except (Stop, KeyError, TypeError):
        return []
    return _items(names, start)


def complete_drained(context: click.Context, _: click.Parameter, start: str) -> list[CompletionItem]:
    """Offer what is drained."""
    from consulcast.cli.status import drains

    try:
        return _items(
            [(str(drain["target"]), str(drain.get("reason", ""))) for drain in drains(_client(context))], start
        )
    except (Stop, KeyError, TypeError):
        return []


def _client(context: click.Context) -> Client:
    from consulcast.cli.options import connect

    return connect(**{name: context.params.get(name) for name in _CONNECTION}, timeout=_PATIENCE)


def _items(names: Iterable[tuple[str, str]], start: str) -> list[CompletionItem]:
    """What a shell would take for anything but one word is not offered: others choose these names.

    It is put on the line as it is, and who presses Enter then would run what stands behind a semicolon.
    """
    fit = {name: about for name, about in names if name.startswith(start) and _WORD.fullmatch(name)}
    return [CompletionItem(name, help=about if about.isprintable() else "") for name, about in fit.items()]
