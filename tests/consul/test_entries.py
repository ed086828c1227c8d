"""Entries that are read against the former text are what they would be without it, and shared where they can be."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast.consul.bodies import Check, Service
from consulcast.consul.entries import Entries

WHOLE = msgspec.json.Decoder(tuple[Check, ...])
NAMED = msgspec.json.Decoder(dict[str, Service])


def check(name: str, status: str = "passing", output: str = "") -> dict[str, Any]:
    return {"CheckID": name, "Status": status, "Output": output.ljust(80, "."), "ServiceTags": ["{", '"}],[{"', ","]}


def listed(*checks: dict[str, Any], indent: int | None = None) -> bytes:
    return json.dumps(checks, indent=indent, separators=None if indent else (",", ":")).encode()


def named(services: dict[str, list[str]], indent: int | None = None) -> bytes:
    found = {name: {"ID": name, "Service": name, "Tags": tags, "Meta": {"{": "}"}} for name, tags in services.items()}
    return json.dumps(found, indent=indent, separators=None if indent else (",", ":")).encode()


class Counting:
    """A decoder that tells how many entries it decoded."""

    def __init__(self, entries: Entries[Any]) -> None:
        self.decoder, self.decoded = entries._typed, 0
        entries._typed = self  # type: ignore[assignment]

    def decode(self, text: bytes) -> Any:
        found = self.decoder.decode(text)
        self.decoded += len(found)
        return found


MANY = [check(f"service:{number}") for number in range(50)]


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("place", [0, 1, 25, 49])
def test_one_changed_entry_is_decoded_alone_and_all_others_are_the_same_objects(place: int, indent: int | None) -> None:
    entries = Entries(Check, listed=True)
    entries.read(listed(*MANY, indent=indent))
    former, counting = entries.in_order, Counting(entries)
    changed = [*MANY[:place], check(f"service:{place}", "critical", "longer" * 30), *MANY[place + 1 :]]
    entries.read(listed(*changed, indent=indent))
    assert counting.decoded == 1
    assert [one is other for one, other in zip(entries.in_order, former, strict=True)].count(False) == 1
    assert entries.in_order[place].status == "critical"
    counting.decoded = 0
    entries.read(listed(*changed[:30], check("service:30", "warning"), *changed[31:], indent=indent))
    assert (counting.decoded, entries.in_order[30].status) == (1, "warning")


@pytest.mark.parametrize("place", [1, 25, 49])
def test_new_or_gone_entry_costs_no_more_than_its_neighbour_too(place: int) -> None:
    entries, without = Entries(Check, listed=True), [*MANY[:place], *MANY[place + 1 :]]
    entries.read(listed(*without))
    counting = Counting(entries)
    entries.read(listed(*MANY))
    assert counting.decoded <= 2
    assert entries.in_order == WHOLE.decode(listed(*MANY))
    counting.decoded = 0
    entries.read(listed(*without))
    assert counting.decoded <= 2
    assert entries.in_order == WHOLE.decode(listed(*without))


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 2), (1, 5), (5, 1), (40, 41), (41, 40)])
def test_one_more_or_one_less_of_equal_entries_is_told_though_beginning_and_end_have_all_in_common(
    before: int, after: int
) -> None:
    entries = Entries(Check, listed=True)
    entries.read(listed(*[MANY[0]] * before))
    entries.read(listed(*[MANY[0]] * after))
    assert entries.in_order == WHOLE.decode(listed(*[MANY[0]] * after))


def test_what_changed_at_both_ends_leaves_the_objects_between_the_same() -> None:
    entries = Entries(Check, listed=True)
    entries.read(listed(*MANY))
    former = entries.in_order
    entries.read(listed(check("service:0", "critical"), *MANY[1:49], check("service:49", "critical")))
    assert all(one is other for one, other in zip(entries.in_order[1:49], former[1:49], strict=True))
    assert (entries.in_order[0].status, entries.in_order[49].status) == ("critical", "critical")


def test_text_that_differs_only_in_what_is_not_decoded_gives_the_same_object() -> None:
    entries = Entries(Check, listed=True)
    entries.read(listed(*MANY))
    former = entries.in_order
    entries.read(listed(*MANY[:25], check("service:25", output="other"), *MANY[26:]))
    assert entries.in_order is former


def test_entries_by_name_are_spliced_too_though_names_have_braces_and_quotes() -> None:
    tags = {name: ["enable_gocast", "x" * 50] for name in ["a", '{"ID"', 'q"{', "ü", "}", "z{", "}},{"]}
    entries = Entries(Service)
    entries.read(named(tags))
    former, counting = entries.by_name, Counting(entries)
    entries.read(named({**tags, "ü": ["y" * 70]}))
    assert counting.decoded == 1
    assert entries.by_name == NAMED.decode(named({**tags, "ü": ["y" * 70]}))
    assert [name for name in tags if entries.by_name[name] is not former[name]] == ["ü"]


@pytest.mark.parametrize(
    "broken",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text[: len(text) // 2] + text[len(text) // 2 + 1 :],
        lambda text: text.replace(b"},{", b"},,{", 1),
        lambda text: text.replace(b"},{", b"}{", 1),
        lambda text: text.replace(b'"CheckID":"service:25"', b'"CheckID":25'),
        lambda text: text.replace(b'},{"CheckID":"service:25"', b'}],[{"CheckID":"service:25"'),
        lambda text: text[text.index(b",{") :],
        lambda text: b"[" + text[text.index(b",{") :],
        lambda text: text[1:],
        lambda text: text[:-1] + b",]",
        lambda text: text.replace(b"service:25", b"service:\xff"),
        lambda text: text.replace(b',{"CheckID":"service:25"', b'\x0b,{"CheckID":"service:25"'),
        lambda text: b"\x0c" + text,
    ],
)
def test_text_that_is_broken_somewhere_is_refused_and_changes_nothing(broken: Any) -> None:
    entries, text = Entries(Check, listed=True), listed(*MANY)
    entries.read(text)
    former = entries.in_order
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        entries.read(broken(text))
    assert entries.in_order is former
    entries.read(listed(*MANY[1:]))
    assert entries.in_order == former[1:]


statuses = st.sampled_from(["passing", "critical"])
outputs = st.sampled_from(["", "out", "[{" * 40, "\\" * 3, '"},{"' * 9])
answers = st.lists(st.tuples(st.sampled_from("abcdefgh"), statuses, outputs), max_size=8)


@given(st.lists(st.tuples(answers, st.sampled_from([None, 1])), max_size=8))
def test_any_list_after_any_other_is_read_as_it_is_on_its_own(
    story: list[tuple[list[tuple[str, str, str]], int | None]],
) -> None:
    entries = Entries(Check, listed=True)
    for found, indent in story:
        text = listed(*(check(*one) for one in found), indent=indent)
        former = entries.in_order
        entries.read(text)
        assert entries.in_order == WHOLE.decode(text)
        if len({name for name, _, _ in found}) == len(found):
            assert (entries.in_order is former) == (entries.in_order == former)


@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.lists(st.text(max_size=70), max_size=2), max_size=6), max_size=8)
)
def test_any_object_after_any_other_is_read_as_it_is_on_its_own(story: list[dict[str, list[str]]]) -> None:
    entries = Entries(Service)
    for found in story:
        former = entries.by_name
        entries.read(named(found))
        assert entries.by_name == NAMED.decode(named(found))
        assert list(entries.by_name) == list(found)
        for name in found.keys() & former.keys():
            assert (entries.by_name[name] is former[name]) == (entries.by_name[name] == former[name])


@given(st.data())
def test_a_text_with_any_bytes_changed_is_read_or_refused_as_it_is_on_its_own(data: st.DataObject) -> None:
    text = listed(*MANY[:5])
    entries = Entries(Check, listed=True)
    entries.read(text)
    at = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 150))
    piece = data.draw(st.sampled_from([b"", b",", b"]", b"[", b"{}", b"},{", b'"', b" ", b"null", text[150:400]]))
    other = text[:at] + piece + text[at + length :]
    try:
        expected = WHOLE.decode(other)
    except (msgspec.DecodeError, UnicodeDecodeError):
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
            entries.read(other)
    else:
        entries.read(other)
        assert entries.in_order == expected
