"""miniImageNet: 100 ImageNet classes of 600 colour images, 84 x 84, in the split of Ravi & Larochelle.

Vinyals et al., "Matching networks for one shot learning" (2016) made the set; Ravi & Larochelle, "Optimization as a
model for few-shot learning" (2017) the split everyone reports on: 64 / 16 / 20 classes (their text says 64 / 12 / 24).
It goes around in three shapes, and whichever is in the folder is read:

    {train,val,test}/<class>/<image>.jpg   as folders or in any number of zips, which are merged
    images/ or a zip, and train.csv, val.csv, test.csv (filename,label)
    mini-imagenet-cache-{train,val,test}.pkl

The class of an image decides its split (class ids come with the package); a folder or list that says otherwise is an
error, not another split. Pixels of the usual 84 x 84 copies are taken as they are; any other size is resized (Lanczos).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vision.data.archive import Member, choose, identity, read_file, walk
from vision.data.cache import Item, cached, key_of
from vision.data.decode import decode, decode_all
from vision.data.pickles import read_cache
from vision.data.source import (
    SPLITS,
    ClassImages,
    DataError,
    Dataset,
    Pixels,
    check_disjoint,
    check_scheme,
    class_indices,
    missing,
    notes_of,
    split_table,
)

PICKLES = tuple(f"mini-imagenet-cache-{split}.pkl" for split in SPLITS)
ADVICE = (
    "ImageNet's terms do not let metabench fetch it. Get a copy that you may use (folders or zips "
    "{train,val,test}/<class>/*.jpg, or images with train.csv, val.csv, test.csv beside them, or "
    "mini-imagenet-cache-*.pkl), then `metabench data import mini-imagenet PATH`."
)
LIST_ADVICE = "Get the list of Ravi & Larochelle again."


@dataclass(frozen=True)
class MiniImageNet:
    """The source of miniImageNet."""

    name: str = "mini-imagenet"
    splits: tuple[str, ...] = ("ravi-larochelle",)
    channels: int = 3
    size: int = 84
    licence: str = "ImageNet terms: non-commercial research only"
    folder: str = "miniimagenet"
    complete: int = 600
    """Images of a class in a complete copy; where a split has fewer, its version says so."""
    advice: str = ADVICE
    downloads: bool = False
    known: tuple[tuple[str, str], ...] = (
        ("15f7d58b786c00fee3d9123b12bd2324e33ac8558ad17889af93533e40f08160", "60,000 JPEGs, 600 a class"),
        (
            "ab25b5dd3e56794dd21a6c956993c967289bde4fcb0b8035254e97c8855417d4",
            "the same, the first 300 of a training class",
        ),
        (
            "a3942245f6e89780144a0cf4f6c2ffc225dcc53948d969ba8e8ce0b0357c70c5",
            "the same, the last 300 of a training class",
        ),
    )
    """Digests of content that was checked, and what it is."""

    def find(self, folder: Path) -> list[Path]:
        """The files and folders with its images and lists in a folder; the pickles where all three are there."""
        pickles = [folder / name for name in PICKLES if (folder / name).is_file()]
        folders = [folder / name for name in (*SPLITS, "images") if (folder / name).is_dir()]
        images = sorted(folder.glob("*.zip")) + folders
        return images + _lists(folder) if images else pickles

    def locate(self, root: Path) -> list[Path]:
        """The same, under the data root."""
        return self.find(root / self.folder)

    def accepts(self, path: Path) -> bool:
        """Whether a file or folder of this name can be imported."""
        if path.is_dir():
            return path.name in (*SPLITS, "images")
        return path.suffix == ".zip" or path.name in (*PICKLES, *(f"{split}.csv" for split in SPLITS))

    def pieces(self, folder: Path) -> list[Path]:
        """What of a folder is worth importing."""
        return [path for path in sorted(folder.iterdir()) if self.accepts(path)] if folder.is_dir() else []

    def inspect(self, piece: Path) -> int:
        """Decode every image that has a class, by its folder or by a list beside the piece; how many (a list: none)."""
        if piece.suffix == ".csv":
            read_lists([piece])
            return 0
        if piece.suffix == ".pkl":
            return sum(len(positions) for positions in read_cache(piece).classes.values())
        lists = read_lists(_lists(piece.parent))
        with walk([piece]) as members:
            return decode_all([m for m in members if classify(m, lists) is not None], channels=3)

    def census(self, root: Path) -> tuple[int, int] | None:
        """(classes, images) found, without decoding any; None for pickles, which must be read whole to be counted."""
        found = self.locate(root)
        if found[0].suffix == ".pkl":
            return None
        lists = read_lists([path for path in found if path.suffix == ".csv"])
        with walk(path for path in found if path.suffix != ".csv") as members:
            names = {(place[1], m.parts[-1]) for m in members if (place := classify(m, lists)) is not None}
        if not names:
            raise DataError(f"{self.name}: no image in {root / self.folder} has a class. {ADVICE}")
        return len({name for name, _ in names}), len(names)

    def download(self, root: Path) -> None:
        """Raise DataError that says how to get it."""
        raise DataError(f"mini-imagenet: {ADVICE}")

    def load(self, root: Path, split: str, *, cache: Path, seed: int = 0) -> Dataset:
        """All classes; the seed has no part in it. The split version names the splits with fewer than 600 a class."""
        check_scheme(self, split)
        found = self.locate(root)
        if not found:
            raise missing(self.name, root / self.folder, "its images", ADVICE)
        images = self._pickled(found, cache) if found[0].suffix == ".pkl" else self._files(found, cache)
        indices = class_indices(images.names, ravi_larochelle(), f"{self.name} in {root / self.folder}")
        fewest = {name: int(images.counts[classes].min()) for name, classes in indices.items()}
        version = "/".join([split, *(f"{name}-{n}" for name, n in fewest.items() if n != self.complete)])
        return Dataset(self.name, images, indices, split_version=version, notes=notes_of(images, indices))

    def _files(self, found: Sequence[Path], cache: Path) -> ClassImages:
        lists = read_lists([path for path in found if path.suffix == ".csv"])
        with walk(path for path in found if path.suffix != ".csv") as members:
            chosen: dict[tuple[str, str], Member] = {}
            claims: dict[str, set[str]] = {split: set() for split in SPLITS}
            for member in members:
                place = classify(member, lists)
                if place is not None:
                    claims[place[0]].add(place[1])
                    choose(chosen, (place[1], member.parts[-1]), member)
            _check_claims(claims, found[0].parent)
            facts = sorted((*name, member.size, member.stamp) for name, member in chosen.items())
            return self._cached(
                key_of(self.size, facts),
                lambda: [Item(*name, member.place, member.read) for name, member in chosen.items()],
                partial(decode, channels=3, size=self.size),
                cache,
            )

    def _pickled(self, found: Sequence[Path], cache: Path) -> ClassImages:
        facts = [(path.name, *identity(path)) for path in found]
        return self._cached(key_of(self.size, facts), lambda: self._pickled_items(found), self._from_pixels, cache)

    def _pickled_items(self, found: Sequence[Path]) -> list[Item]:
        """The images of the three pickles (1.3 GB in memory while they are copied into the cache)."""
        items, claims = list[Item](), dict[str, set[str]]()
        for path in found:
            content = read_cache(path)
            claims[path.stem.rsplit("-", 1)[1]] = set(content.classes)
            for name, positions in content.classes.items():
                for rank, position in enumerate(positions):
                    image = content.images[position]
                    if image.shape != (self.size, self.size, 3):
                        raise DataError(
                            f"{path}: images are {image.shape[0]} x {image.shape[1]}, expected {self.size} x "
                            f"{self.size}. Import the JPEGs instead."
                        )
                    items.append(Item(name, f"{rank:05d}", f"{path}: image {position}", image.tobytes))
        _check_claims(claims, found[0].parent)
        return items

    def _from_pixels(self, data: bytes, place: str) -> Pixels:
        return np.frombuffer(data, np.uint8).reshape(self.size, self.size, 3).transpose(2, 0, 1)

    def _cached(
        self, key: str, items: Callable[[], Sequence[Item]], decoder: Callable[[bytes, str], Pixels], cache: Path
    ) -> ClassImages:
        return cached(self.name, key, items, decoder, shape=(3, self.size, self.size), cache=cache)


def ravi_larochelle() -> dict[str, list[str]]:
    """Split -> its class ids."""
    return {split: ids for split, *ids in split_table("mini_imagenet_ravi_larochelle.txt")}


def classify(member: Member, lists: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
    """(split, class) of an image, from its folders or, failing that, from the CSV lists; None for other files."""
    if not member.is_image:
        return None
    if len(member.parts) >= 3 and member.parts[-3] in SPLITS:
        return member.parts[-3], member.parts[-2]
    return lists.get(member.parts[-1])


def _lists(folder: Path) -> list[Path]:
    return [path for split in SPLITS if (path := folder / f"{split}.csv").is_file()]


def read_lists(paths: Sequence[Path]) -> dict[str, tuple[str, str]]:
    """Image name -> (split, class), from the lists train.csv, val.csv and test.csv (columns filename, label).

    Raises:
        DataError: another header, no row, a row cut short, a stray quotation mark, or a class in two lists.
    """
    lists: dict[str, tuple[str, str]] = {}
    for path in paths:
        # Strict: otherwise a quotation mark that nobody closes takes all lines after it for one name.
        rows = csv.DictReader(io.StringIO(read_file(path).decode("utf-8-sig", errors="replace")), strict=True)
        try:
            for row in rows:
                if not row.get("filename") or not row.get("label"):
                    raise DataError(f"{path}, line {rows.line_num}: expected the columns filename,label. {LIST_ADVICE}")
                lists[row["filename"]] = (path.stem, row["label"])
        except csv.Error as error:
            raise DataError(
                f"{path}: a stray quotation mark after line {rows.line_num} ({error}). {LIST_ADVICE}"
            ) from error
        if not any(split == path.stem for split, _ in lists.values()):
            raise DataError(f"{path} names no image: expected rows of filename,label. {LIST_ADVICE}")
    check_disjoint(
        {path.stem: {label for split, label in lists.values() if split == path.stem} for path in paths},
        "mini-imagenet (lists)",
    )
    return lists


def _check_claims(claims: Mapping[str, set[str]], where: Path) -> None:
    """What the files say of the split must be what Ravi & Larochelle say."""
    check_disjoint(claims, f"mini-imagenet in {where}")
    home = {name: split for split, names in ravi_larochelle().items() for name in names}
    for split, names in claims.items():
        for name in sorted(names):
            if home.get(name) != split:
                says = f"belongs to {home[name]}" if name in home else "is not one of its 100 classes"
                raise DataError(
                    f"mini-imagenet in {where}: class {name} is given in {split}, but in the split of Ravi & "
                    f"Larochelle it {says}. Move or remove it."
                )


MINI_IMAGENET = MiniImageNet()
