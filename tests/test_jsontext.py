"""JSON is handed out whatever a name is made of."""

from __future__ import annotations

import json

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from consulcast import jsontext

TEXTS = st.text(st.characters(), max_size=20)  # halves of surrogate pairs too
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)


class Named(msgspec.Struct):
    name: str


@given(VALUES)
@example({"\udc80": ["\ud800", {"a": "\udfff"}]})
def test_it_is_json_in_utf8_whatever_is_in_it(value: object) -> None:
    text = jsontext.encode(value).decode()
    json.loads(text).__repr__().encode()


def test_half_of_a_surrogate_pair_is_written_as_the_log_shows_it() -> None:
    assert json.loads(jsontext.encode([Named("a\udc80"), Named("größe")])) == [{"name": "a\\udc80"}, {"name": "größe"}]


def test_what_is_sound_is_as_it_was() -> None:
    assert jsontext.encode(Named("größe 𝄞")) == msgspec.json.encode(Named("größe 𝄞"))


def test_pieces_make_the_list_that_the_whole_would_be() -> None:
    names = [Named("a"), Named("\ud800"), Named("b")]
    assert jsontext.encode({"names": jsontext.pieces(names)}) == jsontext.encode({"names": names})
