"""What arrives at a service manager's socket, which is a real one."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from consulcast import sd_notify
from consulcast.sd_notify import Notifier


class Receiver:
    """A service manager's end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.setblocking(False)

    def take(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(str(tmp_path / "notify") if request.param == "path" else f"@consulcast-test/{os.getpid()}")
    yield made
    made.socket.close()


@pytest.fixture
def make() -> Iterator[Callable[..., Notifier]]:
    made: list[Notifier] = []

    def notifier(environment: dict[str, str], **more: Callable[[], float]) -> Notifier:
        made.append(Notifier(environment, **more))
        return made[-1]

    yield notifier
    for one in made:
        one.close()


Make = Callable[..., Notifier]


def test_each_word_arrives_as_one_datagram(make: Make, receiver: Receiver) -> None:
    notifier = make({"NOTIFY_SOCKET": receiver.name}, monotonic=lambda: 12.5)
    notifier.starting(60.0)
    notifier.ready()
    notifier.status("7 VIPs\nannounced")
    notifier.reloading()
    notifier.alive()
    notifier.stopping(13.0)
    assert receiver.take() == [
        "EXTEND_TIMEOUT_USEC=60000000",
        "READY=1",
        "STATUS=7 VIPs announced",
        "RELOADING=1\nMONOTONIC_USEC=12500000",
        "WATCHDOG=1",
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=13000000",
    ]


def test_children_inherit_nothing_of_it(make: Make, receiver: Receiver) -> None:
    environment = {"NOTIFY_SOCKET": receiver.name, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    make(environment)
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [("30000000", "", 30.0), ("30000000", str(os.getpid()), 30.0), ("30000000", "1", None), ("", "", None)],
)
def test_watchdog_is_ours_only_when_it_names_us(
    make: Make, receiver: Receiver, usec: str, pid: str, seconds: float | None
) -> None:
    notifier = make({"NOTIFY_SOCKET": receiver.name, "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid})
    assert notifier.watchdog == seconds


def test_without_a_service_manager_nothing_happens(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    notifier = make({"WATCHDOG_USEC": "30000000"})
    notifier.ready()
    notifier.alive()
    notifier.close()
    assert notifier.watchdog is None
    assert not caplog.records


def test_socket_of_another_kind_is_named(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    make({"NOTIFY_SOCKET": "vsock:2:1234"}).ready()
    assert "vsock:2:1234" in caplog.text


def test_service_manager_that_went_away_is_told_of_once(
    make: Make, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = make({"NOTIFY_SOCKET": receiver.name})
    receiver.socket.close()
    for _ in range(3):
        notifier.ready()
        notifier.alive()
    assert caplog.text.count("cannot be told") == 1


def test_full_queue_holds_up_nobody_and_loses_nothing_that_counts(
    make: Make, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sd_notify, "_AGAIN", 0.01)
    notifier = make({"NOTIFY_SOCKET": receiver.name})
    for _ in range(2000):  # net.unix.max_dgram_qlen is 512 at most on most hosts
        notifier.alive()
    started = time.monotonic()
    for number in range(5):
        notifier.status(f"status {number}")
    notifier.ready()
    assert time.monotonic() - started < 1.0
    assert {*receiver.take()} == {"WATCHDOG=1"}
    gevent.sleep(0.1)
    assert receiver.take() == ["STATUS=status 4", "READY=1"]
