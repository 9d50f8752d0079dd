"""How anybody's pictures become a data set: the flags of `metabench data import`, which no import of torch delays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metabench.vision.data.places import DataError

LARGEST = 1024
"""Pixels of a side, at most: a thousand such pictures are 3 GB."""


@dataclass(frozen=True)
class Options:
    """How pictures become a data set."""

    size: int = 84
    """Height and width that every picture is brought to, in pixels; other shapes are squeezed."""
    grey: bool = False
    """Grey levels instead of colour."""
    split: Literal["auto", "folder", "file", "seed"] = "auto"
    """What says which split a class is of: folders named train, val and test; a CSV; or a seed. auto: what there is."""
    labels: Path | None = None
    """CSV with the columns file, label and perhaps split, or label and split; found by itself beside the pictures."""
    seed: int = 0
    """Seed of the split by seed."""
    shares: tuple[int, int, int] = (60, 20, 20)
    """Per cent of the classes that train, validate and test in the split by seed."""
    least: int = 2
    """Pictures that a class must have; smaller ones are left out, by name."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be."""
        if not 1 <= self.size <= LARGEST:
            raise DataError(f"--size is {self.size}; it must be between 1 and {LARGEST} pixels")
        if min(self.shares) <= 0:
            raise DataError(f"--shares are {self.shares}; all three must be positive")
        if self.least < 1:
            raise DataError(f"--least is {self.least}; it must be at least 1")
