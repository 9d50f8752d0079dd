"""The protocol of a record, whatever its age: fields that are younger than it have the value that they had then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from metabench.bench.recipes.recipe import augmentation

DRAWN = frozenset({"glyphs", "quick-draw"})
"""Data sets whose images were always drawn at their size; those of all others were resized with Lanczos' filter."""


def protocol_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What two scores must agree on before they can be compared, and the precision that this one was computed in."""
    recipe = record.get("trained_recipe", record["recipe"])
    protocol, precision = record["protocol"], {"precision": record["provenance"]["precision"]}
    younger = _of_control(protocol, recipe) if record["metric"] == "return" else _of_images(protocol, recipe)
    return {**younger, **protocol, **precision}


def protocol_key(record: Mapping[str, Any]) -> str:
    """Equal for records that may stand in one row: the same protocol, whatever the precision."""
    return json.dumps({k: v for k, v in protocol_of(record).items() if k != "precision"}, sort_keys=True)


def _of_images(protocol: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "augmentation": augmentation(recipe),
        "smoothing": float(recipe.get("smoothing", 0.0)),
        "resampling": "drawn" if protocol.get("dataset") in DRAWN else "lanczos",
    }


def _of_control(protocol: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if {"activation", "hidden"} <= recipe.keys():
        found["policy"] = policy_name(recipe["activation"], recipe["hidden"])
    if protocol.get("environment") == "navigation":
        found["time_step"] = 0.0  # of the robots several clocks were in use
    return found


def policy_name(activation: str, hidden: list[int] | tuple[int, ...]) -> str:
    """ "tanh 64x64": the units and widths of a policy's layers."""
    return f"{activation} {'x'.join(map(str, hidden))}"
