"""How many flows to a VIP are open, asked of the real kernel about this process's own sockets, and in fakes."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing

import gevent
import pytest

from consulcast.executor import sockets
from consulcast.executor.flows import PAUSE, OpenFlows, count
from consulcast.executor.nat import conntrack, netlink
from consulcast.executor.nat.netlink import attribute, nested
from consulcast.model import Interface

HERE, NET, OTHER = map(ipaddress.ip_interface, ("127.83.0.1/32", "127.83.0.0/24", "127.84.0.1/32"))
CLIENT = ("127.86.0.1", 0)  # or the kernel would take the VIP for this end, too


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with closing(socket.socket()) as made:
        made.bind((str(HERE.ip), 0))
        made.listen()
        yield made


@pytest.fixture(autouse=True)
def no_conntrack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conntrack, "_is_tracking", lambda: False)


def test_connections_to_a_vip_are_counted_until_they_end(server: socket.socket) -> None:
    assert count([HERE, NET, OTHER]) == {HERE: 0, NET: 0, OTHER: 0}, "a listener is no flow"
    with closing(socket.create_connection(server.getsockname(), source_address=CLIENT)) as client:
        served, _ = server.accept()
        assert count([HERE, NET, OTHER]) == {HERE: 1, NET: 1, OTHER: 0}
        many = [ipaddress.ip_interface(f"127.85.0.{number}/32") for number in range(20)]
        assert count([HERE, *many])[HERE] == 1, "where they are many, all are looked at"
        client.close()
        served.close()
    assert count([HERE]) == {HERE: 0}


def test_ipv4_connection_of_a_socket_of_both_families_is_counted() -> None:
    with closing(socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)) as server:
        address = str(HERE.ip), server.getsockname()[1]
        with closing(socket.create_connection(address, source_address=CLIENT)), closing(server.accept()[0]):
            assert count([HERE]) == {HERE: 1}


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -13),
        struct.pack("=IHHII", 20, 20, 0, 1, 0) + bytes(4),
    ],
)
def test_kernels_refusal_and_an_answer_cut_short_are_errors(data: bytes) -> None:
    with pytest.raises(OSError):  # noqa: PT011  # the kernel's number
        sockets.parse(data, socket.AF_INET, 4)


def flow(protocol: int, state: int = 0, source: str = "198.51.100.1", timeout: int = 0, status: int = 0) -> bytes:
    def end(of: str, to: str) -> bytes:
        ip = nested(1, attribute(1, ipaddress.ip_address(of).packed), attribute(2, ipaddress.ip_address(to).packed))
        return ip + nested(2, attribute(1, bytes([protocol])))

    return b"".join(
        (
            nested(1, end("198.51.100.2", str(HERE.ip))),
            nested(2, end(source, "198.51.100.2")),
            attribute(3, struct.pack(">I", status)),
            nested(4, nested(1, attribute(1, bytes([state])))),
            attribute(7, struct.pack(">I", timeout)),
        )
    )


@pytest.mark.parametrize(
    ("packed", "counts"),
    [
        (flow(6, state=3), True),
        (flow(6, state=7), False),  # TIME_WAIT
        (flow(6, state=3, source=str(HERE.ip)), False),  # a socket of this host: counted as such
        (flow(17, timeout=30), True),
        (flow(17, timeout=20), False),  # nothing came for ten seconds
        (flow(17, timeout=119, status=4), True),
        (flow(17, timeout=30, status=4), False),
        (flow(1, timeout=30), False),
        (b"", False),
    ],
)
def test_flow_of_conntrack_counts_while_it_is_alive(
    monkeypatch: pytest.MonkeyPatch, packed: bytes, counts: bool
) -> None:
    monkeypatch.setattr(conntrack, "_is_tracking", lambda: True)
    monkeypatch.setattr(conntrack, "_seconds", lambda name: 120 if name.endswith("stream") else 30)
    monkeypatch.setattr(netlink, "dump", lambda *_: iter([[packed]]))
    assert count([HERE]) == {HERE: int(counts)}


class Counted:
    """Counts as it is told to; a second passes when the test says so."""

    def __init__(self) -> None:
        self.asked: list[frozenset[Interface]] = []
        self.pauses: list[float] = []
        self.number = 1
        self.fails = False
        self.changes = 0
        self.tick = gevent.event.Event()
        self.flows = OpenFlows(self._changed, count=self._count, clock=lambda: 0.0, sleep=self._sleep)

    def _changed(self) -> None:
        self.changes += 1

    def _count(self, vips: Collection[Interface]) -> Mapping[Interface, int]:
        self.asked.append(frozenset(vips))
        if self.fails:
            raise PermissionError("no")
        return dict.fromkeys(vips, self.number)

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.tick.wait()
        self.tick.clear()

    def second(self) -> None:
        self.tick.set()
        gevent.sleep(0.01)


@pytest.fixture
def counted() -> Iterator[Counted]:
    made = Counted()
    yield made
    made.flows.stop()


def test_nothing_is_asked_while_nothing_is_watched_and_once_a_second_otherwise(counted: Counted) -> None:
    counted.flows.watch([])
    gevent.sleep(0.01)
    assert counted.asked == []
    counted.flows.watch([HERE])
    assert counted.flows.open(HERE) is None
    gevent.sleep(0.01)
    assert counted.flows.open(HERE) == 1
    counted.flows.watch([HERE, OTHER])
    gevent.sleep(0.01)
    assert counted.asked == [{HERE}]
    counted.second()
    assert counted.asked == [{HERE}, {HERE, OTHER}]
    assert set(counted.pauses) == {PAUSE}
    counted.flows.watch([])
    assert counted.flows.open(HERE) is None
    for _ in range(3):
        counted.second()
    assert len(counted.asked) == 2


def test_owner_is_woken_by_another_count_alone(counted: Counted) -> None:
    counted.flows.watch([HERE])
    gevent.sleep(0.01)
    counted.second()
    assert counted.changes == 1
    counted.number = 0
    counted.second()
    assert (counted.changes, counted.flows.open(HERE)) == (2, 0)


def test_what_cannot_be_counted_is_unknown_and_told_once(counted: Counted, caplog: pytest.LogCaptureFixture) -> None:
    counted.fails = True
    counted.flows.watch([HERE])
    gevent.sleep(0.01)
    counted.second()
    assert counted.flows.open(HERE) is None
    assert caplog.text.count("open flows cannot be counted") == 1
