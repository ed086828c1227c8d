"""A page of another site changes nothing here, whatever browser shows it."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.web.daemon import Daemon

CHANGES = [
    ("GET", "/register?name=dns&vip=203.0.113.10/32"),
    ("POST", "/register?name=dns&vip=203.0.113.10/32"),
    ("HEAD", "/register?name=dns&vip=203.0.113.10/32"),
    ("GET", "/unregister?name=old"),
    ("PUT", "/v1/apps/dns"),
    ("DELETE", "/v1/apps/old"),
    ("POST", "/v1/reload"),
]
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "Cross-Site", "Sec-Fetch-Mode": "navigate"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:9999"},
    {"Origin": "https://localhost"},
    {"Origin": "null"},
    {"Origin": "http://[::1"},
    {"Origin": ""},
    {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
]
OWN = [
    {},
    {"Origin": "http://localhost"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "HTTP://LocalHost", "Sec-Fetch-Site": "same-origin"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(("method", "url"), CHANGES)
def test_foreign_requests_change_nothing(
    client: FlaskClient, daemon: Daemon, method: str, url: str, headers: dict[str, str]
) -> None:
    client.put("/v1/apps/old", json={"vips": ["203.0.113.9/32"]})
    before = list(daemon.calls)
    response = client.open(url, method=method, headers=headers, json={"vips": ["203.0.113.10/32"]})
    assert response.status_code == 403
    assert daemon.calls == before


@pytest.mark.parametrize("headers", OWN)
@pytest.mark.parametrize(("method", "url"), CHANGES)
def test_programs_and_our_own_pages_may(
    client: FlaskClient, daemon: Daemon, method: str, url: str, headers: dict[str, str]
) -> None:
    client.put("/v1/apps/old", json={"vips": ["203.0.113.9/32"]})
    response = client.open(url, method=method, headers=headers, json={"vips": ["203.0.113.10/32"]})
    assert response.status_code in (200, 204)
    assert len(daemon.calls) == 2


def test_reading_is_left_to_the_browser_which_lets_no_foreign_page_see_the_answer(client: FlaskClient) -> None:
    for url in ("/info", "/v1/apps", "/healthz"):
        response = client.get(url, headers={"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"})
        assert response.status_code == 200
        assert "Access-Control-Allow-Origin" not in response.headers
