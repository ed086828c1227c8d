"""The connections under the client: kept, replaced, refused, with TLS."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from consulcast.consul import transport
from consulcast.consul.client import Client
from consulcast.consul.errors import Garbage, TimedOut, Unreachable
from consulcast.consul.library import Http
from consulcast.consul.settings import ConsulSettings, settings_from
from tests.consul.server import Request, Server, reply
from tests.web.certificates import make_all


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(lambda request: reply('"leader"')) as server:
        yield server


def client(server: Server, watching: bool = False) -> Client:
    return Client(settings_from({}, address=server.address), watching=watching)


def test_a_kept_connection_that_the_other_side_has_closed_is_replaced_in_silence(server: Server) -> None:
    asking = client(server)
    asking.status_leader()
    server.drop()
    assert asking.status_leader() == "leader"
    assert server.connections == 2


def test_one_that_watches_is_told_of_a_kept_connection_that_was_closed_and_then_makes_another(server: Server) -> None:
    asking = client(server, watching=True)
    asking.status_leader()
    server.drop()
    with pytest.raises(Unreachable):
        asking.status_leader()
    assert asking.status_leader() == "leader"
    assert server.connections == 2


@pytest.mark.parametrize("watching", [False, True])
def test_what_comes_on_a_kept_connection_that_nobody_asked_for_is_never_taken_for_the_next_answer(
    server: Server, watching: bool
) -> None:
    asking = client(server, watching)
    asking.status_leader()
    for connection in server.kept:
        connection.sendall(reply('"another"'))
    gevent.sleep(0.01)
    assert asking.status_leader() == "leader"
    assert server.connections == 2


def test_a_connection_of_which_another_answer_is_under_way_is_not_used_again(server: Server) -> None:
    def late(request: Request) -> bytes:
        gevent.sleep(0.1 if len(server.requests) == 1 else 0)
        return reply(f'"{len(server.requests)}"')

    server.answer = late
    asking = client(server)
    asked = gevent.spawn(asking.status_leader)
    gevent.sleep(0.02)
    asked.kill()
    assert asking.status_leader() == "2"
    assert server.connections == 2


def test_no_more_connections_are_kept_than_are_asked_for(server: Server) -> None:
    def slow(request: Request) -> bytes:
        gevent.sleep(0.02)
        return reply('"leader"')

    server.answer = slow
    asking = Client(settings_from({}, address=server.address), connections=2)
    for _ in range(2):
        gevent.joinall([gevent.spawn(asking.status_leader) for _ in range(3)], raise_error=True)
    assert server.connections == 4


def test_a_client_that_was_closed_keeps_nothing(server: Server) -> None:
    asking = client(server)
    asking.status_leader()
    asking.close()
    gevent.sleep(0.01)
    asking.status_leader()
    asking.status_leader()
    assert server.connections == 3


def test_a_listener_that_takes_nobody_is_not_waited_for_as_for_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT", 0.05)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(f"{tmp_path}/full.sock")
        listener.listen(0)
        first.connect(f"{tmp_path}/full.sock")  # the one place in its queue
        with pytest.raises(Unreachable, match="does not accept connections"):
            Client(ConsulSettings(unix_socket=f"{tmp_path}/full.sock")).status_leader()


def test_the_options_that_notice_a_peer_which_vanished_are_set(server: Server) -> None:
    connection = transport._tcp("127.0.0.1", int(server.address.rpartition(":")[2]))
    with connection:
        found = [connection.getsockopt(level, option) for level, option, _ in transport._SOCKET_OPTIONS]
    assert found == [value for _, _, value in transport._SOCKET_OPTIONS]


def test_the_host_is_named_as_in_the_address(server: Server) -> None:
    client(server).status_leader()
    assert server.requests[0].headers["host"] == server.address


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("[2001:db8::1]:8500", "[2001:db8::1]:8500"),
        ("http://consul.example/", "consul.example:80"),
        ("büro.example:1", "xn--bro-hoa.example:1"),
    ],
)
def test_the_host_may_be_an_ipv6_address_and_a_name_of_any_letters(address: str, host: str) -> None:
    assert f"Host: {host}\r\n" in Http(settings_from({}, address=address), 1)._headers


def test_an_address_with_a_path_has_it_before_every_request(server: Server) -> None:
    Client(settings_from({}, address=f"http://{server.address}/behind/proxy/")).status_leader()
    assert server.requests[0].path == "/behind/proxy/v1/status/leader"


@pytest.mark.parametrize("name", ["a b", "a\r\nX: y", "ä", ""])
def test_a_name_that_would_be_more_than_a_target_is_not_sent(server: Server, name: str) -> None:
    http = Http(settings_from({}, address=server.address), 1)
    with pytest.raises(Garbage):
        http._send("GET", name, None, 1.0)
    assert not server.requests


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_all(tmp_path_factory.mktemp("pki"))


def named(pki: Path, name: str) -> Server:
    """One with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")
    return Server(lambda request: reply('"leader"'), secure=context)


@pytest.fixture
def secure(pki: Path) -> Iterator[Server]:
    with named(pki, "server") as server:
        yield server


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_with_a_certificate_of_our_ca_is_spoken_to(secure: Server, pki: Path, host: str) -> None:
    port = secure.address.rpartition(":")[2]
    asking = Client(settings_from({}, address=f"https://{host}:{port}", ca_file=str(pki / "ca.pem")))
    assert [asking.status_leader(), asking.status_leader()] == ["leader", "leader"]
    assert secure.connections == 1


@pytest.mark.parametrize("ca", ["stranger", "", "directory"])
def test_a_server_with_a_certificate_of_another_ca_is_not(secure: Server, pki: Path, ca: str) -> None:
    path = str(pki / f"{ca}.pem") if ca in ("stranger",) else "/" if ca else ""
    with pytest.raises(Unreachable, match=r"certificate verify failed.*: check the CA and our certificate"):
        Client(settings_from({}, address=f"https://{secure.address}", ca_file=path)).status_leader()
    assert not secure.requests


def test_a_server_of_another_name_is_not(pki: Path) -> None:
    with named(pki, "deploy.example.org") as server:
        settings = settings_from({}, address=f"https://{server.address}", ca_file=str(pki / "ca.pem"))
        with pytest.raises(Unreachable, match="check the CA"):
            Client(settings).status_leader()


def test_no_certificate_is_looked_at_where_none_is_to_be_verified(secure: Server) -> None:
    assert Client(settings_from({}, address=f"https://{secure.address}", verify=False)).status_leader() == "leader"


def test_a_file_of_tls_that_cannot_be_read_is_named(secure: Server, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"needs .*/none.pem, which cannot be read"):
        Client(settings_from({}, address=f"https://{secure.address}", ca_file=f"{tmp_path}/none.pem")).status_leader()


def test_a_private_key_with_a_password_is_refused_and_nobody_asked_for_it(
    secure: Server, pki: Path, tmp_path: Path
) -> None:
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-in", str(pki / "server.key"), "-aes256", "-passout", "pass:x", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    more = {"ca_file": str(pki / "ca.pem"), "cert_file": str(pki / "server.pem"), "key_file": str(locked)}
    with pytest.raises(Unreachable, match="key is encrypted"):
        Client(settings_from({}, address=f"https://{secure.address}", **more)).status_leader()  # type: ignore[arg-type]


def test_a_server_that_says_nothing_to_a_greeting_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consulcast.consul.library.SLACK", 0.1)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(TimedOut, match=r"no connection .* does it speak TLS\?"):
            Client(settings_from({}, address=f"https://127.0.0.1:{listener.getsockname()[1]}")).status_leader()


def test_a_name_that_is_not_resolved_is_not_taken_for_an_agent_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consulcast.consul.library.SLACK", 0.05)
    monkeypatch.setattr(socket, "create_connection", lambda *_: gevent.sleep(5))
    with pytest.raises(TimedOut, match="does its name resolve"):
        Client(settings_from({}, address="consul.example:8500")).status_leader()


# -- the library -------------------------------------------------------------------------------------------------------

ASK = """
import sys
{before}
from consulcast.consul.library import Http, base
assert issubclass(Http, base.HTTPClient)
from consul.base import Response
assert Response is base.Response
print(*sorted({{"consul.std", "requests", "urllib3", "charset_normalizer"}} & sys.modules.keys()))
"""
FAILS_ONCE = """
import importlib
real, asked = importlib.import_module, []
def other(name):
    asked.append(name)
    if name == "consul.base" and asked.count(name) == 1:
        raise ImportError("another version")
    return real(name)
importlib.import_module = other
"""


def imported(before: str) -> str:
    run = subprocess.run([sys.executable, "-c", ASK.format(before=before)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_no_more_of_the_library_is_imported_than_its_http_layer_needs() -> None:
    assert imported("") == ""


@pytest.mark.parametrize("before", ["import consul", FAILS_ONCE], ids=["it is there already", "another version"])
def test_all_of_the_library_serves_as_well(before: str) -> None:
    assert "consul.std" in imported(before)
