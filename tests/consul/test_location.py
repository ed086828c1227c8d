"""Where Consul is, as addresses that are no VIPs."""

from __future__ import annotations

import ipaddress
import socket

import gevent
import pytest

from consulcast.consul import location
from consulcast.consul.settings import ConsulSettings, settings_from


def settings(address: str) -> ConsulSettings:
    return settings_from({}, address=address)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("198.51.100.9:8500", {"198.51.100.9"}),
        ("https://[2001:db8::9]:8501/v1", {"2001:db8::9"}),
        ("127.0.0.1:8500", set()),
        ("http://[::1]:8500", set()),
        ("unix:///run/consul.sock", set()),
    ],
)
def test_address_of_the_file_is_taken_as_it_is(address: str, found: set[str]) -> None:
    assert location.addresses(settings(address)) == frozenset(map(ipaddress.ip_address, found))


def test_name_is_resolved_and_one_that_cannot_be_is_told_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if host == "slow.example.org":
            gevent.sleep(60)
        if host != "consul.example.org":
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (text, 0)) for text in ("198.51.100.9", "2001:db8::9", "127.0.0.1")]

    monkeypatch.setattr("gevent.socket.getaddrinfo", resolve)
    found = location.addresses(settings("http://consul.example.org:8500"))
    assert found == frozenset(map(ipaddress.ip_address, ("198.51.100.9", "2001:db8::9")))
    assert location.addresses(settings("http://gone.example.org:8500")) is None
    assert location.addresses(settings("http://slow.example.org:8500"), patience=0.05) is None
