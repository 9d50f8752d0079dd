"""Glyphs: an endless set of invented alphabets that needs no download.

A character is a program of one to four pen strokes; a drawing is that program carried out by an unsteady hand
(compare Lake et al., Science 2015, whose model of Omniglot is built the same way):

    alphabet   a style (how curved, how long, how slanted) and a vocabulary of stroke shapes that its characters share
    character  strokes chosen from the vocabulary, each starting on an earlier one or apart from it, scaled to the frame
    drawing    every stroke moved, turned and bent a little; the whole slanted, turned, stretched, shifted; a pen width

Character i depends on (seed, i) alone and drawing j on (seed, i, j) alone: all randomness comes from hashing those
counters, so any part of the set can be drawn without the rest. The picture is the pen's path marked on a grid three
times as fine, blurred and saturated in whole numbers, which gives the same bits whichever BLAS multiplies them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metabench.vision.data.cache import content_digest
from metabench.vision.data.pen import CONTROLS, SIZE, Floats, rasterise
from metabench.vision.data.source import ClassImages, DataError, Dataset, Indices, Pixels, check_scheme

ALPHABET = 25
"""Characters of an alphabet."""
STROKES = 4
"""Most strokes of a character."""
SHAPES = 7
"""Stroke shapes in the vocabulary of an alphabet."""
CHUNK = 500
"""Drawings rasterised at once: bounds the memory to about 30 MB."""


def uniform(seed: int, stream: int, counter: ArrayLike, slots: int) -> Floats:
    """Numbers in [0, 1), shape (*counter.shape, slots): splitmix64's hash of seed, stream, counter and slot."""
    state = _mix(np.asarray(counter, dtype=np.uint64) ^ _mix(np.uint64(seed % 2**64) ^ _mix(np.uint64(stream))))
    state = _mix(state[..., None] + np.arange(1, slots + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return np.asarray((state >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _mix(state: ArrayLike) -> NDArray[np.uint64]:
    x = np.atleast_1d(np.asarray(state, dtype=np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)), dtype=np.uint64)


def noise(seed: int, stream: int, counter: ArrayLike, slots: int) -> Floats:
    """Bell-shaped numbers of mean 0 and variance 1, never beyond 3: twice the centred sum of three uniform ones."""
    shape = (*np.shape(counter), slots, 3)
    total: Floats = uniform(seed, stream, counter, 3 * slots).reshape(shape).sum(-1)
    return 2 * (total - 1.5)


def programs(seed: int, characters: Indices) -> tuple[Floats, Floats, Indices]:
    """The stroke programs of some characters.

    Args:
        characters: (C,) indices, each 0 or more.

    Returns:
        Control points (C, STROKES, CONTROLS, 2) in a frame from 0 to 1; roundness of each alphabet's hand (C,), 0 for
        corners and 1 for curves; strokes used (C,).
    """
    alphabet = characters // ALPHABET
    style = uniform(seed, 1, alphabet, 6)
    shapes = _vocabulary(seed, alphabet, style)
    u = uniform(seed, 3, characters, 1 + 5 * STROKES)
    count = np.searchsorted(np.cumsum([0.1, 0.45, 0.32, 0.13])[:-1], u[:, 0] * (0.75 + 0.25 * style[:, 3])) + 1
    u = u[:, 1:].reshape(-1, STROKES, 5)
    rows = np.arange(len(characters))
    points = np.zeros((len(characters), STROKES, CONTROLS, 2))
    for k in range(STROKES):
        stroke = shapes[rows, (u[:, k, 0] * SHAPES).astype(np.int64)] * (0.65 + 0.6 * u[:, k, 1])[:, None, None]
        if k == 0:
            start = np.zeros((len(characters), 2))
        else:
            # Most strokes start on one drawn before; the others close to it.
            earlier = (u[:, k, 2] * k).astype(np.int64)
            start = points[rows, earlier, (u[:, k, 3] * CONTROLS).astype(np.int64)]
            apart = (u[:, k, 4] < 0.35)[:, None]
            start = start + apart * (0.5 * uniform(seed, 4 + k, characters, 2) - 0.25)
        points[:, k] = start[:, None] + stroke
    return _fit(points, count), np.clip(1.5 * style[:, 0], 0, 1), count


def _vocabulary(seed: int, alphabet: Indices, style: Floats) -> Floats:
    """Stroke shapes (C, SHAPES, CONTROLS, 2): a walk that turns, steadily for a bow and suddenly for a corner."""
    u = uniform(seed, 2, alphabet, SHAPES * 10).reshape(len(alphabet), SHAPES, 10)
    curved = (style[:, 0, None] < 0.2 + 0.8 * u[..., 0]) | (u[..., 9] < 0.3)
    bend = (2 * u[..., 1] - 1) * np.where(curved, 1.1, 0.15)
    swing = (2 * u[..., 2] - 1) * 0.5 * curved
    steps = np.arange(CONTROLS - 1)
    # Pens mostly move down or to the right, as hands do; the angle is measured from there.
    heading = np.pi / 2 * np.floor(2 * u[..., 3]) + (0.2 + 0.5 * style[:, 1, None]) * 2 * (u[..., 4] - 0.5)
    corner = (
        (u[..., 5, None] < 0.45)
        * (steps >= 1 + np.floor(3 * u[..., 6, None]))
        * (1.2 + 1.2 * u[..., 7, None])
        * np.sign(bend)[..., None]
    )
    angle = heading[..., None] + bend[..., None] * (steps - 1) + swing[..., None] * steps**2 / 4 + corner
    length = (0.12 + 0.14 * u[..., 8])[..., None]
    walk = np.stack([length * np.cos(angle), length * np.sin(angle)], -1).cumsum(-2)
    return np.concatenate([np.zeros_like(walk[..., :1, :]), walk], -2)


def _fit(points: Floats, count: Indices) -> Floats:
    """Centre the strokes in use and scale them to the frame, keeping most of their proportions."""
    used = (np.arange(STROKES) < count[:, None])[:, :, None, None]
    low = np.where(used, points, np.inf).min((1, 2))
    high = np.where(used, points, -np.inf).max((1, 2))
    extent = np.maximum(high - low, 1e-9)
    longest = np.maximum(extent.max(1, keepdims=True), 0.3)
    # A flat character is opened up across its length, up to twice: strokes on top of each other make a blot.
    scale = 0.7 / longest * np.clip(0.5 * longest / extent, 1, 2)
    # Rounded, so that a last bit of someone's cosine cannot move the pen.
    return np.asarray(
        np.round(((points - ((low + high) / 2)[:, None, None]) * scale[:, None, None] + 0.5) * 4096) / 4096
    )


def draw(seed: int, characters: ArrayLike, drawings: int, *, first: int = 0) -> Pixels:
    """Drawings of some characters, (C, drawings, 1, 28, 28) uint8: bright strokes on black.

    Args:
        characters: (C,) indices, any from 0 on.
        first: index of the first drawing; each is a function of (seed, character, index) alone.
    """
    characters = np.asarray(characters, dtype=np.int64)
    points, roundness, count = programs(seed, characters)
    which = np.repeat(np.arange(len(characters)), drawings)
    index = np.tile(np.arange(first, first + drawings), len(characters))
    hand = characters[which] * 2**24 + index
    out = np.empty((len(hand), SIZE, SIZE), dtype=np.uint8)
    for start in range(0, len(hand), CHUNK):
        part = slice(start, start + CHUNK)
        rows = which[part]
        placed, width = _unsteady(seed, points[rows], hand[part]), uniform(seed, 23, hand[part], 1)[:, 0]
        out[part] = rasterise(placed, count[rows], roundness[rows], width)
    return out.reshape(len(characters), drawings, 1, SIZE, SIZE)


def _unsteady(seed: int, points: Floats, hand: Indices) -> Floats:
    """The control points as one hand places them: (N, STROKES, CONTROLS, 2), frame 0 to 1."""
    n = len(hand)
    jitter = noise(seed, 20, hand, STROKES * CONTROLS * 2).reshape(n, STROKES, CONTROLS, 2)
    stroke = noise(seed, 21, hand, STROKES * 4).reshape(n, STROKES, 1, 4)
    whole = noise(seed, 22, hand, 6)[:, None, None]
    start = points[:, :, :1]
    bent = points + 0.016 * jitter
    size = 1 + 0.09 * stroke[..., :1]
    turned = start + _turn(bent - start, 0.09 * stroke[..., 1]) * size + 0.022 * stroke[..., 2:]
    centred = turned - 0.5
    centred = _turn(centred, 0.1 * whole[..., 0])
    x, y = centred[..., 0], centred[..., 1]
    x, y = x * (1 + 0.11 * whole[..., 1]) + 0.13 * whole[..., 2] * y, y * (1 + 0.11 * whole[..., 3])
    return np.stack([x + 0.5 + 0.03 * whole[..., 4], y + 0.5 + 0.03 * whole[..., 5]], -1)


def _turn(points: Floats, angle: Floats) -> Floats:
    x, y = points[..., 0], points[..., 1]
    # The small-angle rotation t -> (1 - t^2/2, t): exact arithmetic, no library cosine.
    cos, sin = 1 - angle**2 / 2, angle
    return np.stack([cos * x - sin * y, sin * x + cos * y], -1)


@dataclass(frozen=True)
class Glyphs:
    """The source of glyphs: 14 invented alphabets by default, whole alphabets to each split."""

    name: str = "glyphs"
    splits: tuple[str, ...] = ("alphabets",)
    channels: int = 1
    size: int = SIZE
    licence: str = "MIT, part of metabench"
    alphabets: tuple[int, int, int] = (8, 2, 4)
    """Alphabets of 25 characters to train, validate and test."""
    drawings: int = 20
    """Drawings of a character."""

    def load(self, root: Path, split: str, *, cache: Path, seed: int = 0) -> Dataset:
        """Draw the set: neither the data root nor the cache is touched. The seed invents other alphabets."""
        check_scheme(self, split)
        total = sum(self.alphabets) * ALPHABET
        pictures = draw(seed, np.arange(total), self.drawings)
        names = tuple(f"alphabet{i // ALPHABET:03d}/glyph{i % ALPHABET:02d}" for i in range(total))
        digest = content_digest(
            (names[c], f"{j:04d}", pictures[c, j].tobytes()) for c in range(total) for j in range(self.drawings)
        )
        starts = np.arange(total + 1, dtype=np.int64) * self.drawings
        images = ClassImages(pictures.reshape(-1, 1, SIZE, SIZE), starts, names, digest)
        ends = np.cumsum(self.alphabets) * ALPHABET
        splits = {
            s: np.arange(e - a * ALPHABET, e)
            for s, e, a in zip(("train", "val", "test"), ends, self.alphabets, strict=True)
        }
        notes = "; ".join(f"{s}: {len(c)} classes x {self.drawings} images" for s, c in splits.items())
        groups = np.arange(total) // ALPHABET
        version = f"alphabets/seed{seed}"
        return Dataset(self.name, images, splits, groups=groups, split_version=version, notes=notes, resampling="drawn")

    def locate(self, root: Path) -> list[Path]:
        """This module: the data set is drawn by it."""
        return [Path(__file__)]

    def census(self, root: Path) -> tuple[int, int] | None:
        """(classes, images) of the default set."""
        return sum(self.alphabets) * ALPHABET, sum(self.alphabets) * ALPHABET * self.drawings

    def download(self, root: Path) -> None:
        """There is nothing to fetch."""
        raise DataError("glyphs needs no download: it is drawn by metabench itself. Use it as it is.")


GLYPHS = Glyphs()
