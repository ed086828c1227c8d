"""Nothing that two programs read in two ways, and nothing that takes the hub for itself: over a real socket."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from consulcast.web import handler
from consulcast.web.app import make_app
from consulcast.web.door import Door, Settings
from consulcast.web.limits import Limits
from consulcast.web.listen import listen
from consulcast.web.rights import Access
from consulcast.web.server import Server
from tests.web.daemon import Daemon

LIMITS = Limits(idle_time=0.3, request_time=0.3, requests_per_second=100_000)
BODY = b'{"vips":["203.0.113.1/32"]}'
PUT = b"PUT /v1/apps/dns HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED = b"GET /unregister?name=old HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def server(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(handler, "LINGER_TIME", 0.05)
    with serving(daemon, LIMITS) as made:
        yield made


class serving:
    """A server over a daemon, for a ``with`` block."""

    def __init__(self, daemon: Daemon, limits: Limits, access: Access | None = None, where: str = "127.0.0.1:0"):
        door = Door(Settings(limits=limits, access=access or Access()))
        self.server = Server(listen(where), make_app(daemon, door), door)

    def __enter__(self) -> Server:
        self.server.start()
        return self.server

    def __exit__(self, *_: object) -> None:
        self.server.stop(timeout=0)


def answers(server: Server, data: bytes) -> bytes:
    """Everything that comes back until the server closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                received += part
        except ConnectionError:
            pass
    return received


def statuses(answer: bytes) -> list[int]:
    """The statuses of all responses in a stream; no body of ours contains the mark."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


@pytest.mark.parametrize(
    "request_",
    [
        PUT + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        PUT + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
        PUT + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
        PUT + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        PUT + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        PUT + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        PUT + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        PUT + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        PUT.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        PUT + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
        PUT + b"Content-Length: 0, 0\r\n\r\n" + SMUGGLED,
        PUT + b"Content-Length: +0\r\n\r\n" + SMUGGLED,
        PUT + b"Content-Length: 0x0\r\n\r\n" + SMUGGLED,
        PUT + b"Content-Length:\r\n\r\n" + SMUGGLED,
        PUT + b"Content-Length : 0\r\n\r\n" + SMUGGLED,
        PUT + b" Content-Length: 0\r\n\r\n" + SMUGGLED,
        PUT + b"X: y\r\n folded\r\n\r\n" + SMUGGLED,
        PUT + b"X: y\r\n\tfolded\r\n\r\n" + SMUGGLED,
        PUT + b"X: y\nContent-Length: 0\r\n\r\n" + SMUGGLED,
        PUT + b"X: y\rContent-Length: 0\r\n\r\n" + SMUGGLED,
        PUT + b"X: y\x00\r\n\r\n" + SMUGGLED,
        PUT + b"X\x00: y\r\n\r\n" + SMUGGLED,
        PUT + b": y\r\n\r\n" + SMUGGLED,
        PUT + b"no colon\r\n\r\n" + SMUGGLED,
        PUT + b"\n" + SMUGGLED,
        GET.replace(b"\r\n", b"\n") + b"\n" + SMUGGLED,
        GET.replace(b"Host: localhost\r\n", b"") + b"\r\n" + SMUGGLED,
        GET + b"Host: localhost\r\n\r\n" + SMUGGLED,
        GET.replace(b" /ping ", b"  /ping ") + b"\r\n" + SMUGGLED,
        GET.replace(b" /ping ", b"\t/ping ") + b"\r\n" + SMUGGLED,
        GET.replace(b" /ping ", b" /ping x ") + b"\r\n" + SMUGGLED,
        GET.replace(b"/ping", b"/ping\x0b") + b"\r\n" + SMUGGLED,
        GET.replace(b"/ping", b"ping") + b"\r\n" + SMUGGLED,
        GET.replace(b"/ping", b"*") + b"\r\n" + SMUGGLED,
        GET.replace(b"/ping", b"file:///ping") + b"\r\n" + SMUGGLED,
        GET.replace(b"/ping", b"http://[x/ping") + b"\r\n" + SMUGGLED,
        GET.replace(b"GET", b"CONNECT").replace(b"/ping", b"localhost:80") + b"\r\n" + SMUGGLED,
        GET.replace(b"HTTP/1.1", b"HTTP/1.1.1") + b"\r\n" + SMUGGLED,
        GET.replace(b"HTTP/1.1", b"HTTP/1.2") + b"\r\n" + SMUGGLED,
        GET.replace(b"HTTP/1.1", b"http/1.1") + b"\r\n" + SMUGGLED,
        b"\r\n" + GET + b"\r\n" + SMUGGLED,
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_and_what_follows_is_not_read(
    server: Server, daemon: Daemon, request_: bytes
) -> None:
    assert statuses(answers(server, request_)) == [400]
    assert not daemon.calls


@pytest.mark.parametrize(
    "chunks",
    [
        *(b"1b\n%s\r\n0\r\n\r\n", b"0x1b\r\n%s\r\n0\r\n\r\n", b"+1b\r\n%s\r\n0\r\n\r\n", b" 1b\r\n%s\r\n0\r\n\r\n"),
        *(b"1_b\r\n%s\r\n0\r\n\r\n", b"1b\r\n%sXX0\r\n\r\n", b"1c\r\n%s\r\n0\r\n\r\n", b"1a\r\n%s\r\n0\r\n\r\n"),
        *(b"\r\n%s\r\n0\r\n\r\n", b"-1b\r\n%s\r\n0\r\n\r\n", b"1b;\n\r%s\r\n0\r\n\r\n", b"1b\r\n%s\r\n"),
        *(b"ffffffffffffffffff\r\n%s\r\n0\r\n\r\n", b"1b\r\n%s\r\n0\r\nbad trailer\r\n\r\n"),
    ],
)
def test_bad_chunks_are_refused(server: Server, daemon: Daemon, chunks: bytes) -> None:
    request = PUT + b"Transfer-Encoding: chunked\r\n\r\n" + chunks % BODY + SMUGGLED
    assert statuses(answers(server, request))[0] in (400, 413)
    assert not daemon.calls


def test_good_chunks_are_taken_and_the_next_request_follows(server: Server, daemon: Daemon) -> None:
    chunked = PUT + b"Transfer-Encoding: chunked\r\n\r\n1b;ext=1\r\n" + BODY + b"\r\n0\r\nTrailer: x\r\n\r\n"
    assert statuses(answers(server, chunked + GET + b"\r\n")) == [200, 200]
    assert daemon.calls == ["register dns"]


@pytest.mark.parametrize(
    ("url", "host", "status"),
    [
        (b"http://localhost/ping", b"evil.example", 200),
        (b"http://127.0.0.1:80/v1/apps", b"evil.example", 200),
        (b"http://evil.example/v1/apps", b"localhost", 403),
        (b"http://localhost", b"localhost", 200),
    ],
)
def test_a_whole_url_counts_more_than_the_header(server: Server, url: bytes, host: bytes, status: int) -> None:
    request = b"GET " + url + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
    assert statuses(answers(server, request)) == [status]


def test_http_1_0_needs_no_host(server: Server) -> None:
    assert statuses(answers(server, b"GET /v1/apps HTTP/1.0\r\n\r\n")) == [200]


def test_long_urls_are_refused(server: Server) -> None:
    assert statuses(answers(server, GET.replace(b"/ping", b"/" + b"x" * 8000) + b"\r\n")) == [414]
    assert statuses(answers(server, GET.replace(b"/ping", b"/" + b"x" * 90_000) + b"\r\n")) == [414]


# -- whose the hub is ----------------------------------------------------------------------------------------------


def longest_stall(server: Server, data: bytes) -> float:
    """How long nothing else ran while the data was taken, in seconds."""
    worst, running = 0.0, True

    def tick() -> None:
        nonlocal worst
        while running:
            before = time.monotonic()
            gevent.sleep(0.001)
            worst = max(worst, time.monotonic() - before)

    ticking = gevent.spawn(tick)
    # A thread of its own sends, so that there is always something to read at once.
    threads = gevent.get_hub().threadpool
    threads.apply(_blast, (server.server_port, data))
    running = False
    ticking.join()
    return worst


def _blast(port: int, data: bytes) -> None:
    from gevent import monkey

    plain = monkey.get_original("socket", "socket")(socket.AF_INET, socket.SOCK_STREAM)
    plain.settimeout(10)
    plain.connect(("127.0.0.1", port))
    with plain:
        try:
            plain.sendall(data)
            while plain.recv(65536):
                pass
        except OSError:
            pass


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (PUT + b"Transfer-Encoding: chunked\r\n\r\n" + (b"1;" + b"x" * 8000 + b"\r\nx\r\n") * 2000, "extensions"),
        (PUT + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + (b"A: " + b"x" * 8000 + b"\r\n") * 2000, "trailers"),
        (PUT + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 60_000, "small chunks"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_body_that_is_all_framing_is_refused_early(server: Server, daemon: Daemon, data: bytes, what: str) -> None:
    began = time.monotonic()
    assert statuses(answers(server, data))[:1] in ([413], [])
    assert time.monotonic() - began < 5.0
    assert longest_stall(server, data) < 1.0
    assert not daemon.calls


def test_a_pipelining_client_has_not_the_hub_to_itself(server: Server) -> None:
    many = GET + b"\r\n"
    assert longest_stall(server, many * 6000) < 0.4  # without its pauses: 0.8 s
    assert statuses(answers(server, many * 100)) == [200] * 100


# -- how often, and how many ---------------------------------------------------------------------------------------


def test_a_client_that_asks_too_often_is_told_when_to_come_back(daemon: Daemon) -> None:
    with serving(daemon, Limits(requests_per_second=1)) as server:  # 320 at once from this host
        answer = answers(server, (GET + b"\r\n") * 400)
    found = statuses(answer)
    assert 300 < len(found) < 400
    assert found == [200] * (len(found) - 1) + [429]
    assert b"Retry-After: 1\r\n" in answer


def test_a_client_with_too_many_connections_is_told(daemon: Daemon) -> None:
    with serving(daemon, Limits(connections=8)) as server:  # six of them for one client of this host
        idle = [socket.create_connection(("127.0.0.1", server.server_port), timeout=5) for _ in range(6)]
        gevent.sleep(0.05)
        assert statuses(answers(server, b"")) == [429]
        for one in idle:
            one.close()
        gevent.sleep(0.05)
        assert statuses(answers(server, GET + b"\r\n")) == [200]
        assert server.door.gate.open == 0


# -- the unix socket -----------------------------------------------------------------------------------------------


def ask_at(path: Path) -> list[int]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(b"PUT /v1/apps/dns HTTP/1.1\r\nHost: anything\r\nContent-Type: application/json\r\n")
        connection.sendall(b"Connection: close\r\nContent-Length: 27\r\n\r\n" + BODY)
        return statuses(connection.recv(65536))


def test_the_daemons_own_user_needs_no_token_at_the_unix_socket(daemon: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with serving(daemon, LIMITS, Access(tokens_set=True), f"unix://{path}"):
        assert ask_at(path) == [200]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to become somebody else")
def test_another_user_does(daemon: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with serving(daemon, LIMITS, Access(tokens_set=True), f"unix://{path}"):
        path.chmod(0o666)
        for parent in path.parents[:3]:
            parent.chmod(0o755)
        os.seteuid(65534)  # SO_PEERCRED tells the client's effective user at connect(2)
        try:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect(str(path))
        finally:
            os.seteuid(0)
        with connection:
            connection.settimeout(5)
            connection.sendall(b"GET /unregister?name=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert statuses(connection.recv(65536)) == [401]
        assert not daemon.calls


# -- anything ------------------------------------------------------------------------------------------------------

PIECES = [
    *(b"GET ", b"PUT ", b"POST ", b"HEAD ", b"/", b"/ping", b"/register?name=a&vip=", b"/v1/apps/%00", b"http://x/"),
    *(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/9\r\n", b"Host: localhost\r\n", b"\r\n", b"\n", b"\r", b"\x00", b" "),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"hello", b"%"),
    *(b"Expect: 100-continue\r\n", b"Connection: upgrade\r\n", b"Upgrade: websocket\r\n", b"X: y\r\n"),
    b"Authorization: Bearer x\r\n",
]
STREAMS = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=25).map(b"".join)


@settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "150")),
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=STREAMS)
@example(data=GET + b"\r\n")
def test_whatever_comes_is_answered_in_http_and_is_never_an_error_of_ours(
    server: Server, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], data: bytes
) -> None:
    answer = answers(server, data)
    if not answer.startswith(b"HTTP/1.1 "):
        assert answer == b""
        assert not data.strip() or len(data) < 1
    assert all(100 <= status < 500 for status in statuses(answer)), answer
    assert not caplog.records
    assert capfd.readouterr().err == ""
