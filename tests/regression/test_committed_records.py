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


def results() -> dict[str, dict]:
    found = {path.name: json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))}
    return {name: record for name, record in found.items() if record["kind"] == "result"}


@pytest.mark.parametrize(("name", "record"), results().items(), ids=str)
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
