from __future__ import annotations

import logging

import pytest

from consulcast.repairs import Kind, Repairs


def test_each_kind_is_counted_from_zero() -> None:
    assert set(Repairs().counts.values()) == {0}


def test_a_drift_is_counted_and_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    repairs = Repairs()
    with caplog.at_level(logging.WARNING):
        repairs.found(Kind.ADDRESS, "address 203.0.113.10/32 was removed by somebody else")
        repairs.found(Kind.ROUTE, "3 routes were missing", 3)
    assert (repairs.counts[Kind.ADDRESS], repairs.counts[Kind.ROUTE], repairs.counts[Kind.NAT]) == (1, 3, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "drift: address 203.0.113.10/32 was removed by somebody else",
        "drift: 3 routes were missing",
    ]


def test_the_same_again_is_counted_and_not_worth_another_line(caplog: pytest.LogCaptureFixture) -> None:
    repairs = Repairs()
    with caplog.at_level(logging.INFO):
        repairs.found(Kind.EXABGP, "ExaBGP has ended")
        repairs.found(Kind.EXABGP, "ExaBGP has ended", again=True)
    assert repairs.counts[Kind.EXABGP] == 2
    assert caplog.messages == ["drift: ExaBGP has ended"]
