"""Services and tags in files of Consul and Nomad, with their lines."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulcast.definitions import BadFile, Service, Tag, read

NOMAD = """\
variable "vip" { type = string } // comment "with a quote
job "dns" {
  group "g" {
    # tags = ["no"]
    /* tags = ["no"] */
    service {
      name = "dns"
      tags = ["enable_gocast",
        "gocast_vip=${var.vip["a"]}",   # comment
        "gocast_monitor=port:tcp:53"
      ]
      canary_tags = ["canary"]
      check { type = "tcp" }
    }
    task "t" {
      service {
        name = "other"
        tags = concat(["a"], local.more)
      }
      template {
        data = <<-EOH
          tags = ["no"]
          EOH
      }
      env { tags = "no list" }
    }
  }
}
"""


def test_nomad_job_with_the_line_of_each_tag() -> None:
    dns, canary, other = read(NOMAD)
    assert dns == Service(
        "dns",
        8,
        (
            Tag("enable_gocast", 8),
            Tag('gocast_vip=${var.vip["a"]}', 9, known=False),
            Tag("gocast_monitor=port:tcp:53", 10),
        ),
    )
    assert canary == Service("dns (canary)", 12, (Tag("canary", 12),))
    assert other == Service("other", 18, (), computed=True) or other == Service("other", 16, (), computed=True)


@pytest.mark.parametrize(
    "text",
    [
        'service { tags = ["x"], name = "dns" }',
        'service {\n  name = "dns"\n  tags = ["x",]\n}',
        '"service" = { "name" = "dns", "tags" = ["x"] }',
        'services = [{ name = "dns"\n tags = ["x"] }]',
        'services { id = "dns"\n tags = ["x"] }',
        'service "dns" { name = "dns"\r\n tags = ["x"]\r\n }\r\n',
        '\ufeff{"service": {"name": "dns", "tags": ["x"]}}',
        '{"Name": "dns", "Tags": ["x"], "Meta": {"a": "// b /* c # d"}}',
        '{"Job": {"TaskGroups": [{"Services": [{"Name": "dns", "Tags": ["x"], "CanaryTags": null}]}]}}',
        '[{"name": "dns",\t"tags": ["x"]}]',
    ],
)
def test_every_form_of_a_service(text: str) -> None:
    (service,) = read(text)
    assert (service.name, [tag.text for tag in service.tags]) == ("dns", ["x"])
    assert not service.computed


@pytest.mark.parametrize(
    ("value", "tags", "computed"),
    [
        ('["a", "b"]', ["a", "b"], False),
        ('["a", var.b]', ["a"], True),
        ('[upper("a"), "b"]', ["b"], True),
        ('[x ? "a" : "b", "c"]', ["c"], True),
        ('["a"][0]', [], True),
        ("local.tags", [], True),
        ("[]", [], False),
        ('["a\\"b\\\\\\u0041"]', ['a"b\\A'], False),
        ('["$${no}"]', ["$${no}"], False),
    ],
)
def test_what_is_computed_is_told_from_what_is_written(value: str, tags: list[str], computed: bool) -> None:
    (service,) = read(f'name = "s"\ntags = {value}\n')
    assert ([tag.text for tag in service.tags], service.computed) == (tags, computed)


@pytest.mark.parametrize("text", ["a=${b}", "a=%{if x}b%{endif}", "a={{ key }}"])
def test_what_is_put_in_later_is_not_known(text: str) -> None:
    (service,) = read(f'name = "s"\ntags = ["{text}"]\n')
    assert service.tags == (Tag(text, 2, known=False),)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ('service {\n tags = ["x"', 2, "']'"),
        ("a = 1\nservice {\n", 2, "'}'"),
        ('a = 1\nb = "x\nc', 2, "quote"),
        ('{\n"a": 1,\n}', 3, "JSON"),
        ("[" * 200, 1, "JSON"),
        ("a = " + "{" * 200, 1, "deep"),
    ],
)
def test_what_cannot_be_read_has_its_line(text: str, line: int, word: str) -> None:
    with pytest.raises(BadFile, match=word) as error:
        read(text)
    assert error.value.line in (line, line - 1)


_PIECES = st.sampled_from(
    [*'{}[]()=:,"\\\n$%<', "${", "tags", "name", "<<EOF\n", "EOF\n", "/*", "*/", "//", "#", "x", " "]
)


@given(st.lists(_PIECES, max_size=60).map("".join) | st.text(max_size=80))
def test_nothing_but_its_own_error_comes_of_any_text(text: str) -> None:
    with contextlib.suppress(BadFile):
        read(text)


@given(st.lists(st.text(max_size=20), max_size=5))
def test_json_comes_back_as_it_was_written(tags: list[str]) -> None:
    (service,) = read(json.dumps({"name": "s", "tags": tags}, indent=1))
    assert [tag.text for tag in service.tags] == [json.loads(json.dumps(tag)) for tag in tags] or any(
        ord(character) > 0xFFFF for tag in tags for character in tag
    )
