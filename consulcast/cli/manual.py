"""The manual page, made of the commands themselves: ``python -m consulcast.cli.manual >deploy/consulcast.1``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

import click

from consulcast.cli import cli
from consulcast.cli.exits import MEANINGS
from consulcast.cli.status import status

_DATE = "2026-11-29"  # of the page's words; mandoc wants one
_COMMON = ("url", "file", "token_file", "ca_file", "cert_file", "key_file", "timeout", "as_json", "help")
_ENVIRONMENT = {
    "CONSULCAST_URL": "where the daemon is, as --url",
    "CONSULCAST_TOKEN_FILE": "file with the token, as --token-file",
    "CONSULCAST_CA_FILE": "CA of an https:// URL, as --ca-file",
    "CONSUL_NODE": "run, plan --config: this host's name in Consul",
    "CONSUL_TOKEN, CONSUL_HTTP_ADDR …": "run, plan --config: how to reach Consul, as for Consul's own commands",
    "NO_COLOR": "no colours on a terminal either",
}
_FILES = {
    "/etc/consulcast.yaml": "the configuration file, by custom; config.example.yaml explains every key",
    "/run/consulcast/api.sock": "the socket on which the daemon answers root and its own user",
}


def page() -> str:
    """Write the page, in man(7)."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    context = click.Context(cli, info_name="consulcast", **cli.context_settings)
    yield f'.TH CONSULCAST 1 "{_DATE}" "consulcast" "User Commands"'
    yield ".SH NAME"
    yield _text("consulcast - announce the VIPs of healthy Consul services over BGP")
    yield ".SH SYNOPSIS"
    yield ".B consulcast"
    yield _text("COMMAND [OPTIONS] [ARGUMENTS]")
    yield ".SH DESCRIPTION"
    yield _text(
        "The daemon, and the commands that ask it. It is found at --url, where the file of --config says that it"
    )
    yield _text("listens, or else at /run/consulcast/api.sock and then at http://127.0.0.1:8080.")
    yield ".SH COMMANDS"
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if command is not None and not command.hidden:
            yield from _command(command, click.Context(command, info_name=name, parent=context))
    yield ".SH COMMON OPTIONS"
    yield _text("Of all commands that ask the daemon; --json of all but run and completion, --help of all.")
    for parameter in status.get_params(context):
        if parameter.name in _COMMON:
            yield from _option(parameter, context)
    yield from _definitions("EXIT STATUS", {str(code): meaning for code, meaning in MEANINGS.items()})
    yield from _definitions("ENVIRONMENT", _ENVIRONMENT)
    yield from _definitions("FILES", _FILES)


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    yield f".SS {_text(f'consulcast {context.info_name} {usage}')}"
    for number, paragraph in enumerate(inspect.cleandoc(command.help or "").split("\n\n")):
        if number:
            yield ".PP"
        if paragraph.startswith("\b\n"):
            yield from (".nf", *map(_text, paragraph.split("\n")[1:]), ".fi")
        else:
            yield from map(_text, paragraph.split("\n"))
    for parameter in command.get_params(context):
        if parameter.name not in _COMMON or (parameter.name == "file" and parameter.required):
            yield from _option(parameter, context)


def _option(parameter: click.Parameter, context: click.Context) -> Iterator[str]:
    record = parameter.get_help_record(context)
    if record is not None:
        yield from (".TP", f".B {_text(record[0])}", _text(record[1] or ""))


def _definitions(title: str, entries: dict[str, str]) -> Iterator[str]:
    yield f".SH {title}"
    for name, meaning in entries.items():
        yield from (".TP", f".B {_text(name)}", _text(meaning))


def _text(text: str) -> str:
    """Quote what groff would take for its own (groff_char(7), roff(7))."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("`", "\\(ga").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    sys.stdout.write(page())
