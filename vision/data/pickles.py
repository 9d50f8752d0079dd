"""Read ``mini-imagenet-cache-*.pkl`` without running what a pickle can run.

A pickle is a program: it names functions and calls them, and one from the net can call any. This reader admits what
an array of numbers is rebuilt from and refuses every other name before anything is called. NumPy's own types are not
admitted either: a pickle that may make any array or dtype can have bytes of its choice taken for Python objects. Small
stand-ins take their place, which hold plain numbers and nothing else.
"""

from __future__ import annotations

import collections
import math
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metabench.vision.data.source import DataError, Pixels

PLAIN = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})
"""The dtypes that are read, as NumPy names them in a pickle."""


class _Refused(Exception):
    """A pickle that asks for more than arrays of numbers and containers; the message goes on from "is refused:"."""


def _ndarray(*_: object) -> None:
    """Stands for numpy.ndarray, which a pickle of NumPy's names but never calls."""
    raise _Refused("it calls numpy.ndarray")


class _Dtype:
    """Stands for numpy.dtype: plain numbers only."""

    def __init__(self, name: object, align: object = False, copy: object = False) -> None:
        if name not in PLAIN:
            raise _Refused(f"it asks for the dtype {name!r:.40}")
        self.plain = np.dtype(str(name))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, order, subarray, names, fields, *_sizes = state
        if order not in ("|", "<", ">", "=") or (subarray, names, fields) != (None, None, None):
            raise _Refused("it asks for a dtype with fields or parts")
        self.plain = self.plain.newbyteorder(order)


class _Array:
    """Stands for an array, which older protocols make empty and fill afterwards."""

    def __init__(self, numbers: NDArray[Any] | None = None) -> None:
        self.numbers = numbers

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, fortran, data = state
        self.numbers = _numbers(dtype, data, shape, "F" if fortran else "C")


def _numbers(dtype: object, data: object, shape: object, order: Any = "C") -> NDArray[Any]:
    # Python 2 wrote its bytes as text.
    data = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, _Dtype) or not isinstance(data, (bytes, bytearray)):
        raise _Refused("it asks for an array of something else than numbers")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise _Refused("it asks for an array of no valid shape")
    if math.prod(shape) * dtype.plain.itemsize != len(data):
        raise _Refused(f"it asks for an array of more or fewer numbers than its {len(data)} bytes")
    return np.frombuffer(data, dtype.plain).reshape(shape, order=order)


def _reconstruct(kind: object, shape: object, typecode: object) -> _Array:
    if kind is not _ndarray:
        raise _Refused("it asks for an array of another class")
    return _Array()


def _frombuffer(data: object, dtype: object, shape: object, order: str, axes: Any = None) -> _Array:
    """What protocol 5 calls; order "K" is that of a transposed array."""
    return _Array(_numbers(dtype, data, shape).transpose(axes) if order == "K" else _numbers(dtype, data, shape, order))


def _scalar(dtype: object, data: object) -> object:
    return _numbers(dtype, data, ()).item()


def _latin1(text: str, encoding: str) -> bytes:
    """What Python 3 writes for bytes in protocol 2: only the harmless encoding of the many that codecs offers."""
    if encoding != "latin1":
        raise _Refused(f"it asks for the encoding {encoding!r:.40}")
    return text.encode("latin1")


def _admitted() -> dict[tuple[str, str], object]:
    names: dict[tuple[str, str], object] = {
        ("numpy", "ndarray"): _ndarray,
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _latin1,
        ("collections", "OrderedDict"): collections.OrderedDict,
    }
    # NumPy 2 renamed its core; files were written under both names.
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = _reconstruct
        names[f"{core}.multiarray", "scalar"] = _scalar
        names[f"{core}.numeric", "_frombuffer"] = _frombuffer
    for module in ("builtins", "__builtin__"):
        names |= {(module, kind.__name__): kind for kind in (list, dict, tuple, set, frozenset)}
    return names


ADMITTED = _admitted()


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ADMITTED[module, name]
        except KeyError:
            raise _Refused(f"it asks for {module}.{name}") from None


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
    except _Refused as error:
        raise DataError(
            f"{path} is refused: {error}, but only containers and arrays of numbers are read, so nothing of it was "
            "run. Do not open this file with pickle; get the images as JPEG or from a source you trust."
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
    stored, classes = content["image_data"], content["class_dict"]
    images = stored.numbers if isinstance(stored, _Array) else None
    if images is None or images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise unexpected("image_data is not an array of colour images")
    if not isinstance(classes, dict) or not all(isinstance(name, str) for name in classes):
        raise unexpected("class_dict is not a dictionary of class names")
    positions: dict[str, list[int]] = {}
    for name, given in classes.items():
        members = given.numbers.tolist() if isinstance(given, _Array) and given.numbers is not None else given
        if not isinstance(members, (list, tuple)) or not all(type(i) is int and 0 <= i < len(images) for i in members):
            raise unexpected(f"class {name} has positions that are not those of images")
        positions[name] = list(members)
    return Cache(images, positions)
