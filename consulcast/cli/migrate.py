"""``migrate``: what a GoCast file means here."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from consulcast.cli import options
from consulcast.cli.exits import AMISS, UNUSABLE, Stop
from consulcast.cli.output import colour, print_json, shown

if TYPE_CHECKING:
    from consulcast.migration import Remark

_COLOURS = {"mend": "error", "note": "warning", "same": "announced"}


@click.command()
@click.argument("file", type=options.FILE)
@click.option("--output", "-o", metavar="FILE", type=options.FILE, help="Write an equivalent file; - prints it.")
@options.as_json
@click.pass_context
def migrate(context: click.Context, file: str, output: str | None, as_json: bool) -> None:
    """Read a GoCast configuration file, and say what each key and app of it means here.

    Exit status 1: something in it has to be mended first. Tags in Consul are checked by `consulcast lint`.
    """
    from consulcast.document import ConfigError
    from consulcast.migration import migrate as read

    try:
        with open(file, encoding="utf-8") as opened:
            found = read(file, opened.read())
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(UNUSABLE, f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except ConfigError as error:
        raise Stop(UNUSABLE, str(error)) from None
    if as_json:
        remarks = [
            {"line": one.line or None, "key": one.key, "weight": one.weight, "text": one.text} for one in found.remarks
        ]
        print_json({"works": found.works, "remarks": remarks, "file": found.file})
    else:
        for remark in found.remarks:
            click.echo(_line(file, remark), err=output == "-")
        wrong = sum(remark.weight == "mend" for remark in found.remarks)
        click.echo(f"{wrong} to mend" if wrong else "the file works as it is", err=output == "-")
    if output == "-" and not as_json:
        click.echo(found.file, nl=False)
    elif output and output != "-":
        _write(output, found.file)
    context.exit(0 if found.works else AMISS)


def _line(file: str, remark: Remark) -> str:
    where = f"{shown(file)}:{remark.line}: " if remark.line else ""
    left_out = "" if remark.line else " (not written)"
    return (
        f"{where}{shown(remark.key)}{left_out}: {colour(remark.weight, _COLOURS[remark.weight])}: {shown(remark.text)}"
    )


def _write(path: str, text: str) -> None:
    """Write a new file, for its owner alone: there may be a token in it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Stop(UNUSABLE, f"{path} is not written: {error.strerror}") from None
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    click.echo(f"consulcast: written {path}", file=sys.stderr)
