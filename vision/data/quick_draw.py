"""Quick, Draw!: doodles of 345 everyday things, 28 x 28.

Google, https://github.com/googlecreativelab/quickdraw-dataset. Two shapes are read: the ``numpy_bitmap`` files, one
``<class>.npy`` of (n, 784) uint8 a class, of which the first `cap` drawings are taken; and one npz with `images`
(n, 28, 28) uint8, `labels` (n,) and `classes`. Both are bright strokes on black.

There is no standard split. The published runs (Fast Forward Labs, "Meta-learning", 2020) shuffle all names and cut them
60 / 20 / 20 %; here every class goes by a hash of its name and the seed to training, validation or test, with those
chances. The other classes have no part in it, so a test class stays one whatever files are there; few classes may leave
a split with none. The scheme says how many drawings a class offers:

    20-samples   the first 20 of each class, and only classes that have them (the published "20 samples per class")
    all          all of every class, up to `cap` of a numpy_bitmap file
"""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metabench.vision.data.archive import Inspected, identity
from metabench.vision.data.cache import Item, cached, key_of
from metabench.vision.data.source import (
    SPLITS,
    ClassImages,
    DataError,
    Dataset,
    Pixels,
    check_scheme,
    missing,
    notes_of,
)

ADVICE = (
    "Get numpy_bitmap files (https://storage.googleapis.com/quickdraw_dataset/full/numpy_bitmap/<class>.npy, 345 of "
    "them, 37 GB; any number will do), or an npz with images, labels and classes, then `metabench data import "
    "quick-draw PATH`."
)
MAX_BUNDLE_BYTES = 512 * 2**20
"""An npz that unpacks to more is refused before it is read; 1,000 drawings of all 345 classes take half of it."""


@dataclass(frozen=True)
class QuickDraw:
    """The source of Quick, Draw!."""

    name: str = "quick-draw"
    splits: tuple[str, ...] = ("20-samples", "all")
    channels: int = 1
    size: int = 28
    licence: str = "CC BY 4.0, Google"
    folder: str = "quickdraw"
    cap: int = 1000
    """Most drawings taken from a numpy_bitmap file, which holds more than 100,000."""
    samples: int = 20
    """Drawings of a class in the scheme "20-samples"."""
    advice: str = ADVICE
    downloads: bool = False
    known: tuple[tuple[str, str], ...] = (
        (
            "b65cbb6344ea166be17a8d3c815a352f65c6647d69913e64534354304fa3603d",
            "9,570 drawings rasterised from raw strokes",
        ),
    )
    """Digests of content that was checked (by the scheme "all"), and what it is."""

    def find(self, folder: Path) -> list[Path]:
        """The first npz in a folder, else its numpy_bitmap files."""
        files = self.pieces(folder)
        return [path for path in files if is_bundle(path)][:1] or files

    def locate(self, root: Path) -> list[Path]:
        """The same, under the data root."""
        return self.find(root / self.folder)

    def accepts(self, path: Path) -> bool:
        """Whether a file of this name can be imported."""
        return path.suffix.lower() in (".npz", ".npy") and path.is_file()

    def pieces(self, folder: Path) -> list[Path]:
        """What of a folder is worth importing."""
        return [path for path in sorted(folder.iterdir()) if self.accepts(path)] if folder.is_dir() else []

    def _found(self, root: Path) -> list[Path]:
        """What `locate` finds; DataError where it is not all that is there, or two files are of one class."""
        found, there = self.locate(root), self.pieces(root / self.folder)
        if unused := [path.name for path in there if path not in found]:
            raise DataError(
                f"{root / self.folder}: {found[0].name} is read alone, but {unused[0]} is there too (files in all: "
                f"{len(there)}). Remove {found[0].name}, or everything else."
            )
        _check_unique([_class_of(path) for path in found], f"{root / self.folder} holds two files")
        return found

    def inspect(self, pieces: Sequence[Path], there: Path) -> Inspected:
        """Read these files: every drawing of an npz, the size of a numpy_bitmap file."""
        return Inspected({p: len(read_bundle(p)[0] if is_bundle(p) else open_bitmap(p)) for p in pieces})

    def census(self, root: Path) -> tuple[int, int] | None:
        """(classes, images) found: of a numpy_bitmap file, those that are taken."""
        found = self._found(root)
        if is_bundle(found[0]):
            images, _, classes = read_bundle(found[0])
            return len(classes), len(images)
        return len(found), sum(min(self.cap, len(open_bitmap(path))) for path in found)

    def download(self, root: Path) -> None:
        """Raise DataError that says how to get it."""
        raise DataError(f"quick-draw: {ADVICE}")

    def load(self, root: Path, split: str, *, cache: Path, seed: int = 0) -> Dataset:
        """Every class, with the images that the scheme takes; classes with too few are in no split."""
        check_scheme(self, split)
        found = self._found(root)
        if not found:
            raise missing(self.name, root / self.folder, "its drawings", ADVICE)
        most = self.samples if split == "20-samples" else self.cap
        images = (
            self._bundle(found[0], split, most, cache) if is_bundle(found[0]) else self._bitmaps(found, most, cache)
        )
        enough = images.counts >= (self.samples if split == "20-samples" else 1)
        homes = np.array([split_of(name, seed) for name in images.names])
        splits = {name: np.flatnonzero(enough & (homes == name)) for name in SPLITS}
        version = f"hashed-60-20-20/{split}/seed{seed}"
        notes = notes_of(images, splits)
        return Dataset(self.name, images, splits, split_version=version, notes=notes, resampling="drawn")

    def _bitmaps(self, found: Sequence[Path], most: int, cache: Path) -> ClassImages:
        def items() -> list[Item]:
            everything = list[Item]()
            for path in found:
                drawings = open_bitmap(path)[:most]
                everything += [
                    Item(_class_of(path), f"{i:06d}", f"{path}: drawing {i}", drawings[i].tobytes)
                    for i in range(len(drawings))
                ]
            return everything

        facts = [(path.name, *identity(path)) for path in found]
        return self._cached(key_of(most, facts), items, cache)

    def _bundle(self, path: Path, split: str, most: int, cache: Path) -> ClassImages:
        def items() -> list[Item]:
            images, labels, classes = read_bundle(path)
            limit = most if split == "20-samples" else len(images)
            everything = list[Item]()
            for label, name in enumerate(classes):
                rows = np.flatnonzero(labels == label)[:limit]
                everything += [
                    Item(str(name), f"{i:06d}", f"{path}: image {row}", images[row].tobytes)
                    for i, row in enumerate(rows)
                ]
            return everything

        with _whole_npz(path) as archive:
            facts = sorted((info.filename, info.CRC, info.file_size) for info in archive.infolist())
        return self._cached(key_of(most if split == "20-samples" else "all", facts), items, cache)

    def _cached(self, key: str, items: Callable[[], Sequence[Item]], cache: Path) -> ClassImages:
        return cached(self.name, key, items, partial(_pixels, self.size), shape=(1, self.size, self.size), cache=cache)


def split_of(name: str, seed: int) -> str:
    """The split of a class: its place in [0, 1), a hash of its name and the seed, cut at 0.6 and 0.8."""
    digest = hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return "train" if place < 0.6 else "val" if place < 0.8 else "test"


def is_bundle(path: Path) -> bool:
    """Whether a file's name is that of an npz with all classes, not of one class's npy."""
    return path.suffix.lower() == ".npz"


def _class_of(path: Path) -> str:
    return path.stem.removeprefix("full_numpy_bitmap_")


def _check_unique(classes: Sequence[str], what: str) -> None:
    """Raise DataError naming the class that is there twice."""
    twice = sorted(name for name, count in Counter(classes).items() if count > 1)
    if twice:
        raise DataError(f"{what} of the class {twice[0]!r}. Remove or rename one of the two.")


def _pixels(size: int, data: bytes, place: str) -> Pixels:
    return np.frombuffer(data, np.uint8).reshape(1, size, size)


def open_bitmap(path: Path) -> NDArray[np.uint8]:
    """A numpy_bitmap file, memory-mapped: (n, 784) uint8.

    Raises:
        DataError: cut short, not an array, or an array of something else. Pickled content is never run.
    """
    try:
        drawings = np.load(path, mmap_mode="r", allow_pickle=False)
    # NumPy reads the header as a piece of Python: where that is damaged, it can raise nearly anything.
    except Exception as error:
        raise DataError(
            f"{path} is not a readable array ({error}). It may be cut short: get it again, then import it."
        ) from error
    kind, shape = getattr(drawings, "dtype", "no"), getattr(drawings, "shape", "no")
    if not isinstance(drawings, np.ndarray) or kind != np.uint8 or shape[1:] != (784,) or not len(drawings):
        raise DataError(f"{path} holds {kind} values of shape {shape}; a numpy_bitmap file is uint8 (n, 784).")
    return drawings


@contextmanager
def _whole_npz(path: Path) -> Iterator[zipfile.ZipFile]:
    """An npz as the zip that it is, with what can fail in reading it as a DataError."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
            if size > MAX_BUNDLE_BYTES:
                raise DataError(
                    f"{path} would unpack to {size / 2**20:.0f} MiB (limit {MAX_BUNDLE_BYTES / 2**20:.0f} MiB). Take "
                    "fewer drawings of a class, or the numpy_bitmap files."
                )
            yield archive
    except DataError:
        raise
    # A damaged, encrypted or foreign file can make the zip, its compression and NumPy raise nearly anything.
    except Exception as error:
        reason = f"it has no array {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} is not a readable npz with images, labels and classes ({reason}). Get it again, then import it."
        ) from error


def read_bundle(path: Path) -> tuple[Pixels, NDArray[np.int64], list[str]]:
    """Images (n, 28, 28) uint8, labels (n,) and class names of an npz; pickled content is never run."""
    with _whole_npz(path), np.load(path, allow_pickle=False) as bundle:
        images, labels, classes = bundle["images"], bundle["labels"], bundle["classes"]
        names = [str(name) for name in np.atleast_1d(classes)]
    if not all(isinstance(array, np.ndarray) and array.ndim for array in (images, labels, classes)):
        raise DataError(f"{path}: images, labels and classes must be arrays, with an entry for every drawing or class.")
    images = images.reshape(len(images), 28, 28) if images.size == len(images) * 784 else images
    numbered = labels.dtype.kind in "iu" and labels.shape == (len(images),)
    if not numbered or images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        raise DataError(
            f"{path}: images {images.dtype} {images.shape} and labels {labels.dtype} {labels.shape}; expected uint8 "
            "(n, 28, 28) and whole numbers (n,)."
        )
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"{path}: its labels do not fit its {len(classes)} classes. Get it again, then import it.")
    _check_unique(names, f"{path}: classes has two entries")
    return images, labels.astype(np.int64), names


QUICK_DRAW = QuickDraw()
