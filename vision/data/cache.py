"""Images decoded once, kept as one memory-mapped array, found again by their content.

A cache entry is a folder ``<name>-<key>`` with ``images.npy`` (M, C, H, W) uint8 and ``index.json``. It is
built in a temporary folder beside it and moved into place in one step, so a reader sees all of it or none,
however many processes build at once and whenever one dies. An entry that does not pass its own checks is
built again: the cache can be deleted at any time.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from metabench.vision.data.source import ClassImages, DataError, Pixels

FORMAT = 1
"""Raised when the layout of an entry or the meaning of its pixels changes: older ones are then not found."""
CHECKED_BYTES = 64 * 2**20
"""An array up to this size has its pixels checked at every load (0.05 s); a larger one only its size and index."""
ABANDONED = 24 * 3600
"""Seconds after which a temporary folder without a lock is taken to be left by a process that was killed."""
TEMPORARY = (".building-", ".verify-", ".import-", ".download-")
"""How the names of temporary folders begin, here and in the data root."""
LOCK = "lock"
"""The file in a temporary folder that is locked for as long as the process that works there lives."""


class Item(NamedTuple):
    """An image to be decoded."""

    class_name: str
    image_name: str
    place: str
    read: Callable[[], bytes]
    """Its encoded bytes (or, for sources that hold arrays, its pixels)."""


def key_of(*facts: object) -> str:
    """A short name for whatever decides the decoded pixels: files, sizes, checksums, image size, filter."""
    return hashlib.sha256(json.dumps([FORMAT, facts], default=str).encode()).hexdigest()[:20]


def content_digest(items: Iterable[tuple[str, str, bytes]]) -> str:
    """sha256 over (class name, image name, sha256 of the image's bytes), in the order given.

    The zip, its compression and the order of its members leave no trace in it.
    """
    digest = hashlib.sha256()
    for class_name, image_name, content in items:
        digest.update(entry_of(class_name, image_name, content))
    return digest.hexdigest()


def entry_of(class_name: str, image_name: str, content: bytes) -> bytes:
    """What one image adds to a digest of content. A file's name need not be UTF-8: it counts byte by byte."""
    return f"{class_name}/{image_name}\0".encode(errors="surrogateescape") + hashlib.sha256(content).digest()


def cached(
    name: str,
    key: str,
    items: Callable[[], Sequence[Item]],
    decode: Callable[[bytes, str], Pixels],
    *,
    shape: tuple[int, int, int],
    cache: Path,
) -> ClassImages:
    """The decoded images of a source, from the cache where it has them.

    Args:
        key: from `key_of`, everything that decides the result.
        items: called only when they must be decoded.
        decode: (bytes, place) -> (C, H, W) uint8.
        shape: (C, H, W).

    Raises:
        DataError: an image that cannot be decoded; a cache folder that is full or cannot be written.
    """
    entry = cache / f"{name}-{key}"
    found = open_entry(entry, shape)
    if found is not None:
        return found
    todo = sorted(items(), key=lambda item: item[:2])
    if not todo:
        raise DataError(
            f"{name}: its files hold no images of any class. See `metabench data list` for how to get them."
        )
    try:
        with workspace(cache, ".building-") as temporary:
            draft = temporary / "entry"
            draft.mkdir()
            write_entry(draft, todo, decode, shape)
            ours = open_entry(draft, shape)
            if ours is None:
                raise DataError(f"What was written to {cache} does not read back. Check the disk.")
            # Should another process be replacing the entry just now, the file that is open here remains readable.
            return _publish(draft, entry, shape) or ours
    except OSError as error:
        raise _unwritable(cache, error, len(todo) * int(np.prod(shape))) from error


def _unwritable(cache: Path, error: OSError, needed: int) -> DataError:
    what = "is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"cannot be written ({error.strerror})"
    return DataError(
        f"The cache folder {cache} {what}; {needed / 1e6:.0f} MB are needed. Set METABENCH_CACHE to another folder."
    )


def write_entry(
    draft: Path,
    items: Sequence[Item],
    decode: Callable[[bytes, str], Pixels],
    shape: tuple[int, int, int],
    *,
    failed: Callable[[Item, DataError], None] | None = None,
) -> None:
    """Stream the decoded images and the index into an empty folder.

    Args:
        items: in the order of the images, all of a class together.
        failed: told of an image that cannot be read, which is then left out; without it that is an error.
    """
    pixels, content, names, starts, count = hashlib.sha256(), hashlib.sha256(), list[str](), list[int](), 0
    # Plain writes and not a writable memory map: on a full disk those raise an error, and a map kills the process.
    with open(draft / "images.npy", "wb") as file:
        _write_header(file, len(items), shape)
        for item, data, image in _decoded(items, decode, shape, failed):
            if not names or names[-1] != item.class_name:
                names.append(item.class_name)
                starts.append(count)
            content.update(entry_of(item.class_name, item.image_name, data))
            raw = image.tobytes()
            pixels.update(raw)
            file.write(raw)
            count += 1
        if count != len(items):
            file.seek(0)
            _write_header(file, count, shape)  # of the same length: NumPy leaves room for any number of images
        _sync(file)
    index = {
        "shape": [count, *shape],
        "starts": [*starts, count],
        "names": names,
        "digest": content.hexdigest(),
        "pixels": pixels.hexdigest(),
    }
    with open(draft / "index.json", "wb") as file:
        file.write(json.dumps({"seal": _seal(index), "index": index}).encode())
        _sync(file)


def _decoded(
    items: Iterable[Item],
    decode: Callable[[bytes, str], Pixels],
    shape: tuple[int, int, int],
    failed: Callable[[Item, DataError], None] | None,
) -> Iterator[tuple[Item, bytes, Pixels]]:
    """The images that can be read: each with its bytes and its pixels."""
    for item in items:
        try:
            data = item.read()
            image = decode(data, item.place)
            if image.shape != shape or image.dtype != np.uint8:
                raise DataError(f"{item.place}: {image.dtype} pixels {image.shape}, expected uint8 {shape}.")
        except DataError as error:
            if failed is None:
                raise
            failed(item, error)
        else:
            yield item, data, image


def _write_header(file: BinaryIO, count: int, shape: tuple[int, int, int]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)})


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _seal(index: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()


def _publish(draft: Path, entry: Path, shape: tuple[int, int, int]) -> ClassImages | None:
    """Move the draft into place, unless another process was first; a damaged entry makes room. What is there then."""
    for _ in range(10):
        with suppress(FileNotFoundError):
            if (there := open_entry(entry, shape)) is not None:
                return there
            # Moved aside first: deleting in place would let a reader see half of it.
            os.replace(entry, Path(tempfile.mkdtemp(dir=draft.parent)) / "damaged")
        try:
            os.replace(draft, entry)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return open_entry(entry, shape)
    raise DataError(f"{entry} is damaged and cannot be replaced. Delete it.")


@contextmanager
def workspace(folder: Path, prefix: str) -> Iterator[Path]:
    """A temporary folder in a folder, which is made if need be; what killed processes left there is deleted first.

    Args:
        prefix: one of `TEMPORARY`.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    with (
        tempfile.TemporaryDirectory(prefix=prefix, dir=folder, ignore_cleanup_errors=True) as temporary,
        ExitStack() as s,
    ):
        # Without locks, as on some network disks, the age of the folder has to do.
        with suppress(OSError):
            s.enter_context(_locked(Path(temporary)))
        yield Path(temporary)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with open(folder / ".lock", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.replace(folder / ".lock", folder / LOCK)  # once it is locked: a sweep sees no lock, or one that is held
        yield


def sweep(folder: Path) -> None:
    """Delete the temporary folders that killed processes left in a folder."""
    for old in (path for prefix in TEMPORARY for path in folder.glob(f"{prefix}*")):
        with suppress(OSError), _abandoned(old) as abandoned:
            if abandoned:
                shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _abandoned(temporary: Path) -> Iterator[bool]:
    """Whether nobody works in a temporary folder any more; nobody else finds that out meanwhile."""
    lock = temporary / LOCK
    if not lock.exists():
        yield time.time() - temporary.stat().st_mtime > ABANDONED
        return
    with open(lock, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an OSError where it is held
        yield True


def open_entry(entry: Path, shape: tuple[int, int, int], *, thorough: bool = False) -> ClassImages | None:
    """The images in a folder that `write_entry` filled, or None where it is absent or damaged.

    Args:
        thorough: check the pixels however many there are (`CHECKED_BYTES`).
    """
    try:
        sealed = json.loads((entry / "index.json").read_bytes())
        index = sealed["index"]
        images = np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    if sealed.get("seal") != _seal(index) or images.dtype != np.uint8:
        return None
    if list(images.shape) != index["shape"] or images.shape[1:] != shape:
        return None
    if (thorough or images.nbytes <= CHECKED_BYTES) and not pixels_intact(images, index["pixels"]):
        return None
    starts = np.array(index["starts"], dtype=np.int64)
    return ClassImages(images=images, starts=starts, names=tuple(index["names"]), digest=index["digest"])


def pixels_intact(images: Pixels, expected: str) -> bool:
    """Whether the pixels are those that were written (sha256)."""
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest() == expected
