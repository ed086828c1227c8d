"""HTTP over a unix socket: what both of its users, the CLI and Consul's client, build on."""

from __future__ import annotations

import socket
from pathlib import Path

import gevent
import pytest
import urllib3

from consulcast.unix_connection import UnixPool


def answer_twice(listener: socket.socket, heard: list[bytes]) -> None:
    connection, _ = listener.accept()
    with connection:
        for _ in range(2):
            heard.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_one_connection_is_kept_for_all_requests_and_names_the_host_that_is_given(tmp_path: Path) -> None:
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/a.sock")
        listener.listen()
        server = gevent.spawn(answer_twice, listener, heard)
        pool = UnixPool(f"{tmp_path}/a.sock", "consul")
        assert [pool.request("GET", "/v1").data for _ in range(2)] == [b"ok", b"ok"]
        server.join(5)
        pool.close()
    assert all(b"\r\nHost: consul\r\n" in request for request in heard)
    assert (len(heard), pool.num_connections) == (2, 1)


def test_socket_that_is_not_there_is_a_connection_that_was_not_made(tmp_path: Path) -> None:
    with pytest.raises(urllib3.exceptions.NewConnectionError, match="No such file or directory"):
        UnixPool(f"{tmp_path}/none.sock").request("GET", "/", retries=False)


def test_listener_that_takes_nobody_is_waited_for_as_long_as_the_request_says(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(f"{tmp_path}/full.sock")
        listener.listen(0)
        first.connect(f"{tmp_path}/full.sock")  # the one place in its queue
        timeout = urllib3.Timeout(connect=0.05, read=5)
        with pytest.raises(urllib3.exceptions.NewConnectionError, match="timed out"):
            UnixPool(f"{tmp_path}/full.sock").request("GET", "/", timeout=timeout, retries=False)
