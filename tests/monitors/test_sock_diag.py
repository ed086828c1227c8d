"""What the kernel says of listeners, and of those that closed."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast.monitors import closed, sock_diag
from consulcast.monitors.closed import Closed
from consulcast.monitors.sock_diag import Listener

V4, OTHER4 = bytes([198, 51, 100, 1]), bytes([198, 51, 100, 2])
V6 = bytes.fromhex("20010db8000000000000000000000001")
ANY4, ANY6 = bytes(4), bytes(16)


@pytest.mark.parametrize(
    ("listener", "takes"),
    [
        (Listener(53, ANY4), {V4, OTHER4}),
        (Listener(53, ANY6), {V4, OTHER4, V6}),
        (Listener(53, ANY6, v6only=True), {V6}),
        (Listener(53, V4), {V4}),
        (Listener(53, V6), {V6}),
        (Listener(53, bytes(10) + b"\xff\xff" + V4), {V4}),
    ],
)
def test_a_wildcard_of_ipv6_takes_ipv4_too_unless_v6only(listener: Listener, takes: set[bytes]) -> None:
    assert {address for address in (V4, OTHER4, V6) if listener.takes(address)} == takes


def message(family: int, port: int, address: bytes, *attributes: tuple[int, bytes]) -> bytes:
    head = bytes([family, 10, 0, 0]) + struct.pack(">HH", port, 0) + address.ljust(16, b"\0")
    packed = head.ljust(72, b"\0")
    for kind, payload in attributes:
        packed += struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)
    return packed


def test_a_message_of_the_kernel_is_read() -> None:
    assert sock_diag.parse(message(socket.AF_INET, 53, V4)) == Listener(53, V4)
    assert sock_diag.parse(message(socket.AF_INET6, 53, V6, (11, b"\1"))) == Listener(53, V6)
    assert sock_diag.parse(message(socket.AF_INET6, 53, ANY6, (8, b"\0"), (11, b"\1"))).v6only
    assert not sock_diag.parse(message(socket.AF_INET6, 53, ANY6, (8, b"\0"), (11, b"\0"))).v6only


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def port_of(item: socket.socket) -> int:
    port: int = item.getsockname()[1]
    return port


def found(protocol: str, item: socket.socket) -> list[Listener]:
    return list(sock_diag.listeners(protocol, port_of(item)))


def test_listeners_are_seen_in_the_kernel(tcp: socket.socket) -> None:
    assert found("tcp", tcp) == [Listener(port_of(tcp), b"\x7f\0\0\1")]
    assert Listener(port_of(tcp), b"\x7f\0\0\1") in list(sock_diag.listeners("tcp"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("", 0))
        assert found("udp", udp) == [Listener(port_of(udp), ANY4)]


def test_what_only_has_the_port_is_no_listener(tcp: socket.socket) -> None:
    with socket.create_connection(tcp.getsockname()) as client, socket.socket() as bound:
        assert found("tcp", client) == []
        bound.bind(("127.0.0.1", 0))
        assert found("tcp", bound) == []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(tcp.getsockname())
        assert found("udp", client) == []


def run(program: bytes, packet: bytes) -> bool:
    """Interpret the few instructions that the filter uses, as linux/filter.h defines them."""
    code = list(struct.iter_unpack("@HBBI", program))
    at, value = 0, 0
    while True:
        operation, if_equal, if_not, constant = code[at]
        at += 1
        if operation == 0x28:
            value = int.from_bytes(packet[constant : constant + 2], "big")
        elif operation == 0x15:
            at += if_equal if value == constant else if_not
        else:
            assert operation == 0x06
            return bool(constant)


@given(st.sets(st.integers(1, 65535), max_size=20), st.integers(1, 65535), st.sampled_from([0, 0, 40000]))
def test_filter_lets_through_sockets_of_our_ports_without_a_peer(ports: set[int], port: int, peer: int) -> None:
    packet = bytes(20) + struct.pack(">HH", port, peer) + bytes(50)
    assert run(closed.program(ports), packet) == (port in ports and not peer)
    if ports:
        packet = bytes(20) + struct.pack(">HH", max(ports), peer) + bytes(50)
        assert run(closed.program(ports), packet) == (not peer)


def test_filter_of_too_many_ports_lets_through_every_port_and_stays_small() -> None:
    program = closed.program(range(1, 60000))
    assert len(program) // 8 < 4096
    assert run(program, bytes(20) + struct.pack(">HH", 65000, 0))
    assert len(closed.program(range(2000))) // 8 <= 4096


def test_kernel_tells_of_closed_listeners_of_our_ports_and_of_nothing_else(tcp: socket.socket) -> None:
    hearing = Closed()
    with socket.create_server(("127.0.0.1", 0)) as unwatched:
        hearing.watch([port_of(tcp)])
    client = socket.create_connection(tcp.getsockname())
    served, _ = tcp.accept()
    served.close()
    client.close()
    with gevent.Timeout(0.05, exception=None), pytest.raises(gevent.Timeout):
        hearing.wait()
    port = port_of(tcp)
    tcp.close()
    with gevent.Timeout(3.0):
        assert hearing.wait() == {port}
    assert unwatched.fileno() == -1
    hearing.close()


def test_a_connection_that_is_answered_is_not_one_that_is_being_made() -> None:
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
        assert sock_diag.unanswered(ipaddress.ip_address("127.0.0.1"), server.getsockname()[1]) is None


def test_a_syn_without_an_answer_is_counted() -> None:
    with socket.socket() as server, socket.socket() as first, socket.socket() as second, socket.socket() as third:
        server.bind(("127.0.0.1", 0))
        server.listen(0)  # a queue of one: the kernel drops the SYNs after that
        for client in (first, second, third):
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        port = server.getsockname()[1]
        assert sock_diag.unanswered(ipaddress.ip_address("127.0.0.1"), port) == 0
        assert sock_diag.unanswered(ipaddress.ip_address("127.0.0.2"), port) is None
