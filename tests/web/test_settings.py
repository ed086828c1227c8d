"""The file's ``api:`` section: what it may say, and where its mistakes are."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from consulcast import config
from consulcast.document import ConfigError
from consulcast.values import replace
from consulcast.web.door import Settings
from consulcast.web.limits import Limits
from consulcast.web.listen import Address
from tests.web.certificates import make_all

BGP = "bgp: {local_as: 1, peer_as: 2}\n"
SECRET = "a-secret-of-some-length"


def read(text: str) -> Settings:
    return config.parse("f", BGP + text).api


def bad(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"deploy register {SECRET}\n")
    path.chmod(0o600)
    return path


def test_nothing_said_is_loopback_alone_and_the_limits_of_the_code() -> None:
    settings = read("")
    assert [address.text for address in settings.listen] == ["127.0.0.1:8080"]
    assert all(address.local for address in settings.listen)
    assert settings.limits == Limits()
    assert not settings.access.authenticates
    assert settings == Settings(listen=settings.listen)


def test_gocasts_port_on_every_address_is_honoured() -> None:
    (address,) = read("agent: {listen_addr: ':8080'}").listen
    assert (address.host, address.port, address.local) == ("", 8080, False)


def test_several_addresses_and_none() -> None:
    text = "agent: {listen_addr: ''}\napi: {listen: ['[::1]:8080', 'unix:///run/x.sock', 'http://localhost:1']}"
    assert read(text).listen == (
        Address("[::1]:8080", "::1", 8080),
        Address("unix:///run/x.sock", path="/run/x.sock"),
        Address("http://localhost:1", "localhost", 1),
    )
    assert all(address.local for address in read(text).listen)
    assert read("agent: {listen_addr: ''}").listen == ()


def test_everything_at_once(tmp_path: Path, tokens: Path) -> None:
    make_all(tmp_path)
    settings = read(
        f"""api:
  listen: ["https://:8443", "unix:///run/consulcast/api.sock"]
  socket_group: root
  tokens_file: {tokens}
  local_scopes: [read, drain]
  hosts: [Edge1.Example.org., edge1]
  tls:
    cert_file: {tmp_path}/server.pem
    key_file: {tmp_path}/server.key
    client_ca_file: {tmp_path}/ca.pem
    clients: {{deploy.example.org: [register]}}
  limits: {{connections: 64, requests_per_second: 5, idle_time: 1m, body: 4096}}
"""
    )
    assert [address.tls for address in settings.listen] == [False, True, False]
    assert settings.socket_group == 0
    assert [token.name for token in settings.access.tokens] == ["deploy"]
    assert settings.access.here == frozenset({"read", "drain"})
    assert settings.access.clients == {"deploy.example.org": frozenset({"register"})}
    assert settings.hosts == {"edge1.example.org", "edge1"}
    assert settings.limits == Limits(connections=64, requests_per_second=5, idle_time=60.0, body=4096)
    assert settings.tls is not None


def test_what_is_read_at_the_start_alone_stays_and_the_rest_is_new(tokens: Path) -> None:
    former = read("api: {limits: {connections: 64}}")
    kept = read(f"agent: {{listen_addr: ':1'}}\napi: {{tokens_file: {tokens}, limits: {{body: 4096}}}}").keeping(former)
    assert kept.listen == former.listen
    assert (kept.limits.connections, kept.limits.body) == (64, 4096)
    assert kept.access.authenticates


def test_other_certificates_tokens_and_limits_of_requests_wait_for_no_start_and_where_it_listens_does(
    tokens: Path,
) -> None:
    former = replace(read(""), tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    later = read(f"api: {{tokens_file: {tokens}, limits: {{body: 4096}}}}")
    assert not replace(later, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)).waits(former)
    assert not later.waits(former)
    assert read("agent: {listen_addr: ':1'}").waits(former)
    assert read("api: {limits: {connections: 64}}").waits(former)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("api: {listen: ['8080']}", "f:2: api.listen[0]: '8080': write :port, host:port"),
        ("api: {listen: ['unix://x.sock']}", "api.listen[0]: 'unix://x.sock': write an absolute path"),
        ("api:\n  listen:\n  - ':1'\n  - ':1'", "f:5: api.listen[1]: ':1' stands twice"),
        ("api: {listen: ['127.0.0.1:8080']}", "stands twice (agent.listen_addr counts too)"),
        ("agent: {listen_addr: '8080'}", "f:2: agent.listen_addr: '8080': write"),
        ("api: {listen: ['https://:8443']}", "api.tls.cert_file: is missing"),
        ("api: {tls: {cert_file: /none.pem}}", "api.tls.cert_file: '/none.pem' cannot be read"),
        ("api: {tls: {key_file: /none.pem}}", "api.tls: cert_file is missing"),
        ("api: {tls: {clients: {a: [read]}}}", "api.tls.clients: without client_ca_file"),
        ("api: {tls: {clients: {a: [write]}}}", "clients"),
        ("api: {tokens_file: /none}", "f:2: api.tokens_file: /none cannot be read"),
        ("api: {local_scopes: [admin]}", "api.local_scopes[0]"),
        ("api: {socket_group: no-such-group}", "api.socket_group: there is no group 'no-such-group'"),
        ("api: {hosts: ['a:80']}", "api.hosts[0]: 'a:80' is no host name"),
        ("api: {hosts: ['*']}", "api.hosts[0]: '*' is no host name"),
        ("api: {limits: {body: 1}}", "api.limits.body: must be from 1024 to 1048576 bytes"),
        ("api: {limits: {idle_time: 0s}}", "api.limits.idle_time: must be from 0.1 to 3600 seconds"),
        ("api: {limits: {requests_per_second: 0}}", "api.limits.requests_per_second: must be from 1"),
        ("api: {token: x}", "unknown key 'token'"),
    ],
)
def test_mistakes_are_named_with_their_place_and_the_fix(text: str, says: str) -> None:
    assert says in bad(text)


def test_a_certificate_that_nothing_listens_with_is_told(tmp_path: Path) -> None:
    make_all(tmp_path)
    text = f"api: {{tls: {{cert_file: {tmp_path}/server.pem, key_file: {tmp_path}/server.key}}}}"
    assert "nothing listens with it" in bad(text)


def test_no_token_is_shown_whatever_is_wrong(tokens: Path) -> None:
    assert SECRET not in repr(read(f"api: {{tokens_file: {tokens}}}"))
    tokens.write_text(f"deploy everything {SECRET}")
    assert SECRET not in bad(f"api: {{tokens_file: {tokens}}}")
    tokens.chmod(0o644)
    message = bad(f"api: {{tokens_file: {tokens}}}")
    assert "chmod 600" in message
    assert SECRET not in message
