"""One run from recipe to record."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from metabench.algorithms.meta_gradient import Workers
from metabench.algorithms.outer.gradient import Diverged
from metabench.bench import stopping
from metabench.bench.distributed import Processes
from metabench.bench.places import RESULTS
from metabench.bench.recipes.recipe import Recipe, RecipeError
from metabench.bench.records.schema import file_name
from metabench.bench.training import checkpoint
from metabench.bench.training.allocator import keep_freed_memory
from metabench.bench.training.evaluate import evaluate
from metabench.bench.training.precision import automatic
from metabench.bench.training.progress import Progress
from metabench.bench.training.record import make_record, peak_memory_mib, provenance, write_record
from metabench.bench.training.trainer import Trainer
from metabench.bench.worlds import Place, world_of
from metabench.vision.data.source import cache_root, data_root

STOPPING = "\nstopping at the end of this iteration; once more stops at once\n"
RECORDS = RESULTS / "records"


@dataclass(frozen=True)
class Machine:
    """How a run uses the machine; none of it changes a result beyond rounding, and DropBlock's draws in resnet12."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where tensors live; auto takes CUDA where there is a GPU."""
    threads: int = 0
    """CPU cores to use; 0 for all."""
    precision: Literal["fp32", "tf32", "bf16", "auto"] = "fp32"
    """Arithmetic of matrix products and convolutions: tf32 on CUDA; bf16 by autocast, but for the head; auto is bf16
    where the hardware has it and the learner was shown to bear it, else fp32."""
    chunk: int = 0
    """Tasks carried at once: smaller needs less memory; 0 for as many as the device likes."""
    compile: bool = False
    """Fuse each training step into one compiled graph; needs a C++ compiler, and minutes at the start."""

    def settled(self, recipe: Recipe) -> Machine:
        """The same with the precision that "auto" stands for."""
        if self.precision != "auto":
            return self
        world = world_of(recipe)
        precision = automatic(world.learner(recipe.algorithm), world.metric.name, self.where())
        return dataclasses.replace(self, precision=precision)

    def workers(self) -> Workers:
        """The threads that run tasks, and their precision; raises RecipeError for a number that cannot be."""
        for field, value in (("threads", self.threads), ("chunk", self.chunk)):
            if value < 0:
                raise RecipeError(f"--{field} is {value}; it must be at least 0")
        cores = max(2, os.cpu_count() or 1)
        if self.threads > cores:
            raise RecipeError(f"--threads is {self.threads}; there are {cores} cores here: give as many at most, or 0")
        keep_freed_memory()
        torch.set_float32_matmul_precision("high" if self.precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = self.precision == "tf32"  # of convolutions, which are on by default
        autocast = torch.bfloat16 if self.precision == "bf16" else None
        return Workers(self.threads or torch.get_num_threads(), self.where(), autocast)

    def facts(self, workers: Workers, processes: Processes) -> dict[str, Any]:
        """Provenance of what is started now."""
        return provenance(processes.device, workers.threads, self.precision, processes.world, compile=self.compile)

    def place(self, processes: Processes, workers: Workers | None = None) -> Place:
        """Where a recipe is built on this machine."""
        return Place(data_root(), cache_root(), processes, workers or self.workers(), self.chunk, self.compile)

    def where(self) -> str:
        """The device's kind, "cpu" or "cuda"."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise checkpoint.RunFolderError("--device cuda: this machine has no usable CUDA GPU; use --device cpu")
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device


@dataclass(frozen=True)
class Options:
    """What a run does besides what its recipe says."""

    seed: int = 0
    """Of the initial weights and the training tasks."""
    out: Path | None = None
    """Run folder; runs/ALGORITHM_BENCHMARK_SCHEDULE/seedN if not given."""
    publish: bool = False
    """Also file the record under results/records/."""
    tensorboard: bool = False
    """Write TensorBoard events to the run folder."""
    save_every: float = 30.0
    """Seconds between checkpoints, at most; a killed run loses no more than that."""
    dry_run: bool = False
    """Print the resolved recipe and what it costs, and stop."""

    def folder(self, recipe: Recipe, under: Path = Path("runs")) -> Path:
        """Where the run lives; a recipe of one's own has a folder of its own."""
        schedule = f"custom-{recipe.digest()}" if recipe.schedule == "custom" else recipe.schedule
        return self.out or under / f"{recipe.algorithm}_{recipe.benchmark}_{schedule}" / f"seed{self.seed}"

    def check(self) -> None:
        """Raise RecipeError for what no run can be told."""
        if not 0 <= self.seed < 2**63:
            raise RecipeError(f"--seed is {self.seed}; it must be at least 0 and below 2^63")
        if not self.save_every >= 0:
            raise RecipeError(f"--save-every is {self.save_every}; it must be at least 0 seconds")


def execute(recipe: Recipe, options: Options, machine: Machine) -> dict[str, Any] | None:
    """Train or resume, test the learner that validated best, write the record; None on all but the first process."""
    options.check()
    folder, machine = options.folder(recipe), machine.settled(recipe)

    def work(workers: Workers, processes: Processes) -> dict[str, Any] | None:
        facts = machine.facts(workers, processes)
        trainer = _trainer(recipe, options.seed, folder, machine, workers, processes)
        trainer.save_every = options.save_every
        events = folder / "tensorboard" if options.tensorboard and processes.first else None
        # A launcher passes signals on, once or twice: several processes end where they agree to, and not before.
        notice = STOPPING if processes.world == 1 else ""
        with (
            stopping.noting_signals(notice) as asked,
            Progress(f"{recipe.name} seed {options.seed}", quiet=not processes.first, tensorboard=events) as progress,
        ):
            trainer.run(progress, facts, asked)
        record = _tested(trainer, facts)
        if processes.first:
            write_record(folder / "record.json", record)
            if options.publish:
                write_record(RECORDS / file_name(record), record)
        return record if processes.first else None

    return _alone_in(folder, machine, work)


def retest(
    recipe: Recipe, seed: int, folder: Path, tested: Recipe, machine: Machine, publish: bool
) -> dict[str, Any] | None:
    """Test a trained run's best learner under another protocol; the training fields are the run's own.

    Args:
        recipe: what the run was trained with.
        tested: the same with other test fields, and the benchmark that the result belongs to.
    """
    machine = machine.settled(recipe)

    def work(workers: Workers, processes: Processes) -> dict[str, Any] | None:
        facts = machine.facts(workers, processes)
        trainer = _trainer(recipe, seed, folder, machine, workers, processes)
        trainer.resume()
        if trainer.state.iteration < recipe.iterations:
            why = f"it diverged: {trainer.state.diverged}" if trainer.state.diverged else "finish it first"
            raise checkpoint.RunFolderError(
                f"{folder} stands at iteration {trainer.state.iteration} of {recipe.iterations}; {why}"
            )
        trainer.recipe = tested
        best = trainer.state.best_learner
        trainer.built = world_of(tested).build(tested, seed, Place(data_root(), cache_root(), processes, workers))
        own = trainer.built.learner.state_dict()
        if best:  # nothing was validated where nothing is trained
            trainer.state.best_learner = {k: best[k] if best[k].shape == own[k].shape else own[k] for k in own}
        record = _tested(trainer, facts, None if tested.digest() == recipe.digest() else recipe)
        if processes.first and publish:
            write_record(RECORDS / file_name(record), record)
        return record if processes.first else None

    return _alone_in(folder, machine, work)


def _alone_in(
    folder: Path, machine: Machine, work: Callable[[Workers, Processes], dict[str, Any] | None]
) -> dict[str, Any] | None:
    """Do the work with the run folder held by this process (by the first one of several)."""
    processes = Processes(machine.where())
    try:
        with checkpoint.locked(folder) if processes.first else contextlib.nullcontext():
            return work(machine.workers(), processes)
    finally:
        processes.close()


def _trainer(
    recipe: Recipe, seed: int, folder: Path, machine: Machine, workers: Workers, processes: Processes
) -> Trainer:
    built = world_of(recipe).build(recipe, seed, machine.place(processes, workers))
    return Trainer(recipe, seed, built, folder, workers=workers, processes=processes)


def _tested(trainer: Trainer, facts: dict[str, Any], trained: Recipe | None = None) -> dict[str, Any]:
    """The record: scores on the test tasks after 0 … K updates of the learner that validated best.

    Args:
        trained: the recipe that it was trained and selected under, where that is not the trainer's.
    """
    recipe, built, state = trainer.recipe, trainer.built, trainer.state
    started = time.monotonic()
    scores = np.empty((0, recipe.test_steps + 1))
    if not state.diverged:
        trainer.load_best()
        try:
            scores = evaluate(
                built.suite,
                built.learner,
                "test",
                recipe.tests,
                recipe.test_steps,
                workers=trainer.workers,
                processes=trainer.processes,
                at_once=built.at_once,
            )
        except Diverged as error:
            state.diverged = f"{error}, at test"
    others = [session for session in state.sessions if session != facts]
    if others:
        dirty = [session["dirty"] for session in (facts, *others)]
        facts |= {"trained_by": others, "dirty": True if True in dirty else None if None in dirty else False}
    facts |= {
        "train_seconds": round(state.seconds, 1),
        "test_seconds": round(time.monotonic() - started, 1),
        "peak_memory_mib": peak_memory_mib(),
    }
    return make_record(recipe, trainer.seed, built, state, scores, facts, trained)
