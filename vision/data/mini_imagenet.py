"""miniImageNet: 100 ImageNet classes of 600 colour images, 84 x 84, in the split of Ravi & Larochelle.

Vinyals et al., "Matching networks for one shot learning" (2016) made the set; Ravi & Larochelle, "Optimization as a
model for few-shot learning" (2017) the split everyone reports on: 64 / 16 / 20 classes (their text says 64 / 12 / 24).
It goes around in three shapes, and whichever is in the folder is read:

    {train,val,test}/<class>/<image>.jpg   as folders or in any number of zips and tars, which are merged
    images/ or an archive, and train.csv, val.csv, test.csv (filename,label), beside it or in a folder beside it
    mini-imagenet-cache-{train,val,test}.pkl

ImageNet's own layout, <class>/<image>.JPEG without folders of splits, is read too. The class of an image decides its
split (class ids come with the package); a folder or list that says otherwise is an error, not another split. Pixels of
the usual 84 x 84 copies are taken as they are; any other size is resized (Lanczos).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from metabench.vision.data.archive import Inspected, Member, choose, identity, is_archive, is_hidden, walk
from metabench.vision.data.cache import Item, cached, key_of
from metabench.vision.data.decode import decode
from metabench.vision.data.lists import Lists, Row, read_list
from metabench.vision.data.pickles import read_cache
from metabench.vision.data.source import (
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
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        images = [path for path in entries if is_archive(path)] + [path for path in entries if _is_image_folder(path)]
        return images + lists_in(folder) if images else pickles

    def locate(self, root: Path) -> list[Path]:
        """The same, under the data root."""
        return self.find(root / self.folder)

    def accepts(self, path: Path) -> bool:
        """Whether a file or folder of this name can be imported."""
        return is_archive(path) or _is_image_folder(path) or path.name in PICKLES or is_list(path)

    def pieces(self, folder: Path) -> list[Path]:
        """What of a folder is worth importing."""
        if not folder.is_dir():
            return []
        found = [path for path in sorted(folder.iterdir()) if self.accepts(path) and not is_list(path)]
        return found + lists_in(folder)

    def inspect(self, pieces: Sequence[Path], there: Path) -> Inspected:
        """Decode every image that has a class, by its folder or by a list: one of the pieces, or beside one, or there.

        Raises:
            DataError: an image that cannot be read, or of two classes; a class in another split than Ravi &
                Larochelle's, or none of theirs; a list that is needed and names files that are not there.
        """
        given = [path for path in pieces if is_list(path)]
        near = [path for folder in dict.fromkeys(path.parent for path in pieces) for path in lists_in(folder)]
        lists = read_lists(given or near or lists_in(there))
        pickles = {path: read_cache(path).classes for path in pieces if path.suffix == ".pkl"}
        containers = [path for path in pieces if path not in (*given, *pickles)]
        claims = {split: {row.label for row in lists if given and row.split == split} for split in SPLITS}
        for path, classes in pickles.items():
            claims[_split_of(path)] |= set(classes)
        images = Counter({path: sum(map(len, classes.values())) for path, classes in pickles.items()})
        left_out, by_list = list[Member](), False
        with walk(containers) as members:
            for member in members:
                if (place := classify(member, lists)) is None:
                    left_out.append(member)
                    continue
                by_list |= by_folder(member) is None
                claims[place[0]].add(place[1])
                decode(member.read(), member.place, channels=3, size=28)
                images[member.container] += 1
            absent = lists.missing(members) if given and containers else []
        _check_claims(claims, pieces[0].parent)
        notes = _absent(absent, len(lists), needed=by_list or not images)
        needed = given or [path for path in near if by_list]
        return Inspected(images | dict.fromkeys(needed, 0), left_out, notes)

    def census(self, root: Path) -> tuple[int, int] | None:
        """(classes, images) found, without decoding any; None for pickles, which must be read whole to be counted."""
        found = self.locate(root)
        if found[0].suffix == ".pkl":
            return None
        lists = read_lists([path for path in found if is_list(path)])
        with walk(path for path in found if not is_list(path)) as members:
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
        pickled = found[0].suffix == ".pkl"
        images = self._pickled(found, cache) if pickled else self._files(found, cache)
        indices = class_indices(images.names, ravi_larochelle(), f"{self.name} in {root / self.folder}")
        fewest = {name: int(images.counts[classes].min()) for name, classes in indices.items()}
        version = "/".join([split, *(f"{name}-{n}" for name, n in fewest.items() if n != self.complete)])
        notes, resampling = notes_of(images, indices), "none" if pickled else "lanczos"
        return Dataset(self.name, images, indices, split_version=version, notes=notes, resampling=resampling)

    def _files(self, found: Sequence[Path], cache: Path) -> ClassImages:
        lists = read_lists([path for path in found if is_list(path)])
        with walk(path for path in found if not is_list(path)) as members:
            chosen: dict[tuple[str, str], Member] = {}
            claims = {split: set[str]() for split in SPLITS}
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
            claims[_split_of(path)] = set(content.classes)
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


def classify(member: Member, lists: Lists) -> tuple[str, str] | None:
    """(split, class) of an image, from its folders or, failing that, from the lists; None for other files.

    Raises:
        DataError: the folders and the lists, or two lists, give it different classes.
    """
    if not member.is_image:
        return None
    folder, row = by_folder(member), lists.find(member)
    if folder and row and folder != (row.split, row.label):
        raise DataError(
            f"{member.place} lies in the folder of {folder[1]}, of {folder[0]}, and {row.place} says {row.label} of "
            f"{row.split}: one image, two labels. Move it, or correct the list."
        )
    return folder or ((row.split, row.label) if row else None)


def by_folder(member: Member) -> tuple[str, str] | None:
    """(split, class) by the folders that an image lies in: {split}/{class}/, or {class}/ of one of the 100."""
    if len(member.parts) >= 3 and member.parts[-3] in SPLITS:
        return member.parts[-3], member.parts[-2]
    name = member.parts[-2] if len(member.parts) >= 2 else ""
    return (HOME[name], name) if name in HOME else None


def _is_image_folder(path: Path) -> bool:
    return (path.name in (*SPLITS, "images") or path.name in HOME) and path.is_dir()


def is_list(path: Path) -> bool:
    """Whether this is train.csv, val.csv or test.csv, in any case."""
    return path.name.lower() in {f"{split}.csv" for split in SPLITS} and path.is_file()


def lists_in(folder: Path) -> list[Path]:
    """The lists in a folder or, where it has none, in one folder in it; train before val before test.

    Raises:
        DataError: lists in two such folders.
    """
    if not folder.is_dir():
        return []
    entries = sorted(folder.iterdir())
    found = [path for path in entries if is_list(path)]
    if not found:
        inner = [path for path in entries if path.is_dir() and not (is_hidden(path.name) or _is_image_folder(path))]
        found = [path for folder in inner for path in sorted(folder.iterdir()) if is_list(path)]
        if len(parents := list(dict.fromkeys(path.parent for path in found))) > 1:
            raise DataError(
                f"There are lists in {parents[0]} and in {parents[1]}. Remove those that do not belong here."
            )
    return sorted(found, key=lambda path: SPLITS.index(path.stem.lower()))


def read_lists(paths: Sequence[Path]) -> Lists:
    """The lists train.csv, val.csv and test.csv (columns filename, label) as one.

    Raises:
        DataError: a list that cannot be read, an image with two labels, a class in two lists.
    """
    return Lists(row for path in paths for row in read_list(path, path.stem.lower()))


def _split_of(pickle: Path) -> str:
    return pickle.stem.rsplit("-", 1)[1]


def _absent(rows: Sequence[Row], listed: int, *, needed: bool) -> tuple[str, ...]:
    """A note on listed images that are not there; DataError where the lists are what gives images their class."""
    if not rows:
        return ()
    name = "/".join(rows[0].parts)
    what = f"{len(rows):,} of {listed:,} listed images are not there, the first {name} ({rows[0].place})"
    if needed:
        raise DataError(f"mini-imagenet: {what}. Get them, or take them from the list.")
    return (what,)


def _check_claims(claims: Mapping[str, set[str]], where: Path) -> None:
    """What the files say of the split must be what Ravi & Larochelle say."""
    check_disjoint(claims, f"mini-imagenet in {where}")
    for split, names in claims.items():
        for name in sorted(names):
            if HOME.get(name) != split:
                says = f"belongs to {HOME[name]}" if name in HOME else "is not one of its 100 classes"
                raise DataError(
                    f"mini-imagenet in {where}: class {name} is given in {split}, but in the split of Ravi & "
                    f"Larochelle it {says}. Move or remove it."
                )


HOME = {name: split for split, names in ravi_larochelle().items() for name in names}
"""Class id -> its split."""

MINI_IMAGENET = MiniImageNet()
