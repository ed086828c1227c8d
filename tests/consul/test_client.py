from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from consulcast.consul.bodies import Check, Node, Service
from consulcast.consul.client import Client, Consistency, Right
from consulcast.consul.errors import (
    AclsOff,
    ConsulError,
    Denied,
    Garbage,
    NoLeader,
    RateLimited,
    Rejected,
    TimedOut,
    Unreachable,
)
from consulcast.consul.settings import ConsulSettings, settings_from
from tests.consul.server import CONSUL, Request, Server, reply


@pytest.fixture(autouse=True)
def _foreign_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What python-consul2 and requests would obey, and the client must not."""
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "192.0.2.1:1")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "another")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")


Answering = Callable[[bytes | Callable[[Request], bytes | None] | None], Server]


@pytest.fixture
def answering() -> Iterator[Answering]:
    servers = []

    def make(answer: bytes | Callable[[Request], bytes | None] | None) -> Server:
        server = Server(answer if callable(answer) else lambda request: answer)
        servers.append(server.__enter__())
        return server

    yield make
    for server in servers:
        server.__exit__()


def client(server: Server, **more: str) -> Client:
    return Client(settings_from({}, address=server.address, **more))  # type: ignore[arg-type]


CATALOG = json.dumps(
    {
        "Node": {"Node": "n1", "ID": "x", "Address": "192.0.2.9"},
        "Services": {"dns-1": {"ID": "dns-1", "Service": "dns", "Tags": ["a", "b=c"], "CreateIndex": 12, "Port": 53}},
    }
)


def test_a_catalog_answer_comes_typed_and_with_its_headers(answering: Answering) -> None:
    headers = CONSUL | {"X-Consul-Index": "42", "X-Consul-Lastcontact": "1500", "X-Consul-Knownleader": "false"}
    server = answering(reply(CATALOG, headers=headers | {"X-Consul-Results-Filtered-By-Acls": "true"}))
    answer = client(server).catalog_node("n1")
    assert answer.data is not None
    assert answer.data.node == Node("n1")
    assert answer.data.services == {"dns-1": Service("dns-1", "dns", ("a", "b=c"), 12)}
    assert (answer.index, answer.known_leader, answer.last_contact, answer.filtered) == (42, False, 1.5, True)


def test_an_unknown_node_is_none_and_no_error(answering: Answering) -> None:
    assert client(answering(reply("null"))).catalog_node("n1").data is None


def test_a_health_answer_comes_typed_without_what_changes_all_the_time(answering: Answering) -> None:
    body = [{"CheckID": "c", "Name": "N", "Status": "passing", "ServiceID": "s", "Output": "12:00", "ModifyIndex": 9}]
    answer = client(answering(reply(json.dumps(body)))).health_node("n1")
    assert answer.data == (Check("c", "passing", "s"),)


def test_a_first_query_does_not_wait_and_a_later_one_does(answering: Answering) -> None:
    server = answering(reply(CATALOG))
    asking = client(server)
    asking.catalog_node("n1", index=0, wait=30)
    asking.catalog_node("n1", index=7, wait=30)
    assert server.requests[0].query == {}
    assert server.requests[1].query == {"index": "7", "wait": "30000ms"}


@pytest.mark.parametrize("consistency", [Consistency.STALE, Consistency.CONSISTENT])
def test_consistency_is_asked_for_of_both_endpoints(answering: Answering, consistency: Consistency) -> None:
    server = answering(lambda request: reply("null"))
    asking = client(server)
    asking.catalog_node("n1", consistency=consistency)
    asking.health_node("n1", consistency=consistency)
    assert [request.query for request in server.requests] == [{consistency.value: "1"}] * 2


def test_token_namespace_and_partition_go_with_every_request(answering: Answering) -> None:
    server = answering(reply("{}"))
    client(server, token="secret", namespace="ns1", partition="p1").agent_services()
    (request,) = server.requests
    assert request.headers["x-consul-token"] == "secret"
    assert request.query == {"ns": "ns1", "partition": "p1"}


def test_the_environment_is_not_looked_at(answering: Answering) -> None:
    server = answering(reply("{}"))
    client(server).agent_services()
    assert "x-consul-token" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("node", "path"),
    [("a/b", "a%2Fb"), ("../a", "..%2Fa"), ("a?b#c", "a%3Fb%23c"), ("ä b", "%C3%A4%20b"), ("n.example", "n.example")],
)
def test_a_nodes_name_never_names_another_endpoint(answering: Answering, node: str, path: str) -> None:
    server = answering(reply("null"))
    client(server).catalog_node(node)
    assert server.requests[0].path == f"/v1/catalog/node/{path}"


@pytest.mark.parametrize("node", ["", ".", ".."])
def test_a_name_that_no_path_can_hold_is_refused(answering: Answering, node: str) -> None:
    server = answering(reply("null"))
    with pytest.raises(Rejected, match="CONSUL_NODE"):
        client(server).catalog_node(node)
    assert not server.requests


def test_the_token_file_is_read_anew_after_a_denial(answering: Answering, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    server = answering(
        lambda request: reply("{}") if request.headers["x-consul-token"] == "new" else reply("ACL not found", 403)
    )
    asking = client(server, token_file=str(file))
    with pytest.raises(Denied, match="does not know our token"):
        asking.agent_services()
    file.write_text("new\n")
    assert asking.agent_services() == {}


def test_a_token_rotated_in_its_file_is_taken_within_the_call_also_by_calls_under_way(
    answering: Answering, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    good = ["old"]
    server = answering(
        lambda request: reply("{}") if request.headers["x-consul-token"] in good else reply("ACL not found", 403)
    )
    asking = client(server, token_file=str(file))
    assert asking.agent_services() == {}
    good[:] = ["new"]
    file.write_text("new\n")
    asked = [gevent.spawn(asking.agent_services) for _ in range(3)]
    assert [one.get() for one in asked] == [{}, {}, {}]
    good.clear()
    before = len(server.requests)
    with pytest.raises(Denied):
        asking.agent_services()
    assert len(server.requests) == before + 1, "the same token is not sent twice"


def test_a_token_file_that_cannot_be_read_is_named(answering: Answering) -> None:
    with pytest.raises(Denied, match="/nowhere/token"):
        client(answering(reply("{}")), token_file="/nowhere/token").agent_services()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, "Invalid wait time", Rejected),
        (401, "No", Denied),
        (403, "Permission denied", Denied),
        (403, "ACL not found", Denied),
        (404, "", Rejected),
        (429, "Your IP is issuing too many concurrent connections", RateLimited),
        (500, "No cluster leader", NoLeader),
        (500, "rpc error making call: EOF", NoLeader),
        (500, "No known Consul servers", NoLeader),
        (500, "leadership lost while committing log", NoLeader),
        (500, '{"a": 1}', Rejected),
        (502, "Bad Gateway", Rejected),
        (503, "", RateLimited),
        (301, "", Rejected),
        (204, "", Rejected),
    ],
)
def test_a_status_other_than_200_is_its_own_kind_of_error(
    answering: Answering, status: int, body: str, error: type[ConsulError]
) -> None:
    server = answering(reply(body, status, CONSUL | {"Location": "http://192.0.2.1/"}))
    with pytest.raises(error) as caught:
        client(server).catalog_node("n1")
    assert type(caught.value) is error
    assert len(server.requests) == 1, "neither retried nor redirected"


@pytest.mark.parametrize(
    "body", ["", "<html>", "{", "[]", '{"Node": 1}', '{"Node": {"Node": "n"}, "Services": []}', b"\xff"]
)
def test_a_body_of_another_shape_is_garbage(answering: Answering, body: str | bytes) -> None:
    with pytest.raises(Garbage):
        client(answering(reply(body))).catalog_node("n1")


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_that_is_too_long_is_not_taken_in_and_its_connection_goes(
    answering: Answering, monkeypatch: pytest.MonkeyPatch, chunked: bool
) -> None:
    monkeypatch.setattr("consulcast.consul.exchange.LONGEST", 300)
    monkeypatch.setattr("consulcast.consul.exchange._PIECE", 4)
    lengths = iter((18, 1000, 18))

    def answer(_: Request) -> bytes:
        body = json.dumps("x" * next(lengths))
        return chunks(body) if chunked else reply(body)

    server = answering(answer)
    asking = client(server)
    assert asking.status_leader() == "x" * 18
    with pytest.raises(Garbage, match="answers with more than"):
        asking.status_leader()
    assert asking.status_leader() == "x" * 18
    assert server.connections == 2


def chunks(body: str) -> bytes:
    """The same answer in chunks of a byte."""
    return (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"1\r\n%c\r\n" % letter for letter in body.encode())
        + b"0\r\n\r\n"
    )


@pytest.mark.parametrize("index", [None, "", "abc", "1.5"])
def test_a_query_without_a_usable_index_is_garbage(answering: Answering, index: str | None) -> None:
    headers = {} if index is None else {"X-Consul-Index": index}
    with pytest.raises(Garbage, match="X-Consul-Index"):
        client(answering(reply(CATALOG, headers=headers))).catalog_node("n1")


def test_a_refused_connection_says_where_and_why() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(Unreachable, match=rf"127.0.0.1:{port} \(Connection refused\): is the agent running"):
        Client(settings_from({}, address=f"127.0.0.1:{port}")).status_leader()


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"nonsense\r\n\r\n"])
def test_a_connection_that_breaks_is_unreachable(answering: Answering, answer: bytes | None) -> None:
    def close_after(request: Request) -> bytes | None:
        if answer is not None:
            server.requests[-1].headers["connection"] = "close"
        return answer

    server = answering(close_after)
    with pytest.raises((Unreachable, TimedOut)), gevent.Timeout(5):
        library_patience(client(server), 0.2).status_leader()


def library_patience(asking: Client, seconds: float) -> Client:
    """Shorten how long the client waits for a plain answer."""
    send = asking._http._send
    asking._http._send = lambda method, target, body, patience: send(method, target, body, seconds)  # type: ignore[method-assign]
    return asking


def test_an_agent_that_never_answers_times_out(answering: Answering) -> None:
    def never(request: Request) -> bytes | None:
        gevent.sleep(60)
        return None

    with pytest.raises(TimedOut, match="frozen"):
        library_patience(client(answering(never)), 0.1).status_leader()


def test_an_answer_that_drips_in_meets_the_deadline_as_a_whole(
    answering: Answering,
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while True:
                    connection.sendall(b" ")  # every byte starts the socket's own time-out anew
                    gevent.sleep(0.05)

        greenlet = gevent.spawn(drip)
        asking = Client(settings_from({}, address=f"127.0.0.1:{listener.getsockname()[1]}"))
        with pytest.raises(TimedOut), gevent.Timeout(5):
            library_patience(asking, 0.15).status_leader()
        greenlet.kill()


def test_a_blocking_query_has_more_patience_than_its_wait(answering: Answering) -> None:
    patience = []
    asking = client(answering(reply("null")))
    send = asking._http._send
    asking._http._send = lambda *all: patience.append(all[3]) or send(*all)  # type: ignore[method-assign, func-returns-value]
    asking.catalog_node("n1", index=3, wait=32)
    asking.catalog_node("n1")
    assert patience == [32 + 2 + 10, 10]


def test_connections_are_kept_and_dead_ones_replaced(answering: Answering) -> None:
    server = answering(reply('"192.0.2.1:8300"'))
    asking = client(server)
    for _ in range(5):
        assert asking.status_leader() == "192.0.2.1:8300"
    assert server.connections == 1


def test_five_questions_at_once_keep_five_connections(answering: Answering) -> None:
    def slow(request: Request) -> bytes:
        gevent.sleep(0.02)
        return reply("{}")

    server = answering(slow)
    asking = Client(settings_from({}, address=server.address), connections=5)
    for _ in range(3):
        gevent.joinall([gevent.spawn(asking.agent_services) for _ in range(5)], raise_error=True)
    assert server.connections == 5


def test_killing_a_parked_query_ends_it_at_once(answering: Answering) -> None:
    def never(request: Request) -> bytes | None:
        gevent.sleep(60)
        return None

    asking = client(answering(never))
    parked = gevent.spawn(asking.catalog_node, "n1", index=1, wait=30)
    gevent.sleep(0.05)
    with gevent.Timeout(1):
        parked.kill()
    assert isinstance(parked.value, gevent.GreenletExit)


def test_a_unix_socket_is_spoken_to(tmp_path: Path) -> None:
    path = tmp_path / "consul.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.setblocking(False)
        listener.bind(str(path))
        listener.listen()
        with Server(lambda request: reply('"leader"'), listener=listener) as server:
            asking = Client(settings_from({}, address=f"unix://{path}"))
            assert [asking.status_leader(), asking.status_leader()] == ["leader", "leader"]
            assert server.connections == 1


def test_a_missing_unix_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"none.sock \(No such file"):
        Client(ConsulSettings(unix_socket=f"{tmp_path}/none.sock")).status_leader()


def test_missing_rights_are_named_as_a_policy_writes_them(answering: Answering) -> None:
    def authorize(request: Request) -> bytes:
        asked = json.loads(request.body)
        return reply(json.dumps([{**one, "Allow": one["Resource"] == "node"} for one in asked]), headers={})

    rights = (Right("node", "n1"), Right("service", "dns"), Right("service", ""))
    missing = client(answering(authorize)).missing_rights(rights)
    assert missing == rights[1:]
    assert [str(right) for right in rights] == [
        'node "n1" { policy = "read" }',
        'service "dns" { policy = "read" }',
        'service_prefix "" { policy = "read" }',
    ]


def test_more_rights_than_consul_takes_at_once_are_asked_in_parts(answering: Answering) -> None:
    def authorize(request: Request) -> bytes:
        asked = json.loads(request.body)
        assert len(asked) <= 64
        return reply(json.dumps([{"Allow": False}] * len(asked)))

    rights = [Right("service", str(number)) for number in range(150)]
    assert client(answering(authorize)).missing_rights(rights) == tuple(rights)


def test_consul_without_acls_says_so(answering: Answering) -> None:
    with pytest.raises(AclsOff):
        client(answering(reply("ACL support disabled", 401))).missing_rights([Right("node", "n1")])


def test_consul_without_the_internal_endpoint_says_nothing_about_rights(answering: Answering) -> None:
    assert client(answering(reply("", 404))).missing_rights([Right("node", "n1")]) is None


def test_an_answer_to_another_number_of_questions_is_garbage(answering: Answering) -> None:
    with pytest.raises(Garbage):
        client(answering(reply("[]"))).missing_rights([Right("node", "n1")])


def test_the_agent_names_its_node(answering: Answering) -> None:
    server = answering(reply('{"Config": {"NodeName": "web-1", "Datacenter": "dc1"}, "Member": {}}'))
    assert client(server).agent_node() == "web-1"
