"""Questions to a name server, over UDP and TCP."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast import notation
from consulcast.monitors import dns, factory, targets
from consulcast.monitors.factory import Resources
from consulcast.monitors.probe import Look

EXAMPLE = targets.Question(targets.Endpoint("127.0.0.1", 53), "example.org", "A")


def answer(query: bytes, flags: int = 0, records: int = 1) -> bytes:
    """An answer to a query; its records themselves are left out."""
    return query[:2] + struct.pack(">5H", 0x8000 | flags, 1, records, 0, 0) + query[12:]


def same_port() -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on one port that is free for both."""
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        with contextlib.suppress(OSError):  # somebody's connection has that number
            return udp, socket.create_server(udp.getsockname())
        udp.close()


@contextlib.contextmanager
def server(over_udp: Callable[[bytes], list[bytes]], over_tcp: Callable[[bytes], bytes] | None = None) -> Iterator[int]:
    """A name server on 127.0.0.1; its port."""
    with contextlib.ExitStack() as stack:
        udp, tcp = map(stack.enter_context, same_port())

        def serve_udp() -> None:
            while True:
                query, client = udp.recvfrom(1000)
                for item in over_udp(query):
                    udp.sendto(item, client)

        def serve_tcp() -> None:
            while True:
                with tcp.accept()[0] as client:
                    query = client.recv(1000)[2:]
                    item = over_tcp(query) if over_tcp else b""
                    client.sendall(struct.pack(">H", len(item)) + item)

        serving = [gevent.spawn(serve_udp), gevent.spawn(serve_tcp)]
        yield udp.getsockname()[1]
        gevent.killall(serving)


def look(port: int, timeout: float = 2.0) -> Look:
    spec = notation.monitor(f"dns:127.0.0.1:example.org:AAAA;port={port}")
    return factory.probe(spec, Resources()).look(timeout)


def test_a_query_as_the_rfc_has_it() -> None:
    assert dns.message(0x1234, EXAMPLE) == bytes.fromhex("1234 0100 0001 0000 0000 0000 07") + b"example\3org\0" + (
        bytes.fromhex("0001 0001")
    )


def test_an_answer_with_a_record_passes() -> None:
    with server(lambda query: [answer(query)]) as port:
        assert look(port) == Look(True, "NOERROR, 1 records")


@pytest.mark.parametrize(
    ("flags", "records", "says"), [(3, 0, "NXDOMAIN"), (2, 0, "SERVFAIL"), (0, 0, "NOERROR"), (5, 1, "REF")]
)
def test_an_error_or_an_empty_answer_fails(flags: int, records: int, says: str) -> None:
    with server(lambda query: [answer(query, flags, records)]) as port:
        found = look(port)
    assert found.passed is False
    assert says in found.detail


def test_truncated_answer_is_asked_for_over_tcp() -> None:
    with server(lambda query: [answer(query, 0x0200, 0)], lambda query: answer(query, 0, 7)) as port:
        assert look(port) == Look(True, "NOERROR, 7 records")
    with server(lambda query: [answer(query, 0x0200, 0)], lambda _: b"x") as port:
        assert look(port) == Look(False, "no DNS answer over TCP")


def test_a_lost_datagram_is_sent_again() -> None:
    queries: list[bytes] = []

    def second(query: bytes) -> list[bytes]:
        queries.append(query)
        return [answer(query)] if len(queries) == 2 else []

    with server(second) as port:
        assert look(port, timeout=0.3).passed
    assert queries[0] == queries[1]


def test_answers_to_others_questions_are_left_aside() -> None:
    def confusing(query: bytes) -> list[bytes]:
        other = bytes([query[0] ^ 1]) + query[1:]
        return [
            answer(other),
            query,
            b"",
            answer(query[:-4] + b"\0\1\0\1"),
            answer(query[:12] + query[12:].upper(), 2),
            answer(query),
        ]

    with server(confusing) as port:
        assert look(port).detail.startswith("SERVFAIL"), "letter case does not matter"


def test_no_server_fails_at_once_and_a_silent_one_in_time() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert look(port, timeout=0.1) == Look(False, "no answer within 0.1 s")
    assert look(port) == Look(False, "Connection refused")


@given(st.binary(max_size=60))
def test_any_answer_can_be_looked_at(data: bytes) -> None:
    query = dns.message(7, EXAMPLE)
    for candidate in (data, query[:2] + data):
        if dns.answers(query, candidate):
            dns.judge(candidate)
