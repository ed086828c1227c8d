"""A command is told of each change, in order, and is in nobody's way."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from consulcast.changes import Changes, Kind
from consulcast.hooks import Hook, Hooks
from consulcast.instruments import Instruments
from consulcast.monitors.command import Command
from consulcast.web.metrics import measured

log = logging.getLogger("consulcast.test_hooks")


@pytest.fixture
def changes() -> Iterator[Changes]:
    kept = Changes()
    log.setLevel(logging.DEBUG)
    log.addHandler(kept)
    yield kept
    log.removeHandler(kept)


def tell(vip: str = "203.0.113.10/32", reason: str = "announced") -> None:
    log.info("vip %s: %s", vip, reason, extra={"vip": vip, "reason": reason, "former": "announcing"})


def hook(script: str, *arguments: str, timeout: float = 5.0, queue: int = 100, **more: frozenset[Kind]) -> Hook:
    return Hook(Command(("/bin/sh", "-c", script, "sh", *arguments)), timeout=timeout, queue=queue, **more)


def counted(made: Instruments) -> tuple[float, float, float]:
    """Runs that passed, runs that failed, changes that were left out; as /metrics has them."""
    samples = {
        (sample.name, sample.labels.get("result", "")): sample.value
        for metric in map(measured, made.all())
        for sample in metric.samples
        if sample.name.startswith("consulcast_hook_")
    }
    runs = "consulcast_hook_runs_total"
    dropped = samples["consulcast_hook_changes_dropped_total", ""]
    return samples[runs, "passed"], samples[runs, "failed"], dropped


def until(seen: Callable[[], object]) -> None:
    with gevent.Timeout(10.0):
        while not seen():
            gevent.sleep(0.005)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_each_change_comes_as_json_and_in_variables_in_order(changes: Changes, tmp_path: Path) -> None:
    made = Instruments()
    out = tmp_path / "out"
    hooks = Hooks(
        changes, hook('cat >>"$1"; env | grep ^CONSULCAST_ | sort | tr "\\n" " " >>"$1"; echo >>"$1"', str(out)), made
    )
    hooks.start()
    tell("203.0.113.10/32")
    tell("203.0.113.11/32")
    hooks.stop(10.0)
    first, variables, second, _ = lines(out)
    body = json.loads(first)
    assert body.keys() == {"number", "at", "kind", "subject", "reason", "detail", "former", "level"}
    assert (body["number"], body["kind"], body["subject"], body["reason"]) == (1, "vip", "203.0.113.10/32", "announced")
    assert json.loads(second)["number"] == 2
    assert variables.split() == [
        "CONSULCAST_FORMER=announcing",
        "CONSULCAST_KIND=vip",
        "CONSULCAST_LEVEL=info",
        "CONSULCAST_NUMBER=1",
        "CONSULCAST_REASON=announced",
        "CONSULCAST_SUBJECT=203.0.113.10/32",
    ]
    assert counted(made) == (2, 0, 0)


def test_it_has_nothing_of_ours_but_the_event(
    changes: Changes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "secret")
    out = tmp_path / "out"
    hooks = Hooks(changes, hook('env >"$1"; ls /proc/self/fd >>"$1"', str(out)))
    hooks.start()
    tell()
    hooks.stop(10.0)
    assert "secret" not in out.read_text()
    assert not [name for name in lines(out) if name.isdigit() and int(name) > 3], "3 is the listing's own"


def test_other_kinds_are_left_out(changes: Changes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hooks = Hooks(changes, hook('echo "$CONSULCAST_KIND" >>"$1"', str(out), kinds=frozenset({Kind.PEER})))
    hooks.start()
    tell()
    log.info("peer", extra={"peer": "198.51.100.2", "reason": "up"})
    tell()
    hooks.stop(10.0)
    assert lines(out) == ["peer"]


def test_any_size_and_any_letters_are_told_also_to_who_does_not_read(changes: Changes, tmp_path: Path) -> None:
    made = Instruments()
    out = tmp_path / "out"
    hooks = Hooks(changes, hook('echo "$CONSULCAST_SUBJECT" >>"$1"', str(out)), made)
    hooks.start()
    log.info("", extra={"app": "a\0b=$(id)", "reason": "passing", "detail": "x" * 300_000})
    log.info("", extra={"app": "y" * 200_000, "reason": "passing"})
    hooks.stop(10.0)
    assert lines(out) == ["ab=$(id)", "y" * 1000]
    assert counted(made) == (2, 0, 0)


def test_one_that_hangs_is_killed_with_all_it_started(changes: Changes, tmp_path: Path) -> None:
    made = Instruments()
    pids = tmp_path / "pids"
    hooks = Hooks(changes, hook('echo $$ >>"$1"; sleep 1000 & echo $! >>"$1"; wait', str(pids), timeout=0.3), made)
    hooks.start()
    tell()
    until(lambda: counted(made) == (0, 1, 0))
    hooks.stop(10.0)
    assert not [pid for pid in lines(pids) if alive(int(pid))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_who_is_slow_misses_the_oldest_which_are_counted_and_told_once(
    changes: Changes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Instruments()
    out, gate = tmp_path / "out", tmp_path / "gate"
    os.mkfifo(gate)
    script = 'echo "$CONSULCAST_NUMBER" >>"$1"; [ "$CONSULCAST_NUMBER" != 1 ] || cat "$2"'
    hooks = Hooks(changes, hook(script, str(out), str(gate), queue=2), made)
    hooks.start()
    tell()
    until(lambda: lines(out) == ["1"])
    for _ in range(9):
        tell()
    with gate.open("w"):
        pass
    until(lambda: "caught up" in caplog.text)
    assert lines(out) == ["1", "9", "10"]
    assert counted(made) == (3, 0, 7)
    told = [record.getMessage() for record in caplog.records if record.name == "consulcast.hooks"]
    assert told == [
        "hooks.on_change is slower than what happens: the oldest changes are left out",
        "hooks.on_change has caught up; 7 changes left out",
    ]
    hooks.stop(1.0)


def test_failures_are_told_once_and_are_no_changes_themselves(
    changes: Changes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Instruments()
    caplog.set_level("INFO")
    logging.getLogger("consulcast").addHandler(changes)
    flag = tmp_path / "flag"
    hooks = Hooks(changes, hook('[ -e "$1" ] || { echo no flag; exit 3; }', str(flag)), made)
    hooks.start()
    try:
        tell()
        tell()
        until(lambda: counted(made)[1] >= 2)
        flag.touch()
        tell()
        until(lambda: "works again" in caplog.text)
        number = changes.number
        hooks.stop(10.0)
        assert changes.number == number
    finally:
        logging.getLogger("consulcast").removeHandler(changes)
    told = [record.getMessage() for record in caplog.records if record.name == "consulcast.hooks"]
    assert told == [
        "hooks.on_change failed (further failures are not logged): exit status 3: no flag",
        "hooks.on_change works again",
    ]


def test_a_program_that_is_not_there_is_a_failure_like_any_other(changes: Changes) -> None:
    made = Instruments()
    hooks = Hooks(changes, Hook(Command(("/no/such/program",))), made)
    hooks.start()
    tell()
    hooks.stop(10.0)
    assert counted(made) == (0, 1, 0)


def test_the_stop_waits_no_longer_than_it_is_told_to(changes: Changes, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    hooks = Hooks(changes, hook('echo $$ >"$1"; sleep 1000', str(pids), timeout=300.0))
    hooks.start()
    tell()
    until(lambda: lines(pids))
    with gevent.Timeout(5.0):
        hooks.stop(0.05)
    assert not alive(int(lines(pids)[0]))


def test_a_hook_of_a_reload_is_told_of_what_comes_from_then_on(changes: Changes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hooks = Hooks(changes, None)
    hooks.start()
    tell()
    hooks.configure(hook('echo "$CONSULCAST_NUMBER" >>"$1"', str(out)))
    tell()
    until(lambda: lines(out) == ["2"])
    hooks.configure(None)
    tell()
    hooks.configure(hook('echo "again $CONSULCAST_NUMBER" >>"$1"', str(out)))
    tell()
    hooks.stop(10.0)
    assert lines(out) == ["2", "again 4"]
