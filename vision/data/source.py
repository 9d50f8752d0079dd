"""What an image data set is: classes of pictures decoded once to uint8, and a split of those classes.

A data set is read in three steps, one file each: `vision.data.archive` walks folders and zips, `vision.data.cache`
decodes what it finds into a memory-mapped array, and the data set's own module says what belongs to which
class and which class to which split. This page holds the types that they share, and the errors.

Legend: M images in all, C channels, H and W pixels.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from metabench.vision.data.places import DataError as DataError
from metabench.vision.data.places import cache_root as cache_root
from metabench.vision.data.places import data_root as data_root
from metabench.vision.data.places import full_path as full_path

if TYPE_CHECKING:
    from metabench.vision.episodes import Episodes

Pixels = NDArray[np.uint8]
Indices = NDArray[np.int64]
Name = TypeVar("Name", bound=str)

SPLITS = ("train", "val", "test")
ALL = "all"
"""The split of every class of data that has no other."""


@dataclass(frozen=True)
class ClassImages:
    """All images of a data set, sorted by class name and, within a class, by image name."""

    images: NDArray[np.uint8 | np.float32]
    """(M, C, H, W) uint8, memory-mapped. Grey-scale sets: C = 1, strokes bright (255) on black (0). Data that a program
    holds (`Dataset.of`) may be float32, in any range."""
    starts: Indices
    """(classes + 1,) int64: the images of class c are ``images[starts[c]:starts[c + 1]]``."""
    names: tuple[str, ...]
    """Class names, such as "Angelic/character01" or "n01532829"."""
    digest: str
    """sha256 of the source's content (see `vision.data.cache.content_digest`), whatever file it came in."""

    @property
    def counts(self) -> Indices:
        """(classes,) images of each class."""
        return np.diff(self.starts)


@dataclass(frozen=True)
class Dataset:
    """Images and a split of their classes.

    Raises:
        DataError: a class is in two splits.
    """

    name: str
    images: ClassImages
    splits: dict[str, Indices]
    """"train", "val", "test" -> class indices, int64, without a class in common."""
    groups: Indices | None = field(default=None, kw_only=True)
    """(classes,) alphabet of each class, for sampling within an alphabet; None where there are none."""
    split_version: str = field(kw_only=True)
    """Which split this is, as records and published numbers name it: "vinyals", "random-1200-423/seed0"."""
    notes: str = field(default="", kw_only=True)
    """What a reader of a result must know of the data: "train: 64 classes x 600 images"."""
    resampling: str = field(default="lanczos", kw_only=True)
    """The filter that gave pictures their size, "drawn" where they are drawn at it, "none" where they came in it."""

    def __post_init__(self) -> None:
        """Check that no class is in two splits."""
        check_disjoint(
            {split: [self.images.names[c] for c in classes] for split, classes in self.splits.items()}, self.name
        )

    @classmethod
    def of(
        cls,
        data: object,
        labels: Iterable[object] | None = None,
        *,
        name: str = "own",
        size: int | None = None,
        grey: bool | None = None,
        splits: Mapping[str, Iterable[object]] | None = None,
    ) -> Dataset:
        """A data set of anything that has images and labels, held in memory.

        Args:
            data: a sequence of (image, label) pairs, such as a data set of torchvision; or, with `labels`, a batch of
                images, (N, H, W) or (N, C, H, W); or the path of a folder, zip or tar of pictures. An image is a
                picture (PIL), or an array or tensor, (H, W) or (C, H, W) (or, of NumPy, (H, W, C)): uint8, or floating
                point in any range, which is kept.
            labels: N numbers or texts; the classes are called so.
            size: height and width, in pixels, that pictures are brought to; of a folder 84 if not given.
            grey: grey levels (True) or colour (False); by default each image as it is, a folder in colour.
            splits: "train", "val", "test" -> labels; by default all classes are of the split "all".

        Raises:
            DataError: images that differ in size or kind; labels that do not fit; a label in two splits; as the
                reading of a folder (`vision.data.folder`).
        """
        from metabench.vision.data import in_memory

        if labels is not None:
            return in_memory.from_arrays(data, labels, name, splits)
        if isinstance(data, str | Path):
            return in_memory.from_folder(Path(data), name, size, grey)
        return in_memory.from_pairs(in_memory.pairs_of(data), name, size, grey, splits)

    def only(self, classes: Iterable[object], split: str = ALL) -> Dataset:
        """The same images with these classes alone, by name (a number stands for its digits), as one split.

        Raises:
            DataError: a class that there is not, or that is of another split.
        """
        taken = class_indices(self.images.names, {split: map(str, classes)}, self.name)
        outside = np.setdiff1d(taken[split], self.splits.get(split, taken[split]))
        if len(outside):
            raise DataError(f"{self.name}: class {self.images.names[outside[0]]} is not of its {split} split.")
        return dataclasses.replace(self, splits=taken)

    def episodes(
        self,
        *,
        ways: int,
        shots: int,
        queries: int,
        split: str | None = None,
        classes: Iterable[object] | None = None,
        rotations: bool = False,
        tasks: int | None = None,
        seed: int = 0,
    ) -> Episodes:
        """An endless stream of tasks, or of as many different ones as are asked for.

        Args:
            ways, shots, queries: classes of a task, and support and query images of each.
            split: whose classes; by default "all", or of data that has splits "train".
            classes: only these, by label, instead of a split's.
            rotations: a class turned by 90°, 180° and 270° counts as three more.
            tasks: how many different tasks there are.
            seed: of the stream: the same seed gives the same tasks.

        Raises:
            DataError: too few classes, or images of a class.
        """
        from metabench.vision.episodes import Episodes, Shape

        data = self if classes is None else self.only(classes, split or ALL)
        home = split or (ALL if ALL in data.splits else "train")
        return Episodes(data, home, Shape(ways, shots, queries), rotations=rotations, tasks=tasks, seed=seed)

    def require(self, split: str, images: int, classes: int = 1) -> None:
        """Check that an episode can be drawn: `images` of every class of the split (shots + queries), `classes` ways.

        Raises:
            DataError: naming the class with too few images, or the number of classes that there are.
        """
        members = self.splits[split]
        if len(members) < classes:
            raise DataError(
                f"{self.name}: {classes} ways asked for, but its {split} split has {len(members)} classes. Use fewer "
                "ways."
            )
        counts = self.images.counts[members]
        if len(counts) and counts.min() < images:
            worst = int(members[counts.argmin()])
            raise DataError(
                f"{self.name}: class {self.images.names[worst]} of the {split} split has {counts.min()} images, but "
                "an episode "
                f"takes {images} of each class (shots + queries). Ask for fewer shots or queries, or add images."
            )


class Source(Protocol):
    """A data set that can be loaded. Register an instance in `vision.DATASETS`."""

    @property
    def name(self) -> str:
        """What the user types: "omniglot"."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of its split schemes; the first is the default."""

    @property
    def channels(self) -> int:
        """1 for grey-scale, 3 for colour."""

    @property
    def size(self) -> int:
        """Height and width of its images, in pixels."""

    @property
    def licence(self) -> str:
        """Under what terms the data may be used, and whose it is."""

    def load(self, root: Path, split: str, *, cache: Path, seed: int = 0) -> Dataset:
        """Read (or take from the cache) the images, and split their classes by the named scheme.

        Raises:
            DataError: data absent, damaged or not as expected; unknown scheme.
        """

    def locate(self, root: Path) -> list[Path]:
        """The source files found under the data root; [] when absent."""

    def download(self, root: Path) -> None:
        """Fetch the data into the root, or raise DataError that says how to get and import it."""


def suggest(word: str, known: Iterable[str]) -> str:
    """The end of an "unknown name" message: the nearest known name, and all of them."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5) or [name for name in known if word and word in name]
    return (f"Did you mean {near[0]!r}? " if near else "") + f"Known: {', '.join(known)}."


def check_scheme(source: Source, split: str) -> None:
    """Raise DataError, with the nearest name, unless the source has such a split scheme."""
    if split not in source.splits:
        raise DataError(f"{source.name} has no split {split!r}. {suggest(split, source.splits)}")


def check_disjoint(members: Mapping[str, Iterable[str]], where: str) -> None:
    """Raise DataError naming the class that is in two splits (split -> class names)."""
    home: dict[str, str] = {}
    for split, names in members.items():
        for name in names:
            other = home.setdefault(name, split)
            if other != split:
                raise DataError(
                    f"{where}: class {name} is in two splits, {other} and {split}. A test class seen in training "
                    "makes the "
                    f"accuracy meaningless: remove it from one of them."
                )


def class_indices(names: Sequence[str], members: Mapping[str, Iterable[str]], where: str) -> dict[str, Indices]:
    """Split -> sorted class indices, from split -> class names.

    Raises:
        DataError: a class of the split has no images.
    """
    position = {name: i for i, name in enumerate(names)}
    found: dict[str, Indices] = {}
    for split, wanted in members.items():
        wanted = list(wanted)
        absent = [name for name in wanted if name not in position]
        if absent:
            raise DataError(
                f"{where}: {split} lacks {len(absent)} of {len(wanted)} classes, the first {absent[0]}. Import the "
                "missing files."
            )
        found[split] = np.array(sorted(position[name] for name in wanted), dtype=np.int64)
    return found


def seeded_order(names: Iterable[Name], seed: int) -> list[Name]:
    """A random order of names that depends on nothing but them and the seed: no library's shuffle can change it."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest())


def missing(name: str, root: Path, what: str, advice: str) -> DataError:
    """The error for data that is not there."""
    return DataError(f"{name}: {what} not found under {root}. {advice}")


def split_table(file: str) -> list[list[str]]:
    """Rows of words of a split file that comes with the package."""
    text = (resources.files("metabench.vision.data") / "splits" / file).read_text(encoding="utf-8")
    return [line.split() for line in text.splitlines() if line]


def notes_of(images: ClassImages, splits: Mapping[str, Indices]) -> str:
    """ "train: 64 classes x 600 images; ..."; a range of images where the classes have unequal numbers."""
    notes = []
    for split, classes in splits.items():
        counts = images.counts[classes]
        low, high = (int(counts.min()), int(counts.max())) if len(counts) else (0, 0)
        notes.append(f"{split}: {len(classes)} classes x {low if low == high else f'{low}-{high}'} images")
    return "; ".join(notes)
