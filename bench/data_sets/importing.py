"""Copy a user's files of a data set into the data folder: all of them, or none. Nothing here prints."""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from metabench.vision.data.archive import Inspected, beside, is_hidden, readable
from metabench.vision.data.cache import workspace
from metabench.vision.data.source import DataError, Source, full_path


@runtime_checkable
class Importable(Source, Protocol):
    """A source whose files are the user's: what it needs for import and verify."""

    @property
    def folder(self) -> str:
        """Its folder under the data root."""

    @property
    def known(self) -> tuple[tuple[str, str], ...]:
        """(digest, what it is) of content that was checked."""

    @property
    def advice(self) -> str:
        """How to get the data."""

    @property
    def downloads(self) -> bool:
        """Whether `download` can fetch it."""

    def accepts(self, path: Path) -> bool:
        """Whether this one file or folder can be imported."""

    def pieces(self, folder: Path) -> list[Path]:
        """The files and folders in a folder that can be."""

    def inspect(self, pieces: Sequence[Path], there: Path) -> Inspected:
        """Read all of these, as they would be beside what is in the folder `there`; DataError where they are wrong."""


@dataclass(frozen=True)
class Imported:
    """What an import did."""

    files: tuple[Path, ...]
    """The files in the data root."""
    images: int
    """Images read in them."""
    skipped: tuple[Path, ...]
    """Files that were there already, byte for byte."""
    left_out: tuple[str, ...]
    """Places of what was found beside them, or in them, and is no part of the data set."""
    notes: tuple[str, ...]
    """What is odd, but not wrong."""


DEPTH = 3
"""Folders below the one that is given in which files are looked for, where it has none itself."""


def import_files(source: Importable, path: Path, root: Path) -> Imported:
    """Read every image of a file or folder, and copy what has any; see `bench.data_sets.verbs.import_data`."""
    path = full_path(path).absolute()
    target = root / source.folder
    with readable():
        if not path.exists():
            raise DataError(f"{path} does not exist. Give the file or folder with the data of {source.name}.")
        found = _find(source, path)
        read = source.inspect(found, target) if found else Inspected({})
        pieces = _distinct(read.images)
        if not pieces:
            raise DataError(f"{path} has no images of {source.name} in it. {source.advice}")
        skipped = tuple(piece for piece in pieces if _in_place(piece, target))
        left_out = [m.place for m in read.left_out if m.container in read.images and not m.is_hidden]
        left_out += beside(path, read.images) if path.is_dir() and path not in read.images else []
    fresh = [piece for piece in pieces if piece not in skipped]
    try:
        files = _place(source, fresh, root) if fresh else ()
    except OSError as error:
        raise _explained(error, path, target) from error
    return Imported(files, sum(read.images[piece] for piece in pieces), skipped, tuple(left_out), read.notes)


def _find(source: Importable, path: Path) -> list[Path]:
    """What of a path is to be imported: itself, or what is in it, or in the folders nearest below."""
    if source.accepts(path):
        return [path]
    folders = [path] if path.is_dir() else []
    for _ in range(DEPTH):
        if found := [piece for folder in folders for piece in source.pieces(folder)]:
            return found
        inner = (child for folder in folders for child in sorted(folder.iterdir()))
        folders = [child for child in inner if child.is_dir() and not is_hidden(child.name)]
    return []


def _distinct(pieces: Iterable[Path]) -> list[Path]:
    """One piece of each name: of equal ones the first. DataError where two differ."""
    chosen: dict[str, Path] = {}
    for piece in pieces:
        other = chosen.setdefault(piece.name, piece)
        if not _same(piece, other):
            raise DataError(
                f"{other} and {piece} have one name and are not the same. Import the right one by its path."
            )
    return list(chosen.values())


def _in_place(piece: Path, target: Path) -> bool:
    """Whether this very content is there already. DataError where something else is."""
    there = target / piece.name
    if not there.exists():
        return False
    if _same(piece, there):
        return True
    raise DataError(f"{there} is there already, and is not the same as {piece}. Remove one of them, then import again.")


def _same(one: Path, other: Path) -> bool:
    """Whether two files, or two folders and all that is in them, are equal byte for byte."""
    if one.samefile(other):
        return True
    if not (one.is_dir() and other.is_dir()):
        return filecmp.cmp(one, other, shallow=False)
    names = sorted(os.listdir(one))
    return names == sorted(os.listdir(other)) and all(_same(one / name, other / name) for name in names)


def _place(source: Importable, pieces: Sequence[Path], root: Path) -> tuple[Path, ...]:
    """Copy pieces beside their place, then move them there; moved back if anything fails or one would not be used."""
    target = root / source.folder
    needed = set(source.locate(root))
    with workspace(target, ".import-") as temporary:
        copies = []
        for i, piece in enumerate(pieces):
            # In a data root of its own: what is found there, and is then not found in the real one, something hides.
            alone = temporary / str(i)
            copies.append(alone / source.folder / piece.name)
            copies[-1].parent.mkdir(parents=True)
            _copy(piece, copies[-1])
            needed |= {target / found.name for found in source.locate(alone)}
        moved = []
        try:
            for copy in copies:
                os.replace(copy, target / copy.name)
                moved.append(copy)
            _check_used(needed, source.locate(root))
        except BaseException:
            for copy in moved:
                os.replace(target / copy.name, copy)
            raise
    return tuple(target / copy.name for copy in copies)


def _copy(piece: Path, to: Path) -> None:
    # Unlike shutil.copytree: it goes on after an error, and then says neither whether the disk is full nor which file.
    if piece.is_dir():
        to.mkdir()
        for child in sorted(piece.iterdir()):
            _copy(child, to / child.name)
    else:
        shutil.copy2(piece, to)


def _check_used(needed: set[Path], used: Sequence[Path]) -> None:
    if hidden := sorted(needed.difference(used)):
        names = ", ".join(path.name for path in used)
        raise DataError(
            f"{hidden[0]} is not used where there is also {names}. Nothing was imported: choose which of them to use, "
            "and import or leave there only that."
        )


def _explained(error: OSError, path: Path, target: Path) -> DataError:
    """What went wrong in copying from path to target, and on which side."""
    where = Path(error.filename or target)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = "is full"
    elif where.is_relative_to(path) and not where.is_relative_to(target):
        return DataError(f"{where} cannot be read: {error.strerror}. Check its permissions. Nothing was imported.")
    else:
        reason = f"cannot be written ({error})"
    return DataError(f"The data folder {target} {reason}. Nothing was imported; set METABENCH_DATA to another.")
