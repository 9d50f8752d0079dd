"""Small charts as SVG text: the same numbers give the same bytes, and colours come from the page they stand in.

Lines differ in dash and marker as well as in colour, and every chart has a title that a screen reader speaks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40
DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 2")


@dataclass(frozen=True)
class Series:
    """Points (x, y, half-width of y's interval or None), joined by a line."""

    label: str
    points: Sequence[tuple[float, float, float | None]]


@dataclass(frozen=True)
class Reproduction:
    """A row of ours against its published number; half-widths may be 0."""

    label: str
    ours: float
    ours_half: float
    published: float
    published_half: float
    style: str
    """CSS class of its verdict."""


@dataclass(frozen=True)
class _Axes:
    """Maps data to the picture."""

    x: tuple[float, float]
    y: tuple[float, float]
    whole: bool = False
    """Whether x counts something, and so has whole ticks."""

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def lines(
    title: str, x_label: str, y_label: str, series: Sequence[Series], ticks: Mapping[float, str] | None = None
) -> str:
    """A line for each series over a count, with its intervals; empty text where there is no point.

    Args:
        ticks: what stands below which x; None for round numbers.
    """
    points = [p for s in series for p in s.points]
    if not points:
        return ""
    reach = (v for _, y, h in points for v in (y - (h or 0), y + (h or 0)))
    axes = _Axes(_range(p[0] for p in points), _range(reach), whole=True)
    marks = []
    for i, s in enumerate(series):
        places = [(axes.at(x, y), axes.at(x, y - (h or 0)), axes.at(x, y + (h or 0)), h) for x, y, h in s.points]
        parts = []
        if len(places) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for (x, y), *_ in places)
            parts.append(f'<polyline points="{path}" fill="none" stroke-dasharray="{DASHES[i % len(DASHES)]}"/>')
        for (x, y), low, high, half in places:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>')
            if half:
                parts.append(_segment(low, high))
        marks.append(f'<g class="s{i % 5}"><title>{escape(s.label)}</title>{"".join(parts)}</g>')
    return _svg(title, x_label, y_label, axes, "".join(marks), ticks)


def scatter(title: str, points: Sequence[Reproduction]) -> str:
    """Ours over published with both intervals, and the diagonal; empty text where there is no point."""
    if not points:
        return ""
    values = [v for p in points for v in (p.ours - p.ours_half, p.ours + p.ours_half)]
    values += [v for p in points for v in (p.published - p.published_half, p.published + p.published_half)]
    axes = _Axes(_range(values), _range(values))
    low, high = axes.x
    marks = [f'<g class="diagonal">{_segment(axes.at(low, low), axes.at(high, high))}</g>']
    for p in points:
        x, y = axes.at(p.published, p.ours)
        spread = _segment(
            axes.at(p.published - p.published_half, p.ours), axes.at(p.published + p.published_half, p.ours)
        )
        spread += _segment(axes.at(p.published, p.ours - p.ours_half), axes.at(p.published, p.ours + p.ours_half))
        label = f"{p.label}: ours {p.ours:.2f}, published {p.published:g}"
        dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        marks.append(f'<g class="{escape(p.style)}"><title>{escape(label)}</title>{spread}{dot}</g>')
    return _svg(title, "published", "ours", axes, "".join(marks))


def _svg(
    title: str, x_label: str, y_label: str, axes: _Axes, marks: str, ticks: Mapping[float, str] | None = None
) -> str:
    """Axes with ticks and labels around the marks."""
    below = {t: f"{t:g}" for t in _ticks(*axes.x, whole=axes.whole)} if ticks is None else ticks
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
    ]
    for tick, name in below.items():
        x, y = axes.at(tick, axes.y[0])
        parts.append(f'<text x="{x:.1f}" y="{y + 14:.1f}" text-anchor="middle">{escape(name)}</text>')
    for tick in _ticks(*axes.y):
        x, y = axes.at(axes.x[0], tick)
        grid = _segment((x, y), (WIDTH - RIGHT, y))
        parts.append(
            f'<g class="grid">{grid}</g><text x="{x - 5:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    middle = (HEIGHT - BOTTOM + TOP) / 2
    parts.append(f'<text x="{(WIDTH + LEFT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    turned = f'transform="rotate(-90 12 {middle:.0f})"'
    parts.append(f'<text x="12" y="{middle:.0f}" text-anchor="middle" {turned}>{escape(y_label)}</text>')
    return "".join(parts) + marks + "</svg>"


def _segment(a: tuple[float, float], b: tuple[float, float]) -> str:
    return f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}"/>'


def _range(values: Iterable[float]) -> tuple[float, float]:
    """Smallest and largest value, a little apart."""
    known = list(values)
    low, high = min(known), max(known)
    margin = 0.05 * (high - low) or max(abs(high) * 0.05, 0.5)
    return low - margin, high + margin


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Three to seven round numbers in the range, or fewer whole ones."""
    step = 10 ** math.floor(math.log10((high - low) / 3))
    while (high - low) / step > 6:
        step *= 2 if (high - low) / step <= 12 else 2.5 if (high - low) / step <= 15 else 5
    step = max(step, 1) if whole else step
    return [round(k * step, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
