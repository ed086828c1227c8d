"""Port monitors: which looks count, when there is a dump, and what a closed socket means."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from consulcast import notation
from consulcast.model import MonitorSpec
from consulcast.monitors import port, sock_diag
from consulcast.monitors.port import Ports
from consulcast.monitors.probe import Look
from consulcast.monitors.sock_diag import Listener

ANY4 = bytes(4)


class Kernel:
    """Sockets that listen, and how often they were asked for."""

    def __init__(self) -> None:
        self.listening: list[tuple[str, Listener]] = []
        self.dumps: list[tuple[str, int]] = []
        self.error: OSError | None = None
        self.missed: list[Listener] = []  # by the next dump of all

    def listeners(self, protocol: str, port: int = 0) -> Iterator[Listener]:
        self.dumps.append((protocol, port))
        if self.error is not None:
            raise self.error
        missed, self.missed = (self.missed, []) if not port else ([], self.missed)
        for kind, listener in self.listening:
            if kind == protocol and port in (0, listener.port) and listener not in missed:
                yield listener


class World:
    """Port monitors over a kernel of the test's own; no event comes but from the test."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.looks: list[tuple[str, bool | None]] = []
        self.ports = Ports(self._take, self._spawn)

    def _take(self, spec: MonitorSpec, look: Look, began: float) -> None:
        assert began > 0
        self.looks.append((str(spec), look.passed))

    def _spawn(self, run: Callable[..., Any], *arguments: object) -> gevent.Greenlet[..., Any]:
        return gevent.spawn(run, *arguments)

    def watch(self, *texts: str, interval: float = 60.0) -> None:
        self.ports.set({notation.monitor(text): interval for text in texts})
        gevent.sleep(0.001)

    def told(self) -> list[tuple[str, bool | None]]:
        told, self.looks = self.looks, []
        return told


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    kernel = Kernel()
    monkeypatch.setattr(sock_diag, "listeners", kernel.listeners)
    monkeypatch.setattr(port, "RECOVERY", 0.03)
    made = World(kernel)
    yield made
    made.ports.stop()


def test_one_dump_of_a_protocol_answers_for_all_its_ports(world: World) -> None:
    world.kernel.listening = [("tcp", Listener(number, ANY4)) for number in range(1, 501)]
    world.watch(*(f"port:tcp:{number}" for number in range(1, 501)))
    assert world.kernel.dumps == [("tcp", 0)]
    assert [passed for _, passed in world.told()] == [True] * 500


def test_protocols_are_not_mixed_up(world: World) -> None:
    world.kernel.listening = [("tcp", Listener(53, ANY4))]
    world.watch("port:tcp:53", "port:udp:53")
    assert dict(world.told()) == {"port:tcp:53": True, "port:udp:53": False}


def test_address_option_asks_who_takes_traffic_to_it(world: World) -> None:
    world.kernel.listening = [("tcp", Listener(53, bytes([127, 0, 0, 1]))), ("udp", Listener(53, bytes(16)))]
    texts = [f"port:{protocol}:53;address=198.51.100.1" for protocol in ("tcp", "udp")]
    world.watch(*texts, "port:tcp:53")
    assert dict(world.told()) == {texts[0]: False, texts[1]: True, "port:tcp:53": True}


def test_while_all_is_well_there_is_a_dump_each_interval_and_no_more(world: World) -> None:
    world.kernel.listening = [("tcp", Listener(number, ANY4)) for number in (1, 2, 3)]
    world.watch("port:tcp:1", interval=0.1)
    gevent.sleep(0.05)
    world.watch("port:tcp:1", "port:tcp:2", "port:tcp:3", interval=0.1)
    world.kernel.dumps.clear()
    began = time.monotonic()
    gevent.sleep(0.5)
    assert 3 <= len(world.kernel.dumps) <= (time.monotonic() - began) / 0.1 + 1


def test_while_one_fails_a_new_listener_is_seen_soon(world: World) -> None:
    world.watch("port:tcp:53", "port:tcp:54")
    assert dict(world.told()) == {"port:tcp:53": False, "port:tcp:54": False}
    world.kernel.listening = [("tcp", Listener(53, ANY4))]
    gevent.sleep(0.1)
    assert world.told() == [("port:tcp:53", True)], "what has not changed counts at its interval only"


def test_failed_looks_count_an_interval_apart_however_often_there_is_a_dump(world: World) -> None:
    world.watch("port:tcp:53", interval=0.2)
    gevent.sleep(0.5)
    assert 3 <= len(world.told()) <= 4
    assert len(world.kernel.dumps) > 8


def test_while_one_fails_for_long_dumps_become_rare(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "LONG", 0.0)
    world.watch("port:tcp:53")
    world.kernel.dumps.clear()
    gevent.sleep(0.2)
    assert len(world.kernel.dumps) <= 1


def test_a_closed_listener_is_asked_about_alone_and_the_next_dump_comes_as_soon_as_one_fails(world: World) -> None:
    class Heard:
        def wait(self) -> set[int]:
            if closed:
                return {closed.pop()}
            gevent.sleep(60)
            return set()

    world.kernel.listening = [("tcp", Listener(number, ANY4)) for number in (1, 2, 3)]
    world.watch("port:tcp:1", "port:tcp:2", "port:tcp:3")
    world.kernel.dumps.clear()
    closed = [1]
    listen = gevent.spawn(world.ports._listen, Heard())  # type: ignore[call-overload]
    gevent.sleep(0.01)
    assert world.kernel.dumps == [("tcp", 1)]
    world.kernel.listening.pop(0)
    listen.kill()
    closed.append(1)
    listen = gevent.spawn(world.ports._listen, Heard())  # type: ignore[call-overload]
    gevent.sleep(0.1)
    listen.kill()
    assert world.kernel.dumps[1:3] == [("tcp", 1), ("tcp", 0)]


def test_listeners_that_are_closed_all_the_time_do_not_put_the_dumps_off(world: World) -> None:
    world.watch("port:tcp:53")
    world.kernel.dumps.clear()
    for _ in range(60):
        world.ports._wake.set()
        gevent.sleep(0.002)
    assert len(world.kernel.dumps) >= 2


def test_a_listener_that_one_dump_misses_has_not_gone(world: World) -> None:
    listener = Listener(53, ANY4)
    world.kernel.listening = [("tcp", listener)]
    world.kernel.missed = [listener]
    world.watch("port:tcp:53")
    assert world.told() == [("port:tcp:53", True)]
    assert len(world.kernel.dumps) == 2


def test_a_kernel_that_does_not_answer_says_nothing_of_the_service(world: World) -> None:
    world.kernel.error = OSError(errno.ENOENT, "No such file or directory")
    world.watch("port:tcp:53")
    assert world.told() == [("port:tcp:53", None)]


def listener(reuse: bool = False, number: int = 0) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse))
    made.bind(("127.0.0.1", number))
    made.listen()
    return made


@pytest.fixture
def real() -> Iterator[World]:
    made = World(Kernel())
    yield made
    made.ports.stop()


def soon(seen: Callable[[], bool], seconds: float = 3.0) -> float:
    began = time.monotonic()
    while not seen():
        assert time.monotonic() - began < seconds
        gevent.sleep(0.001)
    return time.monotonic() - began


def test_closed_listener_is_seen_by_the_event(real: World) -> None:
    with listener() as made:
        text = f"port:tcp:{made.getsockname()[1]}"
        real.watch(text)
        assert real.told() == [(text, True)]
    soon(lambda: bool(real.looks))
    assert real.told() == [(text, False)]


def test_second_listener_keeps_it_passing(real: World) -> None:
    with listener(reuse=True) as first:
        number = first.getsockname()[1]
        with listener(reuse=True, number=number):
            real.watch(f"port:tcp:{number}")
        gevent.sleep(0.05)
        assert real.told() == [(f"port:tcp:{number}", True)]
    soon(lambda: bool(real.looks))


def test_without_the_kernels_events_the_interval_is_left(real: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(port, "Closed", refuse)
    with listener() as made:
        text = f"port:tcp:{made.getsockname()[1]}"
        real.watch(text, interval=0.05)
    soon(lambda: (text, False) in real.looks)


def test_lost_events_cause_a_dump(real: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lossy:
        def watch(self, ports: object) -> None: ...

        def close(self) -> None: ...

        def wait(self) -> set[int]:
            gevent.sleep(0.05)
            return {0}

    monkeypatch.setattr(port, "Closed", Lossy)
    with listener() as made:
        text = f"port:tcp:{made.getsockname()[1]}"
        real.watch(text)
    soon(lambda: (text, False) in real.looks)
