"""The server over a real socket: nobody's connection costs more than it may."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import gevent
import pytest

from consulcast.web import handler as module
from consulcast.web.app import make_app
from consulcast.web.door import Door, Settings
from consulcast.web.limits import Limits
from consulcast.web.listen import listen
from consulcast.web.server import Server
from tests.web.daemon import Daemon

SHORT = 0.15
QUICK = Limits(idle_time=SHORT, request_time=SHORT)
MAX_BODY, MAX_HEADERS = QUICK.body, QUICK.headers


def door(limits: Limits = QUICK) -> Door:
    return Door(Settings(limits=limits))


@pytest.fixture
def server(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "LINGER_TIME", SHORT)
    shared = door()
    server = Server(listen("127.0.0.1:0"), make_app(daemon, shared), shared)
    server.start()
    yield server
    server.stop(timeout=0)


@pytest.fixture
def connection(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
        yield connection


def rest(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


def refusal(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert b"Connection: close" in head
    error = json.loads(body)
    assert error["code"] == status
    return status, error["reason"]


def ask(connection: socket.socket, request: bytes) -> tuple[int, str]:
    connection.sendall(request)
    return refusal(rest(connection))


def test_a_refused_client_that_goes_on_sending_past_the_time_for_a_request_is_refused_once(
    connection: socket.socket, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "LINGER_TIME", 4 * SHORT)
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    head = b"PUT /v1/apps/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.sendall(head + chunk * (MAX_BODY // 0x8000 + 10))
    received = connection.recv(65536)
    with suppress(OSError):  # it is closed in the end
        for _ in range(20):
            connection.sendall(b"x")
            gevent.sleep(SHORT / 3)
    with suppress(OSError):
        received += rest(connection)
    assert (received.count(b"HTTP/1.1 "), refusal(received)) == (1, (413, "too-large"))
    assert "Traceback" not in capfd.readouterr().err


def test_a_connection_serves_one_request_after_the_other(server: Server, daemon: Daemon) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    headers = {"Content-Type": "application/json"}
    for number in range(3):
        client.request("PUT", f"/v1/apps/app-{number}", b'{"vips":["203.0.113.1/32"]}', headers)
        response = client.getresponse()
        assert (response.status, json.load(response)["name"]) == (200, f"app-{number}")
        client.request("GET", f"/unregister?name=app-{number}")
        assert client.getresponse().read() == b""
    assert len(daemon.calls) == 6
    client.close()


def test_answers_do_not_wait_for_an_acknowledgement(connection: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def handle(handler: module.Handler) -> None:
        found.append(handler.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(module.Handler, "handle", handle)
    assert rest(connection) == b""
    assert found == [1]


def test_names_that_are_no_utf8_are_refused(server: Server) -> None:
    for path in ("/v1/apps/%FF", "/v1/apps/a%C3", "/v1/apps/\xff"):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("latin-1"))
            answer = rest(connection)
            assert answer.startswith(b"HTTP/1.1 400"), path
            assert b"not UTF-8" in answer


def test_unix_socket_serves_and_is_gone_after_the_stop(daemon: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    server = Server(listen(f"unix://{path}"), make_app(daemon))
    server.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert rest(connection).endswith(b'{"status":"ok"}\n')
    server.stop(timeout=0)
    assert not path.exists()


def test_another_daemons_socket_is_left_at_the_stop(daemon: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    server = Server(listen(f"unix://{path}"), make_app(daemon))
    server.start()
    path.rename(tmp_path / "moved.sock")
    with listen(f"unix://{path}"):
        server.stop(timeout=0)
        assert path.exists()


def test_chunked_body_is_read(connection: socket.socket, daemon: Daemon) -> None:
    connection.sendall(
        b"PUT /v1/apps/dns HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n9\r\n" + b'{"vips":[' + b'\r\n12\r\n"203.0.113.1/32"]}\r\n0\r\n\r\n'
    )
    assert rest(connection).startswith(b"HTTP/1.1 200")
    assert list(daemon.registered) == ["dns"]


# -- too slow ------------------------------------------------------------------------------------------------------


def test_idle_connection_is_closed(connection: socket.socket) -> None:
    assert rest(connection) == b""


@pytest.mark.parametrize(
    "start",
    [
        b"G",
        b"GET /info HTTP/1.1\r\nHost: localhost\r\n",
        b"GET /info HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"PUT /v1/apps/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        b"PUT /v1/apps/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5000\r\n{",
    ],
)
def test_slow_client_is_cut_however_it_dribbles(connection: socket.socket, start: bytes) -> None:
    connection.sendall(start)

    def dribble() -> None:
        while True:
            gevent.sleep(SHORT / 10)
            connection.sendall(b" ")

    dribbling = gevent.spawn(dribble)
    began = time.monotonic()
    assert refusal(connection.recv(65536)) == (408, "too-slow")
    assert time.monotonic() - began < 10 * SHORT
    dribbling.kill()


def test_a_slow_client_delays_nobody(server: Server) -> None:
    slow = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(20)]
    for one in slow:
        one.sendall(b"GET /info HTTP/1.1\r\nHost: localhost\r\nX: ")
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert rest(connection).endswith(b"I-AM-ALIVE\n")
    for one in slow:
        one.close()


def test_client_that_takes_no_answer_is_cut() -> None:
    def much(environ: object, start_response: object) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])  # type: ignore[operator]
        return [b"x" * (32 << 20)]

    server = Server(listen("127.0.0.1:0"), much, door(Limits(send_time=SHORT)))
    server.start()
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with gevent.Timeout(5):
            while not server.pool:
                gevent.sleep(0.01)
            while server.pool:
                gevent.sleep(0.01)
    server.stop(timeout=0)


def test_more_connections_than_allowed_wait_their_turn(daemon: Daemon) -> None:
    few = door(Limits(connections=2, idle_time=SHORT))
    few.gate.enter = lambda *_: True  # type: ignore[method-assign]  # what one client may have is another test's
    server = Server(listen("127.0.0.1:0"), make_app(daemon), few)
    server.start()
    idle = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(2)]
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert rest(connection).endswith(b"I-AM-ALIVE\n")
    for one in idle:
        one.close()
    server.stop(timeout=0)


# -- too large -----------------------------------------------------------------------------------------------------


def test_long_request_line_is_refused(connection: socket.socket) -> None:
    assert ask(connection, b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n") == (414, "too-large")


@pytest.mark.parametrize(
    "headers",
    [b"X: " + b"x" * MAX_HEADERS + b"\r\n", (b"X: " + b"x" * 1000 + b"\r\n") * 20],
    ids=["one long", "many"],
)
def test_long_headers_are_refused(connection: socket.socket, headers: bytes) -> None:
    assert ask(connection, b"GET /info HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n") == (431, "too-large")


def test_many_short_headers_are_refused(connection: socket.socket) -> None:
    assert ask(connection, b"GET /info HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n") == (
        400,
        "bad-request",
    )


def test_large_body_is_refused_before_it_is_read(connection: socket.socket) -> None:
    head = (
        b"PUT /v1/apps/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\nExpect: 100-continue\r\n\r\n"
    )
    assert ask(connection, head) == (413, "too-large")


def test_large_chunked_body_is_refused_and_the_client_hears_of_it(connection: socket.socket) -> None:
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    head = b"PUT /v1/apps/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert ask(connection, head + chunk * (MAX_BODY // 0x8000 + 10)) == (413, "too-large")


# -- not HTTP as we speak it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",  # TLS
        b"GET /info\r\n\r\n",
        b"GET /info HTTP/2.0\r\n\r\n",
        b"GET /info HTTP/x\r\n\r\n",
        b"HELLO\r\n\r\n",
        b"PUT /v1/apps/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"PUT /v1/apps/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1_0\r\n\r\n{}",
        b"PUT /v1/apps/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 50\r\n\r\n{}",
        b"PUT /v1/apps/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        b"PUT /v1/apps/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
    ],
)
def test_what_is_not_understood_is_refused(
    connection: socket.socket, daemon: Daemon, capfd: pytest.CaptureFixture[str], request_: bytes
) -> None:
    assert ask(connection, request_) == (400, "bad-request")
    assert not daemon.calls
    assert capfd.readouterr().err == ""


def test_body_that_ends_early_is_refused(connection: socket.socket, daemon: Daemon) -> None:
    connection.sendall(
        b"PUT /v1/apps/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{}"
    )
    connection.shutdown(socket.SHUT_WR)
    assert refusal(rest(connection)) == (400, "bad-request")
    assert not daemon.calls


def test_upgrade_is_not_followed(connection: socket.socket) -> None:
    connection.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert rest(connection).startswith(b"HTTP/1.1 400")


def test_error_of_the_application_goes_to_our_log(caplog: pytest.LogCaptureFixture) -> None:
    def broken(environ: object, start_response: object) -> list[bytes]:
        raise RuntimeError("inside")

    server = Server(listen("127.0.0.1:0"), broken)
    server.start()
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"inside" not in answer
    assert "RuntimeError: inside" in caplog.text
    server.stop(timeout=0)
