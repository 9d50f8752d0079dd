"""What `metabench data` does: list, download, import, verify and preview data sets. Nothing here prints."""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from bench.preview import preview
from vision import DATASETS
from vision.images import DataError, Source, cache_root, suggest

__all__ = [
    "Counted",
    "Importable",
    "Imported",
    "Row",
    "Verified",
    "download",
    "import_data",
    "list_data",
    "preview",
    "source_of",
    "verify",
]


@runtime_checkable
class Counted(Protocol):
    """A source that can be counted without being decoded."""

    def census(self, root: Path) -> tuple[int, int] | None:
        """(classes, images), or None where counting would mean reading everything."""


@runtime_checkable
class Importable(Protocol):
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

    def inspect(self, piece: Path) -> int:
        """Read all of it: how many images; DataError where one is damaged."""


@dataclass(frozen=True)
class Row:
    """A line of `metabench data list`."""

    name: str
    present: bool
    classes: int | None
    """None where absent, or not known without reading everything."""
    images: int | None
    licence: str
    schemes: tuple[str, ...]
    """Its split schemes; the first is the default."""
    obtain: str
    """The command that gets it; "" where it is there."""


@dataclass(frozen=True)
class Imported:
    """What an import did."""

    files: tuple[Path, ...]
    """Where they are now."""
    images: int
    """Images read in them."""
    skipped: tuple[Path, ...]
    """Files that were there already, byte for byte."""


@dataclass(frozen=True)
class Verified:
    """What `verify` read."""

    name: str
    files: tuple[Path, ...]
    classes: int
    images: int
    digest: str
    """sha256 of the content (see `vision.cache.content_digest`)."""
    recognised: str | None
    """What content with this digest is; None where it is none that metabench knows."""
    notes: str
    seconds: float


def source_of(name: str) -> Source:
    """The named data set, or DataError with the nearest name."""
    if name not in DATASETS:
        raise DataError(f"There is no data set {name!r}. {suggest(name, DATASETS)}")
    return DATASETS[name]


def list_data(root: Path) -> list[Row]:
    """A row for every data set, present or not; nothing is decoded."""
    rows = []
    for name, source in DATASETS.items():
        present = bool(source.locate(root))
        counts = source.census(root) if present and isinstance(source, Counted) else None
        classes, images = counts or (None, None)
        verb = "download" if isinstance(source, Importable) and source.downloads else "import"
        obtain = "" if present else f"metabench data {verb} {name}" + (" PATH" if verb == "import" else "")
        rows.append(Row(name, present, classes, images, source.licence, source.splits, obtain))
    return rows


def download(name: str, root: Path) -> list[Path]:
    """Fetch a data set into the root; the files. DataError says how to get it where that cannot be done."""
    source = source_of(name)
    source.download(root)
    return source.locate(root)


def import_data(name: str, path: Path, root: Path) -> Imported:
    """Copy a user's files into the data root, after reading every image in them.

    All or nothing: the copies are made beside their place and moved there when the last is complete. A file that is
    there already is left alone if it is the same one.

    Args:
        path: a file (zip, npz, npy, csv, pkl), a class folder, or a folder that holds such files.

    Raises:
        DataError: nothing usable in path, a damaged image, another file of that name in place, no room to write.
    """
    source = source_of(name)
    path = path.expanduser().absolute()
    if not isinstance(source, Importable):
        raise DataError(f"{name} takes no files: it is used as it is.")
    if not path.exists():
        raise DataError(f"{path} does not exist. Give the file or folder with the data of {name}.")
    pieces = [path] if source.accepts(path) else source.pieces(path)
    counts = {piece: source.inspect(piece) for piece in pieces}
    pieces = [piece for piece in pieces if counts[piece] or piece.suffix == ".csv"]
    if not pieces:
        raise DataError(f"{path} has no images of {name} in it. {source.advice}")
    target = root / source.folder
    skipped = tuple(piece for piece in pieces if _in_place(piece, target))
    fresh = [piece for piece in pieces if piece not in skipped]
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".import-", dir=target) as temporary:
            for piece in fresh:
                copy = shutil.copytree if piece.is_dir() else shutil.copy2
                copy(piece, Path(temporary, piece.name))
            for piece in fresh:
                os.replace(Path(temporary, piece.name), target / piece.name)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "is full" if full else f"cannot be written ({error})"
        raise DataError(
            f"The data folder {target} {reason}. Nothing was imported; set METABENCH_DATA to another."
        ) from error
    return Imported(tuple(target / piece.name for piece in fresh), sum(counts.values()), skipped)


def _in_place(piece: Path, target: Path) -> bool:
    """Whether this very content is there already. DataError where something else is."""
    there = target / piece.name
    if not there.exists():
        return False
    if there.samefile(piece) or (piece.is_file() and there.is_file() and filecmp.cmp(piece, there, shallow=False)):
        return True
    raise DataError(f"{there} is there already, and is not the same as {piece}. Remove one of them, then import again.")


def verify(name: str, root: Path) -> Verified:
    """Read and decode everything of a data set, past the cache.

    Raises:
        DataError: the data absent, incomplete or damaged, naming the file and member.
    """
    source, began = source_of(name), time.perf_counter()
    cache = cache_root()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".verify-", dir=cache)
    except OSError as error:
        raise DataError(
            f"The cache folder {cache} cannot be written ({error}). Set METABENCH_CACHE to another."
        ) from error
    with temporary as scratch:
        # A source's last scheme is the one that takes the most of its images.
        data = source.load(root, source.splits[-1], cache=Path(scratch))
        found = data.images
        known: dict[str, str] = {}
        files = source.locate(root)
        if isinstance(source, Importable):
            known = dict(source.known)
            extra = [piece for piece in source.pieces(root / source.folder) if piece not in files]
            for piece in extra:
                source.inspect(piece)
            files = files + extra
        return Verified(
            name=name,
            files=tuple(files),
            classes=len(found.names),
            images=len(found.images),
            digest=found.digest,
            recognised=known.get(found.digest),
            notes=data.notes,
            seconds=time.perf_counter() - began,
        )
