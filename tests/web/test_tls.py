"""TLS over a real socket: client certificates, new certificates, and clients that never finish."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consulcast.values import replace
from consulcast.web import tls
from consulcast.web.app import make_app
from consulcast.web.door import Door, Settings
from consulcast.web.limits import Limits
from consulcast.web.listen import listen
from consulcast.web.rights import Access
from consulcast.web.server import Server
from consulcast.web.tls import BadTls
from tests.web.certificates import make, make_all
from tests.web.daemon import Daemon

CLIENTS = {"deploy.example.org": ["register"]}
LIMITS = Limits(handshake_time=0.2)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_all(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def door(pki: Path) -> Door:
    context = tls.context(str(pki / "server.pem"), str(pki / "server.key"), str(pki / "ca.pem"))
    # As if the client were elsewhere: loopback alone gives nothing.
    return Door(Settings(access=Access(clients=CLIENTS, here=frozenset()), tls=context, limits=LIMITS))


@pytest.fixture
def server(door: Door, daemon: Daemon) -> Iterator[Server]:
    server = Server(listen("127.0.0.1:0"), make_app(daemon, door), door, secure=True)
    server.start()
    yield server
    server.stop(timeout=0)


Ask = Callable[..., tuple[int, bytes]]


@pytest.fixture
def ask(server: Server, pki: Path) -> Ask:
    def ask(path: str, certificate: str = "", ca: str = "ca") -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=str(pki / f"{ca}.pem"))
        if certificate:
            context.load_cert_chain(pki / f"{certificate}.pem", pki / f"{certificate}.key")
        client = http.client.HTTPSConnection("127.0.0.1", server.server_port, timeout=5, context=context)
        try:
            client.request("GET", path)
            response = client.getresponse()
            return response.status, response.read()
        finally:
            client.close()

    return ask


REGISTER = "/register?name=dns&vip=203.0.113.10/32"


def test_a_clients_certificate_gives_the_scopes_of_its_name(ask: Ask, daemon: Daemon) -> None:
    assert ask("/ping") == (200, b"I-AM-ALIVE\n")
    assert ask(REGISTER)[0] == 401
    assert ask(REGISTER, "server")[0] == 403  # of our CA, with a name that nothing is given to
    assert daemon.calls == []
    assert ask(REGISTER, "deploy.example.org") == (200, b"")
    assert daemon.calls == ["register dns"]


def test_a_certificate_of_another_ca_is_not_let_in(ask: Ask, daemon: Daemon) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.BadStatusLine)):
        ask(REGISTER, "stranger")
    assert daemon.calls == []


def test_a_client_that_never_finishes_the_handshake_is_cut_and_delays_nobody(server: Server, ask: Ask) -> None:
    slow = [socket.create_connection(("127.0.0.1", server.server_port), timeout=5) for _ in range(10)]
    slow[0].sendall(b"\x16\x03\x01\x02\x00")  # the beginning of a ClientHello
    began = time.monotonic()
    assert ask("/ping")[0] == 200
    assert time.monotonic() - began < 3.0
    for one in slow:
        assert one.recv(1) == b""
        one.close()
    assert ask("/ping")[0] == 200


def test_plain_http_is_not_answered(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: _received(connection), b""))
    assert b"I-AM-ALIVE" not in answer


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


def test_old_tls_is_refused(server: Server) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain)


def test_a_new_certificate_counts_from_the_next_connection(ask: Ask, door: Door, pki: Path) -> None:
    make(pki, "newca")
    make(pki, "new", "newca")
    door.settings = replace(door.settings, tls=tls.context(str(pki / "new.pem"), str(pki / "new.key")))
    assert ask("/ping", ca="newca")[0] == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        ask("/ping", ca="ca")


def test_origin_of_our_own_page_is_https(server: Server, pki: Path) -> None:
    context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    context.load_cert_chain(pki / "deploy.example.org.pem", pki / "deploy.example.org.key")
    for scheme, status in (("https", 200), ("http", 403)):
        client = http.client.HTTPSConnection("127.0.0.1", server.server_port, timeout=5, context=context)
        client.request("GET", REGISTER, headers={"Origin": f"{scheme}://127.0.0.1:{server.server_port}"})
        assert client.getresponse().status == status
        client.close()


@pytest.mark.parametrize(
    ("cert", "key", "ca", "wrong"),
    [
        ("none.pem", "server.key", "", "cert_file"),
        ("server.pem", "none.key", "", "key_file"),
        ("server.pem", "ca.key", "", "cert_file"),
        ("server.key", "server.key", "", "cert_file"),
        ("server.pem", "server.key", "none.pem", "client_ca_file"),
        ("server.pem", "server.key", "server.key", "client_ca_file"),
    ],
)
def test_files_that_do_not_serve_are_named(pki: Path, cert: str, key: str, ca: str, wrong: str) -> None:
    with pytest.raises(BadTls) as caught:
        tls.context(str(pki / cert), str(pki / key), str(pki / ca) if ca else "")
    assert caught.value.key == wrong


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_a_pass_phrase(pki: Path) -> None:

    locked = pki / "locked.key"
    subprocess.run(
        ["openssl", "ec", "-in", pki / "server.key", "-out", locked, "-aes256", "-passout", "pass:x"],
        check=True,
        capture_output=True,
    )
    with pytest.raises(BadTls, match="unencrypted"):
        tls.context(str(pki / "server.pem"), str(locked))
