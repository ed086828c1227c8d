"""What is asked of the kernel, and how its answers are read; a fake socket answers as the kernel does."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast.executor import requests, routes
from consulcast.executor.netlink import attribute, packed
from consulcast.executor.requests import Answer, Order, Refused, Requests, answers, refusal

REQUEST, ACKNOWLEDGE, DUMP = 0x1, 0x4, 0x300
ERROR, DONE = 2, 3
MULTI, INTERRUPTED, CAPPED, EXPLAINED = 0x2, 0x10, 0x100, 0x200


def said(asked: Answer, code: int, sentence: str = "", capped: bool = True) -> bytes:
    """Put together what the kernel says to a request: done (0), or what is wrong with it."""
    head = struct.pack("=IHHII", 16 + len(asked.body), asked.kind, asked.flags, asked.sequence, 0)
    body = struct.pack("=i", -code) + head + (b"" if capped else asked.body + bytes(-len(asked.body) & 3))
    flags = (CAPPED if capped else 0) | (EXPLAINED if sentence else 0)
    return packed(ERROR, flags, asked.sequence, body + (attribute(1, sentence.encode() + b"\0") if sentence else b""))


class FakeSocket:
    """Answers each request by ``judge``, which has an error and a sentence for it, or pieces of a dump."""

    def __init__(self) -> None:
        self.sent: list[list[Answer]] = []
        self.waiting: list[bytes | OSError] = []
        self.refused: dict[bytes, tuple[int, str]] = {}  # by what the request says
        self.dumps: list[list[bytes]] = []
        self.refuses_options = False
        self.truncates = False

    def setsockopt(self, level: int, option: int, value: int) -> None:
        if self.refuses_options and level != socket.SOL_SOCKET:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def bind(self, address: tuple[int, int]) -> None: ...

    def getsockname(self) -> tuple[int, int]:
        return 4711, 0

    def close(self) -> None: ...

    def send(self, data: bytes) -> None:
        asked = list(answers(data))
        self.sent.append(asked)
        for one in asked:
            assert one.flags & REQUEST
            if one.flags & DUMP == DUMP and self.dumps:
                pieces = self.dumps.pop(0)
                self.waiting += [piece.replace(b"SEQ!", struct.pack("=I", one.sequence)) for piece in pieces]
                continue
            code, sentence = self.refused.get(one.body, (0, ""))
            if code or one.flags & ACKNOWLEDGE:
                self.waiting.append(said(one, code, sentence))

    def recvmsg(self, size: int) -> tuple[bytes, list[object], int, object]:
        if not self.waiting:
            raise BlockingIOError
        answer = self.waiting.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer, [], socket.MSG_TRUNC if self.truncates else 0, None


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeSocket:
    fake = FakeSocket()
    monkeypatch.setattr(requests, "_socket", lambda *_: fake)
    return fake


def piece(*bodies: bytes, kind: int = 20, flags: int = MULTI) -> bytes:
    """Put together a piece of a dump, whose sequence number is filled in when it is asked for."""
    return b"".join(packed(kind, flags, 0x21514553, body) for body in bodies)  # "SEQ!"


END = piece(bytes(4), kind=DONE)


def orders(count: int) -> list[Order]:
    return [Order(20, 0, struct.pack("=I", number)) for number in range(count)]


def test_many_orders_are_one_message_and_one_answer(kernel: FakeSocket) -> None:
    assert Requests().order(orders(100)) == [None] * 100
    assert [len(sent) for sent in kernel.sent] == [100]
    assert [one.flags & ACKNOWLEDGE for one in kernel.sent[0]] == [0] * 99 + [ACKNOWLEDGE]


def test_orders_that_are_too_many_for_one_message_are_several(kernel: FakeSocket) -> None:
    assert Requests().order(orders(250)) == [None] * 250
    assert [len(sent) for sent in kernel.sent] == [100, 100, 50]
    assert Requests().order([]) == []


@pytest.mark.parametrize("wrong", [{0}, {99}, {100}, {7, 8, 149}, set(range(150))], ids=str)
def test_each_order_has_its_own_error_wherever_it_stands(kernel: FakeSocket, wrong: set[int]) -> None:
    kernel.refused = {struct.pack("=I", number): (errno.EEXIST, f"number {number}") for number in wrong}
    said = Requests().order(orders(150))
    assert {number for number, why in enumerate(said) if why is not None} == wrong
    for number in wrong:
        why = said[number]
        assert why is not None
        assert (why.errno, str(why)) == (errno.EEXIST, f"number {number} (errno 17)")


@pytest.mark.parametrize("capped", [True, False])
def test_refusal_has_the_kernels_sentence_or_that_of_its_errno(capped: bool) -> None:
    asked = Answer(20, 5, 9, b"abcdefg")
    (answer,) = answers(said(asked, errno.EINVAL, "ipv4: Invalid prefix length", capped))
    assert str(refusal(answer)) == "ipv4: Invalid prefix length (errno 22)"
    (answer,) = answers(said(asked, errno.EINVAL, "", capped))
    assert str(refusal(answer)) == "Invalid argument (errno 22)"
    (answer,) = answers(said(asked, 0))
    assert refusal(answer) is None


def test_answer_to_something_else_is_not_taken_for_one(kernel: FakeSocket) -> None:
    asking = Requests()
    kernel.waiting.append(packed(ERROR, 0, 999, struct.pack("=i", -errno.EPERM) + bytes(16)))
    assert asking.order(orders(1)) == [None]


def test_dump_comes_in_pieces(kernel: FakeSocket) -> None:
    kernel.dumps = [[piece(b"one.", b"two."), piece(b"three"), END]]
    assert Requests().dump(22, b"") == [b"one.", b"two.", b"three"]


@pytest.mark.parametrize(
    "interrupted",
    [
        [piece(b"half", flags=MULTI | INTERRUPTED), END],
        [piece(b"half"), piece(bytes(4), kind=DONE, flags=MULTI | INTERRUPTED)],
        [piece(b"half"), piece(struct.pack("=i", -errno.EINTR), kind=DONE)],
    ],
    ids=["in a message", "at its end", "by an error"],
)
def test_dump_that_a_change_interrupts_is_asked_for_again(kernel: FakeSocket, interrupted: list[bytes]) -> None:
    kernel.dumps = [interrupted, interrupted, [piece(b"all."), END]]
    assert Requests().dump(22, b"") == [b"all."]
    assert len(kernel.sent) == 3


def test_dump_that_is_always_interrupted_is_given_up(kernel: FakeSocket) -> None:
    kernel.dumps = [[piece(b"half", flags=INTERRUPTED), END] for _ in range(50)]
    with pytest.raises(OSError, match="again and again"):
        Requests().dump(22, b"")
    assert len(kernel.sent) == 10


def test_dump_that_is_refused_says_why(kernel: FakeSocket) -> None:
    kernel.refused = {b"abcd": (errno.ENODEV, "")}
    with pytest.raises(Refused, match=r"No such device \(errno 19\)"):
        Requests().dump(22, b"abcd")
    kernel.dumps = [[piece(b"half"), piece(struct.pack("=i", -errno.ENOMEM), kind=DONE)]]
    with pytest.raises(Refused, match="Cannot allocate memory"):
        Requests().dump(22, b"")


def test_more_than_could_wait_is_an_error_and_no_answer(kernel: FakeSocket) -> None:
    kernel.waiting.append(OSError(errno.ENOBUFS, "No buffer space available"))
    with pytest.raises(OSError, match="No buffer space"):
        Requests().order(orders(3))


def test_kernel_that_does_not_answer_is_not_waited_for(kernel: FakeSocket) -> None:
    kernel.dumps = [[piece(b"half")]]
    with pytest.raises(OSError, match="does not answer"):
        Requests().dump(22, b"")


def test_answer_that_is_longer_than_the_room_for_it_is_an_error(kernel: FakeSocket) -> None:
    kernel.truncates = True
    with pytest.raises(OSError, match="longer than it ever is"):
        Requests().order(orders(1))


def test_kernel_without_the_newer_options_is_used_without_them(kernel: FakeSocket) -> None:
    kernel.refuses_options = True
    asking = Requests()
    assert asking.port == 4711
    assert asking.order(orders(2)) == [None, None]


WHOLE = packed(20, 0, 1, b"abcde") + packed(21, 2, 2, b"")


def test_what_comes_is_taken_apart_and_what_is_cut_off_is_said_so() -> None:
    assert list(answers(WHOLE)) == [Answer(20, 0, 1, b"abcde"), Answer(21, 2, 2, b"")]
    for length in range(1, len(WHOLE)):
        if length not in (21, 22, 23, 24):  # without the padding, and without the second
            with pytest.raises(OSError, match="cut off"):
                list(answers(WHOLE[:length]))


def ends(read: Callable[[], object]) -> None:
    """Whatever comes is read, or is the documented error."""
    with contextlib.suppress(OSError):
        read()


@given(st.binary(max_size=200), st.binary(max_size=80), st.integers(0, 0xFFFF))
def test_garbage_ends_in_messages_or_in_the_error_for_it(data: bytes, body: bytes, flags: int) -> None:
    ends(lambda: list(answers(data)))
    for kind in (ERROR, DONE, 20):
        ends(lambda kind=kind: refusal(Answer(kind, flags, 1, body)))  # type: ignore[misc]


def test_this_machines_kernel_answers_a_dump_and_refuses_what_is_not_there() -> None:
    asking = Requests()
    read = [routes.read(body) for body in asking.dump(routes.GET, routes.ask_local(4, 1))]
    assert any(route is not None and route.packed[:1] == b"\x7f" and route.device == 1 for route in read)
    with pytest.raises(Refused):
        asking.ask(routes.GET, b"\xff" * 12)
    asking.close()
