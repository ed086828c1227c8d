"""Where the daemon is looked for, and what is said when it is not there, or does not want to."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest
import urllib3
from click.testing import CliRunner
from gevent.server import StreamServer

from consulcast.cli import cli, client, places
from consulcast.cli.exits import Stop
from consulcast.cli.places import Place
from consulcast.unix_connection import UnixConnection
from consulcast.web import tls, tokens
from consulcast.web.app import make_app
from consulcast.web.door import Door, Settings
from consulcast.web.listen import listen
from consulcast.web.rights import Access
from consulcast.web.server import Server
from tests.cli.conftest import Site
from tests.web.certificates import make_all
from tests.web.daemon import Daemon

SECRET = "a-secret-of-some-length"
READER = tokens.parse("f", f"reader drain {SECRET}\nother read another-secret-of-length")


def ask(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["status", *arguments])
    return result.exit_code, result.output


@pytest.fixture
def tcp() -> Iterator[Callable[..., int]]:
    running: list[Server] = []

    def start(settings: Settings, secure: bool = False) -> int:
        door = Door(settings)
        server = Server(listen("127.0.0.1:0"), make_app(Daemon(), door), door, secure=secure)
        server.start()
        running.append(server)
        return int(server.socket.getsockname()[1])

    yield start
    for server in running:
        server.stop(timeout=0)


@pytest.fixture
def says() -> Iterator[Callable[[bytes], str]]:
    """A server that answers everything with the same bytes."""
    running: list[StreamServer] = []

    def start(answer: bytes) -> str:
        def handle(connection: socket.socket, _: object) -> None:
            connection.recv(65536)
            connection.sendall(answer)

        server = StreamServer(("127.0.0.1", 0), handle)
        server.start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in running:
        server.stop(timeout=0)


def test_no_daemon_is_told_with_what_was_tried_and_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = (Place(path=str(tmp_path / "api.sock")), Place(host="127.0.0.1", port=1))
    monkeypatch.setattr(places, "default", lambda: gone)
    status, output = ask()
    assert status == 4
    assert f"unix://{tmp_path}/api.sock: No such file or directory" in output
    assert "http://127.0.0.1:1: Connection refused" in output
    assert "systemctl status consulcast" in output


def test_the_next_place_is_asked_when_the_first_takes_no_connection(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Place.read(site.url)
    monkeypatch.setattr(places, "default", lambda: (Place(path=str(tmp_path / "none.sock")), there))
    assert ask()[0] == 0


def test_the_file_says_where_its_daemon_listens_the_own_socket_first(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        f"agent: {{run_dir: {tmp_path}/run, listen_addr: ':8099'}}\n"
        "api: {listen: ['https://198.51.100.1:8443', '[::]:81', 'unix:///a.sock'], tokens_file: /not/ours/to/read}\n"
        "bgp: {local_as: 1, peer_as: 2}\n"
    )
    found = [str(place) for place in places.of_file(str(file))]
    assert found[:2] == [f"unix://{tmp_path}/run/api.sock", "unix:///a.sock"]
    assert found[2:] == ["http://127.0.0.1:8099", "http://[::1]:81", "https://198.51.100.1:8443"]
    file.write_text(f"agent: {{run_dir: {tmp_path}}}\n")  # its api.sock is the fixture's
    assert ask("--config", str(file))[0] == 0


def test_environment_says_where_the_daemon_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSULCAST_URL", site.url)
    assert ask()[0] == 0


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8080", "unix://relative", "ftp://h", "http://", "http://h:x", "http://h/prefix", "http://u:p@h:1"],
)
def test_a_url_of_another_form_is_refused_with_the_right_forms(url: str) -> None:
    with pytest.raises(Stop) as stop:
        Place.read(url)
    assert stop.value.exit_code == 2
    assert "u:p" not in stop.value.message


def test_own_socket_answers_root_whatever_else_is_configured(serve: Callable[..., Site], tmp_path: Path) -> None:
    closed = Settings(access=Access(READER, True, here=frozenset()))
    serve(closed, own=str(tmp_path / "api.sock"))
    assert (tmp_path / "api.sock").stat().st_mode & 0o777 == 0o600
    assert ask("--url", f"unix://{tmp_path}/api.sock")[0] == 0


def test_without_a_token_it_is_told_which_scope_is_missing(tcp: Callable[..., int], tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{tcp(Settings(access=Access(READER, True, here=frozenset())))}"
    status, output = ask("--url", url)
    assert status == 5
    assert "scope 'read'" in output
    assert "--token-file" in output
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    status, output = ask("--url", url, "--token-file", str(file))
    assert status == 5
    assert "token 'reader' has not the scope 'read'" in output
    assert SECRET not in output
    file.write_text("another-secret-of-length\n")
    assert ask("--url", url, "--token-file", str(file))[0] == 0
    file.write_text("wrong-secret-of-some-length")
    assert ask("--url", url, "--token-file", str(file))[0] == 5


@pytest.mark.parametrize("content", ["", "two tokens", "line\nbreak", "kö", "x" * 5000])
def test_a_file_without_one_token_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    status, output = ask("--url", "http://127.0.0.1:1", "--token-file", str(file))
    assert status == 2
    assert not content or content not in output


def test_tls_is_verified_and_a_certificate_shown(tcp: Callable[..., int], tmp_path: Path) -> None:
    pki = make_all(tmp_path)
    context = tls.context(str(pki / "server.pem"), str(pki / "server.key"), str(pki / "ca.pem"))
    access = Access(clients={"deploy.example.org": ["read"]}, here=frozenset())
    url = f"https://127.0.0.1:{tcp(Settings(access=access, tls=context), secure=True)}"
    status, output = ask("--url", url)
    assert status == 4
    assert "TLS" in output
    assert "--ca-file" in output
    status, _ = ask("--url", url, "--ca-file", str(pki / "ca.pem"))
    assert status == 5
    mine = ("--cert", str(pki / "deploy.example.org.pem"), "--key", str(pki / "deploy.example.org.key"))
    assert ask("--url", url, "--ca-file", str(pki / "ca.pem"), *mine)[0] == 0
    assert ask("--url", url, "--ca-file", str(pki / "none.pem"))[0] == 2


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmoin", "not JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{}", "broke off"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", "302"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "500"),
        (b"SSH-2.0-OpenSSH\r\n", "is that consulcast?"),
        (b"", "is that consulcast?"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "is that consulcast"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "is that consulcast"),
    ],
)
def test_what_is_no_daemon_is_told(says: Callable[[bytes], str], answer: bytes, word: str) -> None:
    status, output = ask("--url", says(answer))
    assert status == 4
    assert word in output


def test_a_daemon_that_hangs_is_not_waited_for_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        status, output = ask("--url", f"http://127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.1")
    assert status == 4
    assert "no answer in 0.1 s" in output


def test_a_daemon_that_is_slow_is_waited_for_as_long_as_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than for a connection."""
    monkeypatch.setattr(client, "CONNECT_TIMEOUT", 0.1)
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"slow": "yes"}'

    def late(connection: socket.socket, _: object) -> None:
        connection.recv(65536)
        gevent.sleep(0.4)
        connection.sendall(answer)

    server = StreamServer(("127.0.0.1", 0), late)
    server.start()
    place = Place(host="127.0.0.1", port=int(server.server_port or 0))
    try:
        asking = gevent.get_hub().threadpool.spawn(client.Client([place], timeout=30.0).get, "/v1/vips")
        assert asking.get() == {"slow": "yes"}
        reading = gevent.get_hub().threadpool.spawn(lambda: list(client.Client([place]).stream("/v1/events", 30.0)))
        assert reading.get() == []
    finally:
        server.stop(timeout=0)


@pytest.mark.parametrize(
    ("then", "words"), [("close", "the stream ended: the daemon closed it"), ("wait", "nothing came for 0.1 s")]
)
def test_a_stream_that_ends_says_so_in_words(then: str, words: str) -> None:
    def begin(connection: socket.socket, _: object) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n:\n\r\n")
        gevent.sleep(0 if then == "close" else 5)

    server = StreamServer(("127.0.0.1", 0), begin)
    server.start()
    place = Place(host="127.0.0.1", port=int(server.server_port or 0))
    try:
        reading = gevent.get_hub().threadpool.spawn(lambda: list(client.Client([place]).stream("/v1/events", 0.1)))
        with pytest.raises(Stop, match=words):
            reading.get()
    finally:
        server.stop(timeout=0)


def test_a_socket_that_is_not_for_this_user_is_no_daemon_that_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: urllib3.connection.HTTPConnection) -> socket.socket:
        raise urllib3.exceptions.NewConnectionError(self, "denied") from PermissionError(13, "Permission denied")

    monkeypatch.setattr(UnixConnection, "_new_conn", denied)
    gone = (Place(path=str(tmp_path / "api.sock")), Place(host="127.0.0.1", port=1))
    monkeypatch.setattr(places, "default", lambda: gone)
    status, output = ask()
    assert status == 5
    assert f"unix://{tmp_path}/api.sock: Permission denied" in output
    assert "ask as root" in output


def test_help_and_status_start_without_the_daemons_libraries(tmp_path: Path) -> None:
    probe = (
        "import json, sys\n"
        "from consulcast import __main__ as program\n"
        "try: program.main()\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)\n"
    )
    for arguments in (["--help"], ["status", "--url", f"unix://{tmp_path}/none.sock"], ["drain", "--help"]):
        done = subprocess.run([sys.executable, "-c", probe, *arguments], capture_output=True, text=True, check=True)
        loaded = set(json.loads(done.stderr.splitlines()[-1]))
        assert "click" in loaded
        assert not loaded & {"gevent", "flask", "pyroute2", "exabgp", "requests", "consul", "prometheus_client"}
