"""consulcast.consul.exchange: one answer over HTTP/1.1."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast.consul.exchange import Malformed, Reply, TooLong, _Answer, read

OK = b"HTTP/1.1 200 OK\r\n"


def receiving(*pieces: bytes) -> Callable[[int], bytes]:
    """Like a socket's ``recv``: these, and then the end."""
    left: Iterator[bytes] = iter(pieces)
    return lambda _: next(left, b"")


def answer(*pieces: bytes) -> Reply:
    return read(receiving(*pieces))


def test_an_answer_of_a_length_leaves_the_connection_for_the_next_request() -> None:
    assert answer(OK + b"X-Consul-Index: 7\r\nContent-Length: 2\r\n\r\n{}") == Reply(
        200, {"x-consul-index": "7", "content-length": "2"}, b"{}", True
    )


def test_the_words_of_a_status_do_not_matter() -> None:
    assert answer(b"HTTP/1.1 500 \xe4 b\r\nContent-Length: 0\r\n\r\n").status == 500
    assert answer(b"HTTP/1.1 429\r\nContent-Length: 0\r\n\r\n").status == 429


def test_chunks_are_one_body_and_what_follows_them_is_passed_over() -> None:
    reply = answer(OK + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nab\r\r\n0A\r\n0123456789\r\n0\r\nX: y\r\n\r\n")
    assert (reply.body, reply.reusable) == (b"ab\r0123456789", True)


@pytest.mark.parametrize(
    "head",
    [
        OK + b"Connection: close\r\nContent-Length: 2\r\n",
        OK + b"Connection: TE, Close\r\nContent-Length: 2\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n",
        OK,  # its end is the connection's
    ],
)
def test_a_connection_that_ends_with_the_answer_is_not_used_again(head: bytes) -> None:
    reply = answer(head + b"\r\n{", b"}")
    assert (reply.body, reply.reusable) == (b"{}", False)


def test_a_connection_on_which_more_came_than_the_answer_is_not_used_again() -> None:
    assert not answer(OK + b"Content-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n").reusable


def test_an_answer_leaves_nothing_for_the_garbage_collector() -> None:
    answer(OK + b"Content-Length: 2\r\n\r\n{}")
    gc.collect()
    gc.disable()
    try:
        answer(OK + b"Content-Length: 2\r\n\r\n{}")
        assert not [it for it in gc.get_objects() if isinstance(it, _Answer)]
    finally:
        gc.enable()


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_that_has_no_body_is_not_waited_for(status: int) -> None:
    reply = answer(b"HTTP/1.1 %d Word\r\nContent-Length: 5\r\n\r\n" % status)
    assert (reply.status, reply.body, reply.reusable) == (status, b"", True)


def test_what_comes_before_an_answer_is_none() -> None:
    assert answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX: y\r\n\r\n" + OK + b"\r\n").headers == {}


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: +1\r\n\r\nx",
        b"Content-Length: 1, 1\r\n\r\nx",
        b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
        b"Content-Length: \xb2\r\n\r\nxy",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabcde\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1_0\r\na\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        b"no colon\r\n\r\n",
        b": no name\r\n\r\n",
        b" X: folded\r\n\r\n",
        b"X : y\r\n\r\n",
        b"X: " + b"y" * 300_000,
    ],
)
def test_what_is_not_as_the_rfc_has_it_is_refused(rest: bytes) -> None:
    with pytest.raises(Malformed):
        answer(OK + rest)


@pytest.mark.parametrize("start", [b"nonsense\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"\x16\x03\x01"])
def test_what_does_not_begin_as_http_says_how_it_began(start: bytes) -> None:
    with pytest.raises(ConnectionError, match="not HTTP: "):
        answer(start)


def test_a_status_of_another_length_is_none() -> None:
    with pytest.raises(Malformed):
        answer(b"HTTP/1.1 20\r\n\r\n")


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ((), "closed without an answer"),
        ((OK[:9],), "closed before the end"),
        ((OK + b"Content-Length: 3\r\n\r\n", b"{}"), "closed before the end"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\n{}",), "closed before the end"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",), "closed before the end"),
    ],
)
def test_an_answer_that_was_cut_short_is_none(pieces: tuple[bytes, ...], said: str) -> None:
    with pytest.raises(ConnectionError, match=said):
        answer(*pieces)


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 101\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n70\r\n" + b"x" * 90,
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + b"x" * 90,
        b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 90,
        b"\r\n" + b"x" * 90,
    ],
)
def test_an_answer_that_is_too_long_is_not_awaited(rest: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consulcast.consul.exchange.LONGEST", 100)
    with pytest.raises(TooLong):
        answer(OK + rest)


@given(body=st.binary(max_size=60), sizes=st.lists(st.integers(1, 20)), cuts=st.lists(st.integers(1, 30)))
def test_an_answer_is_the_same_wherever_it_is_cut_on_its_way(body: bytes, sizes: list[int], cuts: list[int]) -> None:
    chunks, at = b"", 0
    for size in [*sizes, len(body)]:
        chunk, at = body[at : at + size], at + size
        chunks += b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunk else b""
    wholes = (
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n",
        OK + b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
    )
    for whole in wholes:
        pieces: list[bytes] = []
        at = 0
        for cut in [*cuts, len(whole)]:
            pieces, at = [*pieces, whole[at : at + cut]], at + cut
        reply = answer(*filter(None, pieces))
        assert (reply.body, reply.reusable) == (body, True)
