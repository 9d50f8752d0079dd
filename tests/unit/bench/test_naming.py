"""What a recipe is called, the words that give it again, and tests under another protocol."""

import dataclasses
import json
import shlex

import pytest

from metabench.bench.cli.arguments import parse_evaluate
from metabench.bench.cli.run import parse_run
from metabench.bench.recipes import control, few_shot
from metabench.bench.recipes.recipe import RecipeError
from metabench.bench.worlds import Retest, resolve
from metabench.bench.worlds.command import called, command
from metabench.bench.worlds.naming import labelled, run_words, schedule_of
from metabench.bench.worlds.retest import retest_words, retested
from tests.support.synthetic import record

CHANGES = [
    ("maml", "omniglot-5w1s", {}, ""),
    ("maml", "omniglot-5w1s", {"inner_lr": 1e-5, "first_order": True}, "--inner-lr 1e-05 --first-order"),
    ("protonet", "omniglot-5w1s", {"rotations": (), "lr_factors": ()}, "--rotations --lr-factors"),
    ("metaoptnet", "mini-imagenet-5w1s", {"augment": "none"}, "--augment none"),
    ("maml", "cheetah-vel", {"hidden": (7, 8, 9), "curvature": 0.2}, "--hidden 7 8 9 --curvature 0.2"),
    ("metaoptnet", "glyphs-5w1s", {"lr_factors": ((5, 0.5), (8, 0.25))}, "--lr-factors 5 0.5 8 0.25"),
]


@pytest.mark.parametrize(("algorithm", "name", "changed", "flags"), CHANGES)
def test_a_recipe_is_said_in_flags_and_flags_give_it_again(algorithm, name, changed, flags):
    recipe = dataclasses.replace(resolve(algorithm, name), **changed)
    assert run_words(recipe) == [algorithm, name, *flags.split()]
    again = labelled(parse_run(algorithm, name, flags.split()).recipe)
    assert (again.digest(), again.schedule) == (recipe.digest(), "custom" if changed else "paper")


def test_the_schedule_with_the_fewest_flags_is_the_one_that_is_named():
    short = resolve("maml", "cheetah-vel", "short")
    assert run_words(short) == ["maml", "cheetah-vel", "--schedule", "short"]
    changed = dataclasses.replace(short, curvature=0.2)
    assert run_words(changed) == ["maml", "cheetah-vel", "--schedule", "short", "--curvature", "0.2"]


def test_a_recipe_keeps_its_name_until_the_name_means_another(monkeypatch):
    """Curvature of the short schedule was 0.2 once, and is that of every transition now."""
    monkeypatch.setitem(control.SHORT, "curvature", 0.2)
    then = resolve("maml", "cheetah-vel", "short")
    assert schedule_of(then) == "short"
    monkeypatch.undo()
    assert (then.schedule, schedule_of(then)) == ("short", "custom")
    assert shlex.join(run_words(then)) == "maml cheetah-vel --schedule short --curvature 0.2"


def test_a_record_that_outlived_its_name_is_called_by_flags_and_a_fresh_one_by_the_name(monkeypatch):
    monkeypatch.setitem(few_shot.SHORT, ("maml", "omniglot"), {"iterations": 3000})
    then = record(schedule="short")
    assert called(then) == "short"
    monkeypatch.undo()
    assert called(then) == "--iterations 3000 --val-every 300"
    assert called(record(schedule="short")) == "short"
    assert command(then) == ("metabench run maml omniglot-5w1s --iterations 3000 --val-every 300 --seed 0 --threads 1")


def test_the_command_of_a_record_says_how_the_machine_was_used():
    made = record(seed=3, inner_lr=0.5)
    made["provenance"] |= {"threads": 2, "processes": 4, "precision": "bf16", "compile": True}
    assert command(made) == (
        "torchrun --nproc-per-node=4 -m metabench run maml omniglot-5w1s --inner-lr 0.5 --seed 3 "
        "--threads 2 --precision bf16 --compile"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"algorithm": "gradient-free", "benchmark": "omniglot-5w1s"},
        {"algorithm": "maml", "benchmark": "omniglot-5w1s", "dataset": "glyphs"},
        {"algorithm": "maml", "benchmark": "omniglot-5w1s", "environment": "navigation"},
        {"algorithm": "maml", "benchmark": "omniglot-5w1s", "inner_lr": "fast"},
        {"algorithm": "maml", "benchmark": "omniglot-5w1s", "lr_factors": [5]},
        {"algorithm": "maml", "benchmark": "omniglot-5w1s", "inner_lr": 10**400},
    ],
)
def test_what_no_flags_give_is_shown_as_it_was_typed(fields):
    made = {**record(), "recipe": {**fields, "schedule": "own"}}
    assert command(made) == "python -m bench run maml omniglot-5w1s --seed 0 --publish"
    assert called(made) in ("own", "custom")


TESTS = [
    ("maml", "omniglot-5w1s", {"shots": 5}, {"benchmark": "omniglot-5w5s", "shots": 5, "queries": 5}),
    ("maml", "omniglot-5w5s", {"shots": 1}, {"benchmark": "omniglot-5w1s", "shots": 1, "queries": 1}),
    ("maml", "omniglot-5w1s", {"shots": 5, "queries": 1}, {"shots": 5, "queries": 1, "schedule": "custom"}),
    ("maml", "omniglot-5w1s", {"queries": 15}, {"queries": 15, "schedule": "custom"}),
    ("protonet", "omniglot-5w1s", {"ways": 20}, {"benchmark": "omniglot-20w1s", "ways": 20, "queries": 15}),
    ("maml", "omniglot-5w1s", {"tasks": 50, "steps": 0}, {"test_tasks": 50, "test_steps": 0, "schedule": "custom"}),
    ("maml", "omniglot-5w1s", {"tasks": 600, "steps": 3, "queries": 1, "ways": 5}, {"schedule": "paper"}),
    ("maml", "cheetah-dir-2019", {"environment": "cheetah-dir-maml"}, {"benchmark": "cheetah-dir-maml"}),
    (
        "maml",
        "glyphs-5w1s",
        {"benchmark": "omniglot-5w1s"},
        {
            "benchmark": "glyphs-to-omniglot-5w1s",
            "dataset": "omniglot",
            "trained_on": "glyphs",
            "split": "random",
            "rotations": ("val", "test"),
            "resample": "nearest",
            "queries": 1,
            "schedule": "paper",
            "inner_lr": 0.4,
        },
    ),
    (
        "protonet",
        "omniglot-5w1s",
        {"benchmark": "quick-draw-5w1s", "shots": 5, "queries": 3, "tasks": 9},
        {
            "benchmark": "omniglot-to-quick-draw-5w5s",
            "shots": 5,
            "queries": 3,
            "trained_on": "omniglot",
            "rotations": ("train",),
            "resample": "lanczos",
            "train_ways": 60,
            "test_tasks": 9,
            "schedule": "custom",
        },
    ),
    (
        "protonet",
        "glyphs-5w1s",
        {"benchmark": "omniglot-lake-20w1s"},
        {"benchmark": "glyphs-to-omniglot-lake-20w1s", "lake_runs": True, "tests": 20},
    ),
    ("protonet", "omniglot-5w1s", {"benchmark": "omniglot-20w1s"}, {"benchmark": "omniglot-20w1s", "trained_on": ""}),
    ("maml", "cheetah-dir", {"steps": 2, "tasks": 4}, {"test_steps": 2, "test_tasks": 4, "schedule": "custom"}),
]


@pytest.mark.parametrize(("algorithm", "name", "changed", "expected"), TESTS)
def test_a_test_under_another_protocol_is_said_in_flags_too(algorithm, name, changed, expected):
    trained = resolve(algorithm, name)
    tested = retested(trained, Retest(**changed))
    assert {name: getattr(tested, name) for name in expected} == expected
    words = retest_words(trained, tested)
    assert retested(trained, parse_evaluate(["folder", *words]).change).digest() == tested.digest()


def test_the_queries_of_a_run_stay_its_own_where_ways_and_shots_do():
    trained = dataclasses.replace(resolve("maml", "omniglot-5w1s"), queries=7)
    assert retested(trained, Retest(tasks=50)).queries == 7
    assert retested(trained, Retest(ways=5, shots=1)) == trained
    assert retested(trained, Retest(shots=5)).queries == 5


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("omniglot-5w1s", {"queries": -1}, "--queries is -1; it must be positive, or 0 for the recipe's"),
        ("omniglot-5w1s", {"environment": "cheetah-vel"}, "--environment is of control; few-shot images take --ways"),
        ("omniglot-lake-20w1s", {"ways": 5}, "Lake's runs are of Omniglot with 20 ways and 1 shot"),
        (
            "omniglot-5w1s",
            {"benchmark": "omniglot-within-5w1s"},
            r"splits omniglot otherwise \(within-alphabet, not random\), so that test classes may have been trained on",
        ),
        ("glyphs-5w1s", {"benchmark": "glyfs-5w1s"}, "no benchmark 'glyfs-5w1s'; did you mean 'glyphs-5w1s'"),
        ("cheetah-vel", {"benchmark": "ant-dir"}, "--benchmark is of few-shot images; control takes --environment"),
        ("cheetah-vel", {"queries": 5}, "--ways, --shots and --queries are of few-shot images"),
        (
            "cheetah-vel",
            {"environment": "cheetah-dir"},
            "a policy trained in cheetah-vel cannot be tested in",
        ),
    ],
)
def test_a_test_that_cannot_be_is_refused(name, changed, message):
    with pytest.raises(RecipeError, match=message):
        retested(resolve("maml", name), Retest(**changed))


def test_an_evaluated_record_is_made_again_by_two_commands():
    trained = resolve("protonet", "omniglot-5w1s")
    made = record("protonet", "omniglot-20w1s")
    tested = retested(trained, Retest(ways=20, tasks=50))
    made |= {"recipe": jsonable(tested), "trained_recipe": jsonable(trained)}
    assert called(made) == "trained as omniglot-5w1s paper"
    assert command(made) == (
        "metabench run protonet omniglot-5w1s --seed 0 --threads 1 --out RUN && "
        "metabench evaluate RUN --ways 20 --tasks 50 --threads 1"
    )


def test_a_record_of_two_data_sets_is_made_again_by_two_commands():
    trained = resolve("protonet", "glyphs-5w1s")
    tested = retested(trained, Retest(benchmark="omniglot-5w1s", tasks=50))
    made = record("protonet", "omniglot-5w1s") | {"recipe": jsonable(tested), "trained_recipe": jsonable(trained)}
    assert called(made) == "trained as glyphs-5w1s paper"
    assert command(made) == (
        "metabench run protonet glyphs-5w1s --seed 0 --threads 1 --out RUN && "
        "metabench evaluate RUN --tasks 50 --benchmark omniglot-5w1s --threads 1"
    )


def test_no_flags_give_a_recipe_that_starts_from_weights_and_what_was_typed_is_shown():
    made = record(weights="0" * 64)
    assert made["recipe_digest"] != record()["recipe_digest"]
    assert command(made) == "python -m bench run maml omniglot-5w1s --seed 0 --publish"


def jsonable(recipe):
    return json.loads(json.dumps(dataclasses.asdict(recipe)))
