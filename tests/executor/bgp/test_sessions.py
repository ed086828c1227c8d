from __future__ import annotations

import logging

import pytest

from consulcast.executor.bgp.events import Down, Negotiated, Notified, Session, Snapshot, Up
from consulcast.executor.bgp.peer_change import PeerChange
from consulcast.executor.bgp.sessions import Sessions
from consulcast.executor.protocols import SessionState
from tests.executor.bgp.values import peer

PEER = peer().address
OTHER = peer("2001:db8::2").address


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions([peer(), peer("2001:db8::2")], clock)


def test_all_are_down_at_first_in_the_order_of_the_configuration(sessions: Sessions) -> None:
    assert [(status.address, status.state) for status in sessions.statuses()] == [
        (PEER, SessionState.DOWN),
        (OTHER, SessionState.DOWN),
    ]


def test_up_and_down_are_counted_and_dated(sessions: Sessions, clock: Clock) -> None:
    clock.now = 101.0
    assert sessions.apply(Up(PEER))
    clock.now = 102.0
    sessions.apply(Notified(PEER, "received cease"))
    assert sessions.apply(Down(PEER, "notification received (6,2)"))
    status = sessions.statuses()[0]
    assert (status.state, status.since, status.flaps) == (SessionState.DOWN, 102.0, 1)
    assert status.last_error == "received cease"


def test_attempts_that_fail_alike_are_one_change_and_no_flap(
    sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert sessions.apply(Down(PEER, "closing connection"))
        assert not sessions.apply(Down(PEER, "closing connection"))
    assert sessions.statuses()[0].flaps == 0
    assert len(caplog.records) == 1
    assert "refused" in sessions.statuses()[0].last_error


def test_an_attempt_that_fails_without_a_reason_does_not_hide_why_the_session_is_down(sessions: Sessions) -> None:
    sessions.apply(Up(PEER))
    sessions.apply(Notified(PEER, "received cease"))
    sessions.apply(Down(PEER, "notification received (6,2)"))
    assert not sessions.apply(Down(PEER, "closing connection"))
    assert sessions.statuses()[0].last_error == "received cease"
    assert sessions.apply(Down(PEER, "notification sent (2,2)"))
    assert sessions.statuses()[0].last_error == "notification sent (2,2)"


def test_a_prefix_is_carried_only_by_an_established_session_that_agreed_on_its_family(sessions: Sessions) -> None:
    sessions.apply(Negotiated(PEER, frozenset({4})))
    assert not sessions.carries(PEER, 4)
    sessions.apply(Up(PEER))
    assert sessions.carries(PEER, 4)
    assert not sessions.carries(PEER, 6)


def test_a_snapshot_seeds_the_state_with_its_age(sessions: Sessions) -> None:
    assert sessions.apply(Snapshot((Session(PEER, True, 40.0, frozenset({4, 6})),)))
    assert sessions.statuses()[0].since == 60.0
    assert sessions.carries(PEER, 6)


def test_a_snapshot_does_not_make_an_established_session_younger(sessions: Sessions, clock: Clock) -> None:
    sessions.apply(Up(PEER))
    clock.now = 150.0
    assert not sessions.apply(Snapshot((Session(PEER, True, 50.0, frozenset({4})),)))
    assert sessions.statuses()[0].since == 100.0


def test_a_snapshot_of_a_session_about_to_end_does_not_hide_why(sessions: Sessions) -> None:
    sessions.apply(Up(PEER))
    sessions.apply(Notified(PEER, "sent cease"))
    sessions.apply(Snapshot((Session(PEER, True, 40.0, frozenset({4})),)))
    sessions.apply(Down(PEER, "notification sent (6,3)"))
    assert sessions.statuses()[0].last_error == "sent cease"


def test_a_snapshot_tells_of_a_session_that_was_lost_unheard(sessions: Sessions) -> None:
    sessions.apply(Up(PEER))
    assert sessions.apply(Snapshot((Session(PEER, False, 0.0, frozenset()),)))
    assert sessions.statuses()[0].state is SessionState.DOWN


def test_all_sessions_end_with_exabgp(sessions: Sessions) -> None:
    sessions.apply(Up(PEER))
    assert sessions.ended("SIGKILL")
    assert not sessions.ended("SIGKILL")
    assert sessions.statuses()[0].last_error == "SIGKILL"


def test_peers_that_stay_keep_what_is_known_of_them_and_others_begin_down(sessions: Sessions, clock: Clock) -> None:
    sessions.apply(Negotiated(PEER, frozenset({4})))
    sessions.apply(Up(PEER))
    sessions.apply(Up(OTHER))
    clock.now = 150.0
    sessions.set_peers(PeerChange.between([peer(), peer("2001:db8::2")], [peer("198.51.100.3"), peer()]))
    added, kept = sessions.statuses()
    assert (str(added.address), added.state, added.since) == ("198.51.100.3", SessionState.DOWN, 150.0)
    assert (kept.address, kept.state, kept.since) == (PEER, SessionState.UP, 100.0)
    assert sessions.carries(PEER, 4)
    assert not sessions.apply(Down(OTHER, "stop, message [removed]"))


def test_the_end_of_a_session_that_we_reset_is_no_warning(sessions: Sessions, caplog: pytest.LogCaptureFixture) -> None:
    before = [peer(), peer("2001:db8::2")]
    sessions.apply(Up(PEER))
    sessions.set_peers(PeerChange.between(before, [peer(peer_as=65099), before[1]]))
    assert sessions.statuses()[0].peer_as == 65099
    assert sessions.apply(Down(PEER, "notification sent (6,3)"))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    sessions.apply(Up(PEER))
    sessions.apply(Down(PEER, "notification received (6,2)"))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_peers_that_are_not_ours_are_passed_over(sessions: Sessions) -> None:
    stranger = peer("198.51.100.99").address
    assert not sessions.apply(Up(stranger))
    assert not sessions.apply(Snapshot((Session(stranger, True, 1.0, frozenset()),)))
