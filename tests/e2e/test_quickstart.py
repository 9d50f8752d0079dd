"""The quickstart with five learners that train for a moment: a table, a picture, and commands that work."""

import dataclasses
import json

import pytest
import torch
from PIL import Image

from bench import quickstart
from bench.cli import main

NAMES = ["maml", "anil", "meta-sgd", "protonet", "metaoptnet"]
plain_recipe_of = quickstart.recipe_of


def small(algorithm):
    fields = {"iterations": 4, "val_every": 2, "val_tasks": 4, "test_tasks": 6, "width": 4, "train_ways": 5}
    return dataclasses.replace(plain_recipe_of(algorithm), **fields)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The working directory after one quickstart, and what it printed."""
    folder, threads = tmp_path_factory.mktemp("quickstart"), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quickstart, "recipe_of", small)
        patch.chdir(folder)
        yield folder
    torch.set_num_threads(threads)


def run(capsys):
    assert main(["quickstart", "--threads", "1", "--seed", "3"]) == 0
    return capsys.readouterr().out


def test_five_learners_on_the_same_episodes(done, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = run(capsys)
    runs = done / "runs" / "quickstart" / "seed3"
    records = {path.parent.name: json.loads(path.read_text()) for path in runs.glob("*/record.json")}
    assert sorted(records) == sorted(NAMES)
    for name, record in records.items():
        assert (record["algorithm"], record["seed"], record["test"]["updates"]) == (name, 3, [0, 1, 2, 3])
        cells = [f"{100 * m:.1f} ± {100 * c:.1f}" for m, c in zip(*(record["test"][k] for k in ("mean", "ci95")))]
        assert f"│ {name} ".strip() in out
        assert all(cell in out for cell in cells)
    same = {tuple(r["protocol"][k] for k in ("dataset", "split", "ways", "shots", "queries")) for r in records.values()}
    assert len(same) == 1
    assert not (done / "results").exists()
    with Image.open(runs / "quickstart.png") as picture:
        assert picture.size == (1210, 792)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 100

    marks = {path: path.stat().st_mtime_ns for path in runs.glob("*/checkpoint.pt")}
    assert len(marks) == 5
    again = run(capsys)
    assert {path: path.stat().st_mtime_ns for path in marks} == marks
    assert again.splitlines()[3:10] == out.splitlines()[3:10]

    commands = [line.split("  ")[1] for line in out.split("next:\n")[1].splitlines()]
    assert len(commands) == len(quickstart.NEXT)
    for command in commands:
        verb, *rest = command.removeprefix("metabench ").split()
        extra = {"run": ["--dry-run"], "evaluate": ["--tasks", "4", "--threads", "1"]}.get(verb, [])
        assert main([verb, *rest, *extra]) == 0, command


def test_its_recipes_are_the_papers_but_for_the_schedule():
    for name in NAMES:
        recipe, paper = plain_recipe_of(name), quickstart.resolve(name, "glyphs-5w1s")
        changed = {f.name for f in dataclasses.fields(recipe) if getattr(recipe, f.name) != getattr(paper, f.name)}
        schedule = {"schedule", "iterations", "lr_factors", "val_every", "val_tasks", "test_tasks", "test_steps"}
        assert changed <= schedule | ({"meta_batch"} if name == "protonet" else set())
        assert (recipe.schedule, recipe.iterations, recipe.test_tasks) == ("quickstart", 240, 400)
