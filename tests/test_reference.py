"""The configuration's two halves, schema and example, and what is made of them: a reference page, a JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.inspect import StructType

from consulcast import config, notation, reference, schema
from consulcast.document import ConfigError, Document

ROOT = Path(__file__).parents[1]
EXAMPLE = (ROOT / reference.EXAMPLE).read_text()
SECTIONS = reference.Reader(EXAMPLE).sections
MADE = json.loads(reference.json_schema(EXAMPLE))
VALIDATOR = jsonschema_rs.Draft202012Validator(MADE)


def loads(text: str) -> bool:
    """Whether the loader takes the words; what they mean together is another question."""
    try:
        Document("file.yaml", text).decode(schema.File, schema.decode)
    except ConfigError:
        return False
    return True


def test_what_is_made_is_as_it_would_be_made_now() -> None:
    hint = "run `make docs`"
    assert (ROOT / reference.PAGE).read_text() == reference.page(EXAMPLE), hint
    assert (ROOT / reference.SCHEMA).read_text() == reference.json_schema(EXAMPLE), hint


def test_the_example_is_good_for_the_daemon_and_for_editors() -> None:
    config.load(str(ROOT / reference.EXAMPLE))
    VALIDATOR.validate(yaml.safe_load(EXAMPLE))
    assert EXAMPLE.startswith(f"# yaml-language-server: $schema={reference.SCHEMA}\n")


@pytest.mark.parametrize("section", SECTIONS.values(), ids=lambda section: section.info.cls.__name__)
def test_the_example_shows_and_explains_every_key(section: reference.Section) -> None:
    if "" in section.places:  # the sections themselves
        return
    for one in section.info.fields:
        explained = one.name in section.meanings or one.name in section.shared
        is_section = isinstance(one.type, StructType)
        assert explained or is_section, f"{[*section.places]}: {one.name} is not explained in {reference.EXAMPLE}"


def test_every_section_of_the_schema_is_in_the_reference() -> None:
    structs = {kind for kind in vars(schema).values() if isinstance(kind, type) and issubclass(kind, Struct)}
    assert structs - {Struct} == SECTIONS.keys()


EXAMPLE_OF_READING = """\
agent:
  # The first line
  # goes on.
  run_dir: /run/x  # and behind
  # state_dir: /var/x
  owner_mark: 4
bgp:
  # For two.
  local_as: 1
  peer_as: 2

  # Another.
  lease: 1s  # "not # this"
  peers:
    - address: a#b  # an address
      ttl: 3
"""


def test_comments_above_behind_and_of_keys_left_out_are_read() -> None:
    found = reference.Reader(EXAMPLE_OF_READING).sections
    agent, bgp, peer = (found[kind] for kind in (schema.Agent, schema.Bgp, schema.Peer))
    assert agent.meanings == {"run_dir": "The first line goes on. and behind"}
    assert agent.shared == {"state_dir": "run_dir", "owner_mark": "run_dir"}
    assert bgp.meanings == {"local_as": "For two.", "lease": 'Another. "not # this"'}
    assert bgp.shared == {"peer_as": "local_as"}
    assert (peer.meanings, peer.shared) == ({"address": "an address"}, {}), "one behind a key is that key's alone"


@pytest.mark.parametrize(
    "text",
    [
        "apps:\nbgp: {communities: }\n",
        "agent: {monitor_interval: 0}",
        "agent: {monitor_interval: 1.5h30ms}",
        "policy: {consul: {vips: [10.0.0.0/8, {prefix: 10.0.0.0/8, min: 24}], exec: [a], nat_dest: [1-9, 53]}}",
        "commands: {a: {argv: [/bin/a], cpu: 5s}}",
        "apps: [{name: a, vip: 203.0.113.1/32, monitors: [consul, {monitor: 'http:http://h/', verify: false}]}]",
        "bgp: {peers: [{address: 198.51.100.1}, {}]}",
    ],
)
def test_editors_take_what_the_daemon_takes(text: str) -> None:
    assert loads(text)
    assert VALIDATOR.is_valid(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "agent: {monitor_interval: 10}",
        "agent: {monitor_interval: soon}",
        "agent: {lisen_addr: x}",
        "bgp: {local_as: many}",
        "bgp: {origin: here}",
        "hooks: {kinds: [vips]}",
        "commands: {a: {}}",
        "apps: [{vip: 203.0.113.1/32}]",
        "apps: {}",
        "agents: {}",
    ],
)
def test_editors_refuse_what_the_daemon_refuses(text: str) -> None:
    assert not loads(text)
    assert not VALIDATOR.is_valid(yaml.safe_load(text))


@given(st.floats(0, notation.LONGEST))
def test_a_duration_is_written_as_it_is_read(seconds: float) -> None:
    assert notation.duration(reference.duration(round(seconds, 3))) == pytest.approx(seconds, abs=0.001)


def test_defaults_are_those_of_the_schema() -> None:
    properties: dict[str, Any] = MADE["$defs"]["Bgp"]["properties"]
    assert (properties["hold_time"]["default"], properties["lease"]["default"]) == (30, "10s")
    assert "| `lease` | duration | `10s` |" in reference.page(EXAMPLE)


@pytest.mark.parametrize(
    "text",
    [
        "apps: [{name: a, vip: 203.0.113.1/32, monitors: [{monitor: 'port:tcp:1', fal: 3}]}]",
        "apps: [{name: a, vip: 203.0.113.1/32, monitors: [{fall: 3}]}]",
        "policy: {consul: {vips: [{prefix: 10.0.0.0/8, minimum: 24}]}}",
    ],
)
def test_editors_refuse_a_slip_in_what_only_the_daemon_reads(text: str) -> None:
    with pytest.raises(ConfigError):
        config.parse("file.yaml", f"{text}\nbgp: {{local_as: 64512, peer_as: 64513}}")
    assert not VALIDATOR.is_valid(yaml.safe_load(text))
