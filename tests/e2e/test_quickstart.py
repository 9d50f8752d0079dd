"""The quickstart with five learners that train for a moment: a table, a picture, and commands that work."""

import dataclasses
import json

import pytest
from PIL import Image

from metabench.bench.cli import quickstart
from metabench.bench.cli.main import main

NAMES = ["maml", "anil", "meta-sgd", "protonet", "metaoptnet"]
plain_recipe_of = quickstart.recipe_of


def small(algorithm, benchmark):
    fields = {"iterations": 4, "val_every": 2, "val_tasks": 4, "test_tasks": 6}
    own = {"rollouts": 2, "meta_batch": 2} if benchmark == "navigation" else {"width": 4, "train_ways": 5}
    return dataclasses.replace(plain_recipe_of(algorithm, benchmark), **fields, **own)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The working directory after one quickstart, and what it printed."""
    folder = tmp_path_factory.mktemp("quickstart")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quickstart, "recipe_of", small)
        patch.chdir(folder)
        yield folder


def run(capsys):
    assert main(["quickstart", "--threads", "1", "--seed", "3"]) == 0
    return capsys.readouterr().out


def test_five_learners_on_the_same_episodes(done, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = run(capsys)
    runs = done / "runs" / "quickstart" / "seed3"
    for benchmark, scale in (("glyphs-5w1s", 100), ("navigation", 1)):
        paths = sorted((runs / benchmark).glob("*/record.json"))
        assert [path.parent.name for path in paths] == sorted(NAMES)
        records = [json.loads(path.read_text()) for path in paths]
        for path, record in zip(paths, records, strict=True):
            name, test = path.parent.name, record["test"]
            assert (record["algorithm"], record["benchmark"], record["seed"]) == (name, benchmark, 3)
            assert test["updates"] == [0, 1, 2, 3]
            cells = [f"{scale * m:.1f} ± {scale * c:.1f}" for m, c in zip(test["mean"], test["ci95"], strict=True)]
            assert any(name in line and all(cell in line for cell in cells) for line in out.splitlines())
        fields = ("dataset", "split", "ways", "shots", "queries", "environment", "horizon", "rollouts", "test_tasks")
        assert len({tuple(r["protocol"].get(k) for k in fields) for r in records}) == 1
    assert not (done / "results").exists()
    with Image.open(runs / "quickstart.png") as picture:
        assert picture.size == (1430, 792)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 100

    marks = {path: path.stat().st_mtime_ns for path in runs.glob("*/*/checkpoint.pt")}
    assert len(marks) == 10
    again = run(capsys)
    assert {path: path.stat().st_mtime_ns for path in marks} == marks
    assert again.partition("next:")[0] == out.partition("next:")[0]

    commands = [line.split("  ")[1] for line in out.split("next:\n")[1].splitlines()]
    assert len(commands) == len(quickstart.NEXT)
    for command in commands:
        verb, *rest = command.removeprefix("metabench ").split()
        extra = {"run": ["--dry-run"], "evaluate": ["--tasks", "4", "--threads", "1"]}.get(verb, [])
        assert main([verb, *rest, *extra]) == 0, command


def test_its_recipes_are_the_papers_but_for_the_schedule():
    schedule = {"schedule", "iterations", "lr_factors", "val_every", "val_tasks", "test_tasks", "test_steps"}
    own = {"glyphs-5w1s": set(), "navigation": {"meta_batch", "rollouts"}}
    for benchmark in quickstart.BENCHMARKS:
        for name in NAMES:
            recipe, paper = plain_recipe_of(name, benchmark), quickstart.resolve(name, benchmark)
            changed = {f.name for f in dataclasses.fields(recipe) if getattr(recipe, f.name) != getattr(paper, f.name)}
            assert changed <= schedule | own[benchmark] | (
                {"meta_batch"} if name in ("protonet", "metaoptnet") else set()
            )
            assert (recipe.schedule, recipe.iterations) == ("quickstart", quickstart.ITERATIONS[benchmark])
