"""The protocol of old and new records: one set of fields, whatever the age of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metabench.bench.leaderboard.protocol import CONTROL_FIELDS, NOTED, VISION_FIELDS
from metabench.bench.records.protocol import policy_name, protocol_key, protocol_of
from metabench.bench.records.rows import read
from tests.support.synthetic import control_record, record, row, write

YOUNGER = ("augmentation", "smoothing", "resampling", "policy", "time_step")
"""Fields that the first records lack."""


def old(made: dict[str, Any], **recipe: Any) -> dict[str, Any]:
    """The record as it would have been before."""
    protocol = {k: v for k, v in made["protocol"].items() if k not in YOUNGER}
    return {**made, "protocol": protocol, "recipe": {**made["recipe"], **recipe}}


def test_a_new_record_says_it_all() -> None:
    found = protocol_of(record())
    assert set(VISION_FIELDS) <= set(found)
    assert (found["augmentation"], found["smoothing"], found["resampling"]) == ("none", 0.0, "lanczos")
    assert found["precision"] == "fp32"
    assert set(CONTROL_FIELDS) <= set(protocol_of(control_record()))


@pytest.mark.parametrize(
    ("recipe", "dataset", "expected"),
    [
        ({}, "omniglot", ("none", 0.0, "lanczos")),
        ({"augment": True, "smoothing": 0.1}, "mini-imagenet", ("metaoptnet", 0.1, "lanczos")),
        ({"augment": False, "smoothing": 0}, "quick-draw", ("none", 0.0, "drawn")),
        ({"augment": "none"}, "omniglot", ("none", 0.0, "lanczos")),
        ({"augment": "strong"}, "omniglot", ("strong", 0.0, "lanczos")),
        ({}, "glyphs", ("none", 0.0, "drawn")),
    ],
)
def test_an_old_record_of_images_has_the_values_of_its_time(
    recipe: dict[str, Any], dataset: str, expected: tuple[Any, ...]
) -> None:
    made = old(record(), **recipe)
    made["protocol"]["dataset"] = dataset
    found = protocol_of(made)
    assert (found["augmentation"], found["smoothing"], found["resampling"]) == expected
    assert type(found["smoothing"]) is float


def test_training_is_that_of_the_recipe_that_was_trained() -> None:
    made = old(record()) | {"trained_recipe": {**record()["recipe"], "augment": True, "smoothing": 0.1}}
    found = protocol_of(made)
    assert (found["augmentation"], found["smoothing"]) == ("metaoptnet", 0.1)


def test_an_old_record_of_control_has_its_policy_and_of_the_plane_no_clock() -> None:
    units = {"activation": "relu", "hidden": [100, 100]}
    plane = protocol_of(old(control_record(benchmark="navigation"), **units))
    assert (plane["policy"], plane["time_step"]) == ("relu 100x100", 0.0)
    cheetah = protocol_of(old(control_record(), **units))
    assert cheetah["policy"] == "relu 100x100"
    assert "time_step" not in cheetah
    assert policy_name("tanh", (64,)) == "tanh 64"


def test_seeds_of_both_ages_are_one_row_and_compare(tmp_path: Path) -> None:
    write(tmp_path, record(mean=0.95), old(record(seed=1, mean=0.952)))
    (found,) = read(tmp_path / "records").rows
    assert [r["seed"] for r in found.records] == [0, 1]
    assert protocol_key(found.records[0]) == protocol_key(found.records[1])
    assert json.loads(protocol_key(record())) == {k: v for k, v in protocol_of(record()).items() if k != "precision"}
    assert protocol_key(record()) != protocol_key(record(protocol={"norm": "running"}))


def test_a_row_names_every_precision_of_its_seeds() -> None:
    half = record(seed=1)
    half["provenance"] = {**half["provenance"], "precision": "bf16"}
    both = row(record(), half)
    assert both.protocol(both.measured)["precision"] == "bf16, fp32"
    assert protocol_key(half) == protocol_key(record())
    assert {"precision", "resampling", "policy"} <= NOTED
