"""Probes over the network: tcp and http."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent.server import StreamServer

from consulcast import notation
from consulcast.monitors import factory
from consulcast.monitors.factory import Resources
from consulcast.monitors.probe import Look, failed
from tests.consul.server import Request, Server, reply


def look(text: str, timeout: float = 2.0) -> Look:
    return factory.probe(notation.monitor(text), Resources()).look(timeout)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_tcp_passes_while_a_connection_can_be_made(silent: int) -> None:
    assert look(f"tcp:127.0.0.1:{silent}") == Look(True, "connected")
    assert look(f"tcp:localhost:{silent}").passed
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert look(f"tcp:127.0.0.1:{unused.getsockname()[1]}") == Look(False, "Connection refused")


def test_name_that_does_not_resolve_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("consulcast.monitors.names._getaddrinfo", unknown)
    assert look("tcp:nowhere.invalid:1") == Look(False, "Name or service not known")


def test_name_that_takes_for_ever_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consulcast.monitors.names._getaddrinfo", lambda *_: time.sleep(0.3))
    assert look("tcp:slow.invalid:1", timeout=0.05) == Look(False, "no answer within 0.05 s")


@pytest.mark.parametrize("trouble", ["silent", "EAI_AGAIN", "all threads are taken"])
def test_name_that_was_known_stands_while_nobody_resolves_it(
    silent: int, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", silent))]

    def asked(host: str, *_: object) -> object:
        if host == "known.invalid" and trouble == "EAI_AGAIN":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        time.sleep(0.5)
        return before

    monkeypatch.setattr("consulcast.monitors.names._PATIENCE", 0.05)
    monkeypatch.setattr("consulcast.monitors.names._getaddrinfo", lambda *_: before)
    assert look(f"tcp:known.invalid:{silent}").passed
    monkeypatch.setattr("consulcast.monitors.names._getaddrinfo", asked)
    hanging = [gevent.spawn(look, f"tcp:evil{n}.invalid:1") for n in range(9 if trouble.startswith("all") else 0)]
    gevent.sleep(0.05)
    assert look(f"tcp:known.invalid:{silent}") == Look(True, "connected")
    assert look(f"tcp:localhost:{silent}").passed
    gevent.joinall(hanging)


def test_name_that_is_gone_fails_although_it_was_known(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[object] = [[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", silent))]]

    def asked(*_: object) -> object:
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return answers.pop()

    monkeypatch.setattr("consulcast.monitors.names._getaddrinfo", asked)
    assert look(f"tcp:gone.invalid:{silent}").passed
    assert look(f"tcp:gone.invalid:{silent}") == Look(False, "Name or service not known")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL])
def test_what_this_host_lacks_says_nothing_of_the_service(number: int) -> None:
    assert failed(OSError(number, os.strerror(number))).passed is None


def http(answer: Callable[[Request], bytes | None], options: str = "", path: str = "/health") -> tuple[Look, Server]:
    with Server(answer) as server:
        return look(f"http:http://{server.address}{path}{options}"), server


def test_http_passes_with_a_status_of_the_range() -> None:
    found, server = http(lambda _: reply("ok", 204), path="/a?b=c")
    assert found == Look(True, "status 204")
    (request,) = server.requests
    assert (request.method, request.path, request.query) == ("GET", "/a", {"b": "c"})
    assert request.headers["host"] == server.address
    assert request.headers["user-agent"].startswith("consulcast/")


def test_http_fails_with_another_status() -> None:
    assert http(lambda _: reply("", 503))[0] == Look(False, "status 503")
    assert http(lambda _: reply("", 503), ";status=200-299,503")[0] == Look(True, "status 503")


def test_http_redirect_is_not_followed() -> None:
    found, server = http(lambda _: reply("", 302, {"Location": "/login"}))
    assert found == Look(False, "status 302, to '/login'")
    assert len(server.requests) == 1


def test_http_host_header_is_an_option() -> None:
    _, server = http(lambda _: reply(), ";host=www.example.org")
    assert server.requests[0].headers["host"] == "www.example.org"


@contextlib.contextmanager
def saying(*pieces: bytes, pause: float = 0.0) -> Iterator[int]:
    """A port where these bytes are said whatever is asked, with a pause after each, before it hangs up."""

    def serve(connection: socket.socket, _: object) -> None:
        connection.recv(1000)
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
                gevent.sleep(pause)

    server = StreamServer(("127.0.0.1", 0), serve)
    server.start()
    yield server.server_port or 0
    server.stop(timeout=0)


@pytest.mark.parametrize(
    "answer",
    [
        *(
            b"",
            b"SSH-2.0-OpenSSH\r\n",
            b"HTTP/1.1",
            b"HTTP/1.1 xyz OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200,
        ),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
    ],
)
def test_what_is_no_whole_http_answer_fails(answer: bytes) -> None:
    with saying(answer) as port:
        assert look(f"http:http://127.0.0.1:{port}/").passed is False


def test_http_body_is_read_to_a_bound() -> None:
    with saying(b"HTTP/1.1 200 OK\r\n\r\n", bytes(1 << 16), *[b"x"] * 100, pause=0.1) as port:
        assert look(f"http:http://127.0.0.1:{port}/") == Look(True, "status 200")


def test_server_that_is_silent_or_drips_is_given_up_in_time(silent: int) -> None:
    with saying(*[b"H"] * 50, pause=0.02) as dripping:
        for url in (f"http://127.0.0.1:{silent}/", f"https://127.0.0.1:{silent}/", f"http://127.0.0.1:{dripping}/"):
            began = time.monotonic()
            assert look(f"http:{url}", timeout=0.1) == Look(False, "no answer within 0.1 s")
            assert time.monotonic() - began < 1.0


def test_no_descriptors_are_lost(silent: int) -> None:
    def all_of_them() -> None:
        http(lambda _: reply())
        for text in (f"tcp:127.0.0.1:{silent}", f"http:https://127.0.0.1:{silent}/", "tcp:127.0.0.1:1"):
            look(text, timeout=0.05)

    all_of_them()
    before = len(os.listdir("/proc/self/fd"))
    all_of_them()
    assert len(os.listdir("/proc/self/fd")) == before
