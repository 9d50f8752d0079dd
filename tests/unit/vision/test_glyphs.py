"""Glyphs: deterministic, without end, hard enough to tell learners apart, and fast."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import pytest

from metabench.vision.data.glyphs import ALPHABET, GLYPHS, STROKES, draw, noise, programs, uniform
from metabench.vision.data.pen import CONTROLS, SIZE, rasterise
from metabench.vision.data.source import DataError


def test_uniform_and_noise_have_their_moments() -> None:
    u = uniform(0, 1, np.arange(20000), 3)
    assert u.shape == (20000, 3)
    assert u.min() >= 0
    assert u.max() < 1
    assert np.allclose(u.mean(0), 0.5, atol=0.01)
    assert np.allclose(u.var(0), 1 / 12, atol=0.002)
    assert np.abs(np.corrcoef(u.T) - np.eye(3)).max() < 0.03
    n = noise(0, 1, np.arange(20000), 2)
    assert np.allclose(n.mean(0), 0, atol=0.03)
    assert np.allclose(n.var(0), 1, atol=0.03)
    assert np.abs(n).max() <= 3


def test_uniform_is_splitmix64() -> None:
    def mix(x: int) -> int:
        x = (x + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    seed, stream, counter, slot = 12, 3, 45, 2
    state = mix(counter ^ mix(seed ^ mix(stream)))
    expected = (mix((state + (slot + 1) * 0x9E3779B97F4A7C15) % 2**64) >> 11) / 2**53
    assert uniform(seed, stream, [counter], 4)[0, slot] == expected


def test_drawings_are_the_same_bit_for_bit() -> None:
    pictures = draw(0, np.arange(30), 4)
    assert pictures.shape == (30, 4, 1, 28, 28)
    assert pictures.dtype == np.uint8
    assert np.array_equal(pictures, draw(0, np.arange(30), 4))
    assert hashlib.sha256(pictures.tobytes()).hexdigest() == PINNED


PINNED = "65a145942a6ddd5141132590011ce9ede07b3fff1fcfb0a7f56199567fe8e01a"
"""Of `draw(0, range(30), 4)`: a change means that every accuracy on glyphs is of another data set."""


def test_a_character_depends_on_seed_and_index_alone() -> None:
    many = draw(3, np.arange(60), 5)
    assert np.array_equal(draw(3, [41], 5)[0], many[41])
    assert np.array_equal(draw(3, [41, 2], 2, first=3), many[[41, 2], 3:])
    assert not np.array_equal(draw(4, [41], 5)[0], many[41])


def test_characters_have_no_end() -> None:
    far = draw(0, [0, 10**6, 10**9], 3)
    assert len({picture.tobytes() for character in far for picture in character}) == 9


def test_programs_fill_the_frame() -> None:
    points, roundness, count = programs(0, np.arange(200))
    assert points.shape == (200, STROKES, CONTROLS, 2)
    assert set(count) == {1, 2, 3, 4}
    assert roundness.min() >= 0
    assert roundness.max() <= 1
    for p, n in zip(points, count, strict=True):
        low, high = p[:n].min((0, 1)), p[:n].max((0, 1))
        assert np.allclose((low + high) / 2, 0.5, atol=1e-3)
        assert 0.3 < (high - low).max() <= 0.7 + 1e-3


def test_characters_of_an_alphabet_share_their_hand() -> None:
    _, roundness, _ = programs(0, np.arange(4 * ALPHABET))
    assert (np.ptp(roundness.reshape(4, ALPHABET), 1) == 0).all()
    assert len(set(roundness)) > 1


def test_ink_is_as_sparse_as_omniglots() -> None:
    pictures = draw(0, np.arange(100), 10)
    assert 0.05 < pictures.mean() / 255 < 0.11  # Omniglot at 28 x 28: 0.084
    assert (pictures.max((2, 3, 4)) == 255).mean() > 0.99
    edge = np.concatenate([pictures[..., 0, :], pictures[..., -1, :], pictures[..., :, 0], pictures[..., :, -1]], -1)
    assert (edge > 0).any(-1).mean() < 0.15


def test_a_straight_stroke_is_drawn_where_it_should_be() -> None:
    points = np.full((1, 1, CONTROLS, 2), 0.5)
    points[0, 0, :, 0] = np.linspace(0.25, 0.75, CONTROLS)
    thin, thick = (rasterise(points, np.array([1]), np.array([1.0]), np.array([w]))[0] for w in (0.0, 0.99))
    assert thin.shape == (SIZE, SIZE)
    rows, columns = np.nonzero(thin > 127)
    assert set(rows) <= {13, 14}
    assert columns.min() in (6, 7)
    assert columns.max() in (20, 21)
    assert thick.sum() > 1.3 * thin.sum()
    assert not rasterise(points, np.array([0]), np.array([1.0]), np.array([0.0])).any()


def nearest_neighbour(pictures: np.ndarray, ways: int, episodes: int) -> float:
    """Accuracy of the nearest support picture in pixels, one shot and one query a way."""
    generator = np.random.default_rng(0)
    flat = pictures.reshape(*pictures.shape[:2], -1).astype(np.float64)
    right = 0.0
    for _ in range(episodes):
        classes = generator.choice(len(flat), ways, replace=False)
        two = np.stack([flat[c, generator.choice(flat.shape[1], 2, replace=False)] for c in classes])
        distances = ((two[:, None, 1] - two[None, :, 0]) ** 2).sum(-1)
        right += float((distances.argmin(1) == np.arange(ways)).mean())
    return right / episodes


def test_pixels_alone_do_not_solve_it() -> None:
    pictures = draw(0, np.arange(200), 20)
    assert 0.5 < nearest_neighbour(pictures, 5, 400) < 0.7
    assert 0.25 < nearest_neighbour(pictures, 20, 100) < 0.5


def test_two_hundred_characters_take_less_than_two_seconds() -> None:
    began = time.perf_counter()
    draw(1, np.arange(200), 20)
    assert time.perf_counter() - began < 2


def test_load_gives_whole_alphabets_to_each_split(tmp_path: Path) -> None:
    data = GLYPHS.load(tmp_path / "none", "alphabets", cache=tmp_path / "cache")
    assert {split: len(classes) for split, classes in data.splits.items()} == {"train": 200, "val": 50, "test": 100}
    assert data.resampling == "drawn"
    assert data.notes == "train: 200 classes x 20 images; val: 50 classes x 20 images; test: 100 classes x 20 images"
    assert list(data.images.names) == sorted(data.images.names)
    assert data.images.counts.tolist() == [20] * 350
    assert data.groups is not None
    alphabets = [set(data.groups[classes].tolist()) for classes in data.splits.values()]
    assert [len(a) for a in alphabets] == [8, 2, 4]
    assert not set.intersection(*alphabets)
    assert np.array_equal(data.images.images[20 * 7 : 20 * 8], draw(0, [7], 20)[0])
    assert list(tmp_path.iterdir()) == []


def test_seed_and_version(tmp_path: Path) -> None:
    zero, one = (GLYPHS.load(tmp_path, "alphabets", cache=tmp_path, seed=seed) for seed in (0, 1))
    assert (zero.split_version, one.split_version) == ("alphabets/seed0", "alphabets/seed1")
    assert zero.images.digest != one.images.digest
    assert zero.images.digest == "a23f1203b378c75f522ce94657583b8be5e592b0ee49254bcb85589ba34ecfb3"


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"glyphs has no split 'alphabet'\. Did you mean 'alphabets'\? Known: alphabets\."
    ):
        GLYPHS.load(tmp_path, "alphabet", cache=tmp_path)
    with pytest.raises(DataError, match="glyphs needs no download"):
        GLYPHS.download(tmp_path)
