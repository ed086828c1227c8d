"""The status page: what it shows, to whom, and that a name on it is a name and nothing else."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser

import gevent
import msgspec
import pytest
from flask.testing import FlaskClient

from consulcast.model import AppKey, Reason, Source, Stale
from consulcast.registration import Registration
from consulcast.values import replace
from consulcast.web import board, page
from consulcast.web.app import make_app
from consulcast.web.door import Door, Settings
from consulcast.web.rights import Access
from consulcast.web.tokens import parse
from consulcast.web.view import AppState, AppView, ConsulView
from tests.web.daemon import PEER, Daemon

log = logging.getLogger("consulcast.test_page")
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}",
    "a\u202eb",
    "a\x1b[2Jb",
    "\udc80",
    "</script></title><svg onload=alert(1)>",
]


@pytest.fixture(autouse=True)
def heard(daemon: Daemon) -> Iterator[None]:
    log.setLevel(logging.INFO)
    log.addHandler(daemon.changes)
    yield
    log.removeHandler(daemon.changes)


class Attributes(HTMLParser):
    """The names of all attributes, as a browser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.update(name for name, _ in attrs)


def seen(name: str, state: AppState = AppState.PASSING, reason: Reason = Reason.PASSING, detail: str = "") -> AppView:
    return AppView(AppKey(Source.CONSUL, name), Registration(name, ("203.0.113.9/32",)), state, reason, detail, 0.0)


def row_of(text: str, name: str) -> str:
    """An app's row of the table."""
    (row,) = re.findall(rf'<tr role="row"[^>]*><th role="rowheader" scope="row"><bdi>{name}</bdi>.*?</tr>', text, re.S)
    return str(row)


def text_of(client: FlaskClient, path: str = "/") -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.text


def words_of(client: FlaskClient, path: str = "/") -> str:
    """What a reader without styles and scripts has."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", text_of(client, path))).split())


def test_it_says_in_words_what_is_announced_and_to_whom(client: FlaskClient, daemon: Daemon) -> None:
    daemon.register(Registration("dns", ("203.0.113.10/32",)), vouched=True)
    daemon.others = [seen("ntp", AppState.FAILING, Reason.MONITOR_FAILING, "check ntp is critical")]
    daemon.seen = ConsulView("host-1", synced=True)
    words = words_of(client)
    for expected in ("203.0.113.10/32", "announced", "dns", "passing", "ntp", "failing", "check ntp is critical"):
        assert expected in words
    assert f"{PEER.address} up" in words
    assert "Consul: host-1" in words


def test_it_says_what_a_reason_means(client: FlaskClient, daemon: Daemon) -> None:
    daemon.others = [seen("ntp", AppState.FAILING, Reason.MONITOR_FAILING)]
    assert "A monitor of the app says that it does not work." in words_of(client)


def test_stale_is_said_in_words(client: FlaskClient, daemon: Daemon) -> None:
    daemon.seen = ConsulView("host-1", synced=True, stale=Stale(0.0, "Consul does not answer: refused"))
    words = words_of(client)
    assert "stale" in words
    assert "Consul does not answer: refused" in words


def test_what_rests_on_an_old_answer_is_marked(client: FlaskClient, daemon: Daemon) -> None:
    daemon.others = [replace(seen("dns"), stale=Stale(0.0, "no leader")), seen("ntp")]
    old, fresh = (row_of(text_of(client), name) for name in ("dns", "ntp"))
    assert 'class="state stale"' in old
    assert "no leader" in old
    assert "stale" not in fresh


@pytest.mark.parametrize(
    ("state", "tone"),
    [
        (AppState.PASSING, "ok"),
        (AppState.FAILING, "bad"),
        (AppState.UNKNOWN, "wait"),
        (AppState.DRAINING, "drain"),
        (AppState.REFUSED, "bad"),
    ],
)
def test_a_state_is_a_colour_and_a_word(client: FlaskClient, daemon: Daemon, state: AppState, tone: str) -> None:
    daemon.others = [seen("dns", state)]
    text = text_of(client)
    assert f'<span class="state {tone}">{state}</span>' in row_of(text, "dns")
    assert f'<li class="node {tone}"><a href="/?q=dns&amp;state=" title="dns">' in text
    styles = client.get("/page/page.css").text
    assert re.search(rf"\.{tone}\b", styles), "it has a colour"


def test_the_last_changes_stand_there(client: FlaskClient) -> None:
    log.info("x", extra={"vip": "203.0.113.10/32", "reason": "peer-down", "detail": "198.51.100.1: no answer"})
    words = words_of(client)
    assert "peer-down" in words
    assert "198.51.100.1: no answer" in words


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_name_is_made_of_it_is_text(client: FlaskClient, daemon: Daemon, name: str) -> None:
    daemon.others = [seen(name, AppState.FAILING, Reason.MONITOR_FAILING, name)]
    log.info("x", extra={"app": name, "reason": "monitor-failing", "detail": name})
    text = text_of(client)
    assert len(re.findall(r"<script", text)) == 1, "our own"
    assert "<img" not in text
    attributes = Attributes()
    attributes.feed(text)
    assert not [found for found in attributes.names if found.startswith("on") or found in ("style", "srcdoc")]
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "49" not in re.findall(r"<bdi[^>]*>([^<]*)", text)


def test_a_value_without_end_is_cut(client: FlaskClient, daemon: Daemon) -> None:
    daemon.others = [seen("a" * 300, AppState.FAILING, Reason.MONITOR_FAILING, "x" * 1_000_000)]
    assert len(text_of(client)) < 100_000


def test_nothing_but_our_own_files_is_loaded_or_run(client: FlaskClient) -> None:
    response = client.get("/")
    policy = response.headers["Content-Security-Policy"]
    for rule in (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ):
        assert rule in policy
    assert "unsafe" not in policy
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<style|\sstyle=|<script(?![^>]*src=)", response.text)


def test_its_files_are_kept_by_the_browser_until_they_are_others(client: FlaskClient) -> None:
    for kind, url in re.findall(r'(href|src)="(/page/[^"]+)"', text_of(client)):
        response = client.get(url)
        assert response.status_code == 200, kind
        assert "immutable" in response.headers["Cache-Control"]
        tag = response.headers["ETag"]
        assert client.get(url, headers={"If-None-Match": tag}).status_code == 304
    assert client.get("/page/other.js").status_code == 404
    assert client.get("/page/..%2fpage.py").status_code == 404


def test_it_can_be_searched_without_a_script(client: FlaskClient, daemon: Daemon) -> None:
    daemon.others = [seen(f"app-{n}") for n in range(5)] + [seen("bad-one", AppState.FAILING, Reason.MONITOR_FAILING)]
    assert "app-3" in words_of(client, "/?q=app-3")
    assert "app-4" not in words_of(client, "/?q=app-3")
    assert "app-4" not in words_of(client, "/?state=failing")
    assert "bad-one" in words_of(client, "/?state=failing")
    assert client.get("/?start=x").status_code == 400


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("q=ntp", {"ntp"}),
        ("q=NTP", {"ntp"}),
        ("q=monitor-failing", {"ntp"}),
        ("q=198.18.0.2", {"ntp"}),
        ("state=passing", {"dns", "log"}),
        ("q=og&state=passing", {"log"}),
        ("q=%20dns%20", {"dns"}),
        ("q=nothing", set()),
        ("state=nothing", set()),
        ("q=&state=", {"dns", "ntp", "log"}),
    ],
)
def test_a_search_shows_what_fits_and_nothing_else(
    client: FlaskClient, daemon: Daemon, query: str, shown: set[str]
) -> None:
    daemon.others = [
        replace(seen(name, state, reason), asked=Registration(name, (f"198.18.0.{number}/32",)))
        for number, (name, state, reason) in enumerate(
            [
                ("dns", AppState.PASSING, Reason.PASSING),
                ("ntp", AppState.FAILING, Reason.MONITOR_FAILING),
                ("log", AppState.PASSING, Reason.PASSING),
            ],
            1,
        )
    ]
    text = text_of(client, f"/?{query}")
    assert {name for name in ("dns", "ntp", "log") if f'title="{name}"' in text} == shown
    if not shown:
        assert "Nothing here fits what is looked for." in text


def test_of_many_apps_those_that_are_well_are_counted(client: FlaskClient, daemon: Daemon) -> None:
    daemon.others = [seen(f"app-{n:04}") for n in range(988)]
    daemon.others += [seen(f"bad-{n:02}", AppState.FAILING, Reason.MONITOR_FAILING) for n in range(12)]
    text = text_of(client)
    flow = text[text.index('id="flow"') : text.index('id="vips"')]
    boxes = re.findall(r'<li class="node [^"]*"><a [^>]*title="([^"]*)"', flow)
    assert boxes == [*(f"bad-{n:02}" for n in range(8)), "4 more failing", "988 passing"]
    assert '<a class="chip" href="/?q=&amp;state=passing"><b>988</b>' in text


def test_of_a_thousand_apps_those_in_trouble_come_first(client: FlaskClient, daemon: Daemon) -> None:
    daemon.others = [seen(f"app-{n:04}") for n in range(1000)]
    daemon.others.append(seen("zz", AppState.FAILING, Reason.MONITOR_FAILING))
    text = words_of(client)
    assert text.index("zz") < text.index("app-0000")
    assert "app-0999" not in text
    assert "app-0999" in words_of(client, "/?start=950")


def test_the_stream_tells_what_is_new_and_nothing_else(client: FlaskClient, daemon: Daemon) -> None:
    daemon.others = [seen("dns"), seen("ntp")]
    (known,) = re.findall(r'data-version="([^"]+)"', text_of(client))
    stream = client.get(f"/page/stream?known={known}").iter_encoded()
    assert next(stream).startswith(b"event: files\n")

    def fail() -> None:
        daemon.others = [seen("dns"), seen("ntp", AppState.FAILING, Reason.MONITOR_FAILING, "is critical")]
        log.info("x", extra={"app": "consul:ntp", "reason": "monitor-failing"})

    gevent.spawn_later(0.01, fail)
    with gevent.Timeout(10):
        news = next(block for block in stream if block.startswith(b"data: "))
    body = msgspec.json.decode(news.removeprefix(b"data: ").strip())
    html = str(body)
    assert "is critical" in html
    assert len(body["parts"]["apps"]["set"]) == 1, "dns has not changed"


def test_what_is_sent_is_rendered_once_for_all_who_look(
    client: FlaskClient, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []
    piece = board.Board._render

    def render(self: board.Board, macro: str, key: str, value: object) -> str:
        rendered.append(macro)
        return piece(self, macro, key, value)

    monkeypatch.setattr(board.Board, "_render", render)
    daemon.others = [seen(f"app-{n}") for n in range(20)]
    (known,) = re.findall(r'data-version="([^"]+)"', text_of(client))
    streams = [client.get(f"/page/stream?known={known}").iter_encoded() for _ in range(10)]
    assert all(next(stream).startswith(b"event: files\n") for stream in streams)
    rendered.clear()

    def fail() -> None:
        daemon.others[3] = seen("app-3", AppState.FAILING, Reason.MONITOR_FAILING)
        log.info("x", extra={"app": "consul:app-3", "reason": "monitor-failing"})

    gevent.spawn_later(0.01, fail)
    with gevent.Timeout(20):
        news = [next(block for block in stream if block.startswith(b"data: ")) for stream in streams]
    assert len(set(news)) == 1
    assert rendered.count("app") == 1, "the other rows are as they were, though they come in another order"
    assert rendered.count("change") == 1
    assert rendered.count("node") <= 3


def test_a_stream_that_is_closed_makes_room(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "STREAMS", 1)
    first = client.get("/page/stream")
    next(first.iter_encoded())
    assert client.get("/page/stream").status_code == 503
    first.close()
    assert client.get("/page/stream").status_code == 200


def test_streams_without_end_are_refused(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "STREAMS", 0)
    assert client.get("/page/stream").status_code == 503


def test_who_may_not_read_is_told_how_to_in_words(daemon: Daemon) -> None:
    access = Access(parse("tokens", "all read,register,drain a-token-for-the-tests"), tokens_set=True)
    client = make_app(daemon, Door(Settings(access=access))).test_client()
    elsewhere = {"REMOTE_ADDR": "198.51.100.9"}
    response = client.get("/", headers={"Accept": "text/html"}, environ_base=elsewhere)
    assert response.status_code == 401
    assert response.content_type == "text/html; charset=utf-8"
    assert "ssh" in response.text
    assert "Content-Security-Policy" in response.headers
    program = client.get("/", headers={"Accept": "application/json"}, environ_base=elsewhere)
    assert program.content_type == "application/json"
    assert client.get("/page/stream", environ_base=elsewhere).status_code == 401
