"""A user's own pictures as a data set: decoded once into the data root, and from then on a `Source` like any other.

``imported/<name>/`` under the data root holds ``images.npy`` and ``index.json`` (see `vision.data.cache`) and
``manifest.json``: size, channels, split. It is all that is read later; the pictures that it came from may go.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

from metabench.vision.data.archive import readable, walk
from metabench.vision.data.cache import Item, open_entry, workspace, write_entry
from metabench.vision.data.decode import decode
from metabench.vision.data.folder import Survey, survey
from metabench.vision.data.options import Options
from metabench.vision.data.source import (
    SPLITS,
    ClassImages,
    DataError,
    Dataset,
    check_scheme,
    class_indices,
    full_path,
    missing,
    notes_of,
)

FOLDER, MANIFEST = "imported", "manifest.json"
FORMAT = 1
"""Raised when the manifest changes: older ones are then refused."""


@dataclass(frozen=True)
class Manifest:
    """What a data set is besides its pixels."""

    size: int
    channels: int
    scheme: str
    """What split the classes (see `vision.data.folder.Survey`)."""
    splits: Mapping[str, Sequence[str]]
    """"train", "val", "test" -> class names."""
    format: int = FORMAT

    @property
    def version(self) -> str:
        """The split, so that two splits with different classes have different names: "seed0/1a2b3c4d"."""
        text = json.dumps({split: sorted(names) for split, names in self.splits.items()}, sort_keys=True)
        return f"{self.scheme}/{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:8]}"


class Imported:
    """The source of an imported data set.

    Args:
        name: of the data set.
        root: data root.
    """

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root

    @cached_property
    def manifest(self) -> Manifest:
        """What `import_pictures` wrote; DataError where that is not there, or not what it was."""
        path = folder_of(self.root, self.name) / MANIFEST
        try:
            found = Manifest(**json.loads(path.read_bytes()))
            sound = found.format == FORMAT and found.channels in (1, 3) and isinstance(found.size, int)
            sound &= set(found.splits) == set(SPLITS) and all(
                isinstance(n, str) for s in SPLITS for n in found.splits[s]
            )
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise self._damaged(str(error)) from error
        if not sound:
            raise self._damaged(f"{path.name} is of another version")
        return found

    def _damaged(self, why: str) -> DataError:
        folder = folder_of(self.root, self.name)
        return DataError(f"{folder} is damaged ({why}). Remove that folder, then import {self.name} again.")

    @property
    def splits(self) -> tuple[str, ...]:
        """The one split that the import made."""
        return (self.manifest.scheme,)

    @property
    def channels(self) -> int:
        """1 for grey-scale, 3 for colour."""
        return self.manifest.channels

    @property
    def size(self) -> int:
        """Height and width of its images, in pixels."""
        return self.manifest.size

    @property
    def licence(self) -> str:
        """Nobody but the user knows it."""
        return "yours"

    def locate(self, root: Path) -> list[Path]:
        """The folder under the data root; [] when absent."""
        folder = folder_of(root, self.name)
        return [folder] if (folder / MANIFEST).is_file() else []

    def census(self, root: Path) -> tuple[int, int]:
        """(classes, images)."""
        images = self._images(root)
        return len(images.names), len(images.images)

    def download(self, root: Path) -> None:
        """Raise DataError that says how to get it."""
        raise DataError(f"{self.name} is your own: metabench data import {self.name} PATH")

    def load(self, root: Path, split: str, *, cache: Path, seed: int = 0) -> Dataset:
        """The images and the split, as they were imported; neither cache nor seed has a part in it."""
        check_scheme(self, split)
        if not self.locate(root):
            raise missing(self.name, root, "its folder", f"Import it: metabench data import {self.name} PATH.")
        images = self._images(root)
        indices = class_indices(images.names, self.manifest.splits, f"{self.name}/{split}")
        notes = notes_of(images, indices)
        return Dataset(self.name, images, indices, split_version=self.manifest.version, notes=notes)

    def check(self, root: Path) -> None:
        """Compare every pixel with what was written; DataError where one differs."""
        self._images(root, thorough=True)

    def _images(self, root: Path, *, thorough: bool = False) -> ClassImages:
        shape = (self.manifest.channels, self.manifest.size, self.manifest.size)
        images = open_entry(folder_of(root, self.name), shape, thorough=thorough)
        if images is None:
            raise self._damaged("its images are not those that were written")
        return images


def folder_of(root: Path, name: str) -> Path:
    """Where an imported data set lives under the data root."""
    return root / FOLDER / name


def imported_names(root: Path) -> list[str]:
    """The data sets that were imported into a data root, by name."""
    try:
        return sorted(path.parent.name for path in (root / FOLDER).glob(f"[!.]*/{MANIFEST}"))
    except OSError:
        return []


@dataclass(frozen=True)
class Report:
    """What an import of pictures did."""

    folder: Path
    """Where the data set is."""
    fresh: bool
    """Whether it was not there before; the same one may be imported twice."""
    data: Dataset
    survey: Survey
    unreadable: tuple[str, ...]
    """What was wrong with each picture, or listed name, that was left out."""


def import_pictures(name: str, path: Path, root: Path, options: Options, *, skip: bool = False) -> Report:
    """Decode every picture of a folder or archive into the data root, once and for all.

    Args:
        name: of the data set.
        path: class folders, folders of splits, or pictures and a list; also as a zip or tar (`vision.data.folder`).
        skip: leave out what cannot be read, and say so, instead of importing nothing.

    Raises:
        DataError: as `vision.data.folder.survey`; pictures that cannot be read, all of them by name; another data set
            of that name; no room to write.
    """
    path = full_path(path).absolute()
    if not path.exists():
        raise DataError(f"{path} does not exist. Give the folder, zip or tar with your pictures.")
    target = folder_of(root, name)
    with readable(), walk([path]) as members:
        found = survey(members, options, path)
        unreadable = [f"{row.place}: {'/'.join(row.parts)} is not there" for row in found.missing]
        try:
            with workspace(target.parent, ".import-") as temporary:
                draft = temporary / name
                draft.mkdir()
                manifest = _write(draft, found, options, unreadable)
                if unreadable and not skip:
                    raise _refused(path, unreadable)
                (draft / MANIFEST).write_text(json.dumps(asdict(manifest)), encoding="utf-8")
                fresh = _publish(draft, target)
        except OSError as error:
            raise _unwritable(target.parent, error) from error
    source = Imported(name, root)
    return Report(target, fresh, source.load(root, source.splits[0], cache=root), found, tuple(unreadable))


def _write(draft: Path, found: Survey, options: Options, unreadable: list[str]) -> Manifest:
    """Decode into a draft; what cannot be read is added to the list, and a class that is lost to it is in no split."""
    channels = 1 if options.grey else 3

    def failed(item: Item, error: DataError) -> None:
        unreadable.append(str(error))

    shape = (channels, options.size, options.size)
    write_entry(draft, found.items, partial(decode, channels=channels, size=options.size), shape, failed=failed)
    images = open_entry(draft, shape)
    if images is None:
        raise DataError(f"What was written to {draft.parent} does not read back. Check the disk.")
    there = set(images.names)
    splits = {split: [name for name in names if name in there] for split, names in found.splits.items()}
    return Manifest(options.size, channels, found.scheme, splits)


def _publish(draft: Path, target: Path) -> bool:
    """Move the draft into place; False where the same is there already. DataError where another is."""
    try:
        os.replace(draft, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        with suppress(FileNotFoundError):
            if all((draft / file).read_bytes() == (target / file).read_bytes() for file in ("index.json", MANIFEST)):
                return False
        raise DataError(
            f"{target} is there already, of other pictures, another size or another split. Choose another name, or "
            "remove that folder first."
        ) from error
    return True


def _refused(path: Path, unreadable: Sequence[str], most: int = 20) -> DataError:
    more = [f"… and {len(unreadable) - most:,} more"] if len(unreadable) > most else []
    lines = "".join(f"\n  {line}" for line in [*unreadable[:most], *more])
    return DataError(
        f"{path}: {len(unreadable):,} pictures cannot be read, so nothing was imported. Mend or remove them, or leave "
        f"them out with --unreadable skip.{lines}"
    )


def _unwritable(folder: Path, error: OSError) -> DataError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "is full" if full else f"cannot be written ({error})"
    return DataError(f"The data folder {folder} {reason}. Nothing was imported; set METABENCH_DATA to another.")
