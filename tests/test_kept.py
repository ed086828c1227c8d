"""What is made of other values is kept while those are the same."""

from __future__ import annotations

from consulcast.kept import Kept


def test_a_value_is_made_again_only_where_what_it_is_made_of_is_new() -> None:
    made: list[str] = []

    def make(text: str, number: int) -> list[object]:
        made.append(text)
        return [text, number]

    kept: Kept[str, list[object]] = Kept(make)
    first = kept.all([("a", ("dns", 1)), ("b", ("ntp", 1))])
    second = kept.all([("b", ("ntp", 2)), ("a", ("dns", 1))])
    assert first == [["dns", 1], ["ntp", 1]]
    assert second == [["ntp", 2], ["dns", 1]]
    assert second[1] is first[0]
    assert made == ["dns", "ntp", "ntp"]


def test_what_is_not_wanted_any_more_is_forgotten() -> None:
    kept: Kept[str, list[str]] = Kept(lambda text: [text])
    (first,) = kept.all([("a", ("dns",))])
    assert kept.all([]) == []
    (again,) = kept.all([("a", ("dns",))])
    assert again is not first
