"""A translation as a line of text, and what is never one."""

from __future__ import annotations

import pytest
from hypothesis import given

from consulcast.executor.nat import rules
from consulcast.model import Translation
from tests.executor.nat.translations import tables, translations


@given(translations)
def test_what_was_written_is_read_as_it_was(translation: Translation) -> None:
    text = rules.written(translation)
    assert rules.read(text) == translation
    assert len(text) <= 127  # as a comment of nft


@pytest.mark.parametrize(
    "text",
    [
        "203.0.113.10/32 udp 70000 198.51.100.1 53",  # python-iptables makes 4464 of it
        "203.0.113.10/32 udp 0 198.51.100.1 53",
        "203.0.113.10/32 udp 53 198.51.100.1 65536",
        "203.0.113.10/32 udp domain 198.51.100.1 53",
        "203.0.113.10/32 icmp 53 198.51.100.1 53",
        "203.0.113.10/32 udp 53 2001:db8::1 53",
        "2001:db8::10/128 udp 53 198.51.100.1 53",
        "203.0.113.10/32 udp 53 127.0.0.1 53",
        "2001:db8::10/128 udp 53 ::1 53",
        "203.0.113.10/32 udp 53 0.0.0.0 53",
        "203.0.113.10/32 udp 53 224.0.0.1 53",
        "2001:db8::10/128 udp 53 fe80::1%eth0 53",
        "203.0.113.10/32 udp 53 198.51.100.1",
        "203.0.113.10/32 udp 53 198.51.100.1 53; flush ruleset",
        "",
    ],
)
def test_what_no_back_end_may_be_given_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        rules.read(text)


@given(tables)
def test_longer_prefix_comes_before_the_one_that_holds_it(table: frozenset[Translation]) -> None:
    lengths = [item.vip.network.prefixlen for item in rules.in_order(table)]
    assert lengths == sorted(lengths, reverse=True)
