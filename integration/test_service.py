"""The daemon under a service manager, of which there is only the socket here."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.lab import Bird, Daemon, Lab, Peer, until

VIP = "203.0.113.10/32"
WATCHDOG = 1.0  # seconds


class Manager:
    """Hears what is said to a notification socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": f"{WATCHDOG * 1e6:.0f}"}
        self.heard: list[str] = []

    def hear(self) -> list[str]:
        """Take in what has come."""
        while True:
            try:
                self.heard += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.heard

    def wait(self, word: str, deadline: float = 10.0) -> None:
        until(lambda: word in self.hear(), deadline, f"{word!r} is heard; heard so far: {self.heard}")

    def signs_of_life(self, seconds: float) -> int:
        self.hear()
        self.heard.clear()
        time.sleep(seconds)
        return self.hear().count("WATCHDOG=1")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(lab: Lab) -> Iterator[Manager]:
    made = Manager(lab.dir / "notify")
    yield made
    made.close()


def test_service_manager_is_told_of_start_state_life_reload_and_end(lab: Lab, manager: Manager) -> None:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    bird = Bird(tor, 65010, [Peer("198.51.100.1", 65001)])
    peers = [{"address": "198.51.100.2"}, {"address": "198.51.100.77", "peer_as": 65099}]  # the second never answers
    config = {
        "agent": {"run_dir": str(lab.dir / "run"), "state_dir": str(lab.dir / "state"), "drain_time": "0s"},
        "bgp": {"local_as": 65001, "peer_as": 65010, "peers": peers},
        "apps": [{"name": "dns", "vip": VIP, "monitors": ['exec:test -z "$NOTIFY_SOCKET$WATCHDOG_USEC"']}],
    }
    daemon = Daemon(host, config, env=manager.environment)
    manager.wait("READY=1")
    answer = host.run(
        "curl", "-s", "-m", "0.5", "--unix-socket", str(lab.dir / "run/api.sock"), "http://localhost/v1/apps"
    )
    assert '"dns"' in answer, "who is told so may ask at once"
    assert VIP in host.addresses()
    assert "STATUS=1 of 1 VIPs announced, 1 of 2 peers up; without Consul" in manager.hear()
    bird.wait_route(VIP)
    for child in Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split():
        assert b"NOTIFY_SOCKET" not in Path(f"/proc/{child}/environ").read_bytes()

    assert 3 <= manager.signs_of_life(2.0) <= 6, "one at each half of the time"
    daemon.process.pause()
    time.sleep(0.1)
    assert manager.signs_of_life(2.0) == 0
    daemon.process.resume()
    assert manager.signs_of_life(1.5) >= 1

    bird.disable()
    manager.wait("STATUS=0 of 1 VIPs announced, 0 of 2 peers up; without Consul")
    bird.enable()
    manager.wait("STATUS=1 of 1 VIPs announced, 1 of 2 peers up; without Consul", deadline=30.0)

    manager.heard.clear()
    daemon.process.signal(signal.SIGHUP)
    manager.wait("READY=1")
    assert manager.heard.index("RELOADING=1") < manager.heard.index("READY=1")
    (monotonic,) = (word for word in manager.heard if word.startswith("MONOTONIC_USEC="))
    assert abs(int(monotonic.partition("=")[2]) / 1e6 - time.monotonic()) < 60

    manager.heard.clear()
    assert daemon.stop() == 0
    said = [word for word in manager.hear() if word != "WATCHDOG=1"]
    assert said[0] == "STOPPING=1"
    assert "READY=1" not in said


def test_without_a_watchdog_nobody_is_woken_for_one(lab: Lab, manager: Manager) -> None:
    host, tor = lab.host("host"), lab.host("tor")
    lab.link(host, tor, "198.51.100.1/24", "198.51.100.2/24")
    config = {
        "agent": {"run_dir": str(lab.dir / "run"), "state_dir": str(lab.dir / "state"), "drain_time": "0s"},
        "bgp": {"local_as": 65001, "peer_as": 65010, "peer_ip": "198.51.100.2"},
    }
    daemon = Daemon(host, config, env={**manager.environment, "WATCHDOG_PID": "1"})  # it is somebody else's
    manager.wait("READY=1")
    assert manager.signs_of_life(2.0) == 0
    assert daemon.process.alive
    assert os.path.exists(lab.dir / "notify")
    assert daemon.stop() == 0
