"""The two sides of the iptables back end: what the child does once, and what the daemon makes of its answers."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from consulcast.executor.nat import command, iptables, iptables_child, rules
from consulcast.executor.nat.backend import Made, NatError
from consulcast.executor.nat.command import Finished
from consulcast.executor.nat.iptables import Iptables
from consulcast.model import Translation

FOUR = "203.0.113.10/32 udp 53 198.51.100.1 8053"
SIX = "2001:db8:53::10/128 udp 53 2001:db8::1 8053"


class FakeTable:
    """Stands for the child's ``Table``."""

    def __init__(self, standing: list[str] | None) -> None:
        self.standing = standing
        self.commits = 0

    def read(self) -> list[str] | None:
        return self.standing

    def make(self, wanted: list[Translation]) -> None:
        self.standing = [rules.written(item) for item in wanted]
        self.commits += 1

    def remove(self) -> None:
        self.standing = []
        self.commits += 1


def perform(table: Any, order: str) -> list[str] | None:
    return iptables_child.perform(table, order)


def test_child_commits_only_what_changes_something() -> None:
    table = FakeTable([])
    assert perform(table, "read") == []
    assert perform(table, "[]") == []
    assert table.commits == 0
    for _ in range(2):
        assert perform(table, json.dumps([FOUR])) == [FOUR]
    assert table.commits == 1
    assert perform(table, "remove") == []
    assert table.commits == 2


def test_child_makes_anew_what_is_not_as_it_makes_it() -> None:
    table = FakeTable(None)
    assert perform(table, "read") is None
    assert perform(table, "[]") == []
    assert table.commits == 1


@pytest.mark.parametrize("order", ['["203.0.113.10/32 udp 70000 198.51.100.1 53"]', '["x"]', "[1]", "{", "null"])
def test_child_takes_no_bad_input(order: str) -> None:
    table = FakeTable([])
    with pytest.raises((ValueError, TypeError, AttributeError)):
        perform(table, order)
    assert table.commits == 0


def test_child_waits_for_the_lock_and_says_who_has_it(tmp_path: Path) -> None:
    path = str(tmp_path / "xtables.lock")
    with iptables_child.lock(path):
        pass
    holder = os.open(path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(OSError, match="is held by another program"), iptables_child.lock(path, patience=0.02):
        pass
    os.close(holder)
    with iptables_child.lock(path, patience=0.02):
        pass


class Children:
    """Plays the children of both families, whose chains are ``there``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there: dict[str, list[str] | None] = {}
        self.asked: list[tuple[str, str]] = []
        self.broken: set[str] = set()
        monkeypatch.setattr(command, "run", self.run)
        monkeypatch.setattr(iptables, "legacy_nat_tables", lambda: set(map(int, self.there)))

    def run(self, arguments: list[str], stdin: str, *_: object) -> Finished:
        version = arguments[-1]
        self.asked.append((version, stdin))
        if version in self.broken:
            return Finished(1, "", "can't initialize nat\n")
        if stdin != "read":
            self.there[version] = [] if stdin == "remove" else json.loads(stdin)
        return Finished(0, json.dumps(self.there.get(version, [])), "")


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Children:
    return Children(monkeypatch)


def test_family_that_has_and_gets_nothing_is_not_touched(children: Children) -> None:
    backend = Iptables()
    assert backend.read() == frozenset()
    assert backend.apply(frozenset({rules.read(FOUR)})) == Made(frozenset({rules.read(FOUR)}))
    assert children.asked == [("4", json.dumps([FOUR]))]
    children.asked.clear()
    assert backend.apply(frozenset({rules.read(SIX)})) == Made(frozenset({rules.read(SIX)}))
    assert children.asked == [("4", "[]"), ("6", json.dumps([SIX]))]
    children.asked.clear()
    backend.apply(frozenset({rules.read(SIX)}))
    assert children.asked == [("6", json.dumps([SIX]))]
    assert backend.read() == frozenset({rules.read(SIX)})


def test_chain_that_is_not_as_we_make_it_is_made_anew_even_when_nothing_is_wanted(children: Children) -> None:
    children.there = {"4": None}
    backend = Iptables()
    assert backend.read() is None
    backend.apply(frozenset())
    assert children.asked[-1] == ("4", "[]")


def test_one_family_may_fail_alone_and_both_together(children: Children) -> None:
    backend = Iptables()
    children.broken = {"6"}
    both = frozenset({rules.read(FOUR), rules.read(SIX)})
    why = "iptables, IPv6: can't initialize nat"
    assert backend.apply(both) == Made(frozenset({rules.read(FOUR)}), {rules.read(SIX): why}, why)
    children.broken = {"4", "6"}
    with pytest.raises(NatError, match="can't initialize nat"):
        backend.apply(both)


def test_child_really_started_says_in_one_line_what_is_wrong() -> None:
    answer = iptables._run_child((4, "[1]"))
    assert isinstance(answer, NatError)
    assert "\n" not in str(answer)
    assert "Traceback" not in str(answer)
