"""Read ``mini-imagenet-cache-*.pkl`` without running what a pickle can run.

A pickle is a program: it names functions and calls them, and one from the net can call any. This reader admits what
an array of numbers is rebuilt from and refuses every other name before anything is called.
"""

from __future__ import annotations

import collections
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vision.images import DataError, Pixels


def _latin1(text: str, encoding: str) -> bytes:
    """What Python 3 writes for bytes in protocol 2: only the harmless encoding of the many that codecs offers."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


def _admitted() -> dict[tuple[str, str], Callable[..., Any]]:
    array = np.zeros(1, np.uint8)
    # The functions that NumPy itself names when it pickles, taken from there because its core is private.
    rebuild: Any = array.__reduce__()[0]
    scalar: Any = np.uint8(0).__reduce__()[0]
    frombuffer: Any = array.__reduce_ex__(5)[0]
    names: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
        ("collections", "OrderedDict"): collections.OrderedDict,
    }
    # NumPy 2 renamed its core; files were written under both names.
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = rebuild
        names[f"{core}.multiarray", "scalar"] = scalar
        names[f"{core}.numeric", "_frombuffer"] = frombuffer
    for module in ("builtins", "__builtin__"):
        names |= {(module, kind.__name__): kind for kind in (list, dict, tuple, set, frozenset, bytearray)}
    return names


ADMITTED = _admitted()


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


class Cache(NamedTuple):
    """The content of such a file."""

    images: Pixels
    """(n, H, W, 3) uint8."""
    classes: dict[str, list[int]]
    """Class name -> positions of its images."""


def read_cache(path: Path) -> Cache:
    """Read ``{"image_data": (n, H, W, 3) uint8, "class_dict": {class: [positions]}}``.

    Raises:
        DataError: the pickle would call a function, is damaged, or holds something else.
    """
    try:
        with open(path, "rb") as file:
            # Files written by Python 2 hold their strings as bytes.
            content = _Reader(file, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is refused: {error}, which is neither an array nor a container, so nothing of it was run. "
            f"Do not open this file with pickle; get the images as JPEG or from a source you trust."
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    # A damaged or malicious pickle can make the interpreter's stack machine raise nearly anything.
    except Exception as error:
        raise DataError(
            f"{path} is not a readable pickle ({type(error).__name__}: {error}). Get it again, then import it."
        ) from error
    return _checked(path, content)


def _checked(path: Path, content: object) -> Cache:
    def unexpected(what: str) -> DataError:
        return DataError(
            f"{path}: {what}. Expected a dictionary with image_data, uint8 (n, height, width, 3), and class_dict, "
            f"{{class: [positions]}}."
        )

    if not isinstance(content, dict) or not {"image_data", "class_dict"} <= content.keys():
        raise unexpected("it has no image_data and class_dict")
    images, classes = content["image_data"], content["class_dict"]
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise unexpected("image_data is not an array of colour images")
    if not isinstance(classes, dict):
        raise unexpected("class_dict is not a dictionary")
    positions: dict[str, list[int]] = {}
    for name, raw in classes.items():
        members = np.asarray(raw)
        if members.ndim != 1 or members.dtype.kind not in "iu" or not ((members >= 0) & (members < len(images))).all():
            raise unexpected(f"class {name} has positions that are not those of images")
        positions[str(name)] = [int(i) for i in members]
    return Cache(images, positions)
