"""What has been found, as tables in Markdown, as JSON, and on the page that shows it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """Rows under a head. ``note`` says, in Markdown, what stands in it and what is to be known of it."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def markdown(self) -> str:
        """Write it."""
        cells = [list(self.head), *([figure(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.head))]
        lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n\n".join(filter(None, [f"**{self.title}**", "\n".join(lines), self.note]))


@dataclass(frozen=True)
class Target:
    """A target: a figure that is to be at most ``limit``, and what was reached."""

    measure: str
    limit: float
    reached: float
    unit: str
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether it was."""
        return self.reached <= self.limit


@dataclass
class Result:
    """What a part has found."""

    part: str
    title: str
    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    failed: str = ""  # why it did not come to its end
    seconds: float = 0.0
    load_begin: float = 0.0
    load_end: float = 0.0
    machine: str = ""
    run: str = ""  # when the run began that it was played in, and of which commit
    at: str = ""  # when it ended, ISO 8601
    facts: dict[str, float] = field(default_factory=dict)  # figures that a page computes with, by name

    def markdown(self) -> str:
        """Write all of it, without the title."""
        load = f"load average {self.load_begin:.1f} at the begin, {self.load_end:.1f} at the end"
        end = f"{self.at[:10]}, {self.seconds:.0f} s; {load}."
        failed = f"**It did not come to its end: {_one_line(self.failed)}**" if self.failed else ""
        return "\n\n".join(filter(None, [*(table.markdown() for table in self.tables), failed, end]))

    def data(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Result:
        """Read what ``data`` has returned."""
        tables = [Table(**table) for table in data["tables"]]
        return cls(**{**data, "tables": tables, "targets": [Target(**target) for target in data["targets"]]})


def targets(results: Iterable[Result]) -> str:
    """Return the table of all targets and what was reached of them. What a part did not come to is not left out."""
    rows: list[list[Cell]] = []
    for result in results:
        rows += [
            [
                target.measure,
                f"≤ {figure(target.limit)} {target.unit}",
                f"{figure(target.reached)} {target.unit}",
                "yes" if target.met else "**no**",
                target.note,
            ]
            for target in result.targets
        ]
        if result.failed:
            rows.append([f"({result.title}: it did not come to its end)", "", "", "**no**", _one_line(result.failed)])
    return Table("Targets", ["measure", "target", "reached", "met", ""], rows).markdown()


def machines(results: Iterable[Result]) -> str:
    """Tell on which machine which part was played, and in which run; usually one sentence."""
    found: dict[str, list[str]] = {}
    for result in results:
        found.setdefault(f"{result.machine}. Run of {result.run}", []).append(result.part)
    if len(found) == 1:
        return f"Measured on: {next(iter(found))}; all of it in this one run."
    return "\n".join(f"- {', '.join(parts)}: {where}." for where, parts in found.items())


def filled(page: str, blocks: Mapping[str, str]) -> str:
    """Return the page with ``blocks`` between its markers ``<!-- bench NAME -->`` and ``<!-- /bench -->``.

    Raises ``LookupError`` for a block without its place.
    """
    for name, text in blocks.items():
        begin, end = f"<!-- bench {name} -->\n", "<!-- /bench -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise LookupError(f"the page has no <!-- bench {name} --> … <!-- /bench -->")
        page = f"{before}{begin}{text}\n{end}{after}"
    return page


def figure(cell: Cell) -> str:
    """Write a cell: a float with three digits that count, or as many as stand before the point."""
    if cell is None:
        return ""
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else cell
    size = abs(cell)
    places = 0 if size >= 100 else 1 if size >= 10 else 2
    return f"{cell:,.{places}f}"


def _one_line(text: str) -> str:
    first = text.strip().partition("\n")[0]
    return first if len(first) <= 300 else f"{first[:300]} …"
