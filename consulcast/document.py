"""A YAML document that knows on which line each of its values stands, so that errors can say where."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import yaml

T = TypeVar("T")


class ConfigError(Exception):
    """The configuration cannot be used. The message names file, line, key and the fix."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml, where PyYAML has it
    """YAML as GoCast's parser reads it: ``65000:1`` is a text, not YAML 1.1's base-60 number."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, regexp) for tag, regexp in resolvers if tag not in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+\.[0-9]*$"), list("-+0123456789"))

_DEEPEST = 50  # levels; the schema has five
_MOST_NODES = 200_000  # an alias of aliases of aliases would take for ever
_PATH_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")
_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>\$.*?)`)?$", re.DOTALL)
_KINDS = re.compile(r"Expected `(?P<wanted>.+?)`, got `(?P<got>.+?)`")
_IN_WORDS = {
    "object": "keys with values",
    "array": "a list",
    "str": "a text (in quotes)",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}
_NAMED_FIELD = re.compile(r"field `(?P<name>.+?)`")


class Document:
    """One file's text, parsed."""

    def __init__(self, name: str, text: str) -> None:
        """Parse ``text``. Raises ``ConfigError``."""
        self._name = name
        self._nodes = 0
        try:
            self._refuse_depth(text)
            loader = _Loader(text)
            self._root = loader.get_single_node()
            if self._root is not None:
                self._refuse_duplicates(self._root)
            self._data: Any = {} if self._root is None else self._construct(loader)
            loader.dispose()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{name}:{mark.line + 1}" if mark else name
            raise ConfigError(f"{where}: not valid YAML: {error.problem or error.context}") from None
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from None

    def decode(self, schema: type[T], hook: Callable[[type, Any], Any]) -> T:
        """Convert to ``schema``. Raises ``ConfigError`` at the first value that does not fit."""
        try:
            return msgspec.convert(_without_nulls(self._data), schema, dec_hook=hook)
        except msgspec.ValidationError as error:
            match = _AT.match(str(error))
            what, path = (match["what"], match["path"] or "$") if match else (str(error), "$")
            named = _NAMED_FIELD.search(what)
            if "unknown field" in what and named:
                path = f"{path}.{named['name']}"
                what = f"unknown key {named['name']!r}: remove it, or see config.example.yaml for its right name"
            elif "missing required field" in what and named:
                what = f"the key {named['name']!r} is missing here"
            elif what.startswith("Invalid enum value"):
                what = f"{what.removeprefix('Invalid enum value ')} is none of its values: see config.example.yaml"
            elif kinds := _KINDS.fullmatch(what):
                wanted = " or ".join(
                    _IN_WORDS.get(kind, kind) for kind in kinds["wanted"].split(" | ") if kind != "null"
                )
                what = f"write {wanted}; it is {_IN_WORDS.get(kinds['got'], kinds['got'])}"
            raise self.error(path, what) from None

    @property
    def data(self) -> Any:
        """What the text says, whatever the schema."""
        return _without_nulls(self._data)

    def line(self, path: str) -> int:
        """Tell on which line the value at ``path`` stands, or what it is in."""
        return self._line(path)

    def error(self, path: str, what: str) -> ConfigError:
        """Word an error about the value at ``path`` (``$.bgp.peers[0].address``)."""
        key = path.removeprefix("$").removeprefix(".") or "the file"
        return ConfigError(f"{self._name}:{self._line(path)}: {key}: {what}")

    def _construct(self, loader: Any) -> Any:
        """Make values of the nodes. A tag that does not fit (``!!timestamp soon``) is beyond PyYAML's own errors."""
        try:
            return loader.construct_document(self._root)
        except (AttributeError, KeyError, IndexError, TypeError):
            raise ConfigError(f"{self._name}: a tag (!!…) does not fit its value: leave it out") from None

    def _line(self, path: str) -> int:
        node, line = self._root, 1
        for name, index in _PATH_STEP.findall(path):
            if isinstance(node, yaml.MappingNode) and name:
                pair = next((pair for pair in node.value if pair[0].value == name), None)
                if pair is None:
                    break
                line, node = pair[0].start_mark.line + 1, pair[1]
            elif isinstance(node, yaml.SequenceNode) and index and int(index) < len(node.value):
                node = node.value[int(index)]
                line = node.start_mark.line + 1
            else:
                break
        return int(line)

    def _refuse_depth(self, text: str) -> None:
        """Both parsers recurse; libyaml's would take the process along."""
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise ConfigError(f"{self._name}:{line}: nested too deeply")

    def _refuse_duplicates(self, node: yaml.Node, within: frozenset[int] = frozenset()) -> None:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise ConfigError(f"{self._name}: more than {_MOST_NODES} values, its aliases (*name) written out")
        if id(node) in within:
            raise ConfigError(f"{self._name}:{node.start_mark.line + 1}: an alias (*name) stands inside its own anchor")
        within = within | {id(node)}
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._refuse_duplicates(item, within)
        if not isinstance(node, yaml.MappingNode):
            return
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{self._name}:{line}: a key must be a plain word")
            if key.value in seen:
                first = seen[key.value]
                raise ConfigError(f"{self._name}:{line}: {key.value}: stands twice, first on line {first}: remove one")
            seen[key.value] = line
            self._refuse_duplicates(value, within)


def _without_nulls(data: Any) -> Any:
    """Drop keys with nothing behind them, such as a bare ``monitors:``: they mean the default, as in Go."""
    if isinstance(data, dict):
        return {key: _without_nulls(value) for key, value in data.items() if value is not None}
    if isinstance(data, list):
        return [_without_nulls(item) for item in data]
    return data
