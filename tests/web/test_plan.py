"""What a reload would do, over HTTP: one at a time."""

from __future__ import annotations

import gevent
import pytest
from flask.testing import FlaskClient

from consulcast.outlook import Action, Kind, Outlook, Step
from consulcast.web import api
from tests.web.daemon import Daemon


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "PLAN_PAUSE", 0.0)
    monkeypatch.setattr(api, "PLAN_PATIENCE", 0.01)


def test_steps_and_what_is_not_known(client: FlaskClient, daemon: Daemon) -> None:
    daemon.outlook = Outlook((Step(Kind.VIP, "203.0.113.10/32", Action.ADD, "announced"),), ("nat",))
    assert client.get("/v1/plan").json == {
        "steps": [
            {"kind": "vip", "subject": "203.0.113.10/32", "action": "add", "reason": "announced", "detail": ""},
        ],
        "unknown": ["nat"],
    }
    assert daemon.calls == []


def test_a_file_that_would_not_be_taken(client: FlaskClient, daemon: Daemon) -> None:
    daemon.bad_file = "c.yaml:3: no"
    response = client.get("/v1/plan")
    assert (response.status_code, response.json["reason"]) == (409, "bad-config")  # type: ignore[index]


def test_one_is_made_at_a_time(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "PLAN_PAUSE", 0.2)
    first = gevent.spawn(client.application.test_client().get, "/v1/plan")
    gevent.sleep(0.02)
    response = client.get("/v1/plan")
    assert response.status_code == 429
    assert "Retry-After" in response.headers
    assert first.get(timeout=10).status_code == 200
    assert client.get("/v1/plan").status_code == 200
