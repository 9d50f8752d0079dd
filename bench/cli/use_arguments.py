"""What `predict` and `export` take; importing it takes no torch, so that help is there at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class PredictCommand:
    """Adapt a trained few-shot learner to pictures of a few classes, and say of which class others are."""

    folder: tyro.conf.Positional[Path]
    """Run folder, or what `metabench export` made of one."""
    support: Path
    """Folder with a sub-folder of pictures for each class."""
    query: tuple[Path, ...]
    """Pictures, or folders of them; sub-folders named as the classes tell how many answers are right."""
    steps: int | None = None
    """Updates on the support; as many as the learner was tested with if not given."""
    json: bool = False
    """Print JSON instead of a table."""
    sheet: Path | None = None
    """Also draw the support and the answers, a row for each class, e.g. sheet.png."""
    invert: Literal["auto", "yes", "no"] = "auto"
    """Whether dark strokes on paper become bright ones; auto as the pictures were that the learner was trained on."""
    unreadable: Literal["refuse", "skip"] = "refuse"
    """What happens where a picture cannot be read: nothing is answered, or it is left out and named."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the learner runs."""


@dataclass(frozen=True)
class ExportCommand:
    """Write a finished run's best learner as weights.safetensors, with a card of its recipe, protocol and score."""

    folder: tyro.conf.Positional[Path]
    """Run folder."""
    out: Path
    """Folder for the three files."""


def parse_predict(arguments: Sequence[str]) -> PredictCommand:
    """The command that the words after `predict` say; SystemExit after --help or for what cannot be read."""
    return tyro.cli(PredictCommand, args=arguments, prog="metabench predict")


def parse_export(arguments: Sequence[str]) -> ExportCommand:
    """The command that the words after `export` say; SystemExit after --help or for what cannot be read."""
    return tyro.cli(ExportCommand, args=arguments, prog="metabench export")
