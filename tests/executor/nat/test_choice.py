"""Which back end a host gets."""

from __future__ import annotations

import pytest

from consulcast.executor.nat import choice, command, rules
from consulcast.executor.nat.backend import NatError
from consulcast.executor.nat.choice import Backends, host_uses_legacy_iptables
from tests.executor.nat.fakes import FakeBackend

RULE = rules.read("203.0.113.10/32 udp 53 198.51.100.1 8053")


@pytest.mark.parametrize(
    ("setting", "legacy", "expected"),
    [
        ("auto", False, "nft"),
        ("auto", True, "iptables"),
        ("nft", True, "nft"),
        ("iptables", False, "iptables"),
    ],
)
def test_host_gets_what_is_set_or_what_it_uses_itself(setting: str, legacy: bool, expected: str) -> None:
    backends = Backends(setting, FakeBackend("nft"), FakeBackend("iptables"), lambda: legacy)
    assert backends.choose().name == expected


def test_rules_that_a_former_run_left_in_the_other_are_removed() -> None:
    nft, iptables = FakeBackend("nft"), FakeBackend("iptables")
    iptables.there = frozenset({RULE})
    backends = Backends("nft", nft, iptables)
    assert backends.leftover()
    backends.choose()
    assert iptables.did == ["remove"]
    assert not backends.leftover()


def test_auto_takes_the_other_where_the_first_cannot_be_had() -> None:
    nft, iptables = FakeBackend("nft"), FakeBackend("iptables")
    nft.lacks = "no program nft"
    assert Backends("auto", nft, iptables, lambda: False).choose() is iptables


def test_where_neither_can_be_had_both_reasons_are_told() -> None:
    nft, iptables = FakeBackend("nft"), FakeBackend("iptables")
    nft.lacks, iptables.error = "no program nft: install nftables", "Permission denied"
    with pytest.raises(NatError, match=r"^nft: no program nft: install nftables; iptables: Permission denied$"):
        Backends("auto", nft, iptables, lambda: False).choose()
    with pytest.raises(NatError, match=r"^nft: no program nft: install nftables$"):
        Backends("nft", nft, iptables).choose()


@pytest.mark.parametrize(
    ("version", "saved", "legacy"),
    [
        ("iptables v1.8.9 (nf_tables)\n", "", False),
        ("iptables v1.8.9 (legacy)\n", "", True),
        ("iptables v1.6.1\n", "", True),
        ("", "", False),
        ("iptables v1.8.9 (nf_tables)\n", "-A PREROUTING -p tcp -j REDIRECT\n", True),
        ("iptables v1.8.9 (nf_tables)\n", "*nat\n:PREROUTING ACCEPT\n-A PREROUTING -j CONSULCAST\n", False),
    ],
)
def test_host_uses_legacy_iptables_when_its_command_does_or_somebodys_rules_are_there(
    version: str, saved: str, legacy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> command.Finished:
        return command.Finished(0, version, "")

    monkeypatch.setattr(command, "find", lambda program: program)
    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr(choice, "legacy_nat_tables", lambda: {4} if saved else set())
    monkeypatch.setattr(choice, "legacy_rules", lambda _: saved)
    assert host_uses_legacy_iptables() is legacy
