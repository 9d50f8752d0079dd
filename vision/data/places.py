"""Where data and what is derived from it are, and the error of data that cannot be used. It imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path


class DataError(Exception):
    """Data that cannot be used. The message says what is wrong, where (file and member), and what to do."""


def data_root() -> Path:
    """The folder with the users' data files: $METABENCH_DATA, else ~/.cache/metabench/data. May be read-only."""
    return _folder("METABENCH_DATA", "data")


def cache_root() -> Path:
    """The folder with decoded images: $METABENCH_CACHE, else ~/.cache/metabench/decoded. Can be deleted freely."""
    return _folder("METABENCH_CACHE", "decoded")


def _folder(variable: str, default: str) -> Path:
    given = os.environ.get(variable)
    return full_path(Path(given) if given else Path("~", ".cache", "metabench", default))


def full_path(path: Path) -> Path:
    """The path with its leading ~ or ~user spelled out."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise DataError(f"{path}: there is no home folder for {path.parts[0]}. Give the full path.") from error
