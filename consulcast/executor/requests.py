"""What the kernel is asked, and told to do, over one rtnetlink socket: many orders in one message, a word on each.

The kernel answers a request before ``send`` returns, and works on the orders of one ``send`` one after the other. So
only the last of them asks for an acknowledgement; the others are answered when they are refused.
Formats: linux/netlink.h; netlink(7), rtnetlink(7).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket as constants
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from gevent import monkey

from consulcast.executor.netlink import HEADER, attributes, packed

CREATE = 0x200 | 0x400  # NLM_F_EXCL: what is there is left as it is; NLM_F_CREATE

_REQUEST, _ACKNOWLEDGE, _DUMP = 0x1, 0x4, 0x100 | 0x200
_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR: what was read has changed meanwhile
_CAPPED, _EXPLAINED = 0x100, 0x200  # NLM_F_CAPPED, NLM_F_ACK_TLVS: of an answer that refuses
_ERROR, _DONE = 2, 3
_LARGEST_ERRNO = 4095  # linux/err.h, MAX_ERRNO
_SENTENCE = 1  # NLMSGERR_ATTR_MSG

_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12
_ROOM = 1 << 20  # bytes of answers that may wait
_LARGEST = 1 << 16  # the kernel's answers have half of that, at most
_AT_ONCE = 100  # orders of one send: were all refused, their answers (about 1 KiB each) have room where others set it
_ATTEMPTS = 10  # at a dump, while others change what it reads

_socket: Any = monkey.get_original("socket", "socket")  # this runs in a thread without a hub


class Refused(OSError):
    """The kernel refuses a request: the errno, and its own sentence where it has one."""

    def __str__(self) -> str:
        return f"{self.strerror} (errno {self.errno})"


class Order(NamedTuple):
    """One request: its type, flags beside the usual, and what it says."""

    kind: int
    flags: int
    body: bytes


class Answer(NamedTuple):
    """One message of the kernel's."""

    kind: int
    flags: int
    sequence: int
    body: bytes


def answers(data: bytes) -> Iterator[Answer]:
    """Take apart what one ``recv`` gave. Raises ``OSError`` for what is no whole message."""
    at = 0
    while at < len(data):
        if at + HEADER.size > len(data):
            raise OSError(errno.EBADMSG, "the kernel's answer is cut off")
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, at)
        if length < HEADER.size or at + length > len(data):
            raise OSError(errno.EBADMSG, "the kernel's answer is cut off")
        yield Answer(kind, flags, sequence, data[at + HEADER.size : at + length])
        at += (length + 3) & ~3


def refusal(answer: Answer) -> Refused | None:
    """Read what an answer refuses, of whatever kind; ``None``: nothing. Raises ``OSError`` for what is no answer."""
    if answer.kind not in (_ERROR, _DONE):
        return None
    if len(answer.body) < 4:
        raise OSError(errno.EBADMSG, "the kernel's answer is cut off")
    code = -struct.unpack_from("=i", answer.body)[0]
    if code <= 0:
        return None
    if code > _LARGEST_ERRNO:
        raise OSError(errno.EBADMSG, f"the kernel's answer has an error that is none: {code}")
    at = 4  # where the sentence may be: behind the request that is refused, or behind its head
    if answer.kind == _ERROR and len(answer.body) >= 4 + HEADER.size:
        length = HEADER.unpack_from(answer.body, 4)[0]
        at += HEADER.size if answer.flags & _CAPPED else (length + 3) & ~3
    found = attributes(answer.body[at:]) if answer.flags & _EXPLAINED else {}
    sentence = found.get(_SENTENCE, b"").rstrip(b"\0").decode(errors="replace")
    return Refused(code, sentence or os.strerror(code))


class Requests:
    """One rtnetlink socket, for one thread. All calls raise ``OSError``; after any but ``Refused`` it is worth no more.

    ``port``: as the kernel's events name who has caused them.
    """

    def __init__(self) -> None:
        self._sequence = 0
        self._socket = _socket(constants.AF_NETLINK, constants.SOCK_RAW | constants.SOCK_CLOEXEC, 0)
        try:
            self._socket.setsockopt(constants.SOL_SOCKET, constants.SO_RCVBUF, _ROOM)
            for option in (_CAP_ACK, _EXT_ACK, _STRICT):  # from Linux 4.3, 4.12 and 5.0 on: without, it says less
                with contextlib.suppress(OSError):
                    self._socket.setsockopt(_SOL_NETLINK, option, 1)
            self._socket.setblocking(False)  # the answer is there when ``send`` returns, or there is none
            self._socket.bind((0, 0))
            self.port = int(self._socket.getsockname()[0])
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        """Ask no more."""
        self._socket.close()

    def ask(self, kind: int, body: bytes) -> Answer:
        """Ask for one thing. Raises ``Refused``."""
        sequence = self._send([Order(kind, 0, body)])
        for answer in self._hear(sequence, 1):
            why = refusal(answer)
            if why is not None:
                raise why
            return answer
        raise AssertionError  # it ends by an error, if not before

    def dump(self, kind: int, body: bytes, wanted: Callable[[bytes], bool] = bool) -> list[bytes]:
        """Ask for all of a kind, and keep those that are ``wanted``.

        What comes is of one moment: else it is asked for again. Raises ``Refused``.
        """
        for _ in range(_ATTEMPTS):
            found = self._dump(kind, body, wanted)
            if found is not None:
                return found
        raise OSError(errno.EAGAIN, "others change it while it is read, again and again")

    def _dump(self, kind: int, body: bytes, wanted: Callable[[bytes], bool]) -> list[bytes] | None:
        found, whole = [], True
        for answer in self._hear(self._send([Order(kind, _DUMP, body)]), 1):
            whole = whole and not answer.flags & _INTERRUPTED
            if answer.kind not in (_ERROR, _DONE):
                if wanted(answer.body):
                    found.append(answer.body)
                continue
            why = refusal(answer)
            if why is not None and why.errno != errno.EINTR:
                raise why
            return found if whole and why is None else None
        return None

    def order(self, orders: Sequence[Order]) -> list[Refused | None]:
        """Have it do all of these, in this order; returns what it says to each, ``None`` being that it is done."""
        said: list[Refused | None] = []
        for at in range(0, len(orders), _AT_ONCE):
            said += self._order(orders[at : at + _AT_ONCE])
        return said

    def _order(self, orders: Sequence[Order]) -> list[Refused | None]:
        said: list[Refused | None] = [None] * len(orders)
        first = self._send(orders, _ACKNOWLEDGE)
        for answer in self._hear(first, len(orders)):
            if answer.kind == _ERROR:
                said[answer.sequence - first] = refusal(answer)
                if answer.sequence == first + len(orders) - 1:
                    break
        return said

    def _send(self, orders: Sequence[Order], last: int = 0) -> int:
        """Send these, numbered on from what is returned. ``last``: flags for the last of them alone."""
        first = self._sequence = self._sequence % 0x40000000 + 1
        self._sequence += len(orders)
        flags = [_REQUEST | order.flags for order in orders]
        flags[-1] |= last
        self._socket.send(
            b"".join(
                packed(order.kind, each, first + number, order.body)
                for number, (order, each) in enumerate(zip(orders, flags, strict=True))
            )
        )
        return first

    def _hear(self, first: int, count: int) -> Iterator[Answer]:
        """Receive the answers to so many requests; what was left of others before is not for us."""
        while True:
            try:
                data, _, flags, _ = self._socket.recvmsg(_LARGEST)
            except BlockingIOError:
                raise OSError(errno.ETIMEDOUT, "the kernel does not answer") from None
            if flags & constants.MSG_TRUNC:
                raise OSError(errno.EMSGSIZE, "the kernel's answer is longer than it ever is")
            for answer in answers(data):
                if first <= answer.sequence < first + count:
                    yield answer
