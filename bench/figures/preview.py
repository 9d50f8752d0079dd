"""An episode as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from metabench.algorithms.learner import Batch
from metabench.vision.data.source import DataError

LETTERS = 11.5
"""Characters of a title that fit an inch."""


def preview(
    support: Batch,
    query: Batch,
    path: Path,
    *,
    title: str = "",
    most: int = 10,
    names: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> Path:
    """Draw the first episode of a batch: a row for each way, its support images left and its queries right.

    Args:
        support, query: x (T, N, C, H, W) in any range, y (T, N) ways.
        path: of the PNG (or any format that Matplotlib knows by its suffix).
        most: images drawn of each way, on either side.
        names: of the ways; their numbers if not given.
        captions: a few characters to write on each query.

    Returns:
        The path.

    Raises:
        DataError: a path that is a folder, or has no such suffix, or cannot be written.
    """
    # Matplotlib writes a name without a suffix to another one: that of a PNG.
    if path.is_dir() or not path.suffix:
        what = "is a folder" if path.is_dir() else "has no ending"
        raise DataError(f"The picture {str(path)!r} {what}. Give a path that ends in .png.")
    ways = support.ways or int(support.y[0].max()) + 1
    left, right = (_by_way(batch, ways, most) for batch in (support, query))
    gap = support.x.shape[-1] // 2
    height, width = left.shape[0], left.shape[1] + right.shape[1] + gap
    low, high = min(left.min(), right.min()), max(left.max(), right.max())
    sheet = np.ones((height, width, 3))
    sheet[:, : left.shape[1]] = (left - low) / max(high - low, 1e-9)
    sheet[:, left.shape[1] + gap :] = (right - low) / max(high - low, 1e-9)
    figure, axes = _framed(sheet, title)
    rows = np.arange(ways) * (height / ways) + height / ways / 2
    axes.set_yticks(rows, list(names) or [str(way) for way in range(ways)])
    axes.set_xticks([left.shape[1] / 2, left.shape[1] + gap + right.shape[1] / 2], ["support", "query"])
    axes.set_ylabel("" if names else "way")
    if captions:
        _write(axes, captions, query, left.shape[1] + gap, height // ways, most)
    _save(figure, path)
    return path


def _framed(sheet: NDArray[np.float64], title: str) -> tuple[Figure, Axes]:
    """A figure of a sheet (H, W, 3) under its title, with room for names beside it."""
    height, width = sheet.shape[:2]
    scale = 6.0 / 800 * max(1.0, 500 / width)
    across = width * scale + 0.6
    lines = textwrap.wrap(title, int(across * LETTERS), break_on_hyphens=False)
    figure = Figure(figsize=(across, height * scale + 0.5 + 0.2 * len(lines)), dpi=133, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="nearest")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if lines:
        figure.suptitle("\n".join(lines), fontsize=10)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise DataError(f"The picture {path} cannot be written ({error}). Give a path that ends in .png.") from error


def _write(axes: Axes, captions: Sequence[str], query: Batch, side: float, height: int, most: int) -> None:
    """Write the captions on the queries, which begin at this side, in rows of this height."""
    y, box = query.y[0].numpy(), {"facecolor": "white", "alpha": 0.7, "pad": 0.5, "linewidth": 0}
    for way in np.unique(y):
        for column, i in enumerate(np.flatnonzero(y == way)[:most]):
            middle, foot = side + (column + 0.5) * (query.x.shape[-1] + 2), (way + 1) * height - 2
            axes.text(middle, foot, captions[i], fontsize=5, ha="center", va="bottom", bbox=box)


def _by_way(batch: Batch, ways: int, most: int) -> NDArray[np.float64]:
    """(ways * (H + 2), columns * (W + 2), 3): the images of each way side by side, on a dim grid."""
    x = batch.x[0].detach().cpu().double().numpy().transpose(0, 2, 3, 1)
    y = batch.y[0].detach().cpu().numpy()
    columns = min(most, max(int((y == way).sum()) for way in range(ways)))
    height, width = x.shape[1:3]
    sheet = np.full((ways * (height + 2), columns * (width + 2), 3), x.min() + 0.25 * (x.max() - x.min()))
    for way in range(ways):
        for column, image in enumerate(x[y == way][:columns]):
            top, side = way * (height + 2) + 1, column * (width + 2) + 1
            sheet[top : top + height, side : side + width] = image
    return sheet
