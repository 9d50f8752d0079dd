"""A data set of what a program holds in memory: pictures and labels, tensors and labels, or a folder, read at once.

`Dataset.of` is the way in; this page is what it does. Pictures (PIL) are read as files are: upright, on white, 8 bits.
Arrays and tensors of uint8 (0 … 255) are pictures too; floating-point ones are taken as they are, in whatever range.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from metabench.vision.data.archive import readable, walk
from metabench.vision.data.cache import content_digest
from metabench.vision.data.decode import RESAMPLE, decode, prepared
from metabench.vision.data.folder import survey
from metabench.vision.data.options import Options
from metabench.vision.data.source import ALL, ClassImages, DataError, Dataset, class_indices, full_path, notes_of

Pixels = NDArray[Any]


def from_pairs(
    pairs: Iterable[tuple[object, object]],
    name: str,
    size: int | None,
    grey: bool | None,
    splits: Mapping[str, Iterable[object]] | None,
) -> Dataset:
    """A data set of (image, label) pairs; see `Dataset.of`."""
    images, labels = list[Pixels](), list[object]()
    for index, (image, label) in enumerate(pairs):
        pixels = _pixels(image, size, grey, f"{name}: image {index}")
        if images and (pixels.shape, pixels.dtype) != (images[0].shape, images[0].dtype):
            raise DataError(
                f"{name}: image {index} is {pixels.dtype} {pixels.shape}, image 0 {images[0].dtype} {images[0].shape}. "
                "Bring them to one with size=…, and grey=True or False."
            )
        images.append(pixels)
        labels.append(_plain(label))
    if not images:
        raise DataError(f"{name}: there are no images.")
    return _sorted(np.stack(images), labels, name, splits)


def from_arrays(
    images: object, labels: Iterable[object], name: str, splits: Mapping[str, Iterable[object]] | None
) -> Dataset:
    """A data set of a batch of images, (N, H, W) or (N, C, H, W), and a label for each; see `Dataset.of`."""
    batch = _numbers(images, name)
    named = [_plain(label) for label in labels]
    if batch.ndim not in (3, 4) or len(batch) != len(named) or not named:
        raise DataError(
            f"{name}: images of shape {batch.shape} and {len(named)} labels; expected (N, H, W) or (N, C, H, W) and N."
        )
    return _sorted(batch[:, None] if batch.ndim == 3 else batch, named, name, splits)


def from_folder(path: Path, name: str, size: int | None, grey: bool | None) -> Dataset:
    """A data set of the pictures in a folder, zip or tar (`vision.data.folder`), read into memory.

    Where neither folders nor a list say of which split a class is, all are in the split "all".
    """
    path = full_path(path).absolute()
    if not path.exists():
        raise DataError(f"{path} does not exist. Give the folder, zip or tar with the pictures.")
    options = Options(size=Options.size if size is None else size, grey=bool(grey))
    channels = 1 if options.grey else 3
    with readable(), walk([path]) as members:
        found = survey(members, options, path, seeded=False)
        if found.missing:
            raise DataError(f"{found.missing[0].place}: {'/'.join(found.missing[0].parts)} is not in {path}.")
        content = [(item.class_name, item.image_name, item.read()) for item in found.items]
        pixels = [
            decode(data, item.place, channels=channels, size=options.size)
            for item, (*_, data) in zip(found.items, content, strict=True)
        ]
    images = _grouped(np.stack(pixels), [c for c, *_ in content], content_digest(content))
    indices = class_indices(images.names, found.splits, name)
    return Dataset(name, images, indices, split_version=found.scheme, notes=notes_of(images, indices))


def _sorted(
    images: Pixels, labels: Sequence[object], name: str, splits: Mapping[str, Iterable[object]] | None
) -> Dataset:
    """The images of each class together: numbers in their own order, then other labels by name."""
    inorder = sorted(set(labels), key=lambda label: (label if isinstance(label, int) else math.inf, str(label)))
    ranks = {label: i for i, label in enumerate(inorder)}
    order = np.argsort([ranks[label] for label in labels], kind="stable")
    names = [str(labels[i]) for i in order]
    images = images[order]
    digest = content_digest((names[i], f"{i:09d}", image.tobytes()) for i, image in enumerate(images))
    grouped = _grouped(images, names, digest)
    said = {ALL: grouped.names} if splits is None else {s: [str(_plain(c)) for c in of] for s, of in splits.items()}
    indices = class_indices(grouped.names, said, name)
    return Dataset(name, grouped, indices, split_version="given", notes=notes_of(grouped, indices))


def _grouped(images: Pixels, names: Sequence[str], digest: str) -> ClassImages:
    starts = [i for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    return ClassImages(images, np.array([*starts, len(names)]), tuple(names[i] for i in starts), digest)


def _plain(label: object) -> object:
    """A label as a number or a text: a tensor or array of one number is that number."""
    return label.item() if isinstance(label, torch.Tensor | np.ndarray | np.generic) else label


def _pixels(image: object, size: int | None, grey: bool | None, where: str) -> Pixels:
    """One image as (C, H, W)."""
    if not isinstance(image, Image.Image):
        array = _numbers(image, where)
        last = isinstance(image, np.ndarray) and array.ndim == 3 and array.shape[-1] in (1, 2, 3, 4)
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1) if last else array
        if array.ndim != 3:
            raise DataError(f"{where} has the shape {array.shape}; expected a picture, (H, W), or (C, H, W).")
        if size is None and grey is None:
            return array
        if array.dtype != np.uint8 or array.shape[0] not in (1, 3):
            raise DataError(f"{where} is {array.dtype} {array.shape}; only pictures and uint8 can be resized or grey.")
        image = Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))
    flat = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
    picture = prepared(image, where, "L" if (flat if grey is None else grey) else "RGB")
    if size is not None and picture.size != (size, size):
        picture = picture.resize((size, size), RESAMPLE["lanczos"])
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _numbers(image: object, where: str) -> Pixels:
    """An array or tensor as uint8 or float32; DataError for other numbers, whose range nobody knows."""
    array = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise DataError(f"{where} holds numbers that are not finite.")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    if array.dtype not in (np.uint8, np.float32):
        raise DataError(f"{where} holds {array.dtype}; give uint8 (0 … 255) or floating-point numbers.")
    return array


def pairs_of(data: object) -> Iterator[tuple[object, object]]:
    """The pairs of a sequence: one that has a length by index, as data sets of torch are; anything else in turn."""
    if hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return (data[i] for i in range(len(data)))
    if isinstance(data, Iterable):
        return iter(data)
    raise DataError(
        f"{type(data).__name__} is neither a sequence of (image, label) pairs nor a folder, and has no labels beside it"
    )
