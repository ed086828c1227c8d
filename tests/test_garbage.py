"""What is set aside from the garbage collector, and that the rest is still collected."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from consulcast import garbage


class Ring:
    """Something that only the collector can free."""

    def __init__(self) -> None:
        self.self = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_there_after_the_start_is_not_gone_through_again() -> None:
    apps = [[number] for number in range(10_000)]
    garbage.set_aside()
    garbage.settle()
    assert gc.get_freeze_count() >= len(apps)
    assert len(gc.get_objects()) < len(apps)


def test_what_was_set_aside_is_freed_when_nobody_has_it_any_more() -> None:
    class Freed:
        pass

    made = Freed()
    garbage.settle()
    seen = weakref.ref(made)
    del made
    assert seen() is None


def test_cycles_of_before_and_after_do_not_pile_up() -> None:
    before = weakref.ref(Ring())
    garbage.settle()
    assert before() is None, "it was looked for before the rest was set aside"
    later = [weakref.ref(Ring()) for _ in range(200_000)]
    alive = sum(seen() is not None for seen in later)
    assert alive < 10_000, "the collector goes by itself"
