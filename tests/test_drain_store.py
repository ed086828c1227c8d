"""Drains outlive the daemon, lapse when their time is over, and count whether they can be written or not."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import gevent
import pytest

from consulcast import drain_store, state_file
from consulcast.drain_store import DrainStore
from consulcast.drains import Target
from consulcast.kept_file import RETRY, NotStored
from consulcast.notation import BadValue

NODE, DNS = Target.read("node"), Target.read("dns")


@dataclass
class Host:
    """A directory in which daemons run one after another; the wall clock is ahead of the monotonic one."""

    path: Path
    now: float = 1000.0
    ahead: float = 1.7e9
    changes: int = 0
    running: DrainStore | None = None
    failures: list[BaseException] = field(default_factory=list)

    def start(self) -> DrainStore:
        def changed() -> None:
            self.changes += 1

        self.running = DrainStore(
            self.path, changed, self.failures.append, lambda: self.now, lambda: self.now + self.ahead
        )
        self.running.start()
        return self.running

    def restart(self, pause: float = 0.0) -> DrainStore:
        self.stop()
        self.now, self.ahead = 50.0, self.ahead + self.now + pause - 50.0  # the machine was started again
        return self.start()

    def stop(self) -> None:
        if self.running is not None:
            self.running.stop()
        assert not self.failures

    def pass_time(self, seconds: float) -> None:
        assert self.running is not None
        self.now += seconds
        self.running.wake()
        gevent.sleep(0.02)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "drains.json")
    yield made
    made.stop()


def targets(store: DrainStore) -> list[str]:
    return [drain.target.name for drain in store.drains]


def break_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(state_file, "write", write)


def eventually(true: Callable[[], bool]) -> None:
    with gevent.Timeout(5):
        while not true():
            gevent.sleep(0.002)


def test_drains_survive_a_restart_with_who_why_and_until_when(host: Host) -> None:
    store = host.start()
    store.put(NODE, 600.0, "kernel", "deploy")
    store.put(DNS, None, "", "this host")
    assert host.path.stat().st_mode & 0o777 == 0o600
    node, dns = host.restart(pause=100.0).drains
    assert (node.target, node.reason, node.who) == (NODE, "kernel", "deploy")
    assert (node.since, node.until) == (50.0 - 100.0, 50.0 + 500.0)
    assert (dns.target, dns.until, dns.ends) == (DNS, None, "")


def test_drain_ends_when_its_time_is_over_and_the_file_knows(host: Host) -> None:
    store = host.start()
    store.put(NODE, 60.0, "", "")
    store.put(DNS, 600.0, "", "")
    before = host.changes
    host.pass_time(59.0)
    assert targets(store) == ["node", "dns"]
    host.pass_time(1.0)
    assert targets(store) == ["dns"]
    assert host.changes == before + 1
    eventually(lambda: b'"node"' not in host.path.read_bytes())


def test_drain_whose_time_was_over_while_nobody_ran_does_not_come_back(host: Host) -> None:
    host.start().put(NODE, 60.0, "", "")
    assert targets(host.restart(pause=60.0)) == []


def test_drain_that_is_asked_for_again_goes_on_with_other_words(host: Host) -> None:
    store = host.start()
    first = store.put(NODE, 60.0, "one", "a")
    host.now += 30
    again = store.put(NODE, None, "two", "b")
    assert (again.since, again.until, again.reason) == (first.since, None, "two")
    assert len(store.drains) == 1


def test_end_of_a_drain_is_told_once_and_kept(host: Host) -> None:
    store = host.start()
    store.put(NODE, None, "", "")
    assert store.remove(NODE)
    assert not store.remove(NODE)
    assert targets(host.restart()) == []


def test_full_disk_keeps_nobody_from_draining_and_he_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    store = host.start()
    store.put(DNS, None, "", "")
    with monkeypatch.context() as broken:
        break_disk(broken)
        with pytest.raises(NotStored, match="it is drained, but a restart may forget that") as caught:
            store.put(NODE, None, "", "")
        assert caught.value.full
        with pytest.raises(NotStored, match="a restart may bring it back"):
            store.remove(DNS)
        assert targets(store) == ["node"]
    host.pass_time(RETRY)
    eventually(lambda: b'"node"' in host.path.read_bytes())
    assert targets(host.restart()) == ["node"]


def test_bad_file_is_named_and_set_aside(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.path.write_bytes(b'{"version":1,"drains":[{"target":"node"')
    with caplog.at_level(logging.ERROR):
        store = host.start()
    assert targets(store) == []
    assert "drains.json.bad-1" in caplog.text
    assert "no drain of a former run stands" in caplog.text
    assert host.path.with_name("drains.json.bad-1").exists()


def test_there_are_so_many_drains_and_no_more(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain_store, "MAX_DRAINS", 1)
    store = host.start()
    store.put(DNS, None, "", "")
    with pytest.raises(BadValue, match="1 drains already"):
        store.put(NODE, None, "", "")
    store.put(DNS, None, "again", "")


def test_daemon_that_stops_takes_no_more(host: Host) -> None:
    store = host.start()
    store.stop()
    for change in (lambda: store.put(NODE, None, "", ""), lambda: store.remove(NODE)):
        with pytest.raises(NotStored, match="stopping"):
            change()
