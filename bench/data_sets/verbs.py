"""What `metabench data` does: list, download, import, verify and preview data sets. Nothing here prints."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from metabench.bench.data_sets.importing import Importable, Imported, import_files
from metabench.bench.figures.preview import preview
from metabench.vision import DATASETS
from metabench.vision.data.archive import readable
from metabench.vision.data.cache import workspace
from metabench.vision.data.source import DataError, Source, cache_root, suggest

__all__ = [
    "Counted",
    "Importable",
    "Imported",
    "Remarking",
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
class Remarking(Protocol):
    """A source with files beside its images, of which `verify` says what they are."""

    def remark(self, piece: Path) -> str:
        """What a file is that `inspect` has read; "" where there is nothing to say."""


@runtime_checkable
class Checkable(Protocol):
    """A source that can compare what it holds with what was once written."""

    def check(self, root: Path) -> None:
        """Compare all of it; DataError where it differs."""


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
    damaged: str = ""
    """Why it cannot be used, where its files cannot be read."""


@dataclass(frozen=True)
class Verified:
    """What `verify` read."""

    name: str
    files: tuple[Path, ...]
    classes: int
    images: int
    digest: str
    """sha256 of the content (see `vision.data.cache.content_digest`)."""
    recognised: str | None
    """What content with this digest is; None where it is none that metabench knows, "" where no file can be another."""
    notes: str
    seconds: float


def source_of(name: str) -> Source:
    """The named data set, or DataError with the nearest name."""
    if name not in DATASETS:
        raise DataError(f"There is no data set {name!r}. {suggest(name, DATASETS)}")
    return DATASETS[name]


def list_data(root: Path) -> list[Row]:
    """A row for every data set, present, absent or damaged; nothing is decoded."""
    rows = []
    for name, source in DATASETS.items():
        present, counts, damaged, licence, schemes = True, None, "", "", tuple[str, ...]()
        try:
            with readable():
                licence, schemes = source.licence, source.splits
                present = bool(source.locate(root))
                counts = source.census(root) if present and isinstance(source, Counted) else None
        except DataError as error:
            damaged = str(error)
        classes, images = counts or (None, None)
        verb = "download" if isinstance(source, Importable) and source.downloads else "import"
        obtain = "" if present else f"metabench data {verb} {name}" + (" PATH" if verb == "import" else "")
        rows.append(Row(name, present, classes, images, licence, schemes, obtain, damaged))
    return rows


def download(name: str, root: Path) -> list[Path]:
    """Fetch a data set into the root; the files. DataError says how to get it where that cannot be done."""
    source = source_of(name)
    source.download(root)
    return source.locate(root)


def import_data(name: str, path: Path, root: Path) -> Imported:
    """Copy a user's files into the data root, after reading every image in them.

    All or nothing: the copies are made beside their place and moved there when the last is complete. A file or folder
    that is there already is left alone if it is the same one.

    Args:
        path: a file (zip, tar, npz, npy, csv, pkl), a class folder, or a folder that holds such files.

    Raises:
        DataError: nothing usable in path, a damaged image, an image with two labels, classes that are not those of the
            data set, a list that is needed and names images that are not there, two files of one name that differ, one
            that would not be used beside those that are there, no room to write.
    """
    source = source_of(name)
    if not isinstance(source, Importable):
        raise DataError(f"{name} takes no files: it is used as it is.")
    return import_files(source, path, root)


def verify(name: str, root: Path) -> Verified:
    """Read and decode everything of a data set, past the cache.

    Raises:
        DataError: the data absent, incomplete or damaged, naming the file and member.
    """
    source, began = source_of(name), time.perf_counter()
    cache = cache_root()
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(workspace(cache, ".verify-"))
        except OSError as error:
            raise DataError(
                f"The cache folder {cache} cannot be written ({error}). Set METABENCH_CACHE to another."
            ) from error
        stack.enter_context(readable())
        # A source's last scheme is the one that takes the most of its images.
        data = source.load(root, source.splits[-1], cache=scratch)
        if isinstance(source, Checkable):
            source.check(root)
        found = data.images
        recognised: str | None = ""
        files, notes = source.locate(root), [data.notes]
        if isinstance(source, Importable):
            recognised = dict(source.known).get(found.digest)
            extra = [piece for piece in source.pieces(root / source.folder) if piece not in files]
            if extra:
                source.inspect(extra, root / source.folder)
            for piece in extra:
                notes += [source.remark(piece)] if isinstance(source, Remarking) else []
            files = files + extra
        return Verified(
            name=name,
            files=tuple(files),
            classes=len(found.names),
            images=len(found.images),
            digest=found.digest,
            recognised=recognised,
            notes="; ".join(filter(None, notes)),
            seconds=time.perf_counter() - began,
        )
