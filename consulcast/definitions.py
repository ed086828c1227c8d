"""Services and their tags in files of Consul and Nomad: HCL, of either version, or JSON. No I/O.

Only what a tag's check needs is read: blocks, attributes, texts, lists of texts, and the line of each. What is computed
(`concat(…)`, `${var.vip}`) is not known here, and said to be so. A parser of the whole language (python-hcl2) knows no
lines of list items and not HCL 1, takes five seconds to build its tables, and writes them beside itself.
"""

from __future__ import annotations

import json
import re

from msgspec import Struct

_DEEPEST = 100  # levels
_TAGS = ("tags", "canary_tags", "canarytags")
_TOKEN = re.compile(
    r"(?P<blank>[ \t\r\ufeff]+|\#[^\n]*|//[^\n]*|/\*.*?\*/)"
    r"|(?P<heredoc><<[-~]?(?P<end>[A-Za-z_][\w-]*)[ \t\r]*\n.*?^[ \t]*(?P=end)[ \t\r]*$)"
    r"|(?P<word>[A-Za-z_][\w.-]*)|(?P<mark>.)",
    re.DOTALL | re.MULTILINE,
)
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_PUT_IN = re.compile(r"(?<![$%])[$%]\{|\{\{")  # HCL's templates, and consul-template's


class BadFile(Exception):
    """The file cannot be read as what it should be. ``line`` is where."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class Tag(Struct, frozen=True):
    """A tag as it is written. ``known``: nothing in it is put in later."""

    text: str
    line: int
    known: bool = True


class Service(Struct, frozen=True):
    """A service and one list of its tags. ``computed``: there are more, or others, than can be read here."""

    name: str
    line: int
    tags: tuple[Tag, ...]
    computed: bool = False


def read(text: str) -> list[Service]:
    """Read every service that has tags. Raises ``BadFile``."""
    as_json = text.lstrip("\ufeff \t\r\n").startswith(("{", "["))
    if as_json:
        try:
            json.loads(text.lstrip("\ufeff"))
        except (ValueError, RecursionError) as error:
            raise BadFile(getattr(error, "lineno", 1), f"not valid JSON: {getattr(error, 'msg', error)}") from None
    reader = _Reader(list(_tokens(text, as_json)))
    reader.body("")
    return reader.services


class _Token(Struct, frozen=True):
    kind: str  # word, text, newline, or the mark itself
    text: str
    line: int


class _List(Struct, frozen=True):
    items: tuple[_Token | None, ...]  # ``None``: not a text alone
    line: int


class _Reader:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0
        self.services: list[Service] = []

    def body(self, closing: str) -> None:
        """Read a block or an object up to its end. What is not understood is passed over."""
        attributes: dict[str, _Token | _List | None] = {}
        first = self._peek().line
        while True:
            token = self._next()
            if token.kind == "end" or token.kind == closing:
                if token.kind == "end" and closing:
                    raise BadFile(first, f"no {closing!r} ends what begins here")
                break
            if token.kind in ("word", "text"):
                key = token.text.lower()
                while self._peek().kind in ("word", "text"):
                    self._next()
                if self._peek().kind in ("=", ":"):
                    self._next()
                    attributes[key] = self._value()
            elif token.kind in ("{", "["):
                self._nested(token)
        self._keep(attributes, first)

    def _keep(self, attributes: dict[str, _Token | _List | None], line: int) -> None:
        name = attributes.get("name") or attributes.get("id")
        text = name.text if isinstance(name, _Token) else ""
        for key in _TAGS:
            found = attributes.get(key)
            shown = f"{text} (canary)" if "canary" in key else text
            if isinstance(found, _List):
                texts = [item for item in found.items if item is not None]
                tags = tuple(Tag(item.text, item.line, not _PUT_IN.search(item.text)) for item in texts)
                self.services.append(Service(shown, found.line, tags, len(texts) < len(found.items)))
            elif key in attributes and found is None and text:
                self.services.append(Service(shown, line, (), True))

    def _value(self) -> _Token | _List | None:
        """Read what an attribute is; ``None``: neither a text nor a list."""
        self._pass_newlines()
        token = self._next()
        if token.kind == "[":
            found: _Token | _List | None = self._nested(token)
        elif token.kind == "{":
            self._nested(token)
            found = _Token("object", "", token.line)
        else:
            found = token if token.kind == "text" else None
            if token.text == "null" and token.kind == "word":  # as if it were not there
                found = _Token("null", "", token.line)
            if token.kind in ("]", "}", ",", "newline", "end"):
                self._at -= 1
        return found if self._pass_rest() else None

    def _pass_rest(self) -> bool:
        """Go on to the end of a value; tells whether it was there already."""
        there = True
        while self._peek().kind not in ("newline", ",", "]", "}", ")", "end"):
            there = False
            token = self._next()
            if token.kind in ("(", "[", "{"):
                self._nested(token)
        return there

    def _nested(self, opening: _Token) -> _List | None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise BadFile(opening.line, "nested too deeply")
        found = None
        if opening.kind == "{":
            self.body("}")
        else:
            found = self._list(opening)
        self._depth -= 1
        return found

    def _list(self, opening: _Token) -> _List:
        closing = "]" if opening.kind == "[" else ")"
        items: list[_Token | None] = []
        while True:
            self._pass_newlines()
            token = self._peek()
            if token.kind == "end":
                raise BadFile(opening.line, f"no {closing!r} ends what begins here")
            if token.kind in ("]", "}", ")", ","):
                self._next()
                if token.kind == closing:
                    return _List(tuple(items), opening.line)
                continue
            value = self._value()
            items.append(value if isinstance(value, _Token) and value.kind == "text" else None)

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def _pass_newlines(self) -> None:
        while self._peek().kind == "newline":
            self._next()


def _tokens(text: str, as_json: bool) -> list[_Token]:
    found: list[_Token] = []
    at, line = 0, 1
    while at < len(text):
        if text[at] == '"':
            end = _end_of_text(text, at, line, as_json)
            found.append(_Token("text", _ESCAPE.sub(_unescaped, text[at + 1 : end - 1]), line))
        else:
            match = _TOKEN.match(text, at)
            assert match is not None  # its last branch takes any character
            end, kind = match.end(), match.lastgroup or ""
            if kind == "mark":
                mark = match[0]
                found.append(_Token("newline" if mark == "\n" and not as_json else mark, mark, line))
            elif kind != "blank":
                found.append(_Token("word" if kind == "word" else "heredoc", match[0], line))
        line += text.count("\n", at, end)
        at = end
    return [*(token for token in found if token.kind != "\n"), _Token("end", "", line)]


def _end_of_text(text: str, start: int, line: int, as_json: bool) -> int:
    """Find where a quoted text ends. In HCL what is put in, `${f("a")}`, may have quotes of its own."""
    at, inside = start + 1, [""]  # what ends each of the things that are open
    while at < len(text):
        character, two = text[at], text[at : at + 2]
        if inside[-1] == "":
            if character == "\\":
                at += 2
                continue
            if not as_json and two in ("${", "%{") and text[at - 1] != two[0]:
                inside.append("}")
                at += 2
                continue
            if character == '"':
                inside.pop()
                if not inside:
                    return at + 1
            elif character == "\n" and len(inside) == 1:
                break
        elif character == '"':
            inside.append("")
        elif character == "{":
            inside.append("}")
        elif character == "}":
            inside.pop()
        at += 1
    raise BadFile(line, "no quote ends the text that begins here")


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) > 1:
        number = int(code[1:], 16)
        return chr(number) if number < 0x110000 else match[0]
    return _ESCAPED.get(code, code)
