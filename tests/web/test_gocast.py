"""GoCast's URLs, as its scripts call them."""

from __future__ import annotations

import errno
import ipaddress

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from consulcast.executor.protocols import SessionState
from consulcast.kept_file import NotStored
from consulcast.registration import Registration
from consulcast.values import replace
from consulcast.web.view import Messages, SessionInfo
from tests.web.daemon import PEER, Daemon


def refusal(response: TestResponse) -> str:
    assert response.status_code == 400
    assert response.mimetype == "text/plain"
    assert response.text.startswith("Invalid request")
    return response.text


def test_register_takes_every_parameter_and_answers_with_nothing(client: FlaskClient, daemon: Daemon) -> None:
    response = client.get(
        "/register?name=dns&vip=203.0.113.10/32&monitor=port:udp:53&monitor=exec:test%201%20=%201"
        "&nat=udp:53:8053&nat=tcp:53&vip_communities=65000:1,65000:2"
    )
    assert (response.status_code, response.data) == (200, b"")
    assert daemon.registered["dns"] == Registration(
        name="dns",
        vips=("203.0.113.10/32",),
        monitors=("port:udp:53", "exec:test 1 = 1"),
        nats=("udp:53:8053", "tcp:53"),
        communities=("65000:1,65000:2",),
    )


def test_name_and_vip_are_enough(client: FlaskClient, daemon: Daemon) -> None:
    assert client.get("/register?name=dns&vip=203.0.113.10/32").status_code == 200
    assert daemon.registered["dns"] == Registration("dns", ("203.0.113.10/32",))


def test_beyond_gocast_several_vips_and_a_ttl(client: FlaskClient, daemon: Daemon) -> None:
    url = "/register?name=dns&vip=203.0.113.10/32&vip=2001:db8::10/128&ttl=30s"
    assert client.get(url).status_code == 200
    assert daemon.registered["dns"] == Registration("dns", ("203.0.113.10/32", "2001:db8::10/128"), ttl="30s")


@pytest.mark.parametrize("query", ["", "name=dns", "vip=203.0.113.10/32", "name=&vip=203.0.113.10/32", "name=dns&vip="])
def test_fault_6_a_missing_name_or_vip_is_told(client: FlaskClient, daemon: Daemon, query: str) -> None:
    text = refusal(client.get(f"/register?{query}"))
    assert "missing" in text or "empty" in text
    assert not daemon.registered


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("vip=203.0.113.10", "no prefix length: write 203.0.113.10/32"),
        ("vip=anycast/32", "is not an address"),
        ("vip=203.0.113.10/33", "is not an address"),
        ("vip=203.0.113.10/32&monitor=ping:1", "kind 'ping' is not one of"),
        ("vip=203.0.113.10/32&monitor=", "monitor is empty"),
        ("vip=203.0.113.10/32&nat=icmp:1", "NAT rule 'icmp:1'"),
        ("vip=203.0.113.10/32&nat=tcp:70000", "port '70000'"),
        ("vip=203.0.113.10/32&vip_communities=", "vip_communities is empty"),
        ("vip=203.0.113.10/32&vip_communities=65000", "community '65000'"),
        ("vip=203.0.113.10/32&vip_communities=70000:1", "at most 65535"),
        ("vip=203.0.113.10/32&ttl=never", "duration 'never'"),
        ("vip=203.0.113.10/32&name=other", "name is given 2 times"),
        ("vip=203.0.113.10/32&vip_community=65000:1", "parameter 'vip_community' is not known"),
        ("vip=203.0.113.10/32&monitor=exec:a%0Ab", "control character"),
    ],
)
def test_bad_values_are_told_with_what_to_write_instead(
    client: FlaskClient, daemon: Daemon, query: str, says: str
) -> None:
    assert says in refusal(client.get(f"/register?name=dns&{query}"))
    assert not daemon.registered


def test_what_the_rules_refuse_is_told_with_the_reason_of_the_log_and_not_kept(
    client: FlaskClient, daemon: Daemon
) -> None:
    text = refusal(client.get("/register?name=dns&vip=224.0.0.5/32"))
    assert text == (
        "Invalid request: vip-not-allowed: VIP 224.0.0.5/32: multicast addresses (224.0.0.0/4) are never announced\n"
    )
    client.get("/register?name=a&vip=203.0.113.1/24")
    assert "vip-conflict: VIP 203.0.113.2/24" in refusal(client.get("/register?name=b&vip=203.0.113.2/24"))
    assert list(daemon.registered) == ["a"]


@pytest.mark.parametrize(
    ("change", "attribute"),
    [
        ("vip=203.0.113.11/32", "vips"),
        ("vip=203.0.113.10/32&monitor=port:tcp:53", "monitors"),
        ("vip=203.0.113.10/32&nat=tcp:53", "nats"),
        ("vip=203.0.113.10/32&vip_communities=65000:7", "communities"),
    ],
)
def test_faults_7_and_8_registering_again_changes_the_app_in_place(
    client: FlaskClient, daemon: Daemon, change: str, attribute: str
) -> None:
    client.get("/register?name=dns&vip=203.0.113.10/32")
    before = daemon.registered["dns"]
    assert client.get(f"/register?name=dns&{change}").status_code == 200
    assert list(daemon.registered) == ["dns"]
    assert getattr(daemon.registered["dns"], attribute) != getattr(before, attribute)


def test_the_same_again_is_well_and_changes_nothing(client: FlaskClient, daemon: Daemon) -> None:
    for _ in range(3):
        assert client.get("/register?name=dns&vip=203.0.113.10/32").status_code == 200
    assert daemon.calls == ["register dns"]


@pytest.mark.parametrize("name", ["a b", 'it\'s "quoted"', "a;b&c$d|e", "$(reboot)", "日本語", "../etc", "a/b"])
def test_fault_18_names_are_names_whatever_a_shell_would_make_of_them(
    client: FlaskClient, daemon: Daemon, name: str
) -> None:
    query = {"name": name, "vip": "203.0.113.10/32"}
    assert client.get("/register", query_string=query).status_code == 200
    assert list(daemon.registered) == [name]
    assert client.get("/unregister", query_string={"name": name}).status_code == 200
    assert not daemon.registered


def test_semicolons_belong_to_the_value(client: FlaskClient, daemon: Daemon) -> None:
    assert client.get("/register?name=dns&vip=203.0.113.10/32&monitor=exec:true;false").status_code == 200
    assert daemon.registered["dns"].monitors == ("exec:true;false",)


def test_unregister_is_well_whether_there_is_anything_or_not(client: FlaskClient, daemon: Daemon) -> None:
    client.get("/register?name=dns&vip=203.0.113.10/32")
    for name in ("dns", "dns", "never there"):
        response = client.get(f"/unregister?name={name}")
        assert (response.status_code, response.data) == (200, b"")
    assert daemon.calls == ["register dns", "unregister dns"]


@pytest.mark.parametrize("query", ["", "?name=", "?nom=dns"])
def test_unregister_without_a_name_is_told(client: FlaskClient, query: str) -> None:
    assert "need app name specified" in refusal(client.get(f"/unregister{query}"))


@pytest.mark.parametrize(("full", "status"), [(True, 507), (False, 500)])
def test_a_disk_that_does_not_take_it_is_told(client: FlaskClient, daemon: Daemon, full: bool, status: int) -> None:
    daemon.disk = NotStored(f"nothing is changed: state cannot be written: {errno.ENOSPC}", full)
    for url in ("/register?name=dns&vip=203.0.113.10/32", "/unregister?name=dns"):
        response = client.get(url)
        assert (response.status_code, response.mimetype) == (status, "text/plain")
        assert "nothing is changed" in response.text


def test_info_is_null_before_the_first_announcement(client: FlaskClient) -> None:
    response = client.get("/info")
    assert (response.status_code, response.data) == (200, b"null\n")


def test_info_is_of_gobgps_shape(client: FlaskClient, daemon: Daemon) -> None:
    daemon.session = SessionInfo(
        PEER,
        ipaddress.IPv4Address("192.0.2.1"),
        sent=Messages(open=1, update=4, keepalive=9),
        received=Messages(open=1, update=2, keepalive=8, notification=1),
    )
    response = client.get("/info")
    assert response.mimetype == "application/json"
    assert response.json == {
        "conf": {"neighbor_address": "198.51.100.1", "peer_as": 65000, "local_as": 65001},
        "state": {
            "session_state": 6,
            "neighbor_address": "198.51.100.1",
            "peer_as": 65000,
            "local_as": 65001,
            "router_id": "192.0.2.1",
            "messages": {
                "sent": {"open": 1, "update": 4, "keepalive": 9, "notification": 0, "total": 14},
                "received": {"open": 1, "update": 2, "keepalive": 8, "notification": 1, "total": 12},
            },
        },
    }


def test_info_of_a_session_that_is_down(client: FlaskClient, daemon: Daemon) -> None:
    daemon.session = SessionInfo(replace(PEER, state=SessionState.DOWN))
    state = client.get("/info").json["state"]  # type: ignore[index]
    assert state["session_state"] == 3
    assert "router_id" not in state


def test_ping_is_answered(client: FlaskClient) -> None:
    assert client.get("/ping").text == "I-AM-ALIVE\n"


def test_the_method_does_not_matter_as_in_gocast(client: FlaskClient, daemon: Daemon) -> None:
    assert client.post("/register?name=dns&vip=203.0.113.10/32").status_code == 200
    assert list(daemon.registered) == ["dns"]


def test_errors_of_the_url_are_text_too(client: FlaskClient) -> None:
    response = client.delete("/register?name=dns")
    assert (response.status_code, response.mimetype) == (405, "text/plain")
