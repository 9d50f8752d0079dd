"""One run from recipe to record."""

from __future__ import annotations

import contextlib
import dataclasses
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
from metabench.bench.training.trained import Trained, trained_in
from metabench.bench.training.trainer import Trainer, data_of, same_data
from metabench.bench.worlds import Place, world_of
from metabench.vision.data.source import cache_root, data_root

STOPPING = "\nstopping at the end of this iteration; once more stops at once\n"
RECORDS = RESULTS / "records"


def from_weights(recipe: Recipe, weights: Path | None) -> Recipe:
    """The recipe that says which weights it starts from, where it starts from any."""
    return recipe if weights is None else dataclasses.replace(recipe, weights=trained_in(weights).digest)


def execute(recipe: Recipe, options: Options, machine: Machine, command: str = "") -> dict[str, Any] | None:
    """Train or resume, test the learner that validated best, write the record; None on all but the first process.

    Args:
        command: the command line that does the same, for the record; that of this process if not given.
    """
    options.check()
    folder, machine = options.folder(recipe), machine.settled(recipe)

    def work(workers: Workers, processes: Processes) -> dict[str, Any] | None:
        facts = machine.facts(workers, processes) | ({"command": command} if command else {})
        trainer = _trainer(recipe, options, folder, machine, workers, processes)
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


def retest(trained: Trained, tested: Recipe, machine: Machine, publish: bool) -> dict[str, Any] | None:
    """Test a trained learner under another protocol; None on all but the first process.

    Args:
        tested: its recipe with other test fields, and the benchmark that the result belongs to.

    Raises:
        RunFolderError: the data are not those that it was trained on, or it does not fit what its recipe builds now.
    """
    recipe, folder, machine = trained.recipe, trained.file.parent, machine.settled(trained.recipe)
    world_of(tested).registered(tested)
    processes = Processes(machine.where())
    try:
        workers = machine.workers()
        facts = machine.facts(workers, processes)
        place = Place(data_root(), cache_root(), processes, workers, form=trained.form, classes=trained.classes)
        built = world_of(tested).build(tested, trained.seed, place)
        if "trained_on" not in built.protocol:
            same_data(folder, trained.data, data_of(built.protocol))
        trainer = Trainer(tested, trained.seed, built, folder, workers=workers, processes=processes)
        trainer.state = dataclasses.replace(trained.state, best_learner=trained.state_for(built.learner))
        record = _tested(trainer, facts, None if tested.digest() == recipe.digest() else recipe)
        if processes.first and publish:
            write_record(RECORDS / file_name(record), record)
        return record if processes.first else None
    finally:
        processes.close()


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
    recipe: Recipe, options: Options, folder: Path, machine: Machine, workers: Workers, processes: Processes
) -> Trainer:
    built = world_of(recipe).build(recipe, options.seed, machine.place(processes, workers))
    if options.weights is not None:
        trained = trained_in(options.weights)
        if trained.digest != recipe.weights:
            raise checkpoint.RunFolderError(f"--weights {options.weights} holds other weights than it did a moment ago")
        built.learner.load_state_dict(trained.start(recipe, built.learner))
    return Trainer(
        recipe, options.seed, built, folder, workers=workers, processes=processes, save_every=options.save_every
    )


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
