"""A page of another site changes nothing here, whatever browser shows it."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from flask.testing import FlaskClient

from consulcast.policy import Owner, Policy
from consulcast.values import replace
from consulcast.web.app import make_app
from consulcast.web.door import Door, Settings
from consulcast.web.guard import known_host
from consulcast.web.rights import Access, Peer
from consulcast.web.tokens import parse
from tests.policies import ANYTHING
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
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
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
    {"User-Agent": BROWSER},  # an image in a page, asked for over http at an address that is not loopback
]
OWN = [
    {},
    {"Origin": "http://localhost"},
    {"Sec-Fetch-Site": "none", "User-Agent": BROWSER},
    {"Origin": "http://localhost", "User-Agent": BROWSER},
    {"User-Agent": "curl/8.14.1"},
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


# -- names that only some have ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("access", "peer", "taken"),
    [
        (Access(), Peer("this host", here=True), False),
        (Access(), Peer("uid 1000", here=True), False),
        (Access(), Peer("uid 0", here=True, owner=True), True),
        (Access(here=frozenset({"register"})), Peer("this host", here=True), True),
        (Access(parse("f", "a register a-secret-of-some-length"), tokens_set=True), Peer("198.51.100.9"), True),
    ],
)
def test_nobody_says_that_he_is_another_teams_service_unless_somebody_stands_behind_it(
    daemon: Daemon, access: Access, peer: Peer, taken: bool
) -> None:
    kept = Owner("dns-*", (ipaddress.ip_network("203.0.113.0/28"),))
    daemon.registry.set_policy(Policy(rules=replace(ANYTHING, services=(kept,))))
    client = make_app(daemon, Door(Settings(access=access))).test_client()
    token = {"Authorization": "Bearer a-secret-of-some-length"} if access.tokens else {}
    for vip, expected in (("203.0.113.1/32", taken), ("203.0.113.99/32", True)):
        url = f"/register?name=dns-1&vip={vip}"
        response = client.get(url, headers=token, environ_overrides={"consulcast.peer": peer})
        assert (response.status_code == 200) is expected, response.text
        body = {"vips": [vip]}
        response = client.put("/v1/apps/dns-1", json=body, headers=token, environ_overrides={"consulcast.peer": peer})
        assert (response.status_code == 200) is expected
        assert expected or "policy.services[0] keeps it for services named 'dns-*'" in response.text


# -- under which name ----------------------------------------------------------------------------------------------

OWN_NAMES = ["localhost", "LocalHost", "localhost:8080", "localhost.", "localhost.:80", "edge1.example.org:8080", ""]
ADDRESSES = ["127.0.0.1", "198.51.100.1:8080", "[::1]", "[::1]:8080", "[2001:db8::1]:1", "[fe80::1%eth0]:80"]
STRANGERS = [
    *("evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "xn--localhost"),
    *("localhost:x", "localhost:80:80", "user@localhost", "localhost/", "127.1", "0x7f000001", "2130706433"),
    *("::1", "[::1", "::1]", "[localhost]", "[::1]x", "[::1]:x", ".", "..", "localhost..", " localhost", "10.0.0.256"),
]


@pytest.mark.parametrize("host", [*OWN_NAMES, *ADDRESSES])
def test_our_names_and_any_address_are_known(host: str) -> None:
    assert known_host(host, {"localhost", "edge1.example.org"})


@pytest.mark.parametrize("host", STRANGERS)
def test_other_names_are_not(host: str) -> None:
    assert not known_host(host, {"localhost", "edge1.example.org"})


@pytest.mark.parametrize("url", ["/register?name=dns&vip=203.0.113.10/32", "/v1/apps", "/info", "/nowhere"])
def test_a_page_whose_name_points_here_now_gets_nothing(client: FlaskClient, daemon: Daemon, url: str) -> None:
    response = client.get(url, headers={"Host": "evil.example:8080"})
    assert response.status_code == 403
    assert "api.hosts" in response.text
    assert not daemon.calls
    assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 200


@pytest.mark.parametrize("host", STRANGERS)
def test_nor_does_one_under_a_name_that_is_none(client: FlaskClient, host: str) -> None:
    assert client.get("/v1/apps", headers={"Host": host}).status_code == 403


def test_the_machines_own_name_is_known(client: FlaskClient) -> None:
    assert client.get("/v1/apps", headers={"Host": f"{socket.gethostname()}:8080"}).status_code == 200


# -- who -----------------------------------------------------------------------------------------------------------

SECRET = "a-secret-of-some-length"
REGISTER = "/register?name=dns&vip=203.0.113.10/32"
ELSEWHERE = {"consulcast.peer": Peer("198.51.100.9")}


@pytest.fixture
def guarded(daemon: Daemon) -> FlaskClient:
    access = Access(parse("f", f"deploy register {SECRET}\ngrafana read read-{SECRET}"), tokens_set=True)
    return make_app(daemon, Door(Settings(access=access))).test_client()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_gocasts_urls_take_the_token_in_the_header(guarded: FlaskClient, daemon: Daemon, method: str) -> None:
    for environ in ({}, ELSEWHERE):
        response = guarded.open(REGISTER, method=method, environ_overrides=environ)
        assert (response.status_code, response.mimetype) == (401, "text/plain")
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="consulcast"'
    assert guarded.open(f"{REGISTER}&token={SECRET}", method=method).status_code == 401  # it would stand in logs
    assert not daemon.calls
    response = guarded.open(REGISTER, method=method, headers=bearer(SECRET), environ_overrides=ELSEWHERE)
    assert response.status_code == 200
    assert daemon.calls == ["register dns"]


def test_a_token_without_the_scope_is_forbidden(guarded: FlaskClient, daemon: Daemon) -> None:
    response = guarded.get(REGISTER, headers=bearer(f"read-{SECRET}"))
    assert response.status_code == 403
    assert "insufficient_scope" in response.headers["WWW-Authenticate"]
    assert guarded.get("/v1/apps", headers=bearer(f"read-{SECRET}"), environ_overrides=ELSEWHERE).status_code == 200
    assert guarded.get("/v1/apps", headers=bearer(SECRET), environ_overrides=ELSEWHERE).status_code == 403
    assert not daemon.calls


def test_with_a_token_any_name_will_do_and_another_sites_page_will_not(guarded: FlaskClient) -> None:
    named = {**bearer(SECRET), "Host": "vip.example:8080"}
    assert guarded.get(REGISTER, headers=named).status_code == 200
    assert guarded.get(REGISTER, headers={**named, "Origin": "https://evil.example"}).status_code == 403


def test_wrong_tokens_are_logged_without_them_and_then_not_looked_at(
    guarded: FlaskClient, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(10):
        response = guarded.get(
            f"{REGISTER}&x=in-the-query", headers=bearer(f"guess-{number}"), environ_overrides=ELSEWHERE
        )
        assert response.status_code == 401
    for token in ("guess-10", SECRET):
        response = guarded.get(REGISTER, headers=bearer(token), environ_overrides=ELSEWHERE)
        assert response.status_code == 429
        assert 1 <= int(response.headers["Retry-After"]) <= 6
    assert not daemon.calls
    assert len(caplog.records) == 10
    assert "198.51.100.9: a wrong token, for GET /register" in caplog.text
    assert "guess" not in caplog.text
    assert "in-the-query" not in caplog.text
    assert guarded.get(REGISTER, headers=bearer(SECRET)).status_code == 200  # another client


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_a_proxy_on_this_host_lends_nobody_its_place(client: FlaskClient, daemon: Daemon, header: str) -> None:
    assert client.get(REGISTER, headers={header: "198.51.100.9"}).status_code == 403
    assert client.get("/v1/apps", headers={header: "127.0.0.1"}).status_code == 200
    root = {"consulcast.peer": Peer("uid 0", here=True, owner=True)}
    assert client.get(REGISTER, headers={header: "x"}, environ_overrides=root).status_code == 403
    assert not daemon.calls


def test_without_tokens_changes_are_this_hosts_alone(client: FlaskClient, daemon: Daemon) -> None:
    response = client.get(REGISTER, environ_overrides=ELSEWHERE)
    assert response.status_code == 403
    assert "api.tokens_file" in response.text
    assert client.put("/v1/apps/dns", json={}, environ_overrides=ELSEWHERE).status_code == 403
    assert client.post("/v1/reload", environ_overrides=ELSEWHERE).status_code == 403
    assert not daemon.calls
    assert client.get("/info", environ_overrides=ELSEWHERE).status_code == 200
    assert client.get(REGISTER).status_code == 200


def test_what_is_not_known_of_the_caller_is_no_right(client: FlaskClient, daemon: Daemon) -> None:
    assert client.get(REGISTER, environ_overrides={"REMOTE_ADDR": ""}).status_code == 403
    assert not daemon.calls


# -- how much ------------------------------------------------------------------------------------------------------


def test_a_query_of_too_many_parameters_is_refused(client: FlaskClient, daemon: Daemon) -> None:
    response = client.get(REGISTER + "&monitor=port:tcp:1" * 300)
    assert response.status_code == 400
    assert "300 parameters" in response.text
    assert not daemon.calls


def test_answers_are_kept_from_other_sites_and_caches(client: FlaskClient) -> None:
    for url in ("/v1/apps", "/nowhere", REGISTER):
        headers = client.get(url).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
