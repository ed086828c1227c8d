"""Options that many commands share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from consulcast.cli.exits import NOT_REACHABLE, UNUSABLE, Stop

if TYPE_CHECKING:
    from consulcast.cli.client import Client

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(dir_okay=False)

config = click.option("--config", "path", required=True, metavar="FILE", type=FILE, help="Configuration file (YAML).")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

_BY_FILE: Any = click.option(
    "--config", "file", type=FILE, metavar="FILE", help="Ask where a daemon with this file listens."
)
_CONNECTION: Sequence[Any] = (
    click.option("--url", envvar="CONSULCAST_URL", metavar="URL", help="unix:///PATH, http://… or https://…"),
    _BY_FILE,
    click.option(
        "--token-file", envvar="CONSULCAST_TOKEN_FILE", type=FILE, metavar="FILE", help="File with the token."
    ),
    click.option("--ca-file", envvar="CONSULCAST_CA_FILE", type=FILE, metavar="FILE", help="CA of an https:// URL."),
    click.option("--cert", "cert_file", type=FILE, metavar="FILE", help="Client certificate, if the daemon wants one."),
    click.option("--key", "key_file", type=FILE, metavar="FILE", help="Key of --cert, if it is not in the same file."),
    click.option("--timeout", type=click.FloatRange(0.1), default=10.0, metavar="SECONDS", help="Default: 10."),
)


def daemon(command: F) -> F:
    """Give a command the options of how to reach the daemon, and a ``Client`` as its first argument."""
    return _connected(command, _CONNECTION)


def daemon_by_url(command: F) -> F:
    """Do the same without ``--config``."""
    return _connected(command, tuple(option for option in _CONNECTION if option is not _BY_FILE))


def _connected(command: F, options: Sequence[Callable[[F], F]]) -> F:
    @functools.wraps(command)
    def connected(
        *,
        url: str | None,
        file: str | None = None,
        token_file: str | None,
        ca_file: str | None,
        cert_file: str | None,
        key_file: str | None,
        timeout: float,
        **rest: Any,
    ) -> Any:
        client = connect(url, file, token_file, ca_file, cert_file, key_file, timeout)
        try:
            return command(client, **rest)
        except (KeyError, TypeError) as error:
            what = f"an answer of another shape ({error}): is that consulcast, and of this version?"
            raise Stop(NOT_REACHABLE, f"{client.place}: {what}") from error

    for option in reversed(options):
        connected = option(connected)
    return connected  # type: ignore[return-value]  # with other arguments


def connect(
    url: str | None = None,
    file: str | None = None,
    token_file: str | None = None,
    ca_file: str | None = None,
    cert_file: str | None = None,
    key_file: str | None = None,
    timeout: float = 10.0,
) -> Client:
    """Make a client of what was given; nothing is asked yet. Raises ``Stop``."""
    from consulcast.cli import places  # late, as all that `--help` does not need
    from consulcast.cli.client import Client, Credentials

    if url:
        found: tuple[places.Place, ...] = (places.Place.read(url),)
    else:
        found = places.of_file(file) if file else places.default()
    token = _token(token_file) if token_file else ""
    return Client(found, Credentials(token, ca_file or "", cert_file or "", key_file or ""), timeout)


def _token(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            token = file.read(4097).strip()
    except (OSError, UnicodeDecodeError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is not ASCII"
        raise Stop(UNUSABLE, f"the token in {path} cannot be read: {why}") from None
    if not token or len(token) > 4096 or not token.isprintable() or " " in token:
        raise Stop(UNUSABLE, f"{path} does not hold one token alone")
    return token
