"""One run from recipe to record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from metabench.algorithms.meta_gradient import Workers
from metabench.algorithms.outer.gradient import Diverged
from metabench.bench import stopping
from metabench.bench.distributed import Processes
from metabench.bench.places import RESULTS
from metabench.bench.recipes.recipe import Recipe
from metabench.bench.records.schema import file_name
from metabench.bench.training import checkpoint
from metabench.bench.training.evaluate import evaluate
from metabench.bench.training.options import Machine, Options
from metabench.bench.training.progress import Progress
from metabench.bench.training.record import make_record, peak_memory_mib, write_record
from metabench.bench.training.trainer import Trainer
from metabench.bench.worlds import Place, world_of
from metabench.vision.data.source import cache_root, data_root

STOPPING = "\nstopping at the end of this iteration; once more stops at once\n"
RECORDS = RESULTS / "records"


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
