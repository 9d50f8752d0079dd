"""The charts, drawn by matplotlib as SVG text: the same numbers give the same bytes.

Colours are written as variables of the page's style, so that a picture follows its theme; an algorithm has its marker
and its dash besides (`palette`). Values are rounded before they are drawn: another processor's last bit would else
show.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metabench.bench.leaderboard.aggregate import Duel, Panel
from metabench.bench.leaderboard.board import Cell, Line
from metabench.bench.leaderboard.palette import LOOKS, look_of
from metabench.bench.records.check import numbers
from metabench.bench.records.metric import METRICS
from metabench.bench.records.statistics import Interval, interquartile_mean, profile

THRESHOLDS = 32
"""Steps of a profile, where there are not fewer different scores."""
DRAWN = 30
"""Points of a learning curve that are drawn."""
LONGEST = 40
"""Lines of a chart that has one for each row."""
_COLOURS = {"#00000f": "var(--fg)", "#0000f0": "var(--line)"} | {
    f"#0f{i:02x}f0": f"var(--{name})" for i, name in enumerate(LOOKS)
}
"""Colour as matplotlib is told it -> as the page knows it. None is black, which SVG leaves out."""
_INK, _GRID, *_ = _COLOURS
_STYLED = {
    "font-size: 9.5px; font-family: 'DejaVu Sans', sans-serif; ": "",
    '; fill: var(--fg)" x=': '" x=',
    'style="fill: none; stroke: var(--line); stroke-width: 0.6; stroke-linecap: square"': 'class="grid"',
}
"""What the page's style says once for all pictures -> what stands in its place."""
_WIDTH, _LEFT, _RIGHT = 4.4, 1.25, 0.15
"""Inches: of a picture, and beside its axes."""
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9.5,
    "text.color": _INK, "axes.edgecolor": _INK, "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK,
    "axes.spines.top": False, "axes.spines.right": False, "grid.color": _GRID, "grid.linewidth": 0.6,
    "xtick.major.size": 0, "ytick.major.size": 0, "axes.grid": True, "axes.axisbelow": True, "legend.frameon": False,
    "text.parse_math": False,
}  # fmt: skip


def gaps(cells: Sequence[Cell]) -> Markup:
    """Ours less the published number, in points of accuracy, a line a row; the grey bar is where others came out.

    Rows without such a gap are left out, and so are all beyond the `LONGEST`; empty where none is left. The axis is
    linear within one point and logarithmic beyond.
    """
    known = [(c, c.line, c.line.gap, c.published) for c in cells if c.line and c.published is not None]
    shown = [(c, line, gap, value) for c, line, gap, value in known if gap is not None][:LONGEST]
    if not shown:
        return Markup()
    with mpl.rc_context(_SETTINGS | {"svg.hashsalt": "gaps"}):
        figure, axes = _axes(len(shown), "ours − published, points of accuracy", left=2.1, width=7.4)
        axes.axvline(0, color=_INK, lw=1)
        for place, (cell, line, gap, value) in enumerate(shown):
            if cell.reruns:
                span = [min(cell.reruns) - value, max(cell.reruns) - value]
                axes.plot(span, [place, place], color=_GRID, lw=7, solid_capstyle="round")
            half = line.verdict.measured.ci95 if line.verdict.measured else 0.0
            found = Interval(np.array(gap), np.array(gap - half), np.array(gap + half))
            _bar(axes, found, place, cell.algorithm, 2.0)
        _names(axes, [f"{cell.algorithm} {cell.benchmark}" for cell, *_ in shown])
        axes.set_xscale("symlog", linthresh=1, linscale=1.5)
        axes.set_xticks([-20, -10, -5, -2, -1, 0, 1, 2, 5], ["−20", "−10", "−5", "−2", "−1", "0", "1", "2", "5"])
        axes.minorticks_off()
        reach = [edge for *_, gap, _ in shown for edge in (1.4 * gap, -2.0, 2.0)]
        axes.set_xlim(min(reach), max(reach))
        return _svg(figure, "Ours less published")


def adaptations(cells: Sequence[Cell]) -> Markup:
    """Returns of one benchmark after 0, 1, … updates with their 95 % bars; dashed and hollow, as published.

    Empty where no algorithm has two points.
    """
    curves = [(cell, curve) for cell in cells if len(curve := _adaptation(cell)) > 1]
    if not curves:
        return Markup()
    benchmark = cells[0].benchmark
    with mpl.rc_context(_SETTINGS | {"svg.hashsalt": f"adaptation {benchmark}"}):
        figure, axes = _axes(9, "updates", left=0.75, legend=0.19 * ((len(curves) + 2) // 3))
        for cell, curve in curves:
            plain: dict[str, Any] = {"color": _colour(cell.algorithm), "ms": 5, "lw": 1.4, "elinewidth": 1.0}
            plain["marker"] = LOOKS[look_of(cell.algorithm)].marker
            axes.errorbar(*_rounded_points(curve), label=cell.algorithm, **plain)
            if cell.reference is not None and cell.reference.adaptation:
                theirs = [(k, p.value, p.half_width) for k, p in enumerate(cell.reference.adaptation)]
                x, y, half = _rounded_points(theirs)
                hollow: dict[str, Any] = {"markerfacecolor": "none", "linestyle": "--", "label": "_"}
                axes.errorbar(x + 0.06, y, half, **(plain | hollow))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel("return")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.16, 1.0), ncols=3, handlelength=2.2, columnspacing=1.2)
        return _svg(figure, f"Adaptation, {benchmark}")


def learning(line: Line) -> Markup:
    """Validation while training, a line a seed with its 95 % band; empty for fewer than three points."""
    metric = METRICS[line.row.first["metric"]]
    curves = [(r["seed"], curve) for r in line.row.records if len(curve := learning_curve(r, metric.scale)) > 2]
    if not curves:
        return Markup()
    algorithm = line.row.first["algorithm"]
    with mpl.rc_context(_SETTINGS | {"svg.hashsalt": f"learning {line.row.key}"}):
        figure, axes = _axes(7, "iteration", left=0.75)
        for _, curve in curves[:5]:
            x, y, half = _rounded_points(curve)
            axes.fill_between(x, y - half, y + half, color=_colour(algorithm), alpha=0.15, linewidth=0)
            axes.plot(x, y, color=_colour(algorithm), lw=1.5)
        axes.set_ylabel(metric.title)
        return _svg(figure, f"Learning curve, {line.name}")


def learning_curve(record: Mapping[str, Any], scale: float) -> list[tuple[float, float, float]]:
    """(iteration, mean, half-width) of each validation, evenly thinned; points that are not numbers are left out."""
    points: list[tuple[float, float, float]] = []
    for point in record["curve"] if isinstance(record.get("curve"), list) else []:
        values: Any = [point.get(f) for f in ("iteration", "mean", "ci95")] if isinstance(point, dict) else None
        if numbers(values):
            points.append((values[0], scale * values[1], scale * values[2]))
    return points[:: max(1, math.ceil(len(points) / DRAWN))]


def _adaptation(cell: Cell) -> list[tuple[float, float, float]]:
    """(updates, mean, half-width) of the cell's row, as far as all seeds have it."""
    row = cell.line.row if cell.line else None
    if row is None or not row.complete:
        return []
    found = [m for k in row.complete[0]["test"]["updates"] if (m := row.after(k)) and m.updates == k]
    return [(m.updates, m.mean, m.ci95) for m in found]


def interquartile_means(panel: Panel, unit: str) -> Markup:
    """A line for each algorithm: thick, the interval over test tasks; thin, over seeds too where there are several."""
    with mpl.rc_context(_SETTINGS | {"svg.hashsalt": f"iqm {panel.benchmark}"}):
        figure, axes = _axes(len(panel.samples), f"interquartile mean, {unit}")
        for place, sample in enumerate(panel.samples):
            for found, width in ((sample.over_both, 1.2), (sample.over_tasks, 3.5)):
                _bar(axes, interquartile_mean(found), place, sample.algorithm, width)
        _names(axes, [sample.algorithm for sample in panel.samples])
        axes.margins(x=0.08)
        return _svg(figure, f"Interquartile means, {panel.benchmark}")


def profiles(panel: Panel, unit: str) -> Markup:
    """The share of test tasks, of all seeds, whose score lies above a threshold; with its 95 % band."""
    thresholds = np.unique(np.concatenate([sample.scores.ravel() for sample in panel.samples]).round(4))
    if len(thresholds) > THRESHOLDS:
        thresholds = np.linspace(thresholds[0], thresholds[-1], THRESHOLDS)
    margin = 0.02 * (thresholds[-1] - thresholds[0]) or 1.0
    thresholds = np.array([thresholds[0] - margin, *thresholds, thresholds[-1] + margin])
    with mpl.rc_context(_SETTINGS | {"svg.hashsalt": f"profile {panel.benchmark}"}):
        figure, axes = _axes(7, f"threshold, {unit}", left=0.6, legend=0.19 * ((len(panel.samples) + 2) // 3))
        for sample in panel.samples:
            found = _rounded(profile(sample.over_both, thresholds))
            colour, dash = _colour(sample.algorithm), LOOKS[look_of(sample.algorithm)].dash
            axes.fill_between(thresholds, found.low, found.high, color=colour, alpha=0.18, linewidth=0, step="post")
            axes.step(
                thresholds, found.value, where="post", color=colour, linestyle=dash, lw=1.6, label=sample.algorithm
            )
        axes.set(ylim=(-0.02, 1.02), xlim=(thresholds[0], thresholds[-1]), ylabel="share of tasks above")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.12, 1.0), ncols=3, handlelength=2.4, columnspacing=1.2)
        return _svg(figure, f"Performance profile, {panel.benchmark}")


def improvement(duels: Sequence[Duel], title: str) -> Markup:
    """P(X > Y) for pairs of algorithms, with its 95 % interval; at ½ neither is better."""
    with mpl.rc_context(_SETTINGS | {"svg.hashsalt": f"improvement {title}"}):
        figure, axes = _axes(len(duels), "probability that X > Y", left=1.95, width=5.2)
        axes.axvline(0.5, color=_INK, lw=0.8, ls=":")
        for place, duel in enumerate(duels):
            _bar(axes, duel.probability, place, duel.better, 3.0)
        _names(axes, [f"{duel.better} > {duel.worse}" for duel in duels])
        axes.set_xlim(min(0.45, *(float(duel.probability.low) - 0.02 for duel in duels)), 1.02)
        return _svg(figure, f"Probability of improvement, {title}")


def _axes(
    lines: int, label: str, *, left: float = _LEFT, width: float = _WIDTH, legend: float = 0.0
) -> tuple[Figure, Axes]:
    """A picture for so many lines of text, with room for them left of its axes and for a legend above."""
    height = 0.22 * lines + 0.62 + legend
    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)
    axes = figure.add_axes((left / width, 0.48 / height, (width - left - _RIGHT) / width, 0.22 * lines / height))
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    return figure, axes


def _colour(algorithm: str) -> str:
    return f"#0f{list(LOOKS).index(look_of(algorithm)):02x}f0"


def _bar(axes: Axes, found: Interval, place: int, algorithm: str, width: float) -> None:
    value, low, high = (float(v) for v in _rounded(found))
    colour, marker = _colour(algorithm), LOOKS[look_of(algorithm)].marker
    axes.plot([low, high], [place, place], color=colour, lw=width, solid_capstyle="butt")
    axes.plot([value], [place], color=colour, marker=marker, markersize=6)


def _names(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def _rounded(found: Interval) -> Interval:
    return Interval(*(np.round(v, 4) for v in found))


def _rounded_points(points: Sequence[tuple[float, float, float]]) -> Any:
    """(x, y, half-width), each an array."""
    return np.array(points, np.float64).round(4).T


def _svg(figure: Figure, title: str) -> Markup:
    """The picture without what a page does not need: declaration, metadata, names of its groups."""
    buffer = io.StringIO()
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(
        r' id="(?:figure|axes|patch|matplotlib\.axis|[xy]tick|line2d|text|legend|\w*Collection)_\d+"', "", text
    )
    text = re.sub(r"<!--.*?-->\s*|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg.*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1, flags=re.DOTALL)
    text = f'<svg role="img" aria-label="{escape(title)}" class="plot"{text.removeprefix("<svg")}'
    for written, meant in (_COLOURS | _STYLED).items():
        text = text.replace(written, meant)
    text = re.sub(r" transform=\"rotate\(-0 [^\"]*\"", "", text)
    text = re.sub(r' (?:d|x|y|width|height|viewBox|transform)="[^"]*"', _cut, text)
    text = _ungrouped(text)
    return Markup(re.sub(r"\s*\n\s*", " ", text).strip())  # noqa: S704 (matplotlib has escaped its texts)


def _cut(attribute: re.Match[str]) -> str:
    """Its coordinates to a tenth of a unit."""
    return re.sub(r"(\.\d)\d+", r"\1", attribute[0])


def _ungrouped(text: str) -> str:
    """The same without the groups that say nothing."""
    opened: list[bool] = []

    def kept(tag: re.Match[str]) -> str:
        if tag[0].endswith("/>"):
            return ""
        if tag[0] != "</g>":
            opened.append(tag[0] == "<g>")
        plain = opened.pop() if tag[0] == "</g>" else opened[-1]
        return "" if plain else tag[0]

    return re.sub(r"</?g\b[^>]*>", kept, text)
