"""What `metabench check` runs: one table of work, and how a trace, a score and a speed of it are measured."""

from __future__ import annotations

import dataclasses
import math
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from metabench.algorithms import Diverged, Workers
from metabench.algorithms.learner import Batch, adapt
from metabench.algorithms.suite import collect
from metabench.bench.distributed import Processes
from metabench.bench.gate.yardstick import convolutions, policies, ratios
from metabench.bench.recipes.recipe import Recipe
from metabench.bench.training.options import Machine, Options
from metabench.bench.training.run import execute
from metabench.bench.worlds import build, resolve
from metabench.bench.worlds.built import Built
from metabench.vision.data.source import cache_root, data_root

THREADS = 2
"""Threads of a score's run: a fixed number, because results depend on it bit for bit. Traces and speeds use one."""
TRACE_STEPS = 4
TRACE_TASKS = 4
SEEDS = 5

IMAGES: Mapping[str, Any] = {
    "meta_batch": 4, "iterations": 30, "val_every": 30, "val_tasks": 10, "test_tasks": 100, "test_steps": 2
}  # fmt: skip
"""Changes that make an image recipe a matter of seconds."""
BATCHES: Mapping[str, Any] = {**IMAGES, "test_steps": 1}
"""The same for a recipe whose training is on batches, and whose head a second update would only make again."""
CONTROL: Mapping[str, Any] = {
    "meta_batch": 10, "rollouts": 10, "iterations": 10, "val_every": 10, "val_tasks": 2, "test_tasks": 40,
    "test_steps": 1, "curvature": 0.25, "hidden": (64, 64), "activation": "tanh",
}  # fmt: skip
"""The same for a recipe of control: navigation rises from −82 to about −27, on any machine to within a few."""


CHEETAH: Mapping[str, Any] = {
    "meta_batch": 8, "rollouts": 10, "iterations": 10, "val_every": 10, "val_tasks": 2, "test_tasks": 20,
    "test_steps": 1, "inner_lr": 1.0, "max_kl": 0.3,
}  # fmt: skip
"""The same for the cheetah's direction. Long steps, inside and outside, show in ten iterations that one update tells
the policy which way to run: from about 0 before it five seeds come to between 41 and 102. Another machine's rounding
makes other seeds of them, hence the margin: what is not learned at all falls short by more."""


@dataclass(frozen=True)
class Work:
    """An algorithm on a benchmark, and how much worse it must be shown not to be."""

    algorithm: str
    benchmark: str
    fields: Mapping[str, Any]
    """Fields of the recipe that are changed."""
    kinds: tuple[str, ...] = ("trace", "speed", "score")
    """What of it is measured."""
    margin: float = 0.05
    """How much lower a score may be, in its own unit."""
    still: Mapping[str, Any] = field(default_factory=lambda: {"outer_lr": 1e-12, "lr_factors": ()})
    """Changes with which an outer step does all its work and moves nothing."""
    yardstick: Callable[[], None] = convolutions
    """What its speed is measured against."""

    @property
    def recipe(self) -> Recipe:
        """What is trained."""
        return dataclasses.replace(resolve(self.algorithm, self.benchmark), schedule="check", **self.fields).check()


WORK: tuple[Work, ...] = (
    Work("maml", "glyphs-5w1s", IMAGES),
    Work("anil", "glyphs-5w1s", IMAGES),
    Work("meta-sgd", "glyphs-5w1s", IMAGES),
    Work("protonet", "glyphs-5w1s", IMAGES),
    Work("metaoptnet", "glyphs-5w1s", IMAGES),
    Work("maml", "navigation", CONTROL, margin=5.0, still={"max_kl": 1e-30}, yardstick=policies),
    Work("anil", "navigation", CONTROL, ("trace", "score"), margin=5.0),
    Work("meta-sgd", "navigation", CONTROL, ("trace", "score"), margin=5.0),
    Work("protonet", "navigation", CONTROL, ("trace", "score"), margin=5.0),
    Work("metaoptnet", "navigation", CONTROL, ("trace", "score"), margin=5.0),
    Work("baseline", "glyphs-5w1s", BATCHES, ("trace",)),
    Work("baseline-pp", "glyphs-5w1s", BATCHES, ("trace",)),
    Work("simpleshot", "glyphs-5w1s", BATCHES, ("trace",)),
    Work("maml-fo", "glyphs-5w1s", IMAGES, ("trace",)),
    Work("maml-noconv", "glyphs-5w1s", IMAGES, ("trace",)),
    Work("metaoptnet-rr", "glyphs-5w1s", IMAGES, ("trace",)),
    Work("maml", "glyphs-5w5s", {**IMAGES, "norm": "support", "inner_steps": 2, "clip": 0.1}, ("trace",)),
    Work("maml-promp", "navigation", CONTROL, ("trace",)),
    Work("maml", "cheetah-dir", CHEETAH, ("score",), margin=60.0),
)
"""All that is checked. A line more is a row more of each of its kinds."""


@dataclass(frozen=True)
class Row:
    """One kind of measurement of one piece of work."""

    kind: str
    work: Work

    @property
    def name(self) -> str:
        """ "trace maml glyphs-5w1s"."""
        return f"{self.kind} {self.work.recipe.name}"

    def measure(self) -> list[float]:
        """Metrics of a trace, a score for each seed, or the ratio to the yardstick of each round."""
        return {"trace": trace, "score": scores, "speed": speed}[self.kind](self.work)


def rows(work: tuple[Work, ...] = WORK) -> list[Row]:
    """Every row: traces, which fail fast, then speeds, then scores."""
    return [Row(kind, w) for kind in ("trace", "speed", "score") for w in work if kind in w.kinds]


class Float64:
    """A suite whose batches are float64, for a float64 learner."""

    def __init__(self, suite: Any) -> None:
        self.suite, self.interactive = suite, suite.interactive

    def __getattr__(self, name: str) -> Any:
        return getattr(self.suite, name)

    def support(self, *arguments: Any) -> Batch:
        """The suite's own, in float64."""
        return _double(self.suite.support(*arguments))

    def query(self, *arguments: Any) -> Batch:
        """The suite's own, in float64."""
        return _double(self.suite.query(*arguments))


def _double(batch: Batch) -> Batch:
    fields: dict[str, Any] = batch._asdict()
    wide: dict[str, Any] = {k: v.double() for k, v in fields.items() if torch.is_tensor(v) and v.is_floating_point()}
    return Batch(**fields | wide)


def trace(work: Work) -> list[float]:
    """Metrics of the first outer steps in float64 on one thread, then mean |output| after adaptation.

    Shorter than planned where training diverged.
    """
    recipe = dataclasses.replace(work.recipe, meta_batch=TRACE_TASKS)
    built = _built(recipe)
    learner, suite = built.learner.double().train(), Float64(built.suite)
    values: list[float] = []
    try:
        for i in range(TRACE_STEPS):
            values += _step(built, suite, range(i * TRACE_TASKS, (i + 1) * TRACE_TASKS), recipe.inner_steps).values()
    except Diverged:
        return values
    learner.eval()
    supports, query = collect(suite, suite.tasks(range(TRACE_TASKS), "test"), learner, recipe.judged)
    with torch.no_grad():
        values.append(float(learner.predict(adapt(learner, supports), query.x).abs().mean()))
    return values


def speed(work: Work) -> list[float]:
    """Seconds of one training iteration over those of the yardstick, on one thread, round by round.

    The outer rate is next to nothing, so that every round has the same weights and the same work.
    """
    recipe = dataclasses.replace(work.recipe, **work.still)
    built = _built(recipe)
    built.learner.train()
    return ratios(lambda: _step(built, built.suite, range(recipe.meta_batch), recipe.inner_steps), work.yardstick)


def scores(work: Work) -> list[float]:
    """The score of a whole run, for each seed; NaN where it diverged."""
    found = []
    for seed in range(SEEDS):
        with tempfile.TemporaryDirectory(prefix="metabench-check-") as folder:
            record = execute(work.recipe, Options(seed=seed, out=Path(folder)), Machine("cpu", THREADS))
        complete = record is not None and record["status"] == "complete"
        found.append(statistics.fmean(record["per_task"]) if record is not None and complete else math.nan)
    return found


def _built(recipe: Recipe) -> Built:
    """What the recipe stands for, with seed 0, on one thread."""
    return build(recipe, 0, root=data_root(), cache=cache_root(), processes=Processes("cpu"), workers=Workers(1))


def _step(built: Built, suite: Any, indices: range, updates: int) -> dict[str, float]:
    """One training iteration on these tasks, as `bench.training.trainer` does it."""
    tasks = suite.tasks(indices, "train")
    supports, query = collect(suite, tasks, built.learner, updates)
    return {**suite.metrics(tasks), **built.outer.step(built.learner, supports, query)}
