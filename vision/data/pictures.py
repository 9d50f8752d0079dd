"""Picture files as they lie, a folder a class or loose, decoded to the form that a learner reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metabench.vision.data.archive import IMAGE_SUFFIXES, Member, is_hidden, read_file, readable, walk
from metabench.vision.data.form import Form
from metabench.vision.data.source import DataError, Pixels, full_path

SHOWN = 20
"""Pictures that cannot be read which an error names."""


@dataclass(frozen=True)
class Pictures:
    """N decoded pictures."""

    pixels: Pixels
    """(N, C, size, size) uint8."""
    names: tuple[str, ...]
    """Where each is: its path as given, or within the folder that was given."""
    folders: tuple[str, ...]
    """The folder that each is in, directly below the one that was given; "" for none."""
    left_out: tuple[str, ...]
    """What was wrong with each picture that is not among them."""


def class_folders(folder: Path, form: Form, *, skip: bool = False) -> Pictures:
    """The pictures of a folder with a sub-folder for each class, by class and name; deeper folders are of the class.

    Args:
        skip: leave out what cannot be read, and say so, instead of refusing it all.

    Raises:
        DataError: no such folder; fewer than two classes, or one without a picture; a picture of no class; pictures
            that cannot be read, by name.
    """
    if not full_path(folder).is_dir():
        raise DataError(f"{folder} is no folder. Give one with a sub-folder of pictures for each class.")
    found = _pictures([folder], form, skip)
    loose = [name for name, home in zip(found.names, found.folders, strict=True) if not home]
    if loose:
        raise DataError(f"{folder}: {loose[0]} is in no class's folder. Put it into a sub-folder named as its class.")
    with readable():
        there = sorted(p.name for p in full_path(folder).iterdir() if p.is_dir() and not is_hidden(p.name))
    empty = [name for name in there if name not in found.folders]
    if empty:
        raise DataError(f"{folder / empty[0]} holds no picture that can be read. Add one, or remove the folder.")
    if len(there) < 2:
        raise DataError(f"{folder} has {len(there)} class folders; to tell classes apart takes 2 at least.")
    return found


def pictures(paths: Sequence[Path], form: Form, *, skip: bool = False) -> Pictures:
    """The pictures of files and folders, in the order given; of a folder by name.

    Raises:
        DataError: no picture, or pictures that cannot be read, by name.
    """
    found = _pictures(paths, form, skip)
    if not found.names:
        raise DataError(f"{', '.join(map(str, paths)) or 'nothing'}: there are no pictures to answer for.")
    return found


def _pictures(paths: Sequence[Path], form: Form, skip: bool) -> Pictures:
    pixels, names, folders, wrong = list[Pixels](), list[str](), list[str](), list[str]()
    with readable():
        for name, home, member in _members(paths):
            try:
                data = member.read() if isinstance(member, Member) else read_file(member)
                pixels.append(form.decode(data, name))
            except DataError as error:
                wrong.append(str(error))
                continue
            names.append(name)
            folders.append(home)
    if wrong and not skip:
        more = [f"… and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        lines = "".join(f"\n  {line}" for line in [*wrong[:SHOWN], *more])
        raise DataError(
            f"{len(wrong)} pictures cannot be read. Mend or remove them, or leave them out with --unreadable skip."
            f"{lines}"
        )
    stacked = np.stack(pixels) if pixels else np.empty((0, form.channels, form.size, form.size), np.uint8)
    return Pictures(stacked, tuple(names), tuple(folders), tuple(wrong))


def _members(paths: Iterable[Path]) -> Iterator[tuple[str, str, Member | Path]]:
    """(name, folder, what to read) of each file; of a folder those whose names are pictures'."""
    paths = list(paths)
    for path in paths:
        full = full_path(path).absolute()
        if not full.is_dir():
            yield str(path), "", full
            continue
        with walk([full]) as members:
            for member in sorted(members, key=lambda m: m.parts):
                inside = member.parts[1:]  # the first is the folder's own name
                if inside[-1].lower().endswith(IMAGE_SUFFIXES) and not any(map(is_hidden, inside)):
                    name = "/".join(inside)
                    home = inside[0] if len(inside) > 1 else ""
                    yield (name if len(paths) == 1 else f"{path}/{name}"), home, member
