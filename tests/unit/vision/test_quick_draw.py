"""Quick, Draw!: numpy_bitmap files and the npz, the split of its classes, and damaged files."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabench.bench.data_sets.verbs import verify
from metabench.vision.data import quick_draw
from metabench.vision.data.quick_draw import QUICK_DRAW, open_bitmap, read_bundle, split_of
from metabench.vision.data.source import DataError, data_root
from metabench.vision.episodes import Episodes, Shape

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
    assert (data.split_version, data.resampling) == ("hashed-60-20-20/20-samples/seed0", "drawn")


def test_all_takes_up_to_the_cap(bitmaps: Path, tmp_path: Path) -> None:
    data = QUICK_DRAW.load(bitmaps, "all", cache=tmp_path / "cache")
    assert data.images.counts.tolist() == [30] * 3 + [19] + [30] * 21
    assert {split: len(classes) for split, classes in data.splits.items()} == {"train": 19, "val": 5, "test": 1}
    capped = dataclasses.replace(QUICK_DRAW, cap=25).load(bitmaps, "all", cache=tmp_path / "cache")
    assert capped.images.counts.max() == 25


def test_a_class_goes_where_its_hash_says() -> None:
    names = [f"class {i}" for i in range(5000)]
    for name in names[:50]:
        place = int(hashlib.sha256(f"7/{name}".encode()).hexdigest()[:16], 16) / 2**64
        assert split_of(name, 7) == ("train" if place < 0.6 else "val" if place < 0.8 else "test")
    assert split_of("caf\udce9", 0) == "test"
    # Pinned: these must never change under a name that stays "hashed-60-20-20".
    assert [split_of(name, 0) for name in ("dog", "cat", "fish")] == ["train", "val", "test"]
    shares = [sum(split_of(name, 0) == split for name in names) / 5000 for split in ("train", "val", "test")]
    assert np.allclose(shares, [0.6, 0.2, 0.2], atol=0.02)


def test_the_split_of_a_class_does_not_depend_on_the_others(bitmaps: Path, tmp_path: Path) -> None:
    def homes(seed: int = 0, scheme: str = "all") -> dict[str, str]:
        data = QUICK_DRAW.load(bitmaps, scheme, cache=tmp_path / "cache", seed=seed)
        return {data.images.names[c]: split for split, classes in data.splits.items() for c in classes}

    everything = homes()
    assert sorted(everything) == NAMES
    assert homes() == everything
    assert homes(seed=1) != everything
    assert homes(scheme="20-samples").items() <= everything.items()
    for removed in range(20, 1, -1):
        (bitmaps / "quickdraw" / f"{NAMES[removed]}.npy").unlink()
        some = homes()
        assert len(some) == 25 - (21 - removed)
        assert some.items() <= everything.items()


def test_a_few_classes_may_leave_a_split_with_none(tmp_path: Path) -> None:
    (tmp_path / "quickdraw").mkdir()
    for c, name in enumerate(["dog", "cat", "apple"]):
        np.save(tmp_path / "quickdraw" / f"{name}.npy", drawings(c, 5))
    data = QUICK_DRAW.load(tmp_path, "all", cache=tmp_path / "cache")
    assert data.notes == "train: 2 classes x 5 images; val: 1 classes x 5 images; test: 0 classes x 0 images"
    with pytest.raises(DataError, match=r"quick-draw: .* ways asked for, but its test split has 0 classes"):
        Episodes(data, "test", Shape(ways=2, shots=1, queries=1))


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


def test_an_npz_lies_alone(bitmaps: Path, bundle: Path, tmp_path: Path) -> None:
    npz = bundle / "quickdraw" / "all.npz"
    (bitmaps / "quickdraw" / "all.npz").write_bytes(npz.read_bytes())
    message = r"quickdraw: all.npz is read alone, but full_numpy_bitmap_thing 00.npy is there too \(files in all: 26\)"
    for action in (lambda: QUICK_DRAW.load(bitmaps, "all", cache=tmp_path), lambda: verify("quick-draw", bitmaps)):
        with pytest.raises(DataError, match=message + r"\. Remove all.npz, or everything else"):
            action()
    with pytest.raises(DataError, match=message):
        QUICK_DRAW.census(bitmaps)
    (bundle / "quickdraw" / "more.npz").write_bytes(npz.read_bytes())
    with pytest.raises(DataError, match=r"all.npz is read alone, but more.npz is there too"):
        QUICK_DRAW.load(bundle, "all", cache=tmp_path / "cache")


def test_two_files_of_one_class(bitmaps: Path, tmp_path: Path) -> None:
    np.save(bitmaps / "quickdraw" / "thing 00.npy", drawings(9, 30))
    with pytest.raises(DataError, match=r"quickdraw holds two files of the class 'thing 00'\. Remove or rename one"):
        QUICK_DRAW.load(bitmaps, "all", cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": np.array("a")}, "images, labels and classes must be arrays"),
        ({"images": np.uint8(0)}, "images, labels and classes must be arrays"),
        ({"labels": np.int64(0)}, "images, labels and classes must be arrays"),
        ({"classes": ["a", "b", "a"]}, r"classes has two entries of the class 'a'\. Remove or rename one of the two"),
        # Letters that are none: NumPy fails only when one is looked at.
        ({"classes": np.array([2**31 - 1] * 2, np.uint32).view("<U1")}, "is not a readable npz .*Get it again"),
    ],
)
def test_odd_arrays_in_a_bundle(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    plain = {"images": np.zeros((2, 28, 28), np.uint8), "labels": np.array([0, 1]), "classes": ["a", "b"]}
    np.savez(tmp_path / "b.npz", **(plain | fields))
    with pytest.raises(DataError, match=rf"b.npz:? {message}"):
        read_bundle(tmp_path / "b.npz")


def test_a_member_that_is_no_array(bundle: Path) -> None:
    path = bundle / "quickdraw" / "all.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("images", "labels", "classes"):
            archive.writestr(f"{name}.npy", "words")
    with pytest.raises(DataError, match=r"all.npz: images, labels and classes must be arrays"):
        QUICK_DRAW.census(bundle)


@pytest.mark.parametrize(
    ("offset", "value", "reason"), [(8, 1, "is encrypted, password required"), (10, 77, "compression method is not")]
)
def test_encrypted_and_unknown_members(bundle: Path, offset: int, value: int, reason: str) -> None:
    path = bundle / "quickdraw" / "all.npz"
    content = bytearray(path.read_bytes())
    # The flags and the method, as the central directory gives them and as the member's own header repeats them.
    for signature, place in ((b"PK\1\2", offset), (b"PK\3\4", offset - 2)):
        start = content.find(signature)
        while start >= 0:
            content[start + place] = value
            start = content.find(signature, start + 1)
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"all.npz is not a readable npz .*{reason}.*Get it again"):
        QUICK_DRAW.census(bundle)


def test_a_bundle_that_unpacks_to_too_much(tmp_path: Path) -> None:
    path = tmp_path / "quickdraw" / "bomb.npz"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", "nothing")
    # Only the size that the central directory claims: nothing must be unpacked to see it.
    content = bytearray(path.read_bytes())
    start = content.find(b"PK\1\2") + 24
    content[start : start + 4] = (600 * 2**20).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bomb.npz would unpack to 600 MiB \(limit 512 MiB\)\. Take fewer drawings"):
        QUICK_DRAW.census(tmp_path)


def test_the_limit_admits_what_the_schemes_take() -> None:
    assert 345 * QUICK_DRAW.cap * 784 < quick_draw.MAX_BUNDLE_BYTES / 1.9


@pytest.mark.parametrize("descr", ["'|,1'", "'|u1"])
def test_a_damaged_header(tmp_path: Path, descr: str) -> None:
    path = tmp_path / "c.npy"
    np.save(path, drawings(0, 3))
    path.write_bytes(path.read_bytes().replace(b"'|u1'", descr.encode().ljust(5)))
    with pytest.raises(DataError, match=r"c.npy is not a readable array \(.*get it again"):
        open_bitmap(path)


@needs_data
def test_real_drawings(tmp_path: Path) -> None:
    data = QUICK_DRAW.load(REAL, "20-samples", cache=tmp_path)
    assert all((data.images.counts[classes] == 20).all() for classes in data.splits.values())
    everything = QUICK_DRAW.load(REAL, "all", cache=tmp_path)
    if everything.images.digest in dict(QUICK_DRAW.known):
        assert [len(data.splits[s]) for s in ("train", "val", "test")] == [173, 56, 56]
        assert everything.images.images.shape == (9570, 1, 28, 28)
        assert len(everything.images.names) == 345
    # Bright strokes on black: most of a drawing is empty.
    assert 0.6 < (everything.images.images == 0).mean() < 0.9
