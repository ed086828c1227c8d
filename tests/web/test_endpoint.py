"""When the endpoint takes connections."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import gevent
import pytest

from consulcast.web.app import make_app
from consulcast.web.door import Settings
from consulcast.web.endpoint import Endpoint
from consulcast.web.listen import Address, ListenError
from tests.web.daemon import Daemon


@pytest.fixture
def address(tmp_path: Path) -> Address:
    return Address.read(f"unix://{tmp_path / 'api.sock'}")


def test_who_asks_before_it_is_loaded_is_answered_when_it_is(address: Address) -> None:
    endpoint = Endpoint(Daemon(), Settings(listen=(address,)))
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5.0)
        client.connect(address.path)
        client.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert not endpoint.open
        endpoint.start()
        assert endpoint.open
        assert client.recv(64).startswith(b"HTTP/1.1 200 ")
    endpoint.stop()


def test_where_it_cannot_listen_is_told_before_anything_is_loaded(tmp_path: Path, address: Address) -> None:
    (tmp_path / "api.sock").write_text("")
    with pytest.raises(ListenError):
        Endpoint(Daemon(), Settings(listen=(address,)))


def test_one_that_never_opened_leaves_no_socket(tmp_path: Path, address: Address) -> None:
    Endpoint(Daemon(), Settings(listen=(address,))).stop()
    assert not list(tmp_path.iterdir())


def test_what_another_put_in_its_place_stays(tmp_path: Path, address: Address) -> None:
    former = Endpoint(Daemon(), Settings(listen=(address,)))
    (tmp_path / "api.sock").unlink()
    (tmp_path / "api.sock").write_text("another's")
    former.start()
    former.stop()
    assert (tmp_path / "api.sock").read_text() == "another's"


def test_others_have_their_turn_while_the_page_is_prepared() -> None:
    turns = 0

    def other() -> None:
        nonlocal turns
        while not making.dead:
            turns += 1
            gevent.sleep(0)

    making: gevent.Greenlet[..., Any] = gevent.spawn(make_app, Daemon())
    gevent.joinall([making, gevent.spawn(other)], raise_error=True)
    assert turns >= 5
