"""What is made of the kernel's events, which are put together here byte by byte."""

from __future__ import annotations

import errno
import socket
import struct

import gevent
import gevent.socket
import pytest

from consulcast.executor import device_events, netlink
from consulcast.executor.device_events import DeviceEvents
from consulcast.executor.kernel import Link
from consulcast.executor.netlink import Heard, Message
from consulcast.executor.own_changes import OwnChanges
from consulcast.repairs import Kind

OURS = 4242  # our own socket's port
DEVICE = 7  # the index of the VIPs' device
NEW_LINK, DELETE_LINK, NEW_ADDRESS, DELETE_ADDRESS = 16, 17, 20, 21


def address(kind: int = DELETE_ADDRESS, index: int = DEVICE, sender: int = 99) -> Message:
    return Message(kind, sender, struct.pack("=BBBBi", socket.AF_INET, 32, 0, 254, index))


def link(
    name: str = "vips0", up: bool = True, index: int = DEVICE, kind: int = NEW_LINK, family: int = socket.AF_UNSPEC
) -> Message:
    text = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(text), 3) + text
    return Message(kind, 0, struct.pack("=BxHiII", family, 1, index, 0x10 | up, 0) + attribute)


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.device: Link | None = Link(DEVICE, True)
        monkeypatch.setattr(device_events, "link", lambda name: self.device)
        monkeypatch.setattr(device_events, "Subscription", lambda *_: None)
        self.told: list[Kind] = []
        self.events = DeviceEvents("vips0", OwnChanges(lambda: OURS), self.told.append, gevent.spawn)
        self.events._subscribe()

    def hear(self, *messages: Message, lost: bool = False) -> list[Kind]:
        """Let these come at once, and return what was made of them."""
        self.told.clear()
        assert self.events._take(Heard(messages, lost)) == bool(self.told)
        return list(self.told)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_addresses_that_others_change_on_the_device_are_told_and_of_many_only_one(world: World) -> None:
    assert world.hear(*[address()] * 1000) == [Kind.ADDRESS]
    assert world.hear(address(NEW_ADDRESS)) == [Kind.ADDRESS]


def test_own_changes_and_other_devices_are_no_events(world: World) -> None:
    assert world.hear(address(sender=OURS), address(NEW_ADDRESS, sender=OURS), address(index=8)) == []


def test_address_of_another_device_is_remembered_until_somebody_has_looked(world: World) -> None:
    assert world.events.elsewhere, "nobody knows what was before"
    world.events.elsewhere = False
    world.hear(address(), address(index=8, sender=OURS))
    assert not world.events.elsewhere
    world.hear(address(NEW_ADDRESS, index=8))
    assert world.events.elsewhere
    world.events.elsewhere = False
    world.hear(lost=True)
    assert world.events.elsewhere


def test_device_set_down_and_up_is_told_and_other_changes_of_it_are_not(world: World) -> None:
    assert world.hear(link(up=True)) == []  # another MTU, say
    assert world.hear(link(up=False)) == [Kind.DEVICE]
    assert world.hear(link(up=False)) == []
    assert world.hear(link(up=True)) == [Kind.DEVICE]
    assert world.hear(link("eth0", up=False, index=2)) == []


def test_device_deleted_and_made_anew_with_another_index_is_followed(world: World) -> None:
    assert world.hear(link(kind=DELETE_LINK)) == [Kind.DEVICE]
    assert world.hear(address(index=DEVICE)) == []
    assert world.hear(link(index=9)) == [Kind.DEVICE]
    assert world.hear(address(index=9)) == [Kind.ADDRESS]


def test_device_that_is_renamed_is_not_there_any_more(world: World) -> None:
    assert world.hear(link("other0")) == [Kind.DEVICE]
    assert world.hear(link("vips0")) == [Kind.DEVICE]


def test_what_a_bridge_says_of_its_ports_is_not_about_the_device(world: World) -> None:
    assert world.hear(link(kind=DELETE_LINK, family=socket.AF_BRIDGE)) == []


def test_lost_events_are_told_and_the_device_is_looked_at_anew(world: World) -> None:
    world.device = Link(11, True)
    assert world.hear(lost=True) == [Kind.NETLINK]
    assert world.hear(address(index=11)) == [Kind.ADDRESS]


class FakeSocket:
    """Gives what it is told to, then nothing."""

    def __init__(self, *answers: bytes | OSError) -> None:
        self.answers = iter(answers)

    def fileno(self) -> int:
        return -1

    def recv(self, size: int) -> bytes:
        answer: bytes | OSError = next(self.answers, BlockingIOError())
        if isinstance(answer, OSError):
            raise answer
        return answer


def packed(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 5) + body + bytes(-len(body) % 4)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gevent.socket, "wait_read", lambda descriptor: None)


def hear(*answers: bytes | OSError) -> Heard:
    subscription = netlink.Subscription.__new__(netlink.Subscription)
    subscription._socket = FakeSocket(*answers)  # type: ignore[assignment]
    return subscription.wait()


def test_all_that_has_come_is_taken_at_once(no_waiting: None) -> None:
    assert hear(packed(20, b"abcde") + packed(21, b"f"), packed(16, b"")) == Heard(
        (Message(20, 5, b"abcde"), Message(21, 5, b"f"), Message(16, 5, b"")), False
    )


def test_more_than_could_wait_is_said_so_and_the_rest_is_heard(no_waiting: None) -> None:
    overrun = OSError(errno.ENOBUFS, "No buffer space available")
    assert hear(packed(20, b""), overrun, packed(21, b"")) == Heard((Message(20, 5, b""), Message(21, 5, b"")), True)


def test_other_errors_end_it(no_waiting: None) -> None:
    with pytest.raises(OSError, match="Bad file"):
        hear(OSError(errno.EBADF, "Bad file descriptor"))


def test_kernel_without_such_events_is_left_to_the_sweep(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(device_events, "Subscription", refuse)
    events = DeviceEvents("vips0", OwnChanges(lambda: OURS), lambda kind: None, gevent.spawn)
    events.start()
    events.stop()
    assert "seen by the sweep" in caplog.text
