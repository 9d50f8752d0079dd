"""Pictures of control: paths over the plane, learning curves."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from metabench.algorithms import Learner
from metabench.bench.figures.few_shot import PALETTE, quiet
from metabench.bench.figures.film import when
from metabench.bench.training.checkpoint import RunFolderError
from metabench.envs.render import adapted
from metabench.envs.suite import Control, Tasks

PATHS = 3
"""Episodes shown of each task."""


def trajectories_figure(title: str, suite: Control, tasks: Tasks, learner: Learner, updates: Sequence[int]) -> bytes:
    """A PNG of the paths towards the goals: a panel for each number of updates, a colour for each task."""
    figure, panels = _panels(len(updates), 3.4)
    figure.suptitle(f"{title}: {PATHS} episodes of each of {len(tasks)} test tasks; stars are the goals")
    axes = dict(zip(updates, panels, strict=True))
    goals = tasks.variables["goal"]
    for update, fast in adapted(suite, tasks, learner, max(updates)):
        if update not in axes:
            continue
        score = float(suite.scorer(tasks, learner)(fast, update).mean())
        rolled = tasks.last[update]
        for t, goal in enumerate(goals):
            colour = PALETTE[t % len(PALETTE)]
            for e in range(min(PATHS, tasks.rollouts)):
                path = rolled.observations[t, e, rolled.valid[t, e], :2]
                axes[update].plot(*path.T, color=colour, linewidth=0.9, alpha=0.8)
            axes[update].plot(*goal, "*", color=colour, markersize=13, markeredgecolor="white", zorder=3)
        axes[update].set_title(f"{when(update)}: mean return {score:.1f}", fontsize=10)
    reach = 1.6 * float(np.abs(goals).max())
    for panel in panels:
        panel.plot(0, 0, "o", color="0.3", markersize=4, zorder=3)
        panel.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        quiet(panel)
    return _png(figure)


def curve_figure(title: str, log: Path) -> bytes:
    """A PNG of the return before and after adaptation while training, and on the validation tasks.

    Raises:
        RunFolderError: the log is missing or damaged, or has no iteration yet.
    """
    lines = _lines(log)
    steps, checks = ([line for line in lines if key in line] for key in ("return", "val"))
    if not steps:
        raise RunFolderError(f"{log} has no iteration of control yet")
    figure, [axes] = _panels(1, 6.4, 3.8)
    at = np.array([line["iteration"] for line in steps])
    shown = (("return_before", PALETTE[1], "before adaptation"), ("return", PALETTE[0], "after adaptation"))
    for key, colour, label in shown:
        values = np.array([line[key] for line in steps])
        axes.plot(at, values, color=colour, linewidth=0.6, alpha=0.3)
        axes.plot(at, smooth(values), color=colour, linewidth=1.6, label=label)
    if checks:
        where, mean, half = ([line[key] for line in checks] for key in ("iteration", "val", "val_ci95"))
        axes.errorbar(
            where, mean, half, color="black", marker="o", markersize=3, linewidth=0.8, capsize=2,
            label="validation, after adaptation",
        )  # fmt: skip
    axes.set(title=title, xlabel="iterations of the outer loop", ylabel="mean return of an episode")
    axes.legend(frameon=False, fontsize=9)
    quiet(axes)
    return _png(figure)


def smooth(values: NDArray[np.float64], width: int = 10) -> NDArray[np.float64]:
    """Mean of each value and those up to `width` // 2 before and after it, fewer at the ends."""
    half = width // 2
    return np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])


def _lines(log: Path) -> list[dict[str, Any]]:
    try:
        lines = log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]  # the last may be half written
    except OSError as error:
        raise RunFolderError(f"cannot read {log}: {error.strerror}") from error
    except ValueError as error:
        raise RunFolderError(f"{log} is damaged: {error}") from error


def _panels(count: int, width: float, height: float = 3.9) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(count * width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
