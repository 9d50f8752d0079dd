"""Quick, Draw!: numpy_bitmap files and the npz, the split of its classes, and damaged files."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from vision.images import DataError, data_root, seeded_order
from vision.quick_draw import QUICK_DRAW, open_bitmap, read_bundle

REAL = data_root()
needs_data = pytest.mark.skipif(
    "METABENCH_DATA" not in os.environ or not QUICK_DRAW.locate(REAL),
    reason="needs real drawings: set METABENCH_DATA to a folder with quickdraw/*.npz or *.npy",
)
NAMES = [f"thing {i:02d}" for i in range(25)]


def drawings(c: int, count: int) -> np.ndarray:
    """(count, 784): drawing i of class c is filled with 10 c + i."""
    return np.broadcast_to(((10 * c + np.arange(count)) % 256).astype(np.uint8)[:, None], (count, 784)).copy()


@pytest.fixture
def bitmaps(tmp_path: Path) -> Path:
    """25 classes of 30 drawings, save that class 3 has 19."""
    folder = tmp_path / "bitmaps" / "quickdraw"
    folder.mkdir(parents=True)
    for c, name in enumerate(NAMES):
        np.save(folder / f"{'full_numpy_bitmap_' if c == 0 else ''}{name}.npy", drawings(c, 19 if c == 3 else 30))
    return folder.parent


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The same content as an npz, its rows shuffled class by class."""
    folder = tmp_path / "bundle" / "quickdraw"
    folder.mkdir(parents=True)
    order = np.random.default_rng(0).permutation(25)
    counts = [19 if c == 3 else 30 for c in order]
    images = np.concatenate([drawings(c, n) for c, n in zip(order, counts, strict=True)]).reshape(-1, 28, 28)
    np.savez_compressed(
        folder / "all.npz", images=images, labels=np.repeat(order, counts).astype(np.int16), classes=NAMES
    )
    return folder.parent


def test_bitmaps_and_bundle_are_the_same_content(bitmaps: Path, bundle: Path, tmp_path: Path) -> None:
    for scheme in QUICK_DRAW.splits:
        one, two = (QUICK_DRAW.load(root, scheme, cache=tmp_path / "cache").images for root in (bitmaps, bundle))
        assert one.digest == two.digest
        assert one.names == two.names == tuple(NAMES)
        assert np.array_equal(one.images, two.images)


def test_twenty_samples_are_the_first_twenty(bitmaps: Path, tmp_path: Path) -> None:
    data = QUICK_DRAW.load(bitmaps, "20-samples", cache=tmp_path / "cache")
    assert data.images.images.shape == (24 * 20 + 19, 1, 28, 28)
    start = data.images.starts[5]
    assert data.images.images[start : start + 20, 0, 0, 0].tolist() == list(range(50, 70))
    # Class 3 has 19 drawings: its images are there, and no split has it.
    used = np.concatenate(list(data.splits.values()))
    assert sorted(used.tolist()) == [c for c in range(25) if c != 3]
    assert data.split_version == "classes-64-16-20/20-samples/seed0"


def test_all_takes_up_to_the_cap(bitmaps: Path, tmp_path: Path) -> None:
    data = QUICK_DRAW.load(bitmaps, "all", cache=tmp_path / "cache")
    assert data.images.counts.tolist() == [30] * 3 + [19] + [30] * 21
    assert {split: len(classes) for split, classes in data.splits.items()} == {"train": 16, "val": 4, "test": 5}
    capped = dataclasses.replace(QUICK_DRAW, cap=25).load(bitmaps, "all", cache=tmp_path / "cache")
    assert capped.images.counts.max() == 25


def test_the_split_is_that_of_the_names_by_the_seed(bitmaps: Path, tmp_path: Path) -> None:
    first, again, other = (QUICK_DRAW.load(bitmaps, "all", cache=tmp_path / "cache", seed=s) for s in (0, 0, 1))
    order = seeded_order(NAMES, 0)
    assert [NAMES[c] for c in first.splits["train"]] == sorted(order[:16])
    assert [NAMES[c] for c in first.splits["test"]] == sorted(order[20:])
    assert np.array_equal(first.splits["test"], again.splits["test"])
    assert not np.array_equal(first.splits["test"], other.splits["test"])
    small = QUICK_DRAW.load(bitmaps, "20-samples", cache=tmp_path / "cache")
    assert set(small.splits["test"]) <= set(first.splits["test"])


def test_absent_data_says_how_to_get_it(tmp_path: Path) -> None:
    message = r"numpy_bitmap files \(https://storage.googleapis.com/.*`metabench data import quick-draw PATH`"
    with pytest.raises(DataError, match=rf"quick-draw: its drawings not found under .*{message}"):
        QUICK_DRAW.load(tmp_path, "all", cache=tmp_path)
    with pytest.raises(DataError, match=message):
        QUICK_DRAW.download(tmp_path)
    with pytest.raises(DataError, match=r"quick-draw has no split '20-sample'\. Did you mean '20-samples'\?"):
        QUICK_DRAW.load(tmp_path, "20-sample", cache=tmp_path)


def test_bad_bitmaps(tmp_path: Path) -> None:
    np.save(tmp_path / "ok.npy", drawings(0, 30))
    whole = (tmp_path / "ok.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"cut.npy is not a readable array \(.*\)\. It may be cut short: get it again"):
        open_bitmap(tmp_path / "cut.npy")
    (tmp_path / "text.npy").write_text("nothing of the kind")
    with pytest.raises(DataError, match=r"text.npy is not a readable array"):
        open_bitmap(tmp_path / "text.npy")
    np.save(tmp_path / "other.npy", np.zeros((5, 100), np.float32))
    with pytest.raises(
        DataError, match=r"other.npy holds float32 values of shape \(5, 100\); a numpy_bitmap file is uint8"
    ):
        open_bitmap(tmp_path / "other.npy")


class Runs:
    """Pickles to a call that leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.mark}",)


def test_pickled_arrays_do_not_run(tmp_path: Path) -> None:
    trap = np.array([Runs(tmp_path / "ran")], dtype=object)
    np.save(tmp_path / "trap.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "trap.npz", images=trap, labels=np.zeros(1, np.int16), classes=["a"])
    with pytest.raises(DataError, match=r"trap.npy is not a readable array \(.*Python objects"):
        open_bitmap(tmp_path / "trap.npy")
    with pytest.raises(DataError, match=r"trap.npz is not a readable npz .*allow_pickle=False"):
        read_bundle(tmp_path / "trap.npz")
    assert not (tmp_path / "ran").exists()


def test_bad_bundles(tmp_path: Path) -> None:
    path = tmp_path / "b.npz"
    images = np.zeros((4, 28, 28), np.uint8)
    labels = np.array([0, 0, 1, 1])
    np.savez(path, images=images, labels=labels)
    with pytest.raises(DataError, match=r"b.npz is not a readable npz with images, labels and classes \(.*classes"):
        read_bundle(path)
    np.savez(path, images=images, labels=labels, classes=["a"])
    with pytest.raises(DataError, match=r"b.npz: its labels do not fit its 1 classes"):
        read_bundle(path)
    np.savez(path, images=images[:3], labels=labels, classes=["a", "b"])
    with pytest.raises(
        DataError, match=r"images uint8 \(3, 28, 28\) and labels int64 \(4,\); expected uint8 \(n, 28, 28\)"
    ):
        read_bundle(path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"b.npz is not a readable npz .*Get it again"):
        read_bundle(path)


@needs_data
def test_real_drawings(tmp_path: Path) -> None:
    data = QUICK_DRAW.load(REAL, "20-samples", cache=tmp_path)
    assert all((data.images.counts[classes] == 20).all() for classes in data.splits.values())
    everything = QUICK_DRAW.load(REAL, "all", cache=tmp_path)
    if everything.images.digest in dict(QUICK_DRAW.known):
        assert [len(data.splits[s]) for s in ("train", "val", "test")] == [176, 49, 60]
        assert everything.images.images.shape == (9570, 1, 28, 28)
        assert len(everything.images.names) == 345
    # Bright strokes on black: most of a drawing is empty.
    assert 0.6 < (everything.images.images == 0).mean() < 0.9
