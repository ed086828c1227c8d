"""A line of the log that names a subject and a reason is a change, and is kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import gevent
import pytest

from consulcast.changes import FEWEST_OF_ONE, LAST, LAST_OF_ONE, SUBJECTS, Changes, Kind

log = logging.getLogger("consulcast.test_changes")


@pytest.fixture
def changes() -> Iterator[Changes]:
    kept = Changes()
    log.setLevel(logging.DEBUG)
    log.addHandler(kept)
    yield kept
    log.removeHandler(kept)


def tell(subject: str = "consul:dns", reason: str = "passing", level: int = logging.INFO, **more: str) -> None:
    log.log(level, "app %s: %s", subject, reason, extra={"app": subject, "reason": reason, **more})


def test_it_has_what_the_line_says(changes: Changes) -> None:
    tell(reason="monitor-failing", level=logging.WARNING, detail="check a is critical", former="passing")
    (change,) = changes.after(0)
    assert (change.number, change.kind, change.subject) == (1, Kind.APP, "consul:dns")
    assert (change.reason, change.detail, change.former) == ("monitor-failing", "check a is critical", "passing")
    assert change.level == "warning"


def test_what_is_no_change_is_not_kept(changes: Changes) -> None:
    log.info("just so")
    log.info("no reason", extra={"app": "consul:dns"})
    log.info("no subject", extra={"reason": "passing"})
    tell(level=logging.DEBUG)
    assert changes.number == 0


def test_the_last_ones_are_kept_of_all_and_of_each_subject(changes: Changes) -> None:
    tell("consul:quiet")
    for number in range(LAST + 10):
        tell(detail=str(number))
    assert [change.number for change in changes.after(0)] == list(range(12, LAST + 12))
    assert [change.detail for change in changes.of(Kind.APP, "consul:dns")] == [
        str(number) for number in range(LAST + 10 - LAST_OF_ONE, LAST + 10)
    ]
    assert len(changes.of(Kind.APP, "consul:quiet")) == 1
    assert changes.of(Kind.VIP, "consul:quiet") == ()


def test_the_more_subjects_there_are_the_fewer_changes_are_kept_of_each(
    changes: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consulcast.changes.OF_ALL", 60)
    for of_each, subjects in ((20, 2), (15, 4), (FEWEST_OF_ONE, 50)):
        for subject in range(subjects):
            for number in range(30):
                tell(f"consul:{subject}", detail=str(number))
        for subject in range(subjects):
            tell(f"consul:{subject}", detail="30")
        kept = [changes.of(Kind.APP, f"consul:{subject}") for subject in range(subjects)]
        assert {len(one) for one in kept} == {of_each}
        assert [change.detail for change in kept[0]] == [str(number) for number in range(31 - of_each, 31)]


def test_words_that_come_again_are_kept_once(changes: Changes) -> None:
    for subject in ("consul:a", "consul:b"):
        tell(subject, detail=" ".join(("check", "failed")))
    one, other = changes.after(0)
    assert one.detail is other.detail


def test_subjects_without_end_are_forgotten(changes: Changes) -> None:
    for number in range(SUBJECTS + 1):
        tell(f"consul:{number}")
    assert not changes.of(Kind.APP, "consul:0")
    assert changes.of(Kind.APP, "consul:1")


def test_after_a_number_there_is_what_came_since(changes: Changes) -> None:
    for _ in range(3):
        tell()
    assert [change.number for change in changes.after(2)] == [3]
    assert list(changes.after(3)) == list(changes.after(99)) == []


def test_who_follows_is_given_what_comes(changes: Changes) -> None:
    tell()
    following = changes.follow(0, pause=10)
    assert [change.number for change in next(following)] == [1]
    gevent.spawn_later(0, tell, "consul:ntp")
    assert [change.subject for change in next(following)] == ["consul:ntp"]
    following.close()


def test_who_follows_hears_that_there_is_nothing_new(changes: Changes) -> None:
    assert list(next(changes.follow(0, pause=0.01))) == []
