"""The commands. No logic: each reads its arguments and calls one part."""

from __future__ import annotations

import logging
import os
import sys

import click

from consulcast import __version__, config, logs
from consulcast.consul import location
from consulcast.document import ConfigError
from consulcast.model import Source
from consulcast.policy import Policy
from consulcast.registry import Registry

BAD_CONFIG = 2  # exit status


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="consulcast")
def cli() -> None:
    """Announce the VIPs of healthy Consul services over BGP."""


_CONFIG = click.option("--config", "path", required=True, metavar="FILE", help="Configuration file (YAML).")


@cli.command()
@_CONFIG
@click.option(
    "--log-format",
    type=click.Choice(logs.FORMATS),
    default="text",
    show_default=True,
    envvar="CONSULCAST_LOG_FORMAT",
    show_envvar=True,
    help="For people, or an object a line.",
)
@click.option(
    "--log-level",
    type=click.Choice(logs.LEVELS),
    default="info",
    show_default=True,
    envvar="CONSULCAST_LOG_LEVEL",
    show_envvar=True,
    help="What to log: this and worse.",
)
def run(path: str, log_format: str, log_level: str) -> None:
    """Run the daemon in the foreground. SIGTERM or SIGINT withdraws, removes and ends."""
    settings = _load(path)
    logs.start(log_format, log_level)
    from consulcast.daemon import Daemon  # late: `check` and `--help` need none of it

    status = Daemon(settings, path).run()
    logging.shutdown()
    os._exit(status)  # all is ended in order; the thread of executor/kernel.py goes with the process


@cli.command()
@_CONFIG
def check(path: str) -> None:
    """Check a configuration file. Exit status 0: usable; 2: not, with file, line, key and the fix."""
    settings = _load(path)
    for warning in settings.warnings:
        click.echo(f"{path}: warning: {warning}")
    reserved = {address for peer in settings.peers for address in (peer.address, peer.local_address) if address}
    reserved |= location.addresses(config.consul_settings(settings.consul, {})) or set()
    registry = Registry(Policy(frozenset(reserved), nat=frozenset({4, 6}), rules=settings.rules))
    for refused in registry.set(Source.CONFIG, settings.apps).refused:
        click.echo(f"{path}: warning: app {refused.name!r} will be refused: {refused.reason}: {refused.detail}")
    peers = ", ".join(str(peer.address or "the default gateway") for peer in settings.peers)
    click.echo(f"{path}: good; AS {settings.peers[0].local_as}, {len(settings.apps)} apps, peers: {peers}")


def _load(path: str) -> config.Config:
    try:
        return config.load(path)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(BAD_CONFIG)
