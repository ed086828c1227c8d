"""The configuration reference and the JSON Schema for editors, made of the two places that each know one half.

``schema.py`` has the keys with their types and defaults, the comments of ``config.example.yaml`` what they mean.
``make docs`` writes docs/configuration.md and docs/consulcast.schema.json; a test keeps them in step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct, field, inspect

from consulcast import schema
from consulcast.monitors import spec

EXAMPLE, PAGE, SCHEMA = "config.example.yaml", "docs/configuration.md", "docs/consulcast.schema.json"

_COMMENT = re.compile(r"^(\s*)# ?(.*)$")
_LEFT_OUT = re.compile(r"(\w+):\s")  # a key that the example shows in a comment
_NOTHING = {"type": "null"}
_DURATION = r"^(0|((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)$"

_HEAD = f"""\
# Configuration

<!-- Made by `make docs` from consulcast/schema.py and {EXAMPLE}: change those. -->

One YAML file. Unknown keys are refused, with their line; a key with nothing behind it has its default.
`consulcast check --config FILE` tries a file. [{EXAMPLE}](../{EXAMPLE}) shows every key in its place;
[consulcast.schema.json](consulcast.schema.json) is the same for editors: with
`# yaml-language-server: $schema=…/consulcast.schema.json` as a file's first line they complete and explain its keys.

*Duration*: `500ms`, `10s`, `15m`, `1h30m`. What counts from the next start alone, a reload says in the log.
"""


class Section(Struct):
    """A struct of the schema: where it may stand in the file, and what the example says of it and its keys."""

    info: inspect.StructType
    places: dict[str, str] = field(default_factory=dict)  # and what the example says of each
    meanings: dict[str, str] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)  # keys that are explained with another one


class Reader:
    """Reads what the example says of each key."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self.sections: dict[type, Section] = {}
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        info = inspect.type_info(schema.File)
        assert isinstance(info, inspect.StructType)
        self._struct(info, root, "", "")

    def _struct(self, info: inspect.StructType, node: yaml.Node | None, place: str, about: str) -> None:
        section = self.sections.setdefault(info.cls, Section(info))
        section.places.setdefault(place, about)
        types = {one.name: one.type for one in info.fields}
        pairs = {key.value: (key, value) for key, value in node.value} if isinstance(node, yaml.MappingNode) else {}
        before = ""  # the key that those below it are explained with
        for name, (key, value) in pairs.items():
            for found, above, behind in self._comments(key, value, types.keys()):
                if above or behind:
                    section.meanings.setdefault(found, f"{above} {behind}".strip())
                    before = found if above else ""
                elif before and found not in section.meanings and (found != name or _on_a_line(value)):
                    section.shared.setdefault(found, before)
            self._below(types[name], value, f"{place}.{name}".removeprefix("."), section.meanings.get(name, ""))

    def _below(self, kind: inspect.Type, node: yaml.Node, place: str, about: str) -> None:
        """Read what stands below a key, if it is a section, a list of sections, or sections by name."""
        if isinstance(kind, inspect.StructType):
            self._struct(kind, node, place, about)
        elif isinstance(kind, inspect.ListType) and isinstance(node, yaml.SequenceNode):
            for item in node.value:
                if isinstance(kind.item_type, inspect.StructType):
                    self._below(kind.item_type, item, f"{place}[]", about)
        elif isinstance(kind, inspect.DictType) and isinstance(node, yaml.MappingNode):
            for _, item in node.value:
                if isinstance(kind.value_type, inspect.StructType):
                    self._below(kind.value_type, item, f"{place}.NAME", about)

    def _comments(self, key: yaml.Node, value: yaml.Node, names: Collection[str]) -> Iterator[tuple[str, str, str]]:
        """The comment above a key and the one behind it; keys that are left out in the former come with theirs."""
        first = key.start_mark.line
        while first and (line := _COMMENT.match(self._lines[first - 1])) and len(line[1]) == key.start_mark.column:
            first -= 1
        words: list[str] = []
        line = None
        for line_ in self._lines[first : key.start_mark.line]:
            text = line_.strip().removeprefix("#").strip()
            left_out = _LEFT_OUT.match(text)
            if left_out and left_out[1] in names:
                yield left_out[1], " ".join(words), ""
                words = []
            else:
                words.append(text)
        if _on_a_line(value):
            behind = self._lines[value.end_mark.line][value.end_mark.column :]
            line = re.search(r"#\s*(.*)$", behind)
        yield str(key.value), " ".join(words), line[1] if line else ""


def _on_a_line(value: yaml.Node) -> bool:
    return isinstance(value, yaml.ScalarNode) or bool(getattr(value, "flow_style", False))


_KEYS = {
    "monitors": ("monitor", *spec.COMMON, *(name for names in spec.OWN.values() for name in names)),
    "vips": ("prefix", "min", "max"),
}


def page(example: str) -> str:
    """Write the reference."""
    sections = Reader(example).sections
    lines = _HEAD.splitlines()
    for section in sections.values():
        if "" in section.places:
            continue
        heading = ", ".join(f"`{place}`" for place in section.places)
        lines += ["", f"## {heading}", ""]
        if len(section.places) > 1:
            lines += [*(f"- `{place}`: {_links(about)}" for place, about in section.places.items()), ""]
        elif any(section.places.values()):
            lines += [*map(_links, section.places.values()), ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        for one in section.info.fields:
            meaning = _links(section.meanings.get(one.name, ""))
            if one.name in section.shared:
                meaning = f"see `{section.shared[one.name]}`"
            if isinstance(one.type, inspect.StructType):
                meaning = "below"
            row = (f"`{one.name}`", _type(one.type), _default(one), meaning)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return "\n".join(lines) + "\n"


def json_schema(example: str) -> str:
    """Write the JSON Schema. msgspec's own cannot write defaults of a type like ours."""
    definitions = {}
    for kind, section in Reader(example).sections.items():
        fields = section.info.fields
        definitions[kind.__name__] = {
            "description": next(filter(None, section.places.values()), str(kind.__doc__).splitlines()[0]),
            "type": "object",
            "properties": {one.encode_name: _property(section, one) for one in fields},
            "required": [one.encode_name for one in fields if one.required],
            "additionalProperties": False,
        }
    made = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "consulcast",
        "$ref": f"#/$defs/{schema.File.__name__}",
        "$defs": definitions,
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _property(section: Section, one: inspect.Field) -> dict[str, Any]:
    """A key. With nothing behind it, it is good YAML and has its default."""
    about = section.meanings.get(one.name) or section.meanings.get(section.shared.get(one.name, ""), "")
    default = _value(one)
    forms = [_with_keys(form, _KEYS.get(one.name, ())) for form in _forms(one.type) if form != _NOTHING]
    return {
        **({"description": about} if about else {}),
        "anyOf": [*forms, *([] if one.required else [_NOTHING])],
        **({} if default is None else {"default": default}),
    }


def _with_keys(form: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Give mappings that the schema knows by their values alone the keys that the daemon takes, the first of all."""
    if form.get("type") == "array":
        return {**form, "items": _with_keys(form["items"], keys)}
    if "anyOf" in form:
        return {**form, "anyOf": [_with_keys(each, keys) for each in form["anyOf"]]}
    if form.get("type") != "object" or not keys:
        return form
    return {
        "type": "object",
        "properties": dict.fromkeys(keys, form["additionalProperties"]),
        "required": [keys[0]],
        "additionalProperties": False,
    }


def _forms(kind: inspect.Type) -> list[dict[str, Any]]:
    """What a value of a type may look like."""
    plain: Mapping[type, str] = {
        inspect.StrType: "string",
        inspect.IntType: "integer",
        inspect.FloatType: "number",
        inspect.BoolType: "boolean",
        inspect.NoneType: "null",
    }
    if isinstance(kind, inspect.CustomType):
        assert kind.cls is schema.Duration, kind
        return [{"type": "string", "pattern": _DURATION}, {"const": 0}]
    if isinstance(kind, inspect.StructType):
        return [{"$ref": f"#/$defs/{kind.cls.__name__}"}]
    if isinstance(kind, inspect.LiteralType):
        return [{"enum": list(kind.values)}]
    if isinstance(kind, inspect.EnumType):
        return [{"enum": [one.value for one in kind.cls]}]
    if isinstance(kind, inspect.ListType):
        return [{"type": "array", "items": _one_of(kind.item_type)}]
    if isinstance(kind, inspect.DictType):
        return [{"type": "object", "additionalProperties": _one_of(kind.value_type)}]
    if isinstance(kind, inspect.UnionType):
        return [form for one in kind.types for form in _forms(one)]
    return [{"type": plain[type(kind)]}]


def _one_of(kind: inspect.Type) -> dict[str, Any]:
    forms = _forms(kind)
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _links(text: str) -> str:
    """Pages and files that a comment names, as links from docs/."""
    return re.sub(r"\bdocs/([a-z-]+\.md)\b", r"[\1](\1)", text)


def _type(kind: inspect.Type) -> str:
    words: Mapping[type, str] = {
        inspect.StrType: "text",
        inspect.IntType: "number",
        inspect.FloatType: "number",
        inspect.BoolType: "`true`, `false`",
        inspect.CustomType: "duration",
        inspect.DictType: "mapping",
        inspect.StructType: "section",
    }
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(f"`{_yaml(value)}`" for value in kind.values)
    if isinstance(kind, inspect.EnumType):
        return ", ".join(f"`{one.value}`" for one in kind.cls)
    if isinstance(kind, inspect.ListType):
        return f"list of {_type(kind.item_type)}".replace("list of text", "list of texts")
    if isinstance(kind, inspect.UnionType):
        return " or ".join(_type(one) for one in kind.types if not isinstance(one, inspect.NoneType))
    return words[type(kind)]


def _value(one: inspect.Field) -> Any:
    """A key's default as it would be written; ``None``: it has none, or it is a section's own."""
    value = one.default
    if value is msgspec.NODEFAULT:
        if one.default_factory is msgspec.NODEFAULT:
            return None
        value = one.default_factory()
    if isinstance(value, schema.Duration):
        return duration(value)
    return None if isinstance(value, msgspec.Struct) else value


def _default(one: inspect.Field) -> str:
    if one.required:
        return "required"
    value = _value(one)
    return "" if value is None or value == {} else f"`{_yaml(value)}`"


def _yaml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value) if value == "" or isinstance(value, bool) else str(value)


def duration(seconds: float) -> str:
    """Write a duration as short as it can be: ``15m``, ``1h30m``, ``500ms``."""
    if seconds != int(seconds):
        return f"{round(seconds * 1000)}ms"
    rest, words = int(seconds), ""
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        words += f"{count}{unit}" if count else ""
    return words or "0s"


def main() -> None:
    """Write both files, in the working directory."""
    example = Path(EXAMPLE).read_text(encoding="utf-8")
    Path(PAGE).write_text(page(example), encoding="utf-8")
    Path(SCHEMA).write_text(json_schema(example), encoding="utf-8")


if __name__ == "__main__":
    main()
