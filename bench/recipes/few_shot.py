"""Recipes of few-shot images by name: `few_shot("maml", "omniglot-5w1s")`.

A recipe is put together from small tables, the later winning: what the benchmark fixes, what the algorithm's
paper used there, what the variant of the algorithm changes, and the short schedule if that is asked for.
"""

from __future__ import annotations

import re

from metabench.algorithms import LEARNERS, ClassifierSettings
from metabench.bench.recipes.recipe import BATCHES, FewShotRecipe, Fields, RecipeError, put_together, unknown
from metabench.bench.recipes.variants import FEW_SHOT as VARIANTS
from metabench.bench.recipes.variants import settings_of
from metabench.vision import DATASETS

HALVED_EVERY_2000 = tuple((2000 * k, 0.5**k) for k in range(1, 11))

EPISODES_60_WAY: Fields = {
    "rotations": ("train", "val", "test"),
    "backbone": "conv4",
    "norm": "running",
    "train_ways": 60,
    "train_shots": "shots",
    "train_queries": 5,
    "meta_batch": 1,
    "iterations": 20_000,
    "lr_factors": HALVED_EVERY_2000,
    "test_tasks": 1000,
}
"""ProtoNet's on Omniglot."""
PROTONET_QUICK_DRAW: Fields = {"width": 64, "norm": "running", "meta_batch": 1, "train_ways": 20, "iterations": 5000}
PROTONET_GLYPHS: Fields = {"norm": "running", "train_ways": 20, "meta_batch": 1}

LEE: Fields = {"norm": "running", "optimizer": "sgd", "outer_lr": 0.1, "weight_decay": 5e-4}
"""Lee et al. 2019, §4.1. At this rate the scale γ of the scores soon leaves its 1, at Adam's 0.001 it takes a thousand
iterations for another 1; margins are of order 1, so that the softmax is flat until γ has grown."""

ON_BATCHES: Fields = {"norm": "running", "width": 64, "backbone": "conv4", "meta_batch": 1}
CHEN: Fields = ON_BATCHES | {"val_tasks": 0, "val_every": 5000}
"""Chen et al. 2019 and its program: Adam, batches of 16, no validation."""
CHEN_OMNIGLOT: Fields = CHEN | {
    "split": "vinyals",
    "rotations": ("train", "val", "test"),
    "iterations": 25_700,
    "val_every": 2570,
}
"""5 epochs of 4112 classes: 1028 characters and their rotations."""
CHEN_MINI: Fields = CHEN | {"iterations": 960_000, "augment": "closer-look"}
"""400 epochs."""
WANG: Fields = ON_BATCHES | {"batch": 256, "optimizer": "sgd", "outer_lr": 0.1, "weight_decay": 1e-4}
"""Wang et al. 2019's program; its momentum is not Nesterov's."""

OWN = "own"
"""Stands in these tables for every data set that has no entry of its own: the user's."""

DATASET_FIELDS: dict[str, Fields] = {
    "omniglot": {"split": "random", "rotations": ("train",), "backbone": "conv4-strided"},
    "mini-imagenet": {"split": "ravi-larochelle", "width": 32},
    "quick-draw": {"split": "20-samples", "width": 20},
    "glyphs": {"width": 32, "backbone": "conv4-strided", "queries": 5, "train_queries": 5},
}
"""What a benchmark fixes unless a paper's row says otherwise."""

PAPERS: dict[tuple[str, str], Fields] = {
    # Finn et al. 2017, §5.2 and its code: queries = shots on Omniglot, 15 on miniImageNet. The code turns the
    # characters of an episode at test as it does in training. Its pictures, and ProtoNet's, are resized while they have
    # 1 bit, for which Pillow takes the nearest pixel.
    ("maml", "omniglot"): {
        "resample": "nearest",
        "rotations": ("train", "val", "test"),
        "inner_lr": 0.4,
        "test_steps": 3,
        "meta_batch": 32,
        "queries": "shots",
        "train_queries": "shots",
    },
    ("maml", "mini-imagenet"): {"inner_steps": 5, "test_steps": 10, "clip": 10.0},
    ("maml", "quick-draw"): {
        "inner_lr": 0.005,
        "inner_steps": 5,
        "test_steps": 5,
        "outer_lr": 5e-4,
        "meta_batch": 10,
        "iterations": 5000,
        "queries": "shots",
        "train_queries": "shots",
        "test_tasks": 1000,
    },
    ("maml", "glyphs"): {"inner_lr": 0.4, "test_steps": 3, "meta_batch": 8},
    ("maml", "omniglot-20w"): {"inner_lr": 0.1, "inner_steps": 5, "test_steps": 5, "meta_batch": 16},
    # Raghu et al. 2020 leave their settings to an appendix, which was not read: MAML's.
    ("anil", "omniglot"): {
        "inner_lr": 0.4,
        "test_steps": 3,
        "meta_batch": 32,
        "queries": "shots",
        "train_queries": "shots",
    },
    ("anil", "omniglot-20w"): {"inner_lr": 0.1, "inner_steps": 5, "test_steps": 5, "meta_batch": 16},
    ("anil", "mini-imagenet"): {"inner_steps": 5, "test_steps": 10, "clip": 10.0},
    ("anil", "glyphs"): {"inner_lr": 0.4, "inner_steps": 3, "test_steps": 3, "meta_batch": 8},
    # Li et al. 2017: one step.
    ("meta-sgd", "omniglot"): {"inner_lr": 0.4, "meta_batch": 32, "queries": "shots", "train_queries": "shots"},
    ("meta-sgd", "glyphs"): {"inner_lr": 0.4, "meta_batch": 8},
    # Snell et al. 2017 (and its code for Omniglot): 60-way episodes there, 30- and 20-way on miniImageNet. They train
    # until validation stops improving, then on Omniglot once more as long, on training and validation characters; the
    # iterations are this project's.
    ("protonet", "omniglot"): EPISODES_60_WAY | {"split": "vinyals-trainval", "val_tasks": 0, "resample": "nearest"},
    ("protonet", "mini-imagenet"): {
        "width": 64,
        "norm": "running",
        "train_ways": 20,
        "meta_batch": 1,
        "iterations": 40_000,
        "lr_factors": HALVED_EVERY_2000,
    },
    ("protonet", "quick-draw"): PROTONET_QUICK_DRAW,
    ("protonet", "glyphs"): PROTONET_GLYPHS,
    ("protonet", "mini-imagenet-1s"): {"train_ways": 30},
    # Lee et al. 2019, §4.1 and its code, of which two things differ here: DropBlock keeps 0.9 from the start (theirs
    # falls to it), and validation is of the row's own shots (theirs always of 5). They ran none of the other
    # data sets: there, ProtoNet's settings with their outer optimiser.
    ("metaoptnet", "mini-imagenet"): LEE
    | {
        "backbone": "resnet12",
        "train_shots": 15,
        "train_queries": 6,
        "meta_batch": 8,
        "lr_factors": ((20_000, 0.06), (40_000, 0.012), (50_000, 0.0024)),
        "smoothing": 0.1,
        "augment": "metaoptnet",
        "val_tasks": 2000,
        "val_every": 1000,
        "test_tasks": 1000,
    },
    ("metaoptnet", "omniglot"): EPISODES_60_WAY | LEE | {"split": "vinyals"},
    ("metaoptnet", "quick-draw"): PROTONET_QUICK_DRAW | LEE,
    ("metaoptnet", "glyphs"): PROTONET_GLYPHS | LEE,
    # Chen et al. 2019. They test on the middle of pictures made 15 % larger, here on whole ones.
    ("baseline", "mini-imagenet"): CHEN_MINI,
    ("baseline-pp", "mini-imagenet"): CHEN_MINI,
    ("baseline", "omniglot"): CHEN_OMNIGLOT,
    ("baseline-pp", "omniglot"): CHEN_OMNIGLOT,
    # Wang et al. 2019: 90 epochs of miniImageNet, the rate falling tenfold at the 45th and the 67th. They test as Chen
    # et al. do; Omniglot is this project's, with as many images as Chen's.
    ("simpleshot", "mini-imagenet"): WANG
    | {
        "iterations": 13_500,
        "lr_factors": ((6750, 0.1), (10_050, 0.01)),
        "augment": "simpleshot",
        "val_every": 600,
        "val_tasks": 500,
        "test_tasks": 10_000,
    },
    ("simpleshot", "omniglot"): WANG
    | {
        "split": "vinyals",
        "rotations": ("train", "val", "test"),
        "iterations": 1600,
        "lr_factors": ((800, 0.1), (1200, 0.01)),
        "val_every": 160,
    },
    **{
        (learner, dataset): ON_BATCHES | {"iterations": iterations}
        for learner in ("baseline", "baseline-pp")
        for dataset, iterations in (("quick-draw", 20_000), ("glyphs", 2000), (OWN, 20_000))
    },
    **{
        ("simpleshot", dataset): WANG
        | {"batch": 64, "iterations": n, "lr_factors": ((n // 2, 0.1), (n * 3 // 4, 0.01))}
        for dataset, n in (("quick-draw", 5000), ("glyphs", 500), (OWN, 5000))
    },
    # What the papers used on miniImageNet, with as many ways in training as at test.
    ("maml", OWN): {"inner_steps": 5, "test_steps": 10, "clip": 10.0},
    ("anil", OWN): {"inner_steps": 5, "test_steps": 10, "clip": 10.0},
    ("protonet", OWN): {"norm": "running", "meta_batch": 1},
    ("metaoptnet", OWN): LEE,
}
"""What an algorithm's paper used on a data set, and at a number of ways or shots; where there is no paper (all of
glyphs, most of Quick, Draw!), this project's choice. "shots" stands for their number."""

BENCHMARKS: dict[str, tuple[str, Fields]] = {
    # Classes of one alphabet, in training too; no rotations.
    "omniglot-within": (
        "omniglot",
        {
            "split": "within-alphabet", "within_group": ("train", "val", "test"), "rotations": (), "train_ways": "ways",
            "val_tasks": 200,
        },
    ),
    # Lake et al. 2019: learn from the background alphabets without rotated classes, test on the 20 fixed runs.
    "omniglot-lake": (
        "omniglot",
        {"split": "lake", "within_group": ("val", "test"), "rotations": (), "lake_runs": True, "val_tasks": 200},
    ),
}  # fmt: skip
"""Other ways to use a data set: name -> (data set, fields). They win over the paper's fields."""

SHORT: dict[tuple[str, str], Fields] = {
    ("maml", "omniglot"): {"iterations": 4000},
    ("maml", "omniglot-20w"): {"iterations": 600},
    ("maml", "omniglot-5s"): {"iterations": 700},
    ("maml-noconv", "omniglot"): {"iterations": 10_000},
    ("anil", "omniglot"): {"iterations": 2000},
    ("meta-sgd", "omniglot"): {"iterations": 1500},
    # Under "vinyals" validation stood at 98.7 % (5-way, 1-shot) from iteration 4000 on.
    ("protonet", "omniglot"): {"iterations": 6000, "lr_factors": ((2000, 0.5), (4000, 0.25), (5000, 0.125))},
    ("metaoptnet", "omniglot"): {"iterations": 1500},
    ("protonet", "mini-imagenet"): {"iterations": 1200, "train_ways": 5, "val_tasks": 100},
    ("anil", "mini-imagenet"): {"iterations": 600, "val_tasks": 100},
    ("maml", "mini-imagenet"): {"iterations": 200},
    ("maml", "glyphs"): {"iterations": 300},
    ("baseline", "omniglot"): {"iterations": 5000},
    ("baseline-pp", "omniglot"): {"iterations": 5000},
    ("baseline", "mini-imagenet"): {"iterations": 6000},
    ("baseline-pp", "mini-imagenet"): {"iterations": 6000},
    ("simpleshot", "mini-imagenet"): {"iterations": 600, "test_tasks": 1000},
}
"""The schedule cut to what a CPU core does in about an hour at most: iterations, with validations and a falling outer
rate in proportion, on at most 200 validation tasks.

Nothing else changes but ProtoNet's training episodes of miniImageNet: 20 ways are four times the pictures of 5.
"""

_NAME = re.compile(r"(?P<base>[a-z0-9][a-z0-9-]*?)-(?P<ways>\d+)w(?P<shots>\d+)s")


def few_shot(algorithm: str, benchmark: str, schedule: str = "paper") -> FewShotRecipe:
    """The recipe of a row of few-shot images (see `bench.worlds.resolve`)."""
    learner, variant = VARIANTS.get(algorithm, (algorithm, {}))
    if learner not in LEARNERS:
        raise RecipeError(unknown("algorithm", algorithm, [*LEARNERS, *VARIANTS]))
    match = _NAME.fullmatch(benchmark)
    if match is None or not is_benchmark(benchmark):
        raise RecipeError(unknown("benchmark", benchmark, benchmark_names()))
    ways, shots = int(match["ways"]), int(match["shots"])
    dataset, use = BENCHMARKS.get(match["base"], (match["base"], {}))
    fields: Fields = {"ways": ways, "shots": shots, "train_ways": ways, "train_shots": shots}
    like = dataset if dataset in DATASET_FIELDS else OWN
    fields |= DATASET_FIELDS.get(like, {})
    for key in (like, f"{like}-{ways}w", f"{like}-{shots}s"):
        fields |= PAPERS.get((learner, key), {})
    fields |= use | variant
    if schedule == "short":
        fields |= _short(algorithm, learner, like, fields)
    if issubclass(settings_of(algorithm, VARIANTS), ClassifierSettings):
        fields |= dict.fromkeys(BATCHES, 0)
        fields["within_group"] = tuple(split for split in fields.get("within_group", ()) if split != "train")
    stands_for = {"ways": ways, "shots": shots}
    fields = {name: stands_for.get(value, value) if isinstance(value, str) else value for name, value in fields.items()}
    fields.setdefault("split", DATASETS[dataset].splits[0])
    names = {"algorithm": algorithm, "benchmark": benchmark, "schedule": schedule, "dataset": dataset}
    return put_together(FewShotRecipe, fields | names)


def _short(algorithm: str, learner: str, dataset: str, fields: Fields) -> Fields:
    """The short schedule: fewer iterations; a falling outer rate is halved at 1/2, 3/4 and 7/8, unless stated."""
    keys = (dataset, f"{dataset}-{fields['ways']}w", f"{dataset}-{fields['shots']}s")
    short: Fields = {"iterations": min(1000, fields.get("iterations", 1000))}
    for name in (learner, algorithm):
        for key in keys:
            short |= SHORT.get((name, key), {})
    n = short["iterations"]
    factors = ((n // 2, 0.5), (n * 3 // 4, 0.25), (n * 7 // 8, 0.125)) if "lr_factors" in fields else ()
    often = {"val_every": max(1, n // 10), "val_tasks": min(200, fields.get("val_tasks", 200))}
    return often | {"lr_factors": factors} | short


def is_benchmark(name: str) -> bool:
    """Whether a name is a data set's, or of another way to use one, with a number of ways and of shots."""
    match = _NAME.fullmatch(name)
    return match is not None and (match["base"] in DATASETS or match["base"] in BENCHMARKS)


def benchmark_names() -> list[str]:
    """The usual few-shot benchmarks; any other number of ways and shots resolves too."""
    usual = [f"{w}w{s}s" for w in (5, 20) for s in (1, 5)]
    bases = [*DATASETS, *BENCHMARKS]
    names = [f"{b}-{u}" for b in bases for u in usual if u.startswith("5w") or b.startswith("omniglot")]
    return [name for name in names if "-lake-" not in name or name.endswith("-20w1s")]
