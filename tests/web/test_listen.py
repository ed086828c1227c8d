"""Where the endpoint listens, in GoCast's forms and in ours."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from consulcast.web.listen import ListenError, listen

IPV6 = socket.has_dualstack_ipv6()


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0"])
def test_host_and_port(address: str) -> None:
    with listen(address) as listener:
        assert listener.family == socket.AF_INET
        assert listener.getsockname()[0] == "127.0.0.1"


@pytest.mark.skipif(not IPV6, reason="no IPv6 here")
def test_ipv6_address_in_brackets() -> None:
    with listen("[::1]:0") as listener:
        assert listener.getsockname()[0] == "::1"


@pytest.mark.skipif(not IPV6, reason="no IPv6 here")
def test_port_alone_is_every_address_of_both_families() -> None:
    with listen(":0") as listener:
        assert listener.family == socket.AF_INET6
        with socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=5):
            pass


@pytest.mark.parametrize("form", ["unix://{}", "unix:{}"])
def test_unix_socket_is_private(tmp_path: Path, form: str) -> None:
    path = tmp_path / "api.sock"
    with listen(form.format(path)):
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600


def test_socket_left_by_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    address = f"unix://{tmp_path / 'api.sock'}"
    listen(address).close()
    with listen(address):
        pass


def test_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    address = f"unix://{tmp_path / 'api.sock'}"
    with listen(address), pytest.raises(ListenError, match="another process listens there"):
        listen(address)


def test_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("mine")
    with pytest.raises(ListenError, match="no socket"):
        listen(f"unix://{path}")
    assert path.read_text() == "mine"


def test_port_in_use_is_told() -> None:
    with listen("127.0.0.1:0") as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ListenError, match="in use"):
            listen(address)


@pytest.mark.parametrize(
    "address", ["", "8080", ":", "::1:8080", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:65536", ":-1", "[::1]", ":٨٠"]
)
def test_other_forms_are_refused_with_what_to_write(address: str) -> None:
    with pytest.raises(ListenError, match="write :port, host:port"):
        listen(address)


@pytest.mark.parametrize(
    "address", ["unix://", "unix://relative.sock", "unix:///nonexistent/dir/s", "unix:///" + "x" * 200]
)
def test_unix_path_that_will_not_do_is_told(address: str) -> None:
    with pytest.raises(ListenError, match="cannot listen on"):
        listen(address)
