"""consulcast.difference: what differs between two whole states."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consulcast.difference import differing


class _Value:
    """A value that compares by identity."""


_VALUES = [_Value() for _ in range(3)]
_STATES = st.lists(st.tuples(st.integers(1000, 1008), st.sampled_from(_VALUES)), max_size=9).map(dict)


@given(_STATES, _STATES)
def test_every_key_that_differs_is_told_once_and_no_other(before: dict[int, _Value], after: dict[int, _Value]) -> None:
    found = differing(before, after)

    assert sorted(found) == sorted(key for key in before.keys() | after.keys() if before.get(key) is not after.get(key))


def test_what_is_in_step_is_not_looked_up() -> None:
    class Key:
        hashed = 0

        def __hash__(self) -> int:
            Key.hashed += 1
            return id(self)

    keys = [Key() for _ in range(100)]
    before = dict.fromkeys(keys, _VALUES[0])
    after = {key: value for key, value in before.items() if key is not keys[40]}
    after[keys[7]] = _VALUES[1]
    Key.hashed = 0

    assert differing(before, after) == [keys[7], keys[40]]
    assert Key.hashed <= 5


def test_an_equal_key_that_is_another_object_is_found_all_the_same() -> None:
    before = {("a", number): _VALUES[0] for number in range(5)}
    after: dict[tuple[str, int], _Value] = {("a", number): _VALUES[0] for number in (3, 1, 4, 0, 2)}

    assert differing(before, after) == []
