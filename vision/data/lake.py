"""Lake's 20 runs: the Omniglot challenge, 20-way one-shot classification within an alphabet.

``all_runs.zip`` of https://github.com/brendenlake/omniglot (folder python/one-shot-classification): ten evaluation
alphabets, twice each; a run shows one drawing of 20 characters by one person and asks about 20 by another. Every model
is scored on the same 400 questions, so there is no episode to sample.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from metabench.vision.data.archive import Member, walk
from metabench.vision.data.cache import content_digest
from metabench.vision.data.decode import decode
from metabench.vision.data.source import DataError, Indices, Pixels, missing

FILE = "all_runs.zip"
PLACES = ("one-shot-classification", "python/one-shot-classification")
RUNS = WAYS = 20
OFFICIAL = "0c788531e4335a0c2fcf80c1326e260ab463f6efb434b49932997344ff8e0a4d"
"""Digest of the images and labels of the official file."""
ADVICE = (
    "Get all_runs.zip from https://github.com/brendenlake/omniglot (folder python/one-shot-classification), then "
    "`metabench data import omniglot PATH`."
)


class Runs(NamedTuple):
    """The 20 runs."""

    support: Pixels
    """(20, 20, 1, H, W) uint8: one drawing of each of 20 characters, strokes bright on black."""
    query: Pixels
    """(20, 20, 1, H, W) uint8."""
    labels: Indices
    """(20, 20): query i of run r is the character of ``support[r, labels[r, i]]``."""


def lake_runs(root: Path, *, size: int = 28, resample: str = "lanczos") -> Runs:
    """Read ``omniglot/all_runs.zip`` under the data root.

    Raises:
        DataError: absent, damaged, or not 20 runs of 20 characters.
    """
    path = find_runs(root / "omniglot")
    if path is None:
        raise missing("omniglot", root / "omniglot", FILE, ADVICE)
    return read_runs(path, size=size, resample=resample)[0]


def is_runs(path: Path) -> bool:
    """Whether this is the file of the runs, in any case."""
    return path.name.lower() == FILE and path.is_file()


def find_runs(folder: Path) -> Path | None:
    """The file of the runs in a folder, or where the repository of the data set keeps it (`PLACES`)."""
    for place in (folder, *(folder / name for name in PLACES)):
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if is_runs(path):
                return path
    return None


def read_runs(path: Path, *, size: int = 28, resample: str = "lanczos") -> tuple[Runs, str]:
    """The runs in a file, and the digest of its images and labels, however it was packed.

    Raises:
        DataError: damaged, or not 20 runs of 20 characters.
    """
    content = list[tuple[str, str, bytes]]()
    with walk([path]) as members:
        # The three last parts, in case the runs were packed together with a folder above them.
        files = {PurePosixPath(*m.parts[-3:]) if m.is_image else PurePosixPath(*m.parts[-2:]): m for m in members}
        support = np.zeros((RUNS, WAYS, 1, size, size), dtype=np.uint8)
        query, labels = np.zeros_like(support), np.full((RUNS, WAYS), -1, dtype=np.int64)
        for run in range(RUNS):
            folder = PurePosixPath(f"run{run + 1:02d}")
            for way in range(WAYS):
                for into, name in (
                    (support, f"training/class{way + 1:02d}.png"),
                    (query, f"test/item{way + 1:02d}.png"),
                ):
                    member = _member(files, folder / name, path)
                    data = member.read()
                    content.append((str(folder), name, data))
                    into[run, way] = decode(data, member.place, channels=1, size=size, resample=resample, invert=True)
            labels[run] = _labels(_member(files, folder / "class_labels.txt", path))
            content.append((str(folder), "labels", bytes(labels[run].tolist())))
    return Runs(support, query, labels), content_digest(content)


def _member(files: dict[PurePosixPath, Member], name: PurePosixPath, path: Path) -> Member:
    if name not in files:
        raise DataError(f"{path} lacks {name}: it is not whole. {ADVICE}")
    return files[name]


def _labels(member: Member) -> Indices:
    """(20,) from lines such as "run01/test/item01.png run01/training/class08.png"."""
    labels = np.full(WAYS, -1, dtype=np.int64)
    try:
        for line in member.read().decode("ascii").splitlines():
            item, character = (int(word[-6:-4]) for word in line.split())
            if not 1 <= character <= WAYS or item < 1:
                raise ValueError(line)
            labels[item - 1] = character - 1
    except (ValueError, IndexError) as error:
        raise DataError(f"{member.place}: not pairs of a test item and a training class ({error}). {ADVICE}") from error
    if (labels < 0).any():
        raise DataError(f"{member.place}: item{int((labels < 0).argmax()) + 1:02d} has no class. {ADVICE}")
    return labels
