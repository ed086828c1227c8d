"""Changes over HTTP, asked for and as a stream."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import gevent
import msgspec
import pytest
from flask.testing import FlaskClient

from consulcast.changes import Change
from consulcast.web import events
from consulcast.web.bodies import EventBody
from tests.web.daemon import Daemon

log = logging.getLogger("consulcast.test_events")


@pytest.fixture(autouse=True)
def heard(daemon: Daemon) -> Iterator[None]:
    log.setLevel(logging.INFO)
    log.addHandler(daemon.changes)
    yield
    log.removeHandler(daemon.changes)


def tell(kind: str = "app", subject: str = "consul:dns") -> None:
    log.info("%s", subject, extra={kind: subject, "reason": "passing"})


def test_the_last_changes_are_answered(client: FlaskClient) -> None:
    tell()
    tell("vip", "203.0.113.10/32")
    answer = client.get("/v1/events").json
    assert answer is not None
    assert answer["last"] == 2
    assert [(event["kind"], event["subject"]) for event in answer["events"]] == [
        ("app", "consul:dns"),
        ("vip", "203.0.113.10/32"),
    ]
    assert set(answer["events"][0]) == {"number", "at", "kind", "subject", "reason", "detail", "former", "level"}


@pytest.mark.parametrize(
    ("query", "numbers"),
    [("after=2", [3]), ("limit=1", [3]), ("kind=vip", [2]), ("subject=consul:dns", [1, 3]), ("after=1&limit=1", [3])],
)
def test_only_some_of_them(client: FlaskClient, query: str, numbers: list[int]) -> None:
    tell()
    tell("vip", "203.0.113.10/32")
    tell()
    answer = client.get(f"/v1/events?{query}").json
    assert answer is not None
    assert [event["number"] for event in answer["events"]] == numbers


def test_the_last_number_is_of_what_was_answered_though_more_has_come_since(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell()
    written = EventBody.of

    def slow(change: Change) -> EventBody:
        tell("vip", "203.0.113.10/32")
        return written(change)

    monkeypatch.setattr(EventBody, "of", slow)
    answer = client.get("/v1/events").json
    assert answer is not None
    assert answer["last"] == 1 == answer["events"][-1]["number"]


@pytest.mark.parametrize("query", ["after=x", "after=-1", "limit=²", "kind=planet"])
def test_what_cannot_be_read_is_refused(client: FlaskClient, query: str) -> None:
    assert client.get(f"/v1/events?{query}").status_code == 400


def test_the_stream_begins_with_the_next_change(client: FlaskClient) -> None:
    tell()
    stream = client.get("/v1/events/stream").iter_encoded()
    assert next(stream) == b"retry: 1000\n\n"
    gevent.spawn_later(0, tell, "vip", "203.0.113.10/32")
    first, data = next(stream).decode().strip().split("\n")
    assert first == "id: 2"
    assert msgspec.json.decode(data.removeprefix("data: "))["subject"] == "203.0.113.10/32"


def test_the_stream_goes_on_where_it_was_broken_off(client: FlaskClient) -> None:
    for _ in range(3):
        tell()
    stream = client.get("/v1/events/stream", headers={"Last-Event-ID": "1"}).iter_encoded()
    next(stream)
    assert next(stream).count(b"id: ") == 2


def test_who_comes_from_before_a_restart_is_given_all(client: FlaskClient) -> None:
    tell()
    stream = client.get("/v1/events/stream?after=900").iter_encoded()
    next(stream)
    assert next(stream).startswith(b"id: 1\n")


def test_streams_without_end_are_refused(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STREAMS", 1)
    first = client.get("/v1/events/stream")
    next(first.iter_encoded())
    assert client.get("/v1/events/stream").status_code == 503
    first.close()
    gone = client.get("/v1/events/stream")
    assert gone.status_code == 200
    gone.close()
