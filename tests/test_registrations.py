"""What is registered over HTTP outlives the daemon, and lapses when it is not renewed."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import gevent
import msgspec
import pytest

from consulcast import registration, registration_file, state_file
from consulcast.kept_file import NotStored
from consulcast.notation import BadValue
from consulcast.registration import Registration
from consulcast.registrations import Registrations


@dataclass
class Clock:
    """Both clocks: the wall one is ahead of the monotonic one, as in life."""

    now: float = 1000.0
    ahead: float = 1.7e9

    def wall(self) -> float:
        return self.now + self.ahead

    def __call__(self) -> float:
        return self.now


@dataclass
class Host:
    """A directory in which daemons run one after another."""

    path: Path
    clock: Clock = field(default_factory=Clock)
    changes: int = 0
    running: Registrations | None = None

    def start(self) -> Registrations:
        def failed(error: BaseException) -> None:
            raise error

        self.running = Registrations(self.path, self._changed, failed, self.clock, self.clock.wall)
        self.running.start()
        return self.running

    def restart(self) -> Registrations:
        self.stop()
        return self.start()

    def stop(self) -> None:
        if self.running is not None:
            self.running.stop()

    def _changed(self) -> None:
        self.changes += 1

    def pass_time(self, seconds: float) -> None:
        assert self.running is not None
        self.clock.now += seconds
        self.running.wake()
        gevent.sleep(0.02)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path / "registrations.json")
    yield host
    host.stop()


def asked(name: str = "dns", vip: str = "203.0.113.10/32", **texts: object) -> Registration:
    return msgspec.convert({"name": name, "vips": [vip], **texts}, Registration)


def names(registrations: Registrations) -> list[str]:
    return [app.name for app in registrations.apps]


def eventually(true: Callable[[], bool]) -> None:
    with gevent.Timeout(5):
        while not true():
            gevent.sleep(0.002)


def asides(host: Host) -> list[str]:
    return sorted(item.name for item in host.path.parent.iterdir() if ".bad-" in item.name)


def break_disk(monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> None:
    def write(path: Path, data: bytes) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(state_file, "write", write)


# -- in the order of an app's life ---------------------------------------------------------------------------------


def test_registrations_survive_a_restart_in_order_of_age(host: Host) -> None:
    registrations = host.start()
    for name in ("b", "a", "c"):
        registrations.put(
            asked(name, monitors=["port:tcp:53"], nats=["udp:53:8053"], communities=["65000:1,no-export"])
        )
    before = registrations.apps
    assert host.restart().apps == before
    assert [app.name for app in before] == ["b", "a", "c"]


def test_the_texts_are_kept_as_they_were_written(host: Host) -> None:
    written = asked(vip="2001:DB8:0::1/128", communities=["065000:1, no_export"], ttl="1h30m")
    host.start().put(written)
    held = host.restart().held("dns")
    assert held is not None
    assert held.registration == written


def test_changed_registration_takes_the_place_of_the_former(host: Host) -> None:
    registrations = host.start()
    registrations.put(asked("a"))
    registrations.put(asked("b", "203.0.113.11/32"))
    registrations.put(asked("a", "203.0.113.12/32", nats=["tcp:80"]))
    assert [(app.name, str(app.vips[0])) for app in registrations.apps] == [
        ("a", "203.0.113.12/32"),
        ("b", "203.0.113.11/32"),
    ]
    assert host.changes == 3


def test_the_same_again_changes_nothing_and_writes_nothing(host: Host) -> None:
    registrations = host.start()
    registrations.put(asked())
    before = host.path.stat()
    registrations.put(asked())
    assert host.changes == 1
    assert host.path.stat().st_ino == before.st_ino


def test_removal_tells_whether_there_was_anything(host: Host) -> None:
    registrations = host.start()
    registrations.put(asked())
    assert registrations.remove("dns")
    assert not registrations.remove("dns")
    assert host.restart().apps == ()


def test_many_at_once_are_all_kept(host: Host) -> None:
    registrations = host.start()
    greenlets = [gevent.spawn(registrations.put, asked(f"app {n}", f"203.0.113.{n}/32")) for n in range(1, 100)]
    gevent.joinall(greenlets, raise_error=True, timeout=10)
    assert len(host.restart().apps) == 99


def test_requests_for_one_name_are_taken_in_their_order(host: Host) -> None:
    registrations = host.start()
    first = gevent.spawn(registrations.put, asked())
    second = gevent.spawn(registrations.remove, "dns")
    third = gevent.spawn(registrations.put, asked(vip="203.0.113.11/32"))
    for greenlet in (first, second, third):
        greenlet.get(timeout=5)
    assert second.value is True
    assert [str(app.vips[0]) for app in registrations.apps] == ["203.0.113.11/32"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (asked(""), "name is missing"),
        (asked("x" * 129), "at most 128"),
        (asked("a\nb"), "printable"),
        (Registration("a"), "vip is missing"),
        (asked(vip="203.0.113.10"), "no prefix length"),
        (asked(monitors=["ping:1"]), "kind 'ping'"),
        (asked(monitors=["exec:true\n"]), "control character"),
        (asked(nats=["tcp:99999"]), "99999"),
        (asked(communities=[""]), "vip_communities is empty"),
        (asked(communities=["70000:1"]), "65535"),
        (asked(ttl="soon"), "duration"),
        (asked(ttl="999ms"), "1s to 8760h"),
        (asked(ttl="9" * 400 + "h"), "longer than a year"),
        (asked(monitors=["port:tcp:1"] * 65), "at most 64"),
    ],
)
def test_what_cannot_be_read_is_refused_and_not_kept(host: Host, wrong: Registration, says: str) -> None:
    registrations = host.start()
    with pytest.raises(BadValue, match=says):
        registrations.put(wrong)
    assert registrations.apps == ()
    assert not host.path.exists()


@pytest.mark.parametrize("name", ["a b", 'it\'s "quoted"', "a;b&c$d", "日本", "../../etc/passwd", "a/b", "%2f"])
def test_any_printable_name_will_do(host: Host, name: str) -> None:
    host.start().put(asked(name))
    assert names(host.restart()) == [name]


# -- time to live --------------------------------------------------------------------------------------------------


def test_lapses_when_it_is_not_renewed(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    registrations = host.start()
    registrations.put(asked("short", ttl="30s"))
    registrations.put(asked("for ever"))
    host.pass_time(29.9)
    assert names(registrations) == ["short", "for ever"]
    host.pass_time(0.2)
    assert names(registrations) == ["for ever"]
    assert host.changes == 3
    assert "app http:short: lapsed: not renewed within 30s" in caplog.messages
    assert names(host.restart()) == ["for ever"]


def test_renewal_prolongs_it_and_changes_nothing_else(host: Host) -> None:
    registrations = host.start()
    registrations.put(asked(ttl="30s"))
    for _ in range(5):
        host.pass_time(20)
        registrations.put(asked(ttl="30s"))
    assert names(registrations) == ["dns"]
    assert host.changes == 1
    host.pass_time(31)
    assert registrations.apps == ()


def test_registering_without_ttl_makes_it_stay(host: Host) -> None:
    registrations = host.start()
    registrations.put(asked(ttl="30s"))
    registrations.put(asked())
    host.pass_time(1e6)
    assert names(registrations) == ["dns"]


def test_lapses_by_itself_without_anybody_asking(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "TTL_MIN", 0.01)
    registrations = Registrations(host.path, lambda: None, lambda error: None)
    registrations.start()
    registrations.put(asked(ttl="50ms"))
    eventually(lambda: not registrations.apps)
    registrations.stop()


def test_time_to_live_runs_on_while_the_daemon_does_not(host: Host) -> None:
    registrations = host.start()
    registrations.put(asked("short", ttl="30s"))
    registrations.put(asked("long", ttl="60s"))
    host.stop()
    host.clock.now, host.clock.ahead = 5.0, host.clock.ahead + 1000.0 - 5.0 + 40.0  # a reboot that took 40 s
    registrations = host.start()
    assert names(registrations) == ["long"]
    host.pass_time(21)
    assert registrations.apps == ()


def test_wall_clock_set_back_gives_no_longer_life_than_the_ttl(host: Host) -> None:
    host.start().put(asked(ttl="30s"))
    host.stop()
    host.clock.ahead -= 1e6
    registrations = host.start()
    host.pass_time(31)
    assert registrations.apps == ()


# -- a disk that does not do its part ------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EROFS, False)])
def test_unwritten_registration_does_not_count(
    host: Host, monkeypatch: pytest.MonkeyPatch, number: int, full: bool
) -> None:
    registrations = host.start()
    registrations.put(asked("old"))
    break_disk(monkeypatch, number)
    with pytest.raises(NotStored, match=r"nothing is changed: .* cannot be written") as error:
        registrations.put(asked("new"))
    assert error.value.full is full
    with pytest.raises(NotStored):
        registrations.put(asked("old", "203.0.113.99/32"))
    assert [(app.name, str(app.vips[0])) for app in registrations.apps] == [("old", "203.0.113.10/32")]
    assert host.changes == 1


def test_full_disk_withdraws_nothing_that_is_renewed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    registrations = host.start()
    registrations.put(asked(ttl="30s"))
    break_disk(monkeypatch)
    for _ in range(3):
        host.pass_time(20)
        registrations.put(asked(ttl="30s"))
    assert names(registrations) == ["dns"]


def test_full_disk_keeps_nothing_that_is_removed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    registrations = host.start()
    registrations.put(asked())
    with monkeypatch.context() as broken:
        break_disk(broken)
        with pytest.raises(NotStored, match="unregistered; a restart may bring it back"):
            registrations.remove("dns")
        assert registrations.apps == ()
        assert names_in_file(host) == ["dns"]
    host.pass_time(11)
    eventually(lambda: names_in_file(host) == [])


def test_a_write_that_failed_is_made_good_at_the_stop(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    registrations = host.start()
    registrations.put(asked())
    with monkeypatch.context() as broken:
        break_disk(broken)
        with pytest.raises(NotStored):
            registrations.remove("dns")
    assert host.restart().apps == ()


def test_a_broken_disk_is_told_once(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    registrations = host.start()
    with monkeypatch.context() as broken:
        break_disk(broken)
        for _ in range(3):
            with pytest.raises(NotStored):
                registrations.put(asked())
            host.pass_time(11)
    host.pass_time(11)
    eventually(lambda: [record.levelname for record in caplog.records] == ["ERROR", "INFO"])


def test_after_the_stop_nothing_is_taken(host: Host) -> None:
    registrations = host.start()
    registrations.stop()
    with pytest.raises(NotStored, match="stopping"):
        registrations.put(asked())


# -- a file that is not as it was written --------------------------------------------------------------------------


def names_in_file(host: Host) -> list[str]:
    return [item["registration"]["name"] for item in msgspec.json.decode(host.path.read_bytes())["registrations"]]


def test_file_is_private_and_names_its_version(host: Host) -> None:
    host.start().put(asked())
    assert host.path.stat().st_mode & 0o777 == 0o600
    assert msgspec.json.decode(host.path.read_bytes())["version"] == 1
    assert [item.name for item in host.path.parent.iterdir()] == [host.path.name]


def test_torn_at_any_byte_it_is_set_aside_and_the_next_registration_is_kept(host: Host) -> None:
    host.start().put(asked(ttl="30s", monitors=["exec:test 1 = 0"]))
    host.stop()
    whole = host.path.read_bytes()
    for length in range(len(whole)):
        host.path.write_bytes(whole[:length])
        assert Registrations(host.path, lambda: None, lambda error: None).apps == (), length
        assert not host.path.exists(), length
    assert len(asides(host)) == len(whole)
    registrations = host.start()
    registrations.put(asked("next"))
    assert names(host.restart()) == ["next"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 4096,
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b"{}",
        b'{"version":1}',
        b'{"version":2,"registrations":[]}',
        b'{"version":"1","registrations":[]}',
        b'{"version":1,"registrations":{}}',
        b'{"version":1,"registrations":[],"more":1}',
        b"[" * 100_000,
        b'{"agent": {"listen_addr": ":8080"}}',
    ],
)
def test_foreign_file_is_set_aside_with_a_warning(host: Host, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    host.path.write_bytes(content)
    assert host.start().apps == ()
    assert asides(host) == ["registrations.json.bad-1"]
    assert (host.path.parent / "registrations.json.bad-1").read_bytes() == content
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_what_is_no_file_is_set_aside(host: Host) -> None:
    host.path.mkdir()
    assert host.start().apps == ()
    host.stop()
    os.mkfifo(host.path)
    assert host.start().apps == ()
    assert asides(host) == ["registrations.json.bad-1", "registrations.json.bad-2"]


def test_unreadable_file_that_cannot_be_set_aside_stops_nobody(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def denied(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(state_file, "read", denied)
    monkeypatch.setattr(state_file, "set_aside", denied)
    assert host.start().apps == ()
    assert "Permission denied" in caplog.text


def test_entries_of_another_version_are_skipped_and_kept(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    strange = [
        {"registration": {"name": "newer", "vips": ["203.0.113.1/32"], "weight": 5}},
        {"registration": {"name": "unknown", "vips": ["203.0.113.2/32"], "monitors": ["icmp:203.0.113.1"]}},
        {"registration": {"name": "endless", "vips": ["203.0.113.3/32"], "ttl": "30s"}},
        {"something": "else"},
        7,
    ]
    good = {"registration": {"name": "good", "vips": ["203.0.113.4/32"]}}
    host.path.write_bytes(msgspec.json.encode({"version": 1, "registrations": [*strange, good]}))
    registrations = host.start()
    assert names(registrations) == ["good"]
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == len(strange)
    registrations.put(asked("added"))
    kept = msgspec.json.decode(host.path.read_bytes())["registrations"]
    assert all(item in kept for item in strange)
    registrations.put(asked("unknown"))
    assert registrations.remove("newer")
    kept = msgspec.json.decode(host.path.read_bytes())["registrations"]
    assert [item for item in strange if item in kept] == [strange[2], strange[3], strange[4]]
    assert names(host.restart()) == ["good", "added", "unknown"]


def test_lapsed_entry_of_a_former_run_is_gone() -> None:
    state = registration_file.State(
        {"a": registration_file.Held(asked("a", ttl="5s"), asked("a").app(), 105.0)},
    )
    data = registration_file.encode(state, skew=1000.0)
    assert registration_file.decode(data, skew=1000.0, now=104.9).held.keys() == {"a"}
    assert registration_file.decode(data, skew=1000.0, now=105.0).held.keys() == set()


def test_change_is_dated_from_when_it_was_asked_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    registrations = host.start()
    write, asked_at = state_file.write, host.clock.now

    def slow(path: Path, data: bytes) -> None:
        host.clock.now += 5.0
        write(path, data)

    monkeypatch.setattr(state_file, "write", slow)
    registrations.put(asked())
    assert (registrations.changed_at, host.clock.now) == (asked_at, asked_at + 5.0)
