"""``lint``: a service's tags, checked before they are registered: for CI."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from consulcast.cli import options
from consulcast.cli.exits import AMISS, UNUSABLE, Stop
from consulcast.cli.output import colour, print_json, shown
from consulcast.wording import counted

if TYPE_CHECKING:
    from consulcast.lint import Finding
    from consulcast.policy import Policy

_MOST = 8 << 20  # bytes of a file
_LONGEST = 120  # characters of a tag that are shown


@click.command()
@click.argument("files", nargs=-1, metavar="FILE…", type=click.Path())
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A tag of one service. Repeatable.")
@click.option("--service", default="service", show_default=True, metavar="NAME", help="The name of that service.")
@click.option("--config", "path", type=options.FILE, metavar="FILE", help="A host's file: its policy and tag prefix.")
@click.option("--format", "form", type=click.Choice(("text", "json", "github")), default="text", show_default=True)
@options.as_json
@click.pass_context
def lint(
    context: click.Context,
    files: Sequence[str],
    tags: Sequence[str],
    service: str,
    path: str | None,
    form: str,
    as_json: bool,
) -> None:
    """Check the tags of services before they are registered.

    FILE is a service definition of Consul's or a job of Nomad's, HCL or JSON (`nomad job run -output`); - is the
    standard input. Exit status 1: there is something to mend.
    """
    from consulcast import lint as rules
    from consulcast.definitions import BadFile, Service, Tag, read

    if not files and not tags:
        raise click.UsageError("write a FILE, or --tag")
    policy, prefix = _policy(path)
    found: list[tuple[str, Finding]] = []
    checked = 0
    services = [("", Service(service, 0, tuple(Tag(text, 0) for text in tags)))] if tags else []
    for file in files:
        try:
            there = read(_text(file))
        except BadFile as error:
            raise Stop(UNUSABLE, f"{file}:{error.line}: {error}") from None
        if not there:  # no finding; but whoever names the wrong file shall not think that it is well
            click.echo(f"consulcast: {shown(file)}: no service with tags in it", err=True)
        services += [(file, one) for one in there]
    for file, one in services:
        findings = rules.lint(one, policy, prefix)
        if findings is not None:
            checked += 1
            found += [(file, finding) for finding in findings]
    wrong = sum(finding.wrong for _, finding in found)
    if as_json or form == "json":
        print_json({"services": checked, "findings": [_body(file, finding) for file, finding in found]})
    else:
        for file, finding in found:
            click.echo(_github(file, finding) if form == "github" else _line(file, finding))
    if form == "text" and not as_json:
        click.echo(f"{counted(checked, 'service')} with tags of {prefix}, {wrong} to mend")
    context.exit(AMISS if wrong else 0)


def _policy(path: str | None) -> tuple[Policy, str]:
    """What the file lets services have. What it names but its policy, such as tokens, is not read: it is not here."""
    from consulcast import policy_file, schema
    from consulcast import tags as reading
    from consulcast.document import ConfigError, Document
    from consulcast.policy import Policy

    both = frozenset({4, 6})
    if path is None:
        return Policy(nat=both), reading.DEFAULT_PREFIX
    try:
        document = Document(path, _text(path))
        file = document.decode(schema.File, schema.decode)
        rules = policy_file.read(file, document.error)
    except ConfigError as error:
        raise Stop(UNUSABLE, str(error)) from None
    reserved = set()
    for text in (file.bgp.peer_ip, file.bgp.local_ip, *(peer.address for peer in file.bgp.peers)):
        try:
            reserved.add(ipaddress.ip_address(text))
        except ValueError:  # left open, or for `check` to tell
            continue
    return Policy(frozenset(reserved), nat=both, rules=rules), file.agent.tag_prefix


def _text(path: str) -> str:
    try:
        with open(path, "rb") if path != "-" else sys.stdin.buffer as file:
            data = file.read(_MOST + 1)
        if len(data) > _MOST:
            raise Stop(UNUSABLE, f"{path}: larger than {_MOST} bytes")
        return data.decode("utf-8")
    except OSError as error:
        raise Stop(UNUSABLE, f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Stop(UNUSABLE, f"{path} is not UTF-8") from None


def _where(file: str, finding: Finding) -> str:
    return f"{shown(file)}:{finding.line}: " if file else ""


def _what(finding: Finding) -> str:
    tag = finding.tag if len(finding.tag) <= _LONGEST else f"{finding.tag[:_LONGEST]}…"
    return shown(f"service {finding.service!r}" + (f", tag {tag!r}" if tag else ""))


def _line(file: str, finding: Finding) -> str:
    code = colour(finding.code, "error" if finding.wrong else "warning")
    return f"{_where(file, finding)}{_what(finding)}: {code}: {shown(finding.message)}"


def _github(file: str, finding: Finding) -> str:
    """A workflow command, as GitHub's annotations want it."""
    level = "error" if finding.wrong else "notice"
    place = f"file={_escaped(file, ':,')},line={finding.line}," if file else ""
    text = f"{_what(finding)}: {finding.message}"
    return f"::{level} {place}title={_escaped(finding.code, ':,')}::{_escaped(text)}"


def _escaped(text: str, more: str = "") -> str:
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _body(file: str, finding: Finding) -> dict[str, object]:
    return {
        "file": file or None,
        "line": finding.line or None,
        "service": finding.service,
        "tag": finding.tag,
        "code": finding.code,
        "message": finding.message,
        "wrong": finding.wrong,
    }
