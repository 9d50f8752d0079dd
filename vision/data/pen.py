"""The pen of `vision.data.glyphs`: strokes given by control points, as pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metabench.vision.data.source import Indices, Pixels

Floats = NDArray[np.float64]

CONTROLS, SAMPLES = 6, 112
"""Control points of a stroke; points at which its path is marked."""
SIZE, FINE = 28, 3
"""Height and width of a picture in pixels; grid points per pixel along each side."""
WIDTHS = np.linspace(0.36, 0.52, 8)
"""Pen widths: standard deviation of the blur, in pixels."""


def _path(degree: int) -> Floats:
    """(SAMPLES, CONTROLS) weights of a clamped B-spline's control points along it (Cox and de Boor's recursion)."""
    knots = np.concatenate([np.zeros(degree), np.linspace(0, 1, CONTROLS - degree + 1), np.ones(degree)])
    t = np.linspace(0, 1 - 1e-9, SAMPLES)[:, None]
    basis = ((knots[:-1] <= t) & (t < knots[1:])).astype(np.float64)
    for d in range(1, degree + 1):
        left, right = knots[d:-1] - knots[: -d - 1], knots[d + 1 :] - knots[1:-d]
        rise = np.divide(t - knots[: -d - 1], left, out=np.zeros((SAMPLES, len(left))), where=left > 0)
        fall = np.divide(knots[d + 1 :] - t, right, out=np.zeros((SAMPLES, len(right))), where=right > 0)
        basis = rise * basis[:, :-1] + fall * basis[:, 1:]
    return basis


def _blur(width: float) -> NDArray[np.float32]:
    """(SIZE, SIZE * FINE) whole-number weights from the fine grid to pixels: a Gaussian of this width in pixels."""
    centres, fine = np.arange(SIZE) + 0.5, (np.arange(SIZE * FINE) + 0.5) / FINE
    weight = np.exp(-((centres[:, None] - fine) ** 2) / (2 * width**2))
    return np.round(63 * weight).astype(np.float32)


_CORNERED, _CURVED = _path(1), _path(3)
_BLURS = np.stack([_blur(width) for width in WIDTHS])


def rasterise(points: Floats, count: Indices, roundness: Floats, width: Floats) -> Pixels:
    """Pictures (N, SIZE, SIZE), strokes bright on black.

    Args:
        points: (N, S, CONTROLS, 2) control points (x, y) in a frame from 0 to 1; what lies outside ends at its edge.
        count: (N,) strokes used, of S.
        roundness: (N,) from 0, straight lines between the control points, to 1, a smooth curve led by them.
        width: (N,) of the pen, from 0 to below 1: thinnest to widest.
    """
    n, fine = len(points), SIZE * FINE
    weight = roundness[:, None, None, None]
    path = weight * (_CURVED @ points) + (1 - weight) * (_CORNERED @ points)
    # The odd offset keeps rounded control points away from the edges of the grid's cells.
    cell = np.clip(np.floor(path * fine + 0.37), 0, fine - 1).astype(np.int64)
    position = (np.arange(n)[:, None, None] * fine + cell[..., 1]) * fine + cell[..., 0]
    ink = np.zeros(n * fine * fine, dtype=np.float32)
    ink[position[np.arange(points.shape[1]) < count[:, None]]] = 1
    blur = _BLURS[(width * len(WIDTHS)).astype(np.int64)]
    # Whole numbers below 2**24 in float32: every sum is exact in whatever order it is taken.
    grey = blur @ ink.reshape(n, fine, fine) @ blur.transpose(0, 2, 1)
    return np.clip((grey - 1500) * 0.04, 0, 255).astype(np.uint8)
