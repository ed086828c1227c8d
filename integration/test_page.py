"""The status page of a real daemon, in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from integration.lab import Lab
from integration.lab.browser import Browser, browser, watched
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
