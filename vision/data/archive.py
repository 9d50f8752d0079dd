"""Walk a folder or a zip of images in the same way, without trusting either.

A zip is never extracted, so a member cannot escape; one that tries to is refused all the same, because no
honest archive has one and a file like that should be looked at, not imported.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vision.data.source import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_MEMBER_BYTES = 64 * 2**20
"""An image file larger than this is not one of a few-shot set: refused before it is read."""


class Member(NamedTuple):
    """A file within a folder or a zip."""

    container: Path
    parts: tuple[str, ...]
    """Its path within the container; where that is a folder, its own name comes first."""
    size: int
    stamp: str
    """Changes when its content does: the CRC a zip stores, or a file's times (see `identity`)."""
    read: Callable[[], bytes]

    @property
    def place(self) -> str:
        """Where it is, for a message: the container and the path in it."""
        return f"{self.container}: {'/'.join(self.parts)}"

    @property
    def is_image(self) -> bool:
        """Whether its name is that of an image, and not one of the hidden files that a desktop leaves behind."""
        hidden = any(part.startswith((".", "__MACOSX")) for part in self.parts)
        return not hidden and self.parts[-1].lower().endswith(IMAGE_SUFFIXES)


@contextmanager
def readable() -> Iterator[None]:
    """A block, or a function that it decorates, in which a file or folder that cannot be read is a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}. Check its permissions.") from error


@contextmanager
def walk(containers: Iterable[Path]) -> Iterator[list[Member]]:
    """All files of several folders and zips. They can be read until the context ends.

    Raises:
        DataError: a damaged zip, a member that would escape, a linked folder, one that cannot be read.
    """
    with ExitStack() as stack:
        members: list[Member] = []
        for container in containers:
            if container.is_dir():
                members += _folder(container)
            else:
                members += _zip(container, stack.enter_context(open_zip(container)))
        yield members


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip, or raise DataError that says what to do."""
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{path} is not a whole zip ({error}): it may be cut short. Copy or download it again, then import it."
        ) from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}. Check that it exists and its permissions."
        ) from error


def _zip(container: Path, archive: zipfile.ZipFile) -> list[Member]:
    def reader(info: zipfile.ZipInfo) -> Callable[[], bytes]:
        return lambda: read_member(archive, info, container)

    members = []
    for info in archive.infolist():
        refuse_escape(container, info)
        if not info.is_dir():
            parts = PurePosixPath(info.filename).parts
            members.append(Member(container, parts, info.file_size, f"{info.CRC:08x}", reader(info)))
    return members


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, container: Path) -> bytes:
    """The bytes of a zip's member, with every way in which that fails as a DataError."""
    if info.file_size > MAX_MEMBER_BYTES:
        raise DataError(
            f"{container}: {info.filename} claims {info.file_size / 2**20:.0f} MiB, more than any image here "
            f"(limit {MAX_MEMBER_BYTES / 2**20:.0f} MiB). Remove it from the archive."
        )
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{container}: {info.filename} cannot be read ({error}). The zip is damaged: get it again, then import it."
        ) from error


def refuse_escape(container: Path, info: zipfile.ZipInfo) -> None:
    """Raise DataError where a member's name leads out of the archive, or it is a link."""
    # orig_filename is the name as stored: ZipInfo itself has cut it at a null byte.
    name = info.orig_filename
    climbs = ".." in re.split(r"[/\\]", name)
    absolute = name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name)
    link = stat.S_ISLNK(info.external_attr >> 16)
    if climbs or absolute or link or "\0" in name:
        what = "is a symbolic link" if link else "is a path that leads out of the archive"
        raise DataError(
            f"{container}: member {name!r} {what}. Refused: the archive is not what it should be. Get it from its "
            "official source."
        )


@readable()
def _folder(container: Path) -> list[Member]:
    def reader(path: Path) -> Callable[[], bytes]:
        return lambda: read_file(path)

    def fail(error: OSError) -> None:
        raise error

    members = []
    # Left to itself, os.walk passes over a folder that it cannot read.
    for folder, subfolders, files in os.walk(container, onerror=fail):
        subfolders.sort()
        for name in subfolders:
            if (linked := Path(folder, name)).is_symlink():
                raise DataError(
                    f"{linked} is a link to another folder, and links are not followed. Put the folder itself in its "
                    "place."
                )
        for name in sorted(files):
            path = Path(folder, name)
            parts = path.relative_to(container.parent).parts
            members.append(Member(container, parts, *identity(path), reader(path)))
    return members


def identity(path: Path) -> tuple[int, str]:
    """A file's size and stamp, which change when its content does.

    A time of modification can be set back, as copying and unpacking do; the time of the last change of state cannot.
    """
    status = _status(path)
    return status.st_size, f"{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}. Check where it points to and its permissions."
        ) from error


def read_file(path: Path) -> bytes:
    """The bytes of a file, or DataError."""
    if _status(path).st_size > MAX_MEMBER_BYTES:
        raise DataError(f"{path} is larger than any image here (limit {MAX_MEMBER_BYTES / 2**20:.0f} MiB). Remove it.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error


def choose(chosen: dict[tuple[str, str], Member], name: tuple[str, str], member: Member) -> None:
    """Note the member under its (class, image) name: one of two equal copies is kept, two that differ are refused."""
    other = chosen.setdefault(name, member)
    # Stamps of a folder and of a zip cannot be compared; bytes can.
    if other.size != member.size or (other.stamp != member.stamp and other.read() != member.read()):
        raise DataError(
            f"{member.place} and {other.place} are two different images of one name. Remove one of the two copies."
        )
