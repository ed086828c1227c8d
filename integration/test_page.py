"""The status page of a real daemon, in a real Chromium."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
from collections.abc import Iterator

import pytest

from integration.lab import Host, Lab
from integration.lab.browser import Browser, browser, watched
from integration.lab.consul import HostConnection
from integration.status_page import PHONE, URL, Scene

HOSTILE = '"><img src=x onerror="document.title=\'owned\'">'


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab() as lab:
        yield Scene(lab)


@pytest.fixture(scope="module")
def chromium(scene: Scene) -> Iterator[Browser]:
    with browser(scene.host) as made:
        yield made


def test_it_goes_on_with_what_happens_without_being_loaded_again(scene: Scene, chromium: Browser) -> None:
    page = scene.page(chromium)
    wrong = watched(page)
    page.reload()
    page.get_by_text("Live", exact=True).wait_for()
    page.evaluate("window.same = true")
    summary = page.locator("#summary")
    assert "of 6 VIPs announced" in summary.inner_text() or "6 VIPs" in summary.inner_text()
    scene.consul.update_check("critical", service_id="web", output="no answer on port 80")
    row = page.locator("tr", has_text="203.0.113.15/32").first
    row.get_by_text("down").wait_for()
    assert "monitor-failing" in row.inner_text()
    scene.consul.update_check("passing", service_id="web")
    row.get_by_text("announced").first.wait_for()
    assert page.evaluate("window.same"), "it was not loaded again"
    assert wrong == []
    page.context.close()


def test_it_says_that_it_is_not_live_and_comes_back_with_the_daemon(scene: Scene, chromium: Browser) -> None:
    page = scene.page(chromium)
    live = page.locator("#live")
    page.get_by_text("Live", exact=True).wait_for()
    scene.daemon.kill9()
    page.wait_for_function("document.getElementById('live').textContent.trim() !== 'Live'")
    assert "live" in live.inner_text().lower()
    scene.daemon.start()
    page.get_by_text("Live", exact=True).wait_for()
    page.locator("tr", has_text="203.0.113.10/32").first.get_by_text("announced").first.wait_for()
    page.context.close()


def test_it_can_be_read_without_a_script(scene: Scene, chromium: Browser) -> None:
    scene.bird.wait_route("203.0.113.10/32")
    page = scene.page(chromium, java_script_enabled=False)
    text = page.locator("body").inner_text()
    for word in ("203.0.113.10/32", "announced", "dns", "198.51.100.2", "up", "vip-not-allowed"):
        assert word in text
    page.goto(f"{URL}?q=ntp")
    assert "syslog" not in page.locator("main table").first.inner_text()
    page.context.close()


def test_names_that_others_choose_do_nothing(scene: Scene, chromium: Browser) -> None:
    scene.service(HOSTILE, "203.0.113.77/32")
    scene.bird.wait_route("203.0.113.77/32")
    page = scene.page(chromium)
    wrong = watched(page)
    page.reload()
    page.locator("tr", has_text="onerror").first.wait_for()
    page.get_by_text("Live", exact=True).wait_for()
    scene.consul.update_check("critical", service_id=HOSTILE)
    page.locator("tr", has_text="203.0.113.77/32").first.get_by_text("down").wait_for()
    assert "owned" not in page.title()
    assert page.locator("img").count() == 0
    assert wrong == []
    scene.consul.deregister(HOSTILE)
    page.context.close()


class Stream:
    """A reader of the stream behind the page."""

    def __init__(self, host: Host) -> None:
        self._connection = HostConnection(host, "127.0.0.1", 8080, 60)
        self._connection.request("GET", "/page/stream")
        self._lines = self._connection.getresponse()

    def wait_row(self, vip: str, word: str) -> None:
        """Read on until the VIP's row comes with that word; a minute without any line fails."""
        while line := self._lines.readline():
            if line.startswith(b"data: {"):
                rows = json.loads(line.removeprefix(b"data: "))["parts"].get("vips", {}).get("set", {}).values()
                if any(f">{vip}<" in row and f">{word}<" in row for row in rows):
                    return
        raise AssertionError("the stream has ended")

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def restless(host: Host) -> Iterator[None]:
    """An app that comes and goes, and the API's answers asked for, for as long as the block lasts."""
    connection, over = HostConnection(host, "127.0.0.1", 8080, 60), threading.Event()
    urls = ("/register?name=comes&vip=203.0.113.99/32", "/v1/apps", "/metrics", "/unregister?name=comes", "/v1/events")
    statuses: set[int] = set()

    def ask() -> None:
        for url in itertools.cycle(urls):
            if over.wait(0.05):
                return
            connection.request("GET", url)
            answer = connection.getresponse()
            answer.read()
            statuses.add(answer.status)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        connection.close()
    assert statuses == {200}


def test_all_of_ten_who_look_are_told_of_each_change_while_there_are_others(scene: Scene, chromium: Browser) -> None:
    pages = [scene.page(chromium) for _ in range(2)]
    wrong = [watched(page) for page in pages]
    for page in pages:
        page.get_by_text("Live", exact=True).wait_for()
    streams = [Stream(scene.host) for _ in range(8)]
    with restless(scene.host):
        for status, word in (("critical", "down"), ("passing", "announced")) * 3:
            scene.consul.update_check(status, service_id="web", output="a change")
            for stream in streams:
                stream.wait_row("203.0.113.15/32", word)
            for page in pages:
                page.locator("tr", has_text="203.0.113.15/32").first.get_by_text(word).first.wait_for()
            scene.bird.wait_route("203.0.113.15/32", present=word == "announced")
    for page in pages:
        page.get_by_text("Live", exact=True).wait_for()
        page.context.close()
    for stream in streams:
        stream.close()
    assert wrong == [[], []]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_by_day_and_by_night(scene: Scene, chromium: Browser, scheme: str) -> None:
    page = scene.page(chromium, color_scheme=scheme, viewport=PHONE, is_mobile=True)
    page.get_by_text("Live", exact=True).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], "nothing is beside the screen"
    ground, ink = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))

    def light(colour: str) -> float:
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765

    assert (light(ground) > light(ink)) == (scheme == "light")
    assert abs(light(ground) - light(ink)) > 0.5
    page.context.close()


def test_the_pictures_in_the_documents_are_there() -> None:
    from integration.status_page import IMAGES

    for name in ("light", "dark", "phone"):
        data = (IMAGES / f"page-{name}.png").read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) < 200_000
