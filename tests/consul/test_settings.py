from __future__ import annotations

import pytest

from consulcast.consul.settings import BadSetting, ConsulSettings, settings_from


@pytest.mark.parametrize(
    ("address", "url", "socket"),
    [
        ("", "http://127.0.0.1:8500", ""),
        ("10.0.0.1:8501", "http://10.0.0.1:8501", ""),
        ("consul.example", "http://consul.example:8500", ""),
        ("http://10.0.0.1:8500/v1", "http://10.0.0.1:8500", ""),
        ("http://10.0.0.1:8500/v1/", "http://10.0.0.1:8500", ""),
        ("https://consul", "https://consul:443", ""),
        ("https://consul/v1", "https://consul:443", ""),
        ("http://gate/consul/v1", "http://gate:80/consul", ""),
        ("[::1]:8500", "http://[::1]:8500", ""),
        ("[::1]", "http://[::1]:8500", ""),
        ("::1", "http://[::1]:8500", ""),
        ("http://[2001:db8::1]:8500/v1", "http://[2001:db8::1]:8500", ""),
        ("unix:///run/consul.sock", "http://consul", "/run/consul.sock"),
    ],
)
def test_every_form_of_address_is_understood(address: str, url: str, socket: str) -> None:
    settings = settings_from({}, address=address)
    assert (settings.url, settings.unix_socket) == (url, socket)
    assert settings == settings_from({"CONSUL_HTTP_ADDR": address})


@pytest.mark.parametrize(
    "address",
    [
        "ftp://x:1",
        "http://",
        "h:port",
        "h:99999",
        "unix://run/x",
        "http://u:p@h:8500",
        "h o:1",
        "http://h/?x=1",
        "a..b:1",
    ],
)
def test_an_address_that_cannot_be_used_names_its_variable(address: str) -> None:
    with pytest.raises(BadSetting, match="CONSUL_HTTP_ADDR"):
        settings_from({"CONSUL_HTTP_ADDR": address})
    with pytest.raises(BadSetting, match="consul_addr"):
        settings_from({}, address=address)


def test_the_files_address_wins_over_the_environments() -> None:
    environ = {"CONSUL_HTTP_ADDR": "127.0.0.1:1", "CONSUL_HTTP_SSL": "true"}
    assert settings_from(environ, address="http://127.0.0.1:2").url == "http://127.0.0.1:2"
    assert settings_from(environ).url == "https://127.0.0.1:1"
    assert settings_from({"CONSUL_HTTP_SSL": "1", "CONSUL_HTTP_ADDR": "http://h:1"}).url == "https://h:1"
    assert settings_from({"CONSUL_HTTP_SSL": "true"}).url == "https://127.0.0.1:8500"


def test_gocasts_token_variable_wins_over_the_file_and_the_file_over_consuls_variable() -> None:
    environ = {"CONSUL_TOKEN": "a", "CONSUL_HTTP_TOKEN": "c", "CONSUL_HTTP_TOKEN_FILE": "/f"}
    assert settings_from(environ, token="b").token == "a"
    assert settings_from(environ, token_file="/g").token_file == ""
    del environ["CONSUL_TOKEN"]
    assert settings_from(environ, token="b").token == "b"
    assert settings_from(environ, token="b").token_file == ""
    both = settings_from(environ)
    assert (both.token, both.token_file) == ("c", "/f")


def test_tls_comes_from_the_file_or_the_environment() -> None:
    environ = {"CONSUL_CACERT": "/ca", "CONSUL_CLIENT_CERT": "/c", "CONSUL_CLIENT_KEY": "/k"}
    settings = settings_from(environ)
    assert (settings.verify, settings.client_cert, settings.client_key) == ("/ca", "/c", "/k")
    assert settings_from(environ | {"CONSUL_HTTP_SSL_VERIFY": "true"}).verify == "/ca"
    assert settings_from(environ | {"CONSUL_HTTP_SSL_VERIFY": "false"}).verify is False
    assert settings_from(environ, ca_file="/mine", verify=False).verify is False
    assert settings_from(environ, ca_file="/mine").verify == "/mine"
    assert settings_from({}).verify is True


def test_stale_of_the_environment_wins_both_ways() -> None:
    assert settings_from({"CONSUL_STALE": "true"}).stale
    assert not settings_from({"CONSUL_STALE": "false"}, stale=True).stale
    assert settings_from({}, stale=True).stale


def test_namespace_and_partition() -> None:
    environ = {"CONSUL_NAMESPACE": "n", "CONSUL_PARTITION": "p"}
    assert (settings_from(environ).namespace, settings_from(environ).partition) == ("n", "p")
    assert settings_from(environ, namespace="m").namespace == "m"


@pytest.mark.parametrize("name", ["CONSUL_STALE", "CONSUL_HTTP_SSL", "CONSUL_HTTP_SSL_VERIFY"])
def test_a_flag_that_is_none_names_itself(name: str) -> None:
    with pytest.raises(BadSetting, match=name):
        settings_from({name: "yes"})


def test_a_key_without_its_certificate_is_refused() -> None:
    with pytest.raises(BadSetting, match="CONSUL_CLIENT_KEY"):
        settings_from({"CONSUL_CLIENT_KEY": "/k"})


def test_a_token_that_no_header_can_carry_is_refused_and_not_shown() -> None:
    with pytest.raises(BadSetting) as error:
        settings_from({"CONSUL_TOKEN": "se cret"})
    assert "se cret" not in str(error.value)


def test_the_token_is_not_in_the_settings_text() -> None:
    assert "secret" not in repr(ConsulSettings(token="secret"))
