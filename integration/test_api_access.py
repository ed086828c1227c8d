"""Who may do what at the real daemon: by place, by token, by certificate, at the unix socket, over reloads."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import signal
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from integration.lab import Bird, Daemon, Host, Lab, Peer
from integration.test_stories import HOST_AS, ROUTER_AS, VIP, settings
from tests.web.certificates import make, make_all

HOST, TOR = "198.51.100.1", "198.51.100.2"
REGISTER = f"/register?name=dns&vip={VIP}"
UNREGISTER = "/unregister?name=dns"
DEPLOY, READER = "deploy-token-0123456789", "reader-token-0123456789"


@dataclass
class World:
    """A host whose GoCast file says `listen_addr: :8080`, and its router, from which somebody asks."""

    lab: Lab
    host: Host
    tor: Host
    bird: Bird
    daemon: Daemon

    def ask(
        self, url: str, *, to: str = "127.0.0.1", elsewhere: bool = False, token: str = "", method: str = "GET"
    ) -> int:
        """Ask, from the host itself or from elsewhere; return the status."""
        with (self.tor if elsewhere else self.host).inside():
            connection = http.client.HTTPConnection(to, 8080, timeout=10)
            connection.connect()
        return _status(connection, method, url, token)

    def ask_tls(self, url: str, certificate: str = "", ca: str = "ca") -> int:
        """Ask over TLS, from elsewhere."""
        context = ssl.create_default_context(cafile=str(self.lab.dir / f"{ca}.pem"))
        if certificate:
            context.load_cert_chain(self.lab.dir / f"{certificate}.pem", self.lab.dir / f"{certificate}.key")
        connection = http.client.HTTPSConnection(HOST, 8443, timeout=10, context=context)
        with self.tor.inside():
            plain = socket.create_connection((HOST, 8443), 10)
        connection.sock = context.wrap_socket(plain, server_hostname=HOST)
        return _status(connection, "GET", url)

    def ask_socket(self, url: str, method: str = "GET") -> int:
        """Ask at the unix socket, as root."""
        connection = http.client.HTTPConnection("anything", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.lab.dir / "api.sock"))
        return _status(connection, method, url)

    def reload(self, **api: Any) -> str:
        """Change the file's `api:`, reload, and return what the log says."""
        self.daemon.configure(gocast_file(self.lab, **api))
        self.daemon.mark()
        self.daemon.process.signal(signal.SIGHUP)
        return self.daemon.wait_line("reloaded|reload refused")


def _status(connection: http.client.HTTPConnection, method: str, url: str, token: str = "") -> int:
    with contextlib.closing(connection):
        connection.request(method, url, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        response.read()
        return response.status


def gocast_file(lab: Lab, **api: Any) -> dict[str, Any]:
    where = {"listen": [f"unix://{lab.dir}/api.sock", "https://:8443"]}
    tls = {"cert_file": f"{lab.dir}/server.pem", "key_file": f"{lab.dir}/server.key", **api.pop("tls", {})}
    return settings(lab, agent={"listen_addr": ":8080", "drain_time": "0s"}, api={**where, "tls": tls, **api})


@pytest.fixture
def world(lab: Lab) -> Iterator[World]:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, f"{HOST}/24", f"{TOR}/24", "2001:db8::1/64", "2001:db8::2/64")
    bird = Bird(tor, ROUTER_AS, [Peer(HOST, HOST_AS)])
    make_all(lab.dir)
    make(lab.dir, "server", "ca", f"IP:{HOST}")
    daemon = Daemon(host, gocast_file(lab))
    daemon.wait_line("peer .*: up", 20.0)
    made = World(lab, host, tor, bird, daemon)
    yield made
    assert "Traceback" not in daemon.log()


def test_gocasts_file_takes_changes_from_the_host_alone_and_reading_from_everywhere(world: World) -> None:
    assert world.daemon.log().count("changes are taken from this host alone") == 1
    for to in (HOST, "2001:db8::1"):
        assert world.ask("/info", to=to, elsewhere=True) == 200
        assert world.ask("/v1/apps", to=to, elsewhere=True) == 200
        assert world.ask(REGISTER, to=to, elsewhere=True) == 403
        assert world.ask("/v1/reload", to=to, elsewhere=True, method="POST") == 403
    assert world.bird.routes() == {}
    for to in ("127.0.0.1", "::1", HOST, "2001:db8::1"):
        assert world.ask(REGISTER, to=to) == 200
        world.bird.wait_route(VIP)
        assert world.ask(UNREGISTER, to=to) == 200
        world.bird.wait_route(VIP, present=False)


def test_with_tokens_the_token_decides_and_a_reload_changes_them(world: World) -> None:
    tokens = world.lab.dir / "tokens"
    tokens.write_text(f"deploy register sha256:{hashlib.sha256(DEPLOY.encode()).hexdigest()}\ngrafana read {READER}\n")
    tokens.chmod(0o644)
    assert "chmod 600" in world.reload(tokens_file=str(tokens))
    assert world.ask(REGISTER) == 200  # nothing is changed by a file that is refused
    tokens.chmod(0o600)
    assert "reloaded" in world.reload(tokens_file=str(tokens))

    assert world.ask("/v1/apps") == 200
    assert world.ask(UNREGISTER) == 401
    assert world.ask(UNREGISTER, to=HOST, elsewhere=True) == 401
    assert world.ask("/v1/apps", to=HOST, elsewhere=True) == 401
    assert world.ask("/healthz", to=HOST, elsewhere=True) == 200
    assert world.ask(UNREGISTER, to=HOST, elsewhere=True, token=READER) == 403
    assert VIP in world.bird.routes()
    assert world.ask("/v1/apps", to=HOST, elsewhere=True, token=READER) == 200
    assert world.ask(UNREGISTER, to=HOST, elsewhere=True, token=DEPLOY) == 200
    world.bird.wait_route(VIP, present=False)
    assert world.ask_socket(REGISTER) == 200  # root at the unix socket needs none
    world.bird.wait_route(VIP)

    tokens.write_text(f"grafana read {READER}\n")
    assert world.ask_socket("/v1/reload", "POST") == 204
    assert world.ask(UNREGISTER, to=HOST, elsewhere=True, token=DEPLOY) == 401
    assert "reloaded" in world.reload(tokens_file=str(tokens), local_scopes=["register"])
    assert world.ask(UNREGISTER) == 200
    assert DEPLOY not in world.daemon.log()
    assert f"{TOR}: a wrong token, for GET /unregister" in world.daemon.log()


def test_a_clients_certificate_is_a_right_and_a_new_one_of_ours_is_shown_after_a_reload(world: World) -> None:
    assert world.ask_tls("/info") == 200
    assert world.ask_tls(REGISTER) == 403
    clients = {"client_ca_file": f"{world.lab.dir}/ca.pem", "clients": {"deploy.example.org": ["register"]}}
    assert "reloaded" in world.reload(tls=clients)
    assert world.ask_tls(REGISTER) == 401
    assert world.ask_tls(REGISTER, "deploy.example.org") == 200
    world.bird.wait_route(VIP)
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.BadStatusLine)):
        world.ask_tls("/info", "stranger")

    before = world.bird.counters()
    make(world.lab.dir, "newca")
    make(world.lab.dir, "server", "newca", f"IP:{HOST}")
    assert world.ask_tls("/info") == 200  # the former one, until a reload
    (world.lab.dir / "server.key").rename(world.lab.dir / "away.key")
    assert "api.tls.key_file" in world.reload(tls=clients)
    (world.lab.dir / "away.key").rename(world.lab.dir / "server.key")
    assert "reloaded" in world.reload(tls=clients)
    assert world.ask_tls("/info", ca="newca") == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        world.ask_tls("/info")
    assert world.bird.counters() == before


def test_a_file_that_says_nothing_is_not_reached_from_elsewhere(lab: Lab) -> None:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, f"{HOST}/24", f"{TOR}/24")
    daemon = Daemon(host, settings(lab))
    daemon.wait_line("running as process", 10.0)
    with host.inside(), socket.create_connection(("127.0.0.1", 8080), 5):
        pass
    with tor.inside(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, 8080), 5)
    assert "from elsewhere" not in daemon.log()
