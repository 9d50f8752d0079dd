"""Pictures of results, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from metabench.algorithms.learner import Batch
from metabench.bench.training.checkpoint import RunFolderError

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe & Ito's colours, which the colour-blind can tell apart."""
MARKERS = "osD^vPX"


def quickstart_figure(
    records: Sequence[dict[str, Any]], control: Sequence[dict[str, Any]], support: Batch, query: Batch, path: Path
) -> Path:
    """Validation curves, score by number of updates in both worlds, and a few episodes.

    Args:
        records, control: one for each learner, of one benchmark of each world.
        support, query: the episodes to show, x (T, N, C, H, W), class by class.
        path: of the PNG.

    Raises:
        RunFolderError: if it cannot be written.
    """
    figure = Figure(figsize=(13, 7.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 1, height_ratios=(1.35, 1))
    top, bottom = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    left, middle, right = top.subplots(1, 3)
    middle.sharey(left)
    learning_curves(left, records)
    updates(middle, records)
    updates(right, control)
    middle.legend(loc="lower right", bbox_to_anchor=(1, 0.08), frameon=False)
    left.set_ylabel("accuracy, %")
    right.set_ylabel("return")
    left.set_title(f"{records[0]['benchmark']}, validation while training")
    middle.set_title(f"{records[0]['benchmark']}, test, by updates on the task")
    right.set_title(f"{control[0]['benchmark']}, test, by updates on the task")
    top.suptitle("Five meta-learners in two worlds, one short training each", x=0.01, ha="left", weight="bold")
    bottom.suptitle(
        "what they are tested on: one image a class is shown (left of the gap), the others are to be named",
        x=0.01, ha="left", fontsize=10,
    )  # fmt: skip
    episodes = bottom.subplots(1, len(support.x), squeeze=False, gridspec_kw={"wspace": 0.1})[0]
    for i, axes in enumerate(episodes):
        axes.imshow(episode_sheet(support.at(slice(i, i + 1)), query.at(slice(i, i + 1))), cmap="gray_r")
        axes.set_axis_off()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise RunFolderError(f"cannot write the picture {path}: {error.strerror}; choose another with --out") from error
    return path


def learning_curves(axes: Axes, records: Sequence[dict[str, Any]]) -> None:
    """Validation accuracy while training, with 95 % bands."""
    for record, colour, marker in zip(records, PALETTE, MARKERS, strict=False):
        at = np.array([point["iteration"] for point in record["curve"]])
        mean, ci95 = (100 * np.array([point[key] for point in record["curve"]]) for key in ("mean", "ci95"))
        axes.plot(at, mean, color=colour, marker=marker, markersize=4, label=record["algorithm"])
        axes.fill_between(at, mean - ci95, mean + ci95, color=colour, alpha=0.1, linewidth=0)
    axes.set(xlabel="iterations of the outer loop")
    quiet(axes)


def updates(axes: Axes, records: Sequence[dict[str, Any]]) -> None:
    """Test score after 0 … K updates, with 95 % bars, side by side where learners coincide."""
    accuracy = records[0]["metric"] == "accuracy"
    scale = 100 if accuracy else 1
    for i, (record, colour, marker) in enumerate(zip(records, PALETTE, MARKERS, strict=False)):
        test = record["test"]
        beside = np.array(test["updates"]) + 0.05 * (i - (len(records) - 1) / 2)
        mean, ci95 = scale * np.array(test["mean"]), scale * np.array(test["ci95"])
        axes.errorbar(
            beside, mean, ci95, color=colour, marker=marker, markersize=4, capsize=2, label=record["algorithm"]
        )
    if accuracy:
        chance = 100 / records[0]["protocol"]["ways"]
        axes.axhline(chance, color="0.6", linestyle=":", linewidth=1)
        axes.annotate("chance", (0.5, chance), (0, 3), textcoords="offset points", color="0.4")
    axes.set(xlabel="updates")
    axes.set_xticks(range(max((len(r["test"]["updates"]) for r in records), default=1)))
    quiet(axes)


def episode_sheet(support: Batch, query: Batch) -> NDArray[np.float64]:
    """One episode (T = 1) as an image: a row for each class, its support, a gap, its query; grey, 0 to 1."""
    gap = support.x.shape[-1] // 2
    left, right = (_rows(batch) for batch in (support, query))
    between = np.zeros((left.shape[0], gap))
    return np.concatenate([left, between, right], 1)


def _rows(batch: Batch) -> NDArray[np.float64]:
    """(ways · (H + 2), n · (W + 2)): the images of a class side by side, each with a margin of one pixel."""
    x = batch.x[0].mean(1).cpu().double().numpy()
    x = np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=0.12)
    rows = x.reshape(batch.ways, -1, *x.shape[1:]).transpose(0, 2, 1, 3)
    return rows.reshape(rows.shape[0] * rows.shape[1], -1)


def quiet(axes: Axes) -> None:
    """No frame above and on the right, and faint lines behind the values."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
