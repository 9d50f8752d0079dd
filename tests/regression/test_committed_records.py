"""Every committed record can be made again by the command that is printed for it."""

import json
import shlex
from pathlib import Path

import pytest

from metabench.bench.cli.arguments import parse_evaluate
from metabench.bench.cli.run import parse_run
from metabench.bench.worlds.command import FOLDER, command
from metabench.bench.worlds.naming import labelled
from metabench.bench.worlds.retest import retested

RECORDS = Path(__file__).resolve().parents[2] / "results" / "records"

BUILT_IN = {"glyphs", "mini-imagenet", "omniglot", "quick-draw"}


def results() -> dict[str, dict]:
    found = {path.name: json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))}
    return {name: record for name, record in found.items() if record["kind"] == "result"}


def on_pictures_of_ones_own(record: dict) -> bool:
    """Whether its data were imported under a name that another checkout does not have."""
    return record["metric"] == "accuracy" and record["recipe"]["dataset"] not in BUILT_IN


@pytest.mark.parametrize(
    ("name", "record"), [(n, r) for n, r in results().items() if not on_pictures_of_ones_own(r)], ids=str
)
def test_the_printed_command_gives_the_recipe_of_the_record(name, record):
    train, _, test = command(record).partition(" && ")
    program, verb, algorithm, benchmark, *flags = shlex.split(train)
    assert (program, verb) == ("metabench", "run")
    asked = parse_run(algorithm, benchmark, flags)
    recipe = labelled(asked.recipe)
    assert (asked.options.seed, asked.machine.threads) == (record["seed"], record["provenance"]["threads"])
    assert asked.machine.compile is record["provenance"]["compile"]
    if not test:
        assert recipe.digest() == record["recipe_digest"]
        return
    words = shlex.split(test)
    assert words[:3] == ["metabench", "evaluate", FOLDER]
    again = parse_evaluate(words[2:])
    assert retested(recipe, again.change).digest(recipe) == record["recipe_digest"]


def test_a_record_on_pictures_of_ones_own_prints_what_was_typed():
    (record,) = (r for r in results().values() if on_pictures_of_ones_own(r))
    assert command(record) == record["provenance"]["command"]
    twin = json.loads((RECORDS / "protonet_mini-imagenet-5w5s_9ddd4de919cb_seed0.json").read_text())
    assert (record["per_task"], record["curve"]) == (twin["per_task"], twin["curve"]), "the same pictures, imported"
