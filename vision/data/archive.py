"""Walk a folder, a zip or a tar of images in the same way, without trusting any.

An archive is never extracted, so a member cannot escape; one that tries to is refused all the same, because no
honest archive has one and a file like that should be looked at, not imported.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from metabench.vision.data.source import DataError

_PNG, _JPEG, _TIFF, _BMP = (".png",), (".jpg", ".jpeg", ".jpe", ".jfif"), (".tif", ".tiff"), (".bmp", ".dib")
_PPM = (".ppm", ".pgm", ".pbm", ".pnm")
IMAGE_SUFFIXES = (*_PNG, *_JPEG, *_TIFF, *_BMP, *_PPM, ".gif", ".webp")
"""How the names of pictures end, in lower case, of the formats that `vision.data.decode` reads."""
ARCHIVES = (".zip", ".tar")
"""How the names of archives end, in lower case, that are read where they lie."""
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
"""Archives that would have to be unpacked whole to read one picture: refused, with advice."""
MAX_MEMBER_BYTES = 64 * 2**20
"""An image file larger than this is not one of a few-shot set: refused before it is read."""


class Member(NamedTuple):
    """A file within a folder or an archive."""

    container: Path
    parts: tuple[str, ...]
    """Its path within the container; where that is a folder, its own name comes first."""
    size: int
    stamp: str
    """Changes when its content does: the CRC a zip stores, or the times of a file or of its tar (see `identity`)."""
    read: Callable[[], bytes]

    @property
    def place(self) -> str:
        """Where it is, for a message: the container and the path in it."""
        return f"{self.container}: {'/'.join(self.parts)}"

    @property
    def is_hidden(self) -> bool:
        """Whether it is one of the files that a desktop leaves behind."""
        return any(is_hidden(part) for part in self.parts)

    @property
    def is_image(self) -> bool:
        """Whether its name is that of a picture, and not hidden."""
        return not self.is_hidden and self.parts[-1].lower().endswith(IMAGE_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's."""
    return name.startswith((".", "__MACOSX")) or name.lower() in ("thumbs.db", "desktop.ini")


def is_archive(path: Path) -> bool:
    """Whether this is a file whose name is that of an archive, of a kind that is read or of one that is refused."""
    return path.name.lower().endswith((*ARCHIVES, *COMPRESSED)) and path.is_file()


@dataclass(frozen=True)
class Inspected:
    """What was read of files that a user wants to import."""

    images: Mapping[Path, int]
    """Files and folders that are worth copying -> images read in each (a list of images: 0)."""
    left_out: Sequence[Member] = ()
    """What is in them and is no part of the data set."""
    notes: tuple[str, ...] = ()
    """What is odd, but not wrong."""


@contextmanager
def readable() -> Iterator[None]:
    """A block, or a function that it decorates, in which a file or folder that cannot be read is a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}. Check its permissions.") from error


@contextmanager
def walk(containers: Iterable[Path]) -> Iterator[list[Member]]:
    """All files of several folders, zips and tars. They can be read until the context ends.

    Raises:
        DataError: a damaged archive, a member that would escape, a linked folder, one that cannot be read.
    """
    with ExitStack() as stack:
        members: list[Member] = []
        for container in containers:
            if container.is_dir():
                members += _folder(container)
            elif container.name.lower().endswith((".tar", *COMPRESSED)):
                members += _tar(container, stack.enter_context(open_tar(container)))
            else:
                members += _zip(container, stack.enter_context(open_zip(container)))
        yield members


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip, or raise DataError that says what to do."""
    try:
        try:
            # Of names without a mark of their encoding, as many systems write them; where that fails, the old one.
            return zipfile.ZipFile(path, metadata_encoding="utf-8")
        except UnicodeDecodeError:
            return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{path} is not a whole zip ({error}): it may be cut short. Copy or download it again, then import it."
        ) from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}. Check that it exists and its permissions."
        ) from error


def open_tar(path: Path) -> tarfile.TarFile:
    """Open a tar that is not compressed, or raise DataError that says what to do."""
    if path.name.lower().endswith(COMPRESSED):
        raise DataError(
            f"{path} is compressed as a whole, so no picture can be read on its own. Unpack it with tar -xf, then "
            "import the folder."
        )
    try:
        return tarfile.open(path, "r:")
    except tarfile.TarError as error:
        raise _cut_tar(path, error) from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}. Check that it exists and its permissions."
        ) from error


def _cut_tar(path: Path, why: object) -> DataError:
    return DataError(
        f"{path} is not a whole tar ({why}): it may be cut short. Copy or download it again, then import it."
    )


def _tar(container: Path, archive: tarfile.TarFile) -> list[Member]:
    def reader(info: tarfile.TarInfo) -> Callable[[], bytes]:
        return lambda: _read_tar_member(archive, info, container)

    try:
        infos = archive.getmembers()
        # A tar ends in blocks of zeros. One that is cut between two files ends without, and is otherwise in order.
        assert archive.fileobj is not None
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise _cut_tar(container, "its end is missing")
    # A damaged header can make the reader raise nearly anything.
    except (tarfile.TarError, OSError, ValueError, OverflowError, EOFError) as error:
        raise _cut_tar(container, error) from error
    stamp = identity(container)[1]
    members = []
    for info in infos:
        _refuse_name(container, info.name, link=not (info.isfile() or info.isdir()))
        if info.isfile():
            parts = PurePosixPath(info.name).parts
            members.append(Member(container, parts, info.size, f"{stamp}-{info.offset_data:x}", reader(info)))
    return members


def _read_tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo, container: Path) -> bytes:
    _refuse_large(container, info.name, info.size)
    try:
        file = archive.extractfile(info)
        assert file is not None  # it is no folder and no link
        data = file.read()
    except (tarfile.TarError, OSError) as error:
        raise _cut_tar(container, error) from error
    if len(data) != info.size:
        raise _cut_tar(container, f"{info.name} ends early")
    return data


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
    _refuse_large(container, info.filename, info.file_size)
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{container}: {info.filename} cannot be read ({error}). The zip is damaged: get it again, then import it."
        ) from error


def _refuse_large(container: Path, name: str, size: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise DataError(
            f"{container}: {name} claims {size / 2**20:.0f} MiB, more than any image here "
            f"(limit {MAX_MEMBER_BYTES / 2**20:.0f} MiB). Remove it from the archive."
        )


def refuse_escape(container: Path, info: zipfile.ZipInfo) -> None:
    """Raise DataError where a member's name leads out of the zip, or it is a link."""
    # orig_filename is the name as stored: ZipInfo itself has cut it at a null byte.
    _refuse_name(container, info.orig_filename, link=stat.S_ISLNK(info.external_attr >> 16))


def _refuse_name(container: Path, name: str, *, link: bool) -> None:
    climbs = ".." in re.split(r"[/\\]", name)
    absolute = name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name)
    if climbs or absolute or link or "\0" in name:
        what = "is a link or a device" if link else "is a path that leads out of the archive"
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


def beside(folder: Path, taken: Iterable[Path]) -> list[str]:
    """Places of what lies in a folder and in the folders above what was taken, and was not; hidden files are none."""
    taken = set(taken)
    left = []
    for path in sorted(folder.iterdir()):
        if path in taken or is_hidden(path.name):
            continue
        if any(path in piece.parents for piece in taken):
            left += beside(path, taken)
        else:
            left.append(f"{path}{'/' if path.is_dir() else ''}")
    return left
