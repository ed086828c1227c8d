"""Code and page are in step: every code that is said has an entry, and every entry is of a code that is said."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from consulcast import lint, reasons
from consulcast.explain.explanation import Finding
from consulcast.model import Reason
from consulcast.repairs import Kind
from consulcast.web.problem import Problem

ROOT = Path(__file__).parent.parent
LINT = {lint.COMPUTED, lint.NOT_ENABLED, lint.UNKNOWN_TAG}
JOURNAL = {"registered", "changed", "removed", "unknown-tag"}  # the words of journal.py


def entries() -> dict[str, reasons.Entry]:
    return {code: entry for section in reasons.SECTIONS.values() for code, entry in section.items()}


@functools.cache
def literals() -> frozenset[str]:
    """The codes that are written out in calls of the log: ``extra={…, "reason": "started"}``."""
    return frozenset(_literals())


def _literals() -> Iterator[str]:
    for path in (ROOT / "consulcast").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "reason" and isinstance(value, ast.Constant):
                        yield str(value.value)


def spoken_by_name() -> Iterator[str]:
    """The codes of the journal and of peers, which go through a function's argument."""
    for name in ("journal", "executor/bgp/sessions"):
        for node in ast.walk(ast.parse((ROOT / f"consulcast/{name}.py").read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in (
                "_line",
                "_log",
            ):
                for word in ast.walk(node):
                    if isinstance(word, ast.Constant) and word.value in {*JOURNAL, "peer-up"}:
                        yield str(word.value)


def codes() -> set[str]:
    drifts = {f"drift-{kind}" for kind in Kind}
    return {*map(str, Reason), *map(str, Problem), *map(str, Finding), *drifts, *literals(), *spoken_by_name(), *LINT}


def test_every_code_has_an_entry() -> None:
    assert codes() - entries().keys() == set()


def test_every_entry_is_of_a_code() -> None:
    assert entries().keys() - codes() == set()


def test_the_log_s_words_are_found() -> None:
    assert {"started", "reloaded", "bad-config"} <= literals()
    assert set(spoken_by_name()) == {*JOURNAL, "peer-up"}


def test_a_code_stands_in_one_section() -> None:
    assert sum(map(len, reasons.SECTIONS.values())) == len(entries())


def test_every_entry_has_a_meaning_and_a_cause() -> None:
    assert all(entry.meaning.endswith(".") and entry.cause.endswith(".") for entry in entries().values())


def test_what_is_wrong_says_what_to_do() -> None:
    wrong = {
        "monitor-failing",
        "peer-down",
        "vip-not-allowed",
        "consul-stale",
        "not-enabled",
        "cannot-start",
        "hook-failed",
    }
    assert not {code for code in wrong if not entries()[code].todo}
    assert reasons.todo("bad-tag")
    assert not reasons.todo("nobody-says-this")


def test_the_page_of_the_log_has_every_word_of_the_log_alone() -> None:
    page = (ROOT / "docs/logs.md").read_text()
    words = {*reasons.SECTIONS["Events"], *reasons.SECTIONS["The rest of the log"]}
    assert [word for word in sorted(words) if f"`{word}`" not in page] == []


def test_the_page_is_as_the_code_writes_it() -> None:
    assert (ROOT / "docs/reasons.md").read_text() == reasons.page(), "python -m consulcast.reasons > docs/reasons.md"
