"""Draws docs/dashboard.svg: every panel of the dashboard, with what a real Prometheus has scraped from real daemons.

``python -m integration.dashboard``, as root; it takes three minutes. Grafana draws the same figures more nicely.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from integration.lab import Lab
from integration.monitored_site import VIP, Site, filled, panels

PICTURE = Path(__file__).parents[1] / "docs" / "dashboard.svg"
SECONDS = 150
UNIT, LINE = 50, 26  # pixels of the grid: a column, a row
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
NAMES = 5  # in a legend


def main() -> None:
    """Play a story, and draw what was seen of it."""
    with Lab() as lab:
        site = Site(lab)
        site.wait_up()
        start = time.time()
        play(site, start)
        PICTURE.write_text(draw(site, start, time.time()))


def play(site: Site, start: float) -> None:
    """Checks that flap, a listener that goes, a session that goes, a Consul that goes, an address that goes."""
    consul = site.consuls["left"]
    for number in range(7):
        consul.update_check("critical", service_id="dns")
        time.sleep(3)
        consul.update_check("passing", service_id="dns")
        time.sleep(5 if number < 3 else 2)
    site.listener.close()
    time.sleep(8)
    site.hosts["right"].run("ip", "address", "del", VIP, "dev", "lo", check=False)
    site.listener = site.listen()
    site.bird.disable("right")
    time.sleep(15)
    site.bird.enable("right")
    site.consuls["right"].stop()
    time.sleep(max(0.0, start + SECONDS - time.time()))


def draw(site: Site, start: float, end: float) -> str:
    """Draw all panels in Grafana's grid."""
    parts = []
    height = 0
    for panel in panels():
        place = panel["gridPos"]
        box = (place["x"] * UNIT, place["y"] * LINE, place["w"] * UNIT - 8, place["h"] * LINE - 8)
        height = max(height, box[1] + box[3] + 8)
        expressions = [(filled(target["expr"], "20s"), target["legendFormat"]) for target in panel["targets"]]
        unit = panel["fieldConfig"]["defaults"]["unit"]
        if panel["type"] == "timeseries":
            lines = [
                (_legend(legend, found["metric"]), [(float(at), float(value)) for at, value in found["values"]])
                for expression, legend in expressions
                for found in site.prometheus.series(expression, start, end, 1)
                if any(math.isfinite(float(value)) for _, value in found["values"])
            ]
            inside = _graph(lines, start, end, box[2], box[3], unit)
        else:
            found = [item for expression, _ in expressions for item in site.prometheus.query(expression)]
            inside = _table(found) if panel["type"] == "table" else _figure(found, box[2], box[3], unit)
        frame = f'<rect width="{box[2]}" height="{box[3]}" rx="3" fill="#fff" stroke="#d0d0d0"/>'
        title = f'<text x="8" y="17" font-weight="bold">{escape(panel["title"])}</text>'
        parts.append(f'<g transform="translate({box[0]},{box[1]})">{frame}{title}{inside}</g>')
    style = 'font-family="sans-serif" font-size="11"'
    size = f'viewBox="0 0 {24 * UNIT} {height}" width="{24 * UNIT}" height="{height}"'
    back = '<rect width="100%" height="100%" fill="#f4f5f5"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join([back, *parts]) + "\n</svg>\n"


def _legend(pattern: str, labels: Mapping[str, str]) -> str:
    for name, value in labels.items():
        pattern = pattern.replace("{{" + name + "}}", value)
    return pattern


def _graph(
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], start: float, end: float, w: int, h: int, unit: str
) -> str:
    left, top, right, bottom = 52, 26, w - 10, h - 22 - 13 * math.ceil(min(len(lines), NAMES) / 2)
    values = [value for _, points in lines for _, value in points if math.isfinite(value)]
    most = max(values, default=1.0) or 1.0
    parts = []
    for part in (0, 0.5, 1):
        y = bottom - (bottom - top) * part
        parts.append(f'<path d="M{left} {y:.0f}H{right}" stroke="#e5e5e5"/>')
        parts.append(
            f'<text x="{left - 4}" y="{y + 4:.0f}" text-anchor="end" fill="#666">{_text(most * part, unit)}</text>'
        )
    for seconds in range(0, SECONDS + 1, 30):
        x = left + (right - left) * seconds / (end - start)
        parts.append(f'<text x="{x:.0f}" y="{bottom + 13}" text-anchor="middle" fill="#666">{seconds} s</text>')
    for number, (name, points) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        path = _path(points, lambda at: left + (right - left) * (at - start) / (end - start), bottom, top, most)
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.4"/>')
        if number < NAMES:
            x, y = 10 + (number % 2) * (w // 2), bottom + 28 + 13 * (number // 2)
            more = f" … and {len(lines) - NAMES} more" if number == NAMES - 1 and len(lines) > NAMES else ""
            parts.append(f'<rect x="{x}" y="{y - 7}" width="8" height="3" fill="{colour}"/>')
            parts.append(f'<text x="{x + 12}" y="{y}">{escape(name + more)}</text>')
    return "".join(parts)


def _path(points: Iterable[tuple[float, float]], x: Any, bottom: float, top: float, most: float) -> str:
    words, before = [], None
    for at, value in points:
        if not math.isfinite(value):
            before = None
            continue
        joined = before is not None and at - before < 1.5
        words.append(f"{'L' if joined else 'M'}{x(at):.1f} {bottom - (bottom - top) * value / most:.1f}")
        if not joined:
            words.append("h0.5")
        before = at
    return "".join(words)


def _table(found: Iterable[Mapping[str, Any]]) -> str:
    rows = [("host", "VIP", "reason")]
    rows += sorted((item["metric"]["instance"], item["metric"]["vip"], item["metric"]["reason"]) for item in found)
    return "".join(
        f'<text x="{8 + 130 * column}" y="{38 + 16 * row}" fill="{"#333" if row else "#888"}">{escape(cell)}</text>'
        for row, cells in enumerate(rows)
        for column, cell in enumerate(cells)
    )


def _figure(found: Sequence[Mapping[str, Any]], w: int, h: int, unit: str) -> str:
    text = _text(float(found[0]["value"][1]), unit) if found else "-"
    return f'<text x="{w / 2}" y="{h / 2 + 22}" font-size="30" text-anchor="middle">{text}</text>'


def _text(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.0f} s"
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    if unit == "percentunit":
        return f"{value:.1%}"
    return f"{value:.3g}" + ("/s" if unit == "ops" else "")


if __name__ == "__main__":
    main()
