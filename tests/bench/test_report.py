"""Tables, targets and data of the bench, and the page that shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.__main__ import DATA, DOCS, PAGES, PARTS, blocks, publish
from bench.parts import Run
from bench.report import Result, Table, Target, figure, filled, machines, targets

TABLE = Table("Times", ("of", "ms"), [["us", 1.234], ["the floor", 123.4], ["nobody", None]], "A note.")
TARGETS = [Target("start", 1.0, 0.9, "s"), Target("imports", 0.3, 0.31, "s")]
RESULT = Result("start", "Start", [TABLE], TARGETS, at="2026-01-02T03:04:05")


def test_table_is_padded_and_has_its_title_and_note() -> None:
    assert TABLE.markdown().splitlines() == [
        "**Times**",
        "",
        "| of        | ms   |",
        "|-----------|------|",
        "| us        | 1.23 |",
        "| the floor | 123  |",
        "| nobody    |      |",
        "",
        "A note.",
    ]


@pytest.mark.parametrize(
    ("cell", "text"),
    [(0.0, "0.00"), (9.994, "9.99"), (12.34, "12.3"), (1234.5, "1,234"), (1234, "1,234"), (-3.2, "-3.20"), ("x", "x")],
)
def test_figures_have_three_digits_that_count(cell: float | str, text: str) -> None:
    assert figure(cell) == text


def test_target_is_met_up_to_its_limit() -> None:
    assert Target("", 3.0, 3.0, "ms").met
    assert not Target("", 3.0, 3.01, "ms").met
    lines = targets([RESULT]).splitlines()
    assert [line.split("|")[4].strip() for line in lines if "≤" in line] == ["yes", "**no**"]


def test_part_that_did_not_come_to_its_end_stands_among_the_targets_though_all_that_it_found_are_met() -> None:
    met = Result("start", "Start", targets=TARGETS[:1], failed="NotInTime: not within 3 s\nits log: …")
    lines = targets([met]).splitlines()[-2:]
    assert [line.split("|")[4].strip() for line in lines] == ["yes", "**no**"]
    assert lines[1].split("|")[1].strip() == "(Start: it did not come to its end)"
    assert lines[1].split("|")[5].strip() == "NotInTime: not within 3 s"


def test_what_failed_is_told_with_what_was_found_before_in_one_line() -> None:
    text = Result("start", "Start", [TABLE], failed="NotInTime: not within 3 s\nits log: …").markdown()
    assert "**It did not come to its end: NotInTime: not within 3 s**" in text
    assert "| us " in text
    assert "its log" not in text


def test_result_is_the_same_after_the_way_through_json() -> None:
    again = Result.of(json.loads(json.dumps(RESULT.data())))
    assert again.markdown() == RESULT.markdown()
    assert targets([again]) == targets([RESULT])


def test_machine_is_told_once_if_it_is_one_and_with_its_parts_if_not() -> None:
    one, two = (Result(name, name, machine="2 × this", run="ten, commit x") for name in ("a", "b"))
    assert machines([one, two]) == "Measured on: 2 × this. Run of ten, commit x; all of it in this one run."
    two.machine = "8 × that"
    assert machines([one, two]) == "- a: 2 × this. Run of ten, commit x.\n- b: 8 × that. Run of ten, commit x."


def test_figures_of_two_runs_are_not_told_as_one() -> None:
    one, two = (Result(name, name, machine="2 × this", run=run) for name, run in (("a", "ten"), ("b", "noon")))
    assert machines([one, two]) == "- a: 2 × this. Run of ten.\n- b: 2 × this. Run of noon."


def test_block_of_the_page_is_replaced_and_nothing_else() -> None:
    page = "before\n<!-- bench a -->\nold\n<!-- /bench -->\nbetween\n<!-- bench b -->\nkept\n<!-- /bench -->\n"
    assert filled(page, {"a": r"new \1"}) == page.replace("old", r"new \1")


def test_block_without_a_place_is_an_error() -> None:
    with pytest.raises(LookupError, match="bench c"):
        filled("<!-- bench a -->\n<!-- /bench -->\n", {"c": ""})


def test_pages_have_a_place_for_every_part() -> None:
    assert {part.name for part in PARTS} <= set().union(*PAGES.values())
    for name, theirs in PAGES.items():
        assert filled((DOCS / name).read_text(), dict.fromkeys(theirs, ""))


def test_pages_show_what_the_data_say() -> None:
    every = blocks(json.loads((DOCS / DATA).read_text()))
    for name, theirs in PAGES.items():
        page = (DOCS / name).read_text()
        assert filled(page, {key: text for key, text in every.items() if key in theirs}) == page


def test_part_alone_leaves_the_others_figures_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    names = ("targets", "machine", "latency", "start")
    page = tmp_path / "performance.md"
    (tmp_path / "scale.md").write_text("")
    page.write_text("".join(f"<!-- bench {name} -->\n<!-- /bench -->\n" for name in names))
    other = Run(1, 0.0, Result("latency", "Latency", [Table("Others", ("x",), [[1]])]), pictures={"a.svg": "<svg/>"})
    publish(other, tmp_path)
    publish(Run(1, 0.0, RESULT), tmp_path)
    assert "**Others**" in page.read_text()
    assert "**Times**" in page.read_text()
    assert list(json.loads((tmp_path / DATA).read_text())) == ["latency", "start"]
    assert (tmp_path / "images" / "a.svg").read_text() == "<svg/>"
