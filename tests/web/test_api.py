"""The JSON API: what it answers, and how it says no."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from consulcast import notation
from consulcast.kept_file import NotStored
from consulcast.model import AppKey, Reason, Source, Stale
from consulcast.registration import Registration
from consulcast.vip_status import DrainPhase
from consulcast.web.limits import Limits
from consulcast.web.view import AppState, AppView, ConsulView, QueryView, VipDrain, VipView
from tests.web.daemon import Daemon

DNS = {"vips": ["203.0.113.10/32"]}


def problem(response: TestResponse) -> tuple[int, str, str]:
    assert response.mimetype == "application/json"
    body = response.json
    assert body is not None
    assert body.keys() == {"code", "reason", "message"}
    assert body["code"] == response.status_code
    return response.status_code, body["reason"], body["message"]


def test_put_answers_with_the_app_as_it_stands(client: FlaskClient, daemon: Daemon) -> None:
    wish = {
        "vips": ["203.0.113.10/32", "2001:db8::10/128"],
        "monitors": ["port:tcp:53"],
        "nats": ["udp:53:8053"],
        "communities": ["65000:1", "no-export"],
        "ttl": "1m",
    }
    response = client.put("/v1/apps/dns", json=wish)
    assert response.status_code == 200
    body = response.json
    assert body is not None
    assert {key: body[key] for key in wish} == wish
    assert (body["source"], body["id"], body["name"]) == ("http", "dns", "dns")
    assert (body["state"], body["reason"]) == ("passing", "passing")
    assert body["since"].endswith("Z")
    assert body["expires"].endswith("Z")
    assert daemon.registered["dns"].ttl == "1m"
    assert client.get("/v1/apps/dns").json == body


def test_delete_lets_it_go_once(client: FlaskClient, daemon: Daemon) -> None:
    client.put("/v1/apps/dns", json=DNS)
    assert client.delete("/v1/apps/dns").status_code == 204
    assert not daemon.registered
    assert problem(client.delete("/v1/apps/dns"))[:2] == (404, "not-found")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a%20b", "a b"),
        ("a%2Fb", "a/b"),
        ("a%2F%2Fb", "a//b"),
        ("%2Fa%2F", "/a/"),
        ("..%2F..%2Fetc%2Fpasswd", "../../etc/passwd"),
        ("it's%22%3B%24(x)", "it's\";$(x)"),
        ("%E6%97%A5", "日"),
        ("a+b", "a+b"),
        ("a%252F", "a%2F"),
    ],
)
def test_names_in_the_path_are_decoded_once(client: FlaskClient, daemon: Daemon, path: str, name: str) -> None:
    assert client.put(f"/v1/apps/{path}", json=DNS).status_code == 200
    assert list(daemon.registered) == [name]
    assert client.get(f"/v1/apps/{path}").json["name"] == name  # type: ignore[index]
    assert client.delete(f"/v1/apps/{path}").status_code == 204


@pytest.mark.parametrize("path", ["a%0Ab", "a%00", "%7F", "a" * 129, "%E2%80%A8", "%C2%9Bm"])
def test_names_without_print_are_refused(client: FlaskClient, daemon: Daemon, path: str) -> None:
    for response in (client.put(f"/v1/apps/{path}", json=DNS), client.get(f"/v1/apps/{path}")):
        code, reason, message = problem(response)
        assert (code, reason) == (400, "bad-value")
        assert "printable" in message
    assert not daemon.registered


@pytest.mark.parametrize("path", ["/v1/vips?x=%FF", "/register?name=a%C3&vip=203.0.113.1/32"])
def test_url_that_is_no_utf8_is_refused(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 400
    assert "the URL is not UTF-8" in response.text


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({}, "missing required field `vips`"),
        ({"vips": []}, "`$.vips`"),
        ({"vips": "203.0.113.10/32"}, "Expected `array`"),
        ({**DNS, "monitor": ["port:tcp:53"]}, "unknown field `monitor`"),
        ({**DNS, "ttl": 30}, "Expected `str`"),
        ({**DNS, "monitors": [None]}, "`$.monitors[0]`"),
        ([], "Expected `object`"),
    ],
)
def test_bodies_of_another_shape_are_refused_with_the_place(client: FlaskClient, wish: Any, says: str) -> None:
    code, reason, message = problem(client.put("/v1/apps/dns", json=wish))
    assert (code, reason) == (400, "bad-request")
    assert says in message


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 60000, b'{"vips":["\\ud800"]}', b"NaN"])
def test_bodies_that_are_no_json_are_refused(client: FlaskClient, daemon: Daemon, body: bytes) -> None:
    response = client.put("/v1/apps/dns", data=body, content_type="application/json")
    assert problem(response)[0] == 400
    assert not daemon.registered


@pytest.mark.parametrize(
    ("wish", "reason", "says"),
    [
        ({"vips": ["203.0.113.10"]}, "bad-value", "no prefix length"),
        ({**DNS, "monitors": ["smoke:signal"]}, "bad-value", "kind 'smoke'"),
        ({**DNS, "nats": ["tcp:0"]}, "bad-value", "1 to 65535"),
        ({**DNS, "communities": ["asn:nn"]}, "bad-value", "community 'asn:nn'"),
        ({**DNS, "ttl": "0"}, "bad-value", "1s to 8760h"),
    ],
)
def test_bad_values_are_refused_with_what_to_write(
    client: FlaskClient, daemon: Daemon, wish: Any, reason: str, says: str
) -> None:
    code, found, message = problem(client.put("/v1/apps/dns", json=wish))
    assert (code, found) == (400, reason)
    assert says in message
    assert not daemon.registered


@pytest.mark.parametrize(
    ("vip", "says"),
    [
        ("0.0.0.0/0", "default route"),
        ("127.0.0.1/32", "loopback"),
        ("224.0.0.1/32", "multicast"),
        ("::/128", "unspecified"),
        ("198.51.100.1/32", "this host or a peer of it"),
    ],
)
def test_what_the_rules_refuse_is_a_conflict_in_the_words_of_the_log(
    client: FlaskClient, daemon: Daemon, vip: str, says: str
) -> None:
    code, reason, message = problem(client.put("/v1/apps/dns", json={"vips": [vip]}))
    assert (code, reason) == (409, "vip-not-allowed")
    assert says in message
    assert not daemon.registered


def test_a_refused_change_leaves_what_stands(client: FlaskClient, daemon: Daemon) -> None:
    client.put("/v1/apps/a", json={"vips": ["203.0.113.1/24"]})
    client.put("/v1/apps/b", json=DNS)
    code, reason, _ = problem(client.put("/v1/apps/b", json={"vips": ["203.0.113.2/24"]}))
    assert (code, reason) == (409, "vip-conflict")
    assert daemon.registered["b"].vips == ("203.0.113.10/32",)


def test_apps_of_every_source_are_listed_and_only_those_of_http_go(client: FlaskClient, daemon: Daemon) -> None:
    asked = Registration("dns", ("203.0.113.9/32",))
    key = AppKey(Source.CONSUL, "dns-1")
    daemon.others = [AppView(key, asked, AppState.FAILING, Reason.MONITOR_FAILING, "port 53: nobody listens", 1.0)]
    client.put("/v1/apps/web", json=DNS)
    apps = client.get("/v1/apps").json["apps"]  # type: ignore[index]
    assert [(app["source"], app["id"], app["state"], app["reason"]) for app in apps] == [
        ("http", "web", "passing", "passing"),
        ("consul", "dns-1", "failing", "monitor-failing"),
    ]
    code, _, message = problem(client.delete("/v1/apps/dns"))
    assert code == 404
    assert "it comes from consul" in message


def test_vips_and_peers(client: FlaskClient) -> None:
    client.put("/v1/apps/web", json={"vips": ["203.0.113.10/24"]})
    assert client.get("/v1/vips").json == {
        "vips": [
            {
                "vip": "203.0.113.10/24",
                "prefix": "203.0.113.0/24",
                "state": "announced",
                "reason": "announced",
                "detail": "",
                "apps": ["http:web"],
                "stale": None,
                "drain": None,
            }
        ]
    }
    (peer,) = client.get("/v1/peers").json["peers"]  # type: ignore[index]
    assert (peer["address"], peer["state"], peer["peer_as"]) == ("198.51.100.1", "up", 65000)


def test_what_rests_on_an_old_answer_of_consul_is_marked_with_its_age(client: FlaskClient, daemon: Daemon) -> None:
    since = time.monotonic() - 90
    stale = Stale(since, "Consul cannot be reached")
    key = AppKey(Source.CONSUL, "dns-1")
    asked = Registration("dns", ("203.0.113.9/32",))
    daemon.others = [AppView(key, asked, AppState.PASSING, Reason.PASSING, stale=stale)]
    vip = VipView(notation.vip("203.0.113.9/32"), Reason.ANNOUNCED, "", (key,), stale)
    daemon.vips = lambda: [vip]  # type: ignore[method-assign]
    for path, kind in (("/v1/apps", "apps"), ("/v1/vips", "vips")):
        (item,) = client.get(path).json[kind]  # type: ignore[index]
        mark = item["stale"]
        assert mark["reason"] == "Consul cannot be reached"
        assert 90 <= mark["seconds"] < 110
        begun = datetime.fromisoformat(mark["since"])
        assert abs((datetime.now(UTC) - begun).total_seconds() - 90) < 20


def test_consul_is_told(client: FlaskClient, daemon: Daemon) -> None:
    assert client.get("/v1/consul").json["node"] is None, "not used"  # type: ignore[index]
    now = time.monotonic()
    daemon.seen = ConsulView(
        "host",
        True,
        Stale(now - 5, "service 'dns' held: the agent still has it registered"),
        {"catalog": QueryView(now - 40, 7, 1, {"denied": 2}), "health": QueryView()},
        {AppKey(Source.CONSUL, "dns"): "the agent still has it registered"},
    )
    body = client.get("/v1/consul").json
    assert body is not None
    assert (body["node"], body["synced"]) == ("host", True)
    assert 40 <= body["catalog"]["age"] < 60
    assert body["catalog"]["answered"].endswith("Z")
    assert (body["catalog"]["returns"], body["catalog"]["resets"], body["catalog"]["errors"]) == (7, 1, {"denied": 2})
    assert (body["health"]["answered"], body["health"]["age"]) == (None, None)
    assert 5 <= body["stale"]["seconds"] < 25
    assert body["held"] == [{"app": "consul:dns", "reason": "the agent still has it registered"}]


def test_reload_tells_why_the_file_was_not_taken(client: FlaskClient, daemon: Daemon) -> None:
    assert client.post("/v1/reload").status_code == 204
    daemon.bad_file = "config.yaml:3: bgp.peer_as: is missing"
    assert problem(client.post("/v1/reload")) == (409, "bad-config", daemon.bad_file)
    assert daemon.calls == ["reload", "reload"]


def test_probes(client: FlaskClient, daemon: Daemon) -> None:
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").json == {"status": "ready"}
    daemon.trouble = "Consul has not answered yet"
    assert problem(client.get("/healthz")) == (503, "unhealthy", daemon.trouble)
    assert problem(client.get("/readyz")) == (503, "not-ready", daemon.trouble)


def test_errors_of_the_url_are_json_too(client: FlaskClient) -> None:
    assert problem(client.get("/nowhere"))[:2] == (404, "not-found")
    assert problem(client.get("/v1/apps/"))[:2] == (404, "not-found")
    response = client.post("/v1/apps")
    assert problem(response)[:2] == (405, "method-not-allowed")
    assert response.headers["Allow"] == "GET, HEAD"
    assert problem(client.options("/v1/apps"))[0] == 405


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "text/json"])
def test_body_of_another_type_is_refused(client: FlaskClient, daemon: Daemon, kind: str) -> None:
    response = client.put("/v1/apps/dns", data=b'{"vips":["203.0.113.10/32"]}', content_type=kind)
    assert problem(response)[:2] == (415, "unsupported-media-type")
    assert not daemon.registered


def test_body_that_is_too_large_is_refused(client: FlaskClient) -> None:
    response = client.put("/v1/apps/dns", data=b" " * (Limits().body + 1), content_type="application/json")
    assert problem(response)[:2] == (413, "too-large")


@pytest.mark.parametrize(("full", "status"), [(True, 507), (False, 500)])
def test_a_disk_that_does_not_take_it_is_told(client: FlaskClient, daemon: Daemon, full: bool, status: int) -> None:
    daemon.disk = NotStored("nothing is changed: no room", full)
    for response in (client.put("/v1/apps/dns", json=DNS), client.delete("/v1/apps/dns")):
        assert problem(response) == (status, "not-stored", "nothing is changed: no room")


def test_an_error_of_ours_tells_nothing_of_the_inside(
    client: FlaskClient, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    client.application.config["PROPAGATE_EXCEPTIONS"] = False
    daemon.vips = lambda: 1 / 0  # type: ignore[assignment, method-assign, return-value]
    code, reason, message = problem(client.get("/v1/vips"))
    assert (code, reason) == (500, "internal-error")
    assert "division" not in message
    assert "ZeroDivisionError" in caplog.text


def test_an_explanation_is_answered_with_its_chain(client: FlaskClient) -> None:
    body = client.get("/v1/explain/203.0.113.10/32").json
    assert body is not None
    assert body["line"] == "203.0.113.10/32 is NOT announced: monitor-failing: nobody listens"
    assert (body["announced"], body["reason"], body["cause"]) == (False, "monitor-failing", "nobody listens")
    assert body["steps"] == [
        {
            "stage": "monitor",
            "about": "http:dns",
            "mark": "wrong",
            "reason": "monitor-failing",
            "text": "nobody listens",
            "values": {"rise": 1},
        }
    ]
    assert client.get("/v1/explain/203.0.113.10%2F32").json == body


def test_what_nobody_asks_for_is_404_and_says_what_may_be_meant(client: FlaskClient) -> None:
    code, reason, message = problem(client.get("/v1/explain/203.0.113.99/32"))
    assert (code, reason) == (404, "unknown-target")
    assert message == "203.0.113.99/32 is not known here\nwritten most alike: dns"


def test_a_target_without_end_is_refused(client: FlaskClient) -> None:
    assert problem(client.get("/v1/explain/" + "a" * 5000))[:2] == (400, "bad-request")


# -- drains --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["node", "http:dns", "dns", "203.0.113.10/32", "203.0.113.10%2F32", "203.0.113.10"])
def test_drain_is_asked_for_shown_and_ended(client: FlaskClient, daemon: Daemon, path: str) -> None:
    client.put("/v1/apps/dns", json=DNS)
    response = client.put(f"/v1/drains/{path}", json={"for": "30m", "reason": "upgrade"})
    assert response.status_code == 200
    body = response.json
    assert body is not None
    assert (body["reason"], body["who"]) == ("upgrade", "somebody on this host")
    (listed,) = client.get("/v1/drains").json["drains"]  # type: ignore[index]
    assert listed["target"] == body["target"]
    assert listed["vips"][0]["vip"] == "203.0.113.10/32"
    assert [drain.until for drain in daemon.drained.values()] == [1800.0]
    assert client.delete(f"/v1/drains/{path}").status_code == 204
    assert client.get("/v1/drains").json == {"drains": []}
    code, reason, message = problem(client.delete(f"/v1/drains/{path}"))
    assert (code, reason) == (404, "not-found")
    assert "nothing is" in message


def test_unknown_target_is_refused_with_what_there_is_unless_it_is_forced(client: FlaskClient, daemon: Daemon) -> None:
    client.put("/v1/apps/dns", json=DNS)
    for target in ("dsn", "203.0.113.99/32"):
        code, _, message = problem(client.put(f"/v1/drains/{target}", json={}))
        assert code == 404
        assert "http:dns" in message
        assert '"force": true' in message
    assert not daemon.drained
    assert client.put("/v1/drains/dsn", json={"force": True}).status_code == 200


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"for": "soon"}, "duration 'soon'"),
        ({"for": "0s"}, "1s to 8760h"),
        ({"reason": "a\nb"}, "control character"),
        ({"reason": "x" * 201}, "`$.reason`"),
        ({"why": "x"}, "unknown field `why`"),
        ({"for": 30}, "Expected `str`"),
    ],
)
def test_drain_that_cannot_be_read_is_refused(client: FlaskClient, daemon: Daemon, wish: Any, says: str) -> None:
    code, _, message = problem(client.put("/v1/drains/node", json=wish))
    assert code == 400
    assert says in message
    assert not daemon.drained


def test_drain_that_cannot_be_written_is_told(client: FlaskClient, daemon: Daemon) -> None:
    daemon.disk = NotStored("it is drained, but a restart may forget that", True)
    assert problem(client.put("/v1/drains/node", json={}))[:2] == (507, "not-stored")


def test_vip_that_drains_says_how_far_it_is_and_is_announced_while_it_is(client: FlaskClient, daemon: Daemon) -> None:
    now = time.monotonic()
    for phase, state in (("lowered", "announced"), ("withdrawing", "down"), ("flows", "down"), ("drained", "down")):
        drain = VipDrain(DrainPhase(phase), now - 60, now - 55, now + 60, 3)
        vip = VipView(notation.vip("203.0.113.9/32"), Reason.DRAINING, "why", drain=drain)
        daemon.vips = lambda vip=vip: [vip]  # type: ignore[method-assign, misc]
        (item,) = client.get("/v1/vips").json["vips"]  # type: ignore[index]
        assert (item["state"], item["reason"]) == (state, "draining")
        assert (item["drain"]["phase"], item["drain"]["flows"]) == (phase, 3)
        assert item["drain"]["since"] < item["drain"]["withdrawn"] < item["drain"]["until"]
