"""``explain``: is it announced from this host, and if not, why not? The answer is the first line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from consulcast.cli import options
from consulcast.cli.completion import complete_target
from consulcast.cli.exits import AMISS, NOT_FOUND, NOT_REACHABLE, Stop
from consulcast.cli.output import colour, print_json, shown

if TYPE_CHECKING:
    from consulcast.cli.client import Client, Json
    from consulcast.cli.places import Place

NOT_RUNNING, NOT_REACHED = "not-running", "not-reachable"
_MARKS = {"ok": ("ok", "announced"), "wrong": ("!!", "error"), "unknown": ("??", "pending")}


@click.command()
@options.daemon
@options.as_json
@click.argument("target", shell_complete=complete_target)
@click.pass_context
def explain(context: click.Context, client: Client, target: str, as_json: bool) -> None:
    """Say whether TARGET is announced from this host, and if not, why not.

    TARGET is an app (source:id), a service's name or id, a VIP, a prefix, or an address. The first line is the answer,
    then comes the whole chain from its tags to the peers, what to do, and the last changes.

    Exit status 0: announced; 1: not; 3: nobody asks for it; 4: the daemon does not answer; 5: it does not answer you.
    """
    from consulcast.cli.client import Failed, segment

    if not target.strip():
        raise click.UsageError("write an app, a service, a VIP, a prefix or an address")
    try:
        found = client.get(f"/v1/explain/{segment(target)}")
    except Failed as error:
        if error.exit_code != NOT_FOUND:
            raise
        message = error.message.removeprefix(f"{client.place}: ")
        if as_json:
            print_json({"target": target, "announced": False, "reason": error.reason, "line": message})
        else:
            click.echo("\n  ".join(map(shown, message.split("\n"))))
        context.exit(NOT_FOUND)
    except Stop as error:
        if error.exit_code != NOT_REACHABLE:
            raise
        _not_reached(target, error, client, context, as_json)
        context.exit(NOT_REACHABLE)
    if as_json:
        print_json(found)
    else:
        for line in lines(found):
            click.echo(line)
    context.exit(0 if found["announced"] else AMISS)


def lines(found: Json) -> Iterator[str]:
    """The answer for people."""
    yield colour(shown(found["line"]), "announced" if found["announced"] else "error")
    width = max((len(step["stage"]) for step in found["steps"]), default=0)
    about = ""
    for step in found["steps"]:
        if step["about"] != about:
            about = step["about"]
            yield f"  {shown(about)}"
        word, as_ = _MARKS.get(step["mark"], ("??", "pending"))
        reason = f"{step['reason']}: " if step["reason"] and step["mark"] != "ok" else ""
        yield f"    {colour(word, as_)} {step['stage']:<{width}}  {shown(reason + step['text'])}"
    if found["todo"]:
        yield f"what to do: {shown(found['todo'])}"
    if found["events"]:
        yield "last changes:"
    for event in found["events"]:
        detail = f": {event['detail']}" if event["detail"] else ""
        former = f" (before: {event['former']})" if event["former"] else ""
        text = f"{event['kind']} {event['subject']} {event['reason']}{former}{detail}"
        yield f"  {shown(event['at'])} {shown(text)}"


def _not_reached(target: str, error: Stop, client: Client, context: click.Context, as_json: bool) -> None:
    """Say why nobody answers, as far as it can be seen from here."""
    from consulcast.cli.client import Nobody

    tried = error.message.split("\n")
    reason, why = _why_not(client.place, None if context.params.get("url") else context.params.get("file"))
    if reason == NOT_RUNNING and not isinstance(error, Nobody):  # somebody took the connection
        reason, why = NOT_REACHED, ""
    line = f"{target} cannot be explained: {reason}: {'; '.join(filter(None, (why, tried[0])))}"
    if as_json:
        print_json({"target": target, "announced": False, "reason": reason, "line": line, "tried": tried[1:]})
        return
    click.echo(shown(line))
    for more in tried[1:]:
        click.echo(shown(f"  {more.strip()}"))


def _why_not(place: Place, file: str | None) -> tuple[str, str]:
    """Whether the daemon that was asked for seems to run, and what it said last. Its directory has to be known."""
    from consulcast import config, last_words, rundir, schema
    from consulcast.document import ConfigError, Document

    agent, bad = schema.Agent(), ""
    if file:
        try:
            with open(file, encoding="utf-8") as opened:
                agent = Document(file, opened.read()).decode(schema.File, schema.decode).agent
            config.load(file)
        except (OSError, UnicodeDecodeError, ConfigError) as error:
            bad = f"its file is not taken: {error}"
    run_dir = agent.run_dir
    if os.path.basename(place.path) == rundir.SOCKET:
        run_dir = os.path.dirname(place.path)
    elif not file:
        return NOT_REACHED, ""
    seen = last_words.trace(run_dir, agent.state_dir)
    known = file or run_dir == agent.run_dir  # else the last words may be another daemon's
    if seen.holder is not None:
        starting = f"; its last words: {seen.words}" if seen.words and known else ""
        return NOT_REACHED, f"process {seen.holder or '?'} holds {run_dir}, so the daemon runs, or starts{starting}"
    if seen.trouble:
        return NOT_REACHED, f"whether it runs cannot be told: {seen.trouble}; ask as root"
    words = f"its last words: {seen.words}" if seen.words and known else "see `journalctl -u consulcast`"
    if known and not seen.words and os.geteuid() == 0 and (read_only := _read_only(agent.state_dir)):
        words = f"agent.state_dir {agent.state_dir} cannot be written: {read_only} is read-only"
    return NOT_RUNNING, f"no process holds {run_dir}; {bad or words}"


def _read_only(path: str) -> str:
    """The directory, or the nearest above it that there is, where it cannot be written even by root; "": it can."""
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "/"
    return "" if os.access(path, os.W_OK) else path
