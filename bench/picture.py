"""A picture of how samples are spread, as SVG: a mark for each sample on an axis of logarithms. Pure.

Made by hand, because it is lines and words alone; its colours follow the reader's light or dark.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.spread import Spread

WIDTH, LEFT, RIGHT, TOP, PITCH, GAP = 860, 250, 110, 48, 18, 10
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.title { font-size: 14px; font-weight: 600; }
.small, .axis { font-size: 11px; fill: #57606a; }
.grid { stroke: #d0d7de; stroke-width: 1; }
.fine { stroke: #d0d7de; stroke-width: .4; }
.us { stroke: #0969da; fill: #0969da; }
.floor { stroke: #8c959f; fill: #8c959f; }
path { stroke-width: 1; stroke-opacity: .45; fill: none; }
.median { stroke-width: 2.5; stroke-opacity: 1; }
circle { stroke: none; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.small, .axis { fill: #8b949e; }
.grid, .fine { stroke: #30363d; }
.us { stroke: #58a6ff; fill: #58a6ff; }
.floor { stroke: #8b949e; fill: #8b949e; }
}
"""


@dataclass(frozen=True)
class Row:
    """Samples of one thing, in milliseconds. ``label`` stands before a group of rows, ``of`` before each."""

    label: str
    of: str
    samples: Sequence[float]


def strips(title: str, rows: Sequence[Row]) -> str:
    """Draw a row for each: its samples, the median (a bar) and the 99th percentile (a dot), with both in figures."""
    low, high = decades(value for row in rows for value in row.samples)
    lines, y = [], float(TOP)
    for row in rows:
        y += GAP if row.label else 0
        lines += _strip(row, y, low, high)
        y += PITCH
    body = [*_axis(low, high, TOP, y + 4), *lines]
    height = y + 40
    words = f'<text class="title" x="12" y="22">{html.escape(title)}</text>'
    legend = (
        f'<text class="small" x="{WIDTH - 12}" y="22" text-anchor="end">a line a sample · bar: median · dot: p99</text>'
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">'
    told = f"<title>{html.escape(title)}</title>"
    return "\n".join([head, told, f"<style>{_STYLE}</style>", words, legend, *body, "</svg>", ""])


def decades(values: Iterable[float]) -> tuple[float, float]:
    """Return the powers of ten that enclose all values; they are apart, and none of them is zero or below."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    return 10.0**low, 10.0 ** max(high, low + 1)


def place(value: float, low: float, high: float) -> float:
    """Return where on the axis a value stands."""
    share = math.log10(max(value, low) / low) / math.log10(high / low)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _axis(low: float, high: float, top: float, bottom: float) -> list[str]:
    lines = []
    decade = low
    while decade <= high * 1.001:
        x = place(decade, low, high)
        lines.append(f'<line class="grid" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom:.0f}"/>')
        lines.append(f'<text class="axis" x="{x:.1f}" y="{bottom + 16:.0f}" text-anchor="middle">{decade:g} ms</text>')
        if decade < high * 0.999:
            fine = "".join(f"M{place(decade * step, low, high):.1f} {top}V{bottom:.0f}" for step in range(2, 10))
            lines.append(f'<path class="fine" d="{fine}"/>')
        decade *= 10
    return lines


def _strip(row: Row, y: float, low: float, high: float) -> list[str]:
    spread = Spread.of(row.samples)
    kind = "us" if row.of == "consulcast" else "floor"
    marks = "".join(f"M{place(value, low, high):.1f} {y + 3:.0f}v10" for value in sorted(row.samples))
    median, p99 = place(spread.median, low, high), place(spread.p99, low, high)
    middle = y + 12
    return [
        *([f'<text x="12" y="{middle:.0f}">{html.escape(row.label)}</text>'] if row.label else []),
        f'<text class="small" x="{LEFT - 12}" y="{middle:.0f}" text-anchor="end">{html.escape(row.of)}</text>',
        f'<path class="{kind}" d="{marks}"/>',
        f'<path class="{kind} median" d="M{median:.1f} {y + 1:.0f}v14"/>',
        f'<circle class="{kind}" cx="{p99:.1f}" cy="{y + 8:.0f}" r="3.5"/>',
        f'<text class="small" x="{WIDTH - 12}" y="{middle:.0f}" text-anchor="end">'
        f"{spread.median:.2f} · {spread.p99:.1f}</text>",
    ]
