"""Rates and counts: what one client may take, and that remembering them is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consulcast.web.limits import BURST, FAILURES, HERE, MOST_CLIENTS, Buckets, Gate, Limits
from consulcast.web.rights import Peer

HERE_PEER, ELSEWHERE, OTHER = Peer("127.0.0.1", here=True), Peer("198.51.100.9"), Peer("198.51.100.10")
LIMITS = Limits(requests_per_second=10, connections=8, connections_per_client=2)


def asked(gate: Gate, peer: Peer, now: float, times: int) -> int:
    return sum(not gate.ask(peer, LIMITS, now) for _ in range(times))


def test_a_client_has_its_burst_and_then_its_rate() -> None:
    gate = Gate()
    assert asked(gate, ELSEWHERE, 100.0, 1000) == 10 * BURST
    assert 0 < gate.ask(ELSEWHERE, LIMITS, 100.0) <= 0.1
    assert asked(gate, ELSEWHERE, 101.0, 1000) == 10
    assert asked(gate, ELSEWHERE, 1000.0, 1000) == 10 * BURST


def test_one_clients_flood_takes_nothing_from_another() -> None:
    gate = Gate()
    asked(gate, ELSEWHERE, 100.0, 1000)
    assert asked(gate, OTHER, 100.0, 1) == 1


def test_a_client_on_this_host_may_ask_more_often() -> None:
    assert asked(Gate(), HERE_PEER, 100.0, 10_000) == 10 * BURST * HERE


def test_connections_are_counted_by_client_and_come_back() -> None:
    gate = Gate()
    assert [gate.enter(ELSEWHERE, LIMITS) for _ in range(3)] == [True, True, False]
    assert gate.enter(OTHER, LIMITS)
    gate.leave(ELSEWHERE)
    assert gate.enter(ELSEWHERE, LIMITS)
    for peer in (ELSEWHERE, ELSEWHERE, OTHER):
        gate.leave(peer)
    assert gate.open == 0


def test_this_host_cannot_take_every_connection_either() -> None:
    gate = Gate()
    assert sum(gate.enter(HERE_PEER, LIMITS) for _ in range(20)) == 6


def test_after_ten_wrong_tokens_none_is_looked_at_for_a_while() -> None:
    gate = Gate()
    assert [gate.failed(ELSEWHERE, 100.0) for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    assert gate.locked(ELSEWHERE, 100.0) > 5
    assert not gate.locked(OTHER, 100.0)
    assert not gate.locked(ELSEWHERE, 107.0)
    assert gate.failed(ELSEWHERE, 107.0)


def test_a_flood_of_clients_is_forgotten_again() -> None:
    buckets = Buckets()
    for number in range(MOST_CLIENTS * 2):
        buckets.take(str(number), 1.0, 1.0, 100.0)
    assert len(buckets) == MOST_CLIENTS


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=30))
def test_no_pattern_of_asking_gets_more_than_burst_and_rate(pattern: list[tuple[float, int]]) -> None:
    gate, now, taken = Gate(), 0.0, 0
    for pause, times in pattern:
        now += pause
        taken += asked(gate, ELSEWHERE, now, times)
    assert taken <= 10 * BURST + 10 * now + 1e-6
