"""Where results are: in a folder of one's own, and what comes with the package where that has none."""

from __future__ import annotations

from pathlib import Path

RESULTS = Path("results")
"""The results of the working directory: its records and the pages made of them."""

SHIPPED = Path(__file__).parent / "shipped"
"""The published numbers and the baselines: in a checkout a link to `results/`, in an installed package a copy."""


def published_in(results: Path) -> Path:
    """The published numbers of a results folder; the package's where it has none."""
    return _found(results, Path("published.yaml"))


def baselines_in(results: Path) -> Path:
    """The baselines of a results folder; the package's where it has none."""
    return _found(results, Path("baselines", "check.json"))


def _found(results: Path, name: Path) -> Path:
    own = results / name
    return own if own.exists() else SHIPPED / name
