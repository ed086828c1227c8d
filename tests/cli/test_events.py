"""What has changed, and what changes while somebody looks."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import gevent
import pytest
from click.testing import CliRunner

from consulcast.changes import Changes
from consulcast.cli import cli
from consulcast.cli import events as module
from tests.cli.conftest import Site


def happen(changes: Changes, reason: str, vip: str = "203.0.113.10/32", at: float | None = None) -> None:
    record = logging.LogRecord("consulcast", logging.WARNING, "", 0, "", (), None)
    record.__dict__ |= {"vip": vip, "reason": reason, "former": "announced", "detail": "nobody listens"}
    record.created = record.created if at is None else at
    changes.emit(record)


def test_the_kept_ones_are_shown_the_oldest_first(site: Site) -> None:
    happen(site.daemon.changes, "monitor-failing", at=0.0)
    happen(site.daemon.changes, "draining")
    first, second = site.call("events").output.splitlines()
    assert first == ("1970-01-01T00:00:00.000Z vip 203.0.113.10/32: monitor-failing, was announced (nobody listens)")
    assert "draining" in second


def test_filters_and_numbers(site: Site) -> None:
    for reason in ("first", "second", "third"):
        happen(site.daemon.changes, reason)
    happen(site.daemon.changes, "other", vip="203.0.113.11/32")

    def shown(*options: str) -> list[str]:
        lines = site.call("events", "--json", *options).stdout.splitlines()
        return [json.loads(line)["reason"] for line in lines]

    assert shown() == ["first", "second", "third", "other"]
    assert shown("--since", "2") == ["third", "other"]
    assert shown("-n", "1") == ["other"]
    assert shown("-n", "0") == []
    assert shown("--subject", "203.0.113.11/32") == ["other"]
    assert shown("--kind", "app") == []
    assert site.call("events", "--kind", "weather").exit_code == 2


def test_what_others_chose_does_nothing_to_the_terminal(site: Site) -> None:
    happen(site.daemon.changes, "announced", vip="x\x1b[2J\nforged")
    output = site.call("events").output
    assert "\x1b" not in output
    assert len(output.splitlines()) == 1


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Follow in the background; what is printed goes in the list, the last error in the end as well."""
    running: list[gevent.Greenlet[..., object]] = []
    monkeypatch.setattr(module, "_PAUSES", (0.01,))

    def start(*arguments: str) -> list[str]:
        printed: list[str] = []
        monkeypatch.setattr(module, "_print", lambda event, _: printed.append(event["reason"]))
        running.append(gevent.spawn(CliRunner().invoke, cli, ["events", "-f", *arguments]))
        return printed

    yield start
    gevent.killall(running)


def until(printed: list[str], wanted: list[str]) -> None:
    with gevent.Timeout(10, AssertionError(f"{printed} is not {wanted}")):
        while printed != wanted:
            gevent.sleep(0.005)


def test_each_is_shown_as_it_happens_after_the_last_ones(site: Site, follow: Callable[..., list[str]]) -> None:
    for reason in ("first", "second"):
        happen(site.daemon.changes, reason)
    printed = follow("--url", site.url, "-n", "1")
    until(printed, ["second"])
    happen(site.daemon.changes, "third")
    until(printed, ["second", "third"])


def test_filters_hold_while_following(site: Site, follow: Callable[..., list[str]]) -> None:
    happen(site.daemon.changes, "begin", vip="203.0.113.11/32")
    printed = follow("--url", site.url, "--subject", "203.0.113.11/32")
    until(printed, ["begin"])
    happen(site.daemon.changes, "left out")
    happen(site.daemon.changes, "end", vip="203.0.113.11/32")
    until(printed, ["begin", "end"])


def test_a_daemon_that_is_started_again_is_followed_and_nothing_lost_or_doubled(
    serve: Callable[..., Site], follow: Callable[..., list[str]]
) -> None:
    first = serve()
    for reason in ("one", "two", "three"):
        happen(first.daemon.changes, reason)
    printed = follow("--url", first.url)
    until(printed, ["one", "two", "three"])
    first.endpoint.stop()
    second = serve()
    happen(second.daemon.changes, "after the restart")  # its number is 1, though 3 was shown already
    until(printed, ["one", "two", "three", "after the restart"])
    happen(second.daemon.changes, "and more")
    until(printed, ["one", "two", "three", "after the restart", "and more"])


def test_ctrl_c_ends_it_quietly(site: Site) -> None:
    happen(site.daemon.changes, "first")
    following = gevent.spawn(CliRunner().invoke, cli, ["events", "-f", "--url", site.url])
    with gevent.Timeout(10):
        while not site.daemon.changes._followers:
            gevent.sleep(0.005)
    following.kill(KeyboardInterrupt, block=False)
    result = following.get(timeout=10)
    assert result.exit_code == 0
    assert "Abort" not in result.output
