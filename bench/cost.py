"""What a recipe costs, before it runs: counted on tensors without data, timed on a glimpse of this machine.

Operations are counted by torch's own formulas (a multiply-add is two FLOPs; normalisation, ReLU and pooling are not
counted). Memory is what autograd keeps for the backward pass, which second order makes large: an inner update whose
gradient is itself differentiated keeps its own backward pass too.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from algorithms import Learner, MetaOptNet, Workers, cross_entropy
from algorithms.learner import Batch
from algorithms.meta_gradient import chunk_outputs
from bench.build import make_body, make_learner
from bench.evaluate import scores_by_update
from bench.recipe import Recipe
from bench.run import Machine
from vision import DATASETS
from vision.episodes import Shape
from vision.images import data_root
from vision.suite import FewShot, Tasks

MIB = 2**20
GLIMPSE_FLOPS = 2e9
"""Work of one timing of this machine: about a tenth of a second on a core."""


class Cost(NamedTuple):
    """What a recipe costs on any machine."""

    parameters: int
    """Numbers that the meta-learner learns."""
    task_flops: int
    """FLOPs of one training task's meta-gradient."""
    task_bytes: int
    """Bytes that autograd keeps for one training task, at their peak."""
    episode_flops: int
    """FLOPs to score one test episode after 0 … K updates."""


class Flops(TorchDispatchMode):
    """Adds up the operations that run in its scope (`FlopCounterMode` without its hooks on modules)."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count it."""
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


class Kept:
    """Counts the bytes that autograd holds on to. A storage that two nodes keep counts once."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self._holders: Counter[int] = Counter()

    def hooks(self) -> saved_tensors_hooks:
        """Scope in which saved tensors are counted, from when they are saved to when the graph lets them go."""
        return saved_tensors_hooks(lambda tensor: _Held(tensor, self), lambda held: held.tensor)

    def add(self, tensor: Tensor, sign: int) -> None:
        """A holder of the tensor's storage comes (+1) or goes (−1)."""
        storage = tensor.untyped_storage()
        before = self._holders[storage._cdata]
        self._holders[storage._cdata] += sign
        if before + max(sign, 0) == 1:  # the first came, or the last went
            self.now += sign * storage.nbytes()
            self.peak = max(self.peak, self.now)


class _Held:
    """A saved tensor, alive as long as the node that needs it."""

    def __init__(self, tensor: Tensor, kept: Kept) -> None:
        self.tensor, self.kept = tensor, kept
        kept.add(tensor, 1)

    def __del__(self) -> None:
        self.kept.add(self.tensor, -1)


def cost(recipe: Recipe) -> Cost:
    """Count one training task and one test episode of the recipe, on tensors without data."""
    source = DATASETS[recipe.dataset]
    learner = make_learner(recipe, 0, source.channels, source.size).to("meta")
    if isinstance(learner, MetaOptNet):
        learner.iterations, learner.tolerance = 3, 0.0  # a fixed number of steps: there are no values to look at
    train = Shape(recipe.train_ways, recipe.train_shots, recipe.train_queries)
    test = Shape(recipe.ways, recipe.shots, recipe.queries)
    kept = Kept()
    with Flops() as counter, kept.hooks():
        support, query = blank(train, source.channels, source.size)
        chunk_outputs(cross_entropy)(learner.train(), [support] * recipe.inner_steps, query)
    with Flops() as episode:
        tasks = Tasks(*blank(test, source.channels, source.size))
        scores_by_update(FewShot({}, torch.device("meta")), tasks, learner.eval(), recipe.test_steps)
    return Cost(
        sum(p.numel() for p in learner.parameters()),
        counter.total,
        kept.peak,
        episode.total,
    )


def blank(shape: Shape, channels: int, size: int) -> tuple[Batch, Batch]:
    """Support and query of one task of this shape, without data."""

    def batch(n: int) -> Batch:
        images = shape.ways * n
        x = torch.empty(1, images, channels, size, size, device="meta")
        return Batch(x, torch.empty(1, images, dtype=torch.long, device="meta"), x.new_empty(1, images), shape.ways)

    return batch(shape.shots), batch(shape.queries)


def tasks_at_once(recipe: Recipe, workers: Workers, chunk: int) -> int:
    """Training tasks whose graphs are alive together: a chunk on each thread (`algorithms.meta_gradient`)."""
    blocks = min(workers.threads, recipe.meta_batch) if workers.device == "cpu" else 1
    block = math.ceil(recipe.meta_batch / blocks)
    return min(blocks * min(chunk or block, block), recipe.meta_batch)


def speed(recipe: Recipe, workers: Workers) -> tuple[float, float]:
    """FLOPs a second of one thread (or the GPU) here: in the recipe's backbone forward and backward, in matrix products.

    The backbone sees as many images as a training query, or as few as keep this short.
    """
    source = DATASETS[recipe.dataset]
    body = make_body(recipe, source.channels, source.size).to(workers.device)
    fast = {name: p.unsqueeze(0) for name, p in body.named_parameters()}

    def embed(images: int) -> Callable[[], object]:
        x = torch.rand(1, images, source.channels, source.size, source.size, device=workers.device)
        return lambda: torch.autograd.grad(body(fast, x).sum(), list(fast.values()))

    def flops(work: Callable[[], object]) -> float:
        with Flops() as counter:
            work()
        return float(counter.total)

    images = recipe.train_ways * recipe.train_queries
    images = max(2, min(images, int(GLIMPSE_FLOPS / flops(embed(2)) * 2)))
    n = 512 if workers.device == "cpu" else 4096
    a = torch.rand(n, n, device=workers.device)
    threads = torch.get_num_threads()
    alone = Workers(1, workers.device, workers.autocast)
    try:
        rates = [
            alone.map(lambda _, w=work: flops(w) / _seconds(w, workers.device), 1)[0]  # type: ignore[misc]
            for work in (embed(images), lambda: a @ a)
        ]
    finally:
        torch.set_num_threads(threads)
    return rates[0], rates[1]


def _seconds(work: Callable[[], object], device: str) -> float:
    """The fastest of several timings, after one to warm up."""
    taken = []
    for _ in range(6):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def describe(recipe: Recipe, machine: Machine, console: Console) -> None:
    """Print every field of the recipe with its meaning, and what running it takes on this machine."""
    fields = Table(title=f"{recipe.name}, recipe {recipe.digest()}", title_justify="left")
    fields.add_column("field", no_wrap=True)
    fields.add_column("value", overflow="fold", max_width=40)
    fields.add_column("meaning")
    for name, meaning in meanings(Recipe).items():
        fields.add_row(name, escape(_shown(getattr(recipe, name))), escape(meaning))
    console.print(fields)
    costs = Table(title="cost", title_justify="left", show_header=False)
    costs.add_column(no_wrap=True)
    costs.add_column()
    for row in cost_rows(recipe, machine):
        costs.add_row(*row)
    console.print(costs)


def cost_rows(recipe: Recipe, machine: Machine) -> list[tuple[str, str]]:
    """What `describe` says of the cost: (what, how much)."""
    one, workers = cost(recipe), machine.workers()
    first = cost(dataclasses.replace(recipe, first_order=True)).task_bytes
    validations = math.ceil(recipe.iterations / recipe.val_every)
    parts = {
        "training": recipe.iterations * recipe.meta_batch * one.task_flops,
        "validation": validations * recipe.val_tasks * one.episode_flops,
        "test": recipe.tests * one.episode_flops,
    }
    total = sum(parts.values())
    rate, peak = speed(recipe, workers)
    hands = min(workers.threads, recipe.meta_batch) if workers.device == "cpu" else 1
    iteration = recipe.meta_batch * one.task_flops
    shares = ", ".join(f"{name} {100 * part / max(total, 1):.0f}%" for name, part in parts.items())
    memory = f"{one.task_bytes / MIB:.1f} MiB a task"
    if one.task_bytes > first:
        memory += f" (first order would keep {first / MIB:.1f})"
    rows = [
        ("learned parameters", f"{one.parameters:,}"),
        ("training iteration", f"{recipe.meta_batch} tasks × {flops_text(one.task_flops)} = {flops_text(iteration)}"),
        ("whole schedule", f"{flops_text(total)}: {shares}"),
        ("memory of second order" if one.task_bytes > first else "memory of the backward pass", memory),
    ]
    for chunk in dict.fromkeys((machine.chunk, 0, 1)):
        n = tasks_at_once(recipe, workers, chunk)
        rows.append((f"  with --chunk {chunk}", f"{n * one.task_bytes / MIB:.0f} MiB, {n} tasks at once"))
    place = "of a core" if workers.device == "cpu" else "of the GPU"
    rows += [
        ("speed here", f"{rate / 1e9:.1f} GFLOP/s {place} in {recipe.backbone}, {peak / 1e9:.1f} in matrix products"),
        ("time here", f"about {duration(total / rate / hands)} on {hands} × {workers.device}"),
        ("data", "present" if DATASETS[recipe.dataset].locate(data_root()) else "absent: see `metabench data list`"),
    ]
    return rows


def meanings(kind: type) -> dict[str, str]:
    """Field -> the docstring under it."""
    [body] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join("×".join(f"{v:g}" for v in i) if isinstance(i, tuple) else str(i) for i in value) or "none"
    return str(value) if value != "" else '""'


def flops_text(flops: float) -> str:
    """1234567890 -> "1.23 GFLOP"."""
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if flops >= size:
            return f"{flops / size:.3g} {unit}FLOP"
    return f"{flops / 1e6:.3g} MFLOP"


def duration(seconds: float) -> str:
    """95 -> "1.6 minutes"."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
