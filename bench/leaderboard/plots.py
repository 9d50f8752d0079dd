"""The aggregate plots, drawn by matplotlib as SVG text: the same numbers give the same bytes.

Colours are written as variables of the page's style, so that a picture follows its theme; each algorithm has a marker
and a dash besides. Values are rounded before they are drawn: another processor's last bit would else show.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metabench.bench.leaderboard.aggregate import Duel, Panel
from metabench.bench.records.statistics import Interval, interquartile_mean, profile

STYLES = 8
"""Colours --s0 … of the page's style."""
THRESHOLDS = 80
"""Steps of a profile, where there are not fewer different scores."""
MARKERS = "osD^vPX*"
DASHES = ("-", "--", ":", "-.", (0, (6, 2)), (0, (1, 1)), (0, (4, 1, 1, 1, 1, 1)), (0, (8, 2)))
_COLOURS = {"#00000f": "var(--fg)", "#0000f0": "var(--line)"} | {f"#0f00{i}0": f"var(--s{i})" for i in range(STYLES)}
"""Colour as matplotlib is told it -> as the page knows it. None is black, which SVG leaves out."""
_INK, _GRID, *_SERIES = _COLOURS
_WIDTH, _LEFT, _RIGHT = 4.4, 1.25, 0.15
"""Inches: of a picture, and beside its axes."""
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9.5,
    "text.color": _INK, "axes.edgecolor": _INK, "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK,
    "axes.spines.top": False, "axes.spines.right": False, "grid.color": _GRID, "grid.linewidth": 0.6,
    "axes.grid": True, "axes.axisbelow": True, "legend.frameon": False,
}  # fmt: skip


def interquartile_means(panel: Panel, unit: str) -> str:
    """A line for each algorithm: thick, the interval over test tasks; thin, over seeds too where there are several."""
    with mpl.rc_context(_SETTINGS | {"svg.hashsalt": f"iqm {panel.benchmark}"}):
        figure, axes = _axes(len(panel.samples), f"interquartile mean, {unit}")
        for place, sample in enumerate(panel.samples):
            colour, marker = _SERIES[sample.style % STYLES], MARKERS[sample.style % len(MARKERS)]
            for found, width in ((sample.over_both, 1.2), (sample.over_tasks, 3.5)):
                _bar(axes, interquartile_mean(found), place, colour, width, marker)
        _names(axes, [sample.algorithm for sample in panel.samples])
        axes.margins(x=0.08)
        return _svg(figure, f"Interquartile means, {panel.benchmark}")


def profiles(panel: Panel, unit: str) -> str:
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
            colour, dash = _SERIES[sample.style % STYLES], DASHES[sample.style % len(DASHES)]
            axes.fill_between(thresholds, found.low, found.high, color=colour, alpha=0.18, linewidth=0, step="post")
            axes.step(
                thresholds, found.value, where="post", color=colour, linestyle=dash, lw=1.6, label=sample.algorithm
            )
        axes.set(ylim=(-0.02, 1.02), xlim=(thresholds[0], thresholds[-1]), ylabel="share of tasks above")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.12, 1.0), ncols=3, handlelength=2.4, columnspacing=1.2)
        return _svg(figure, f"Performance profile, {panel.benchmark}")


def improvement(duels: Sequence[Duel], title: str) -> str:
    """P(X > Y) for pairs of algorithms, with its 95 % interval; at ½ neither is better."""
    with mpl.rc_context(_SETTINGS | {"svg.hashsalt": f"improvement {title}"}):
        figure, axes = _axes(len(duels), "probability that X > Y", left=1.95, width=5.2)
        axes.axvline(0.5, color=_INK, lw=0.8, ls=":")
        for place, duel in enumerate(duels):
            _bar(axes, duel.probability, place, _SERIES[0], 3.0, "o")
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


def _bar(axes: Axes, found: Interval, place: int, colour: str, width: float, marker: str) -> None:
    value, low, high = (float(v) for v in _rounded(found))
    axes.plot([low, high], [place, place], color=colour, lw=width, solid_capstyle="butt")
    axes.plot([value], [place], color=colour, marker=marker, markersize=5)


def _names(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def _rounded(found: Interval) -> Interval:
    return Interval(*(np.round(v, 4) for v in found))


def _svg(figure: Figure, title: str) -> str:
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
    opening = f'<svg role="img" aria-label="{title}" class="plot"'
    text = re.sub(r'<svg(.*?) width="[^"]*" height="[^"]*"', rf"{opening}\1", text, count=1, flags=re.DOTALL)
    for written, meant in _COLOURS.items():
        text = text.replace(written, meant)
    return re.sub(r"\n\s*", "\n", text).strip()
