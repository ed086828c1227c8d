"""``check``: the configuration file, without the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from consulcast.cli import options
from consulcast.cli.exits import UNUSABLE, Stop
from consulcast.cli.output import print_json, shown
from consulcast.wording import counted

if TYPE_CHECKING:
    from consulcast.config import Config
    from consulcast.policy import Policy


@click.command()
@options.config
@options.as_json
def check(path: str, as_json: bool) -> None:
    """Check a configuration file. Exit status 0: usable; 2: not, with file, line, key and the fix."""
    settings = load(path)
    from consulcast.model import Source
    from consulcast.registry import Registry

    refused = Registry(policy_of(settings)).set(Source.CONFIG, settings.apps).refused
    peers = [str(peer.address or "the default gateway") for peer in settings.peers]
    if as_json:
        apps = [{"name": item.name, "reason": item.reason, "detail": item.detail} for item in refused]
        body = {"file": path, "warnings": settings.warnings, "refused": apps, "apps": len(settings.apps)}
        print_json({**body, "local_as": settings.peers[0].local_as, "peers": peers})
        return
    for warning in settings.warnings:
        click.echo(f"{path}: warning: {shown(warning)}")
    for item in refused:
        what = shown(f"app {item.name!r} will be refused: {item.reason}: {item.detail}")
        click.echo(f"{path}: warning: {what}")
    number = counted(len(settings.apps), "app")
    click.echo(f"{path}: good; AS {settings.peers[0].local_as}, {number}, peers: {', '.join(peers)}")


def load(path: str) -> Config:
    """Read and check a configuration file. Raises ``Stop``."""
    from consulcast import config
    from consulcast.document import ConfigError

    try:
        return config.load(path)
    except ConfigError as error:
        raise Stop(UNUSABLE, str(error)) from None


def policy_of(settings: Config) -> Policy:
    """What the file lets apps have, as far as that is known without the host that it is for."""
    from consulcast.config import consul_settings
    from consulcast.consul import location
    from consulcast.policy import Policy

    reserved = {address for peer in settings.peers for address in (peer.address, peer.local_address) if address}
    reserved |= location.addresses(consul_settings(settings.consul, {})) or set()
    return Policy(frozenset(reserved), nat=frozenset({4, 6}), rules=settings.rules)
