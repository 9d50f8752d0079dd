"""The training loop of both worlds: draw tasks, adapt, step, validate, keep the best, be killable at any moment."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from metabench.algorithms.learner import Batch, Learner
from metabench.algorithms.meta_gradient import Workers
from metabench.algorithms.outer.gradient import Diverged, Outer
from metabench.algorithms.suite import Suite, collect
from metabench.bench.distributed import Processes
from metabench.bench.recipes.recipe import Recipe, RecipeError, digest
from metabench.bench.records.statistics import mean_interval
from metabench.bench.stopping import Interrupted
from metabench.bench.training import checkpoint
from metabench.bench.training.evaluate import evaluate
from metabench.bench.training.progress import Progress
from metabench.bench.training.run_log import RunLog
from metabench.bench.worlds.built import Built


@dataclass
class State:
    """Where a run stands; with the learner's and the outer step's, all that a resumed run needs."""

    iteration: int = 0
    seconds: float = 0.0
    best: float = -float("inf")
    best_iteration: int = -1
    best_learner: dict[str, Tensor] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    """Provenance of the starts of the run, each way once."""
    diverged: str = ""


def data_of(protocol: Mapping[str, Any]) -> dict[str, str]:
    """Whose classes a protocol's tasks are drawn from."""
    return {k: str(v) for k, v in protocol.items() if k in ("split", "data_digest", "data_notes")}


def same_data(folder: Path, then: Mapping[str, Any], now: Mapping[str, str]) -> None:
    """Raise RunFolderError where a run's data are others than now: test classes might have been trained on."""
    if data_of(then) != now:
        changes = "; ".join(f"{k} {then.get(k)!r}, now {v!r}" for k, v in now.items())
        raise checkpoint.RunFolderError(
            f"{folder} was trained on other data ({changes}); put that back, or choose another folder with --out"
        )


class Stopped(Interrupted):
    """A signal ended training between two iterations, and the run is saved as it stands there."""

    def __init__(self, number: int, iteration: int, iterations: int) -> None:
        super().__init__(number)
        self.iteration, self.iterations = iteration, iterations


class Trainer:
    """One run in one folder.

    Args:
        folder: gets checkpoint.pt and log.jsonl; a run found there goes on.
        save_every: seconds between checkpoints, at most; there is also one after each validation.
    """

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        built: Built,
        folder: Path,
        *,
        workers: Workers,
        processes: Processes,
        save_every: float = 30.0,
    ) -> None:
        self.recipe, self.seed, self.built, self.folder = recipe, seed, built, folder
        self.workers, self.processes = workers, processes
        self.save_every = save_every
        self.state = State()
        self.saved_at, self.saved = time.monotonic(), 0
        self.log = RunLog(folder / "log.jsonl", processes.first)

    @property
    def data(self) -> dict[str, str]:
        """Whose tasks are drawn; empty where they are simulated. Other data would make test classes of training's."""
        return data_of(self.built.protocol)

    @property
    def checkpoint_path(self) -> Path:
        """The one file that a resumed run reads."""
        return self.folder / "checkpoint.pt"

    def run(
        self, progress: Progress, facts: dict[str, Any] | None = None, asked: Callable[[], int] = lambda: 0
    ) -> State:
        """Train from where the folder stands to the last iteration; stops, marked, if the loss diverges.

        Args:
            facts: provenance of this start.
            asked: the number of the signal that asked to stop, on any process; 0 for none.

        Raises:
            RecipeError: if there are fewer tasks in a meta-batch than processes.
            Stopped: when asked to, at the end of an iteration.
        """
        tasks, world = self.recipe.meta_batch, self.processes.world
        if tasks < world:
            raise RecipeError(
                f"{self.recipe.name}: a meta-batch of {tasks} cannot be shared by {world} processes; "
                "start fewer, or raise --meta-batch"
            )
        self.resume()
        recipe, state = self.recipe, self.state
        learner, outer, suite = self.built.learner, self.built.outer, self.built.suite
        if facts is not None and facts not in state.sessions and state.iteration < recipe.iterations:
            state.sessions.append(dict(facts))
        learner.train()
        progress.start(state.iteration, recipe.iterations)
        before = time.monotonic() - state.seconds
        while state.iteration < recipe.iterations and not state.diverged:
            self._stop_if(asked)
            metrics = self.step(suite, learner, outer)
            if metrics is None:
                break
            state.iteration += 1
            state.seconds = time.monotonic() - before
            self.log.add({"iteration": state.iteration} | metrics)
            progress.advance(state.iteration, metrics, recipe.meta_batch)
            due = state.iteration % recipe.val_every == 0 or state.iteration == recipe.iterations
            if due and recipe.val_tasks:
                self.validate(progress)
            elif due:
                self.keep()
            if state.diverged:
                break
            if due or time.monotonic() - self.saved_at > self.save_every:
                self.save()
        if recipe.iterations == 0:
            self.save()  # what is not trained can be evaluated too
        self._stop_if(asked)
        return state

    def _stop_if(self, asked: Callable[[], int]) -> None:
        """Raise Stopped where a process was asked to: all stop at one iteration, and it is saved."""
        number = self.processes.largest(asked())
        if number and not self.state.diverged:
            if self.state.iteration != self.saved:
                self.save()
            raise Stopped(number, self.state.iteration, self.recipe.iterations)

    def step(self, suite: Suite, learner: Learner, outer: Outer) -> dict[str, float] | None:
        """One iteration; None where the loss diverged."""
        n, i = self.recipe.meta_batch, self.state.iteration
        mine = self.processes.shard(range(i * n, (i + 1) * n))
        tasks = suite.tasks(mine, "train")

        def collected() -> tuple[list[Batch], Batch]:
            return collect(suite, tasks, learner, self.recipe.inner_steps)

        try:
            supports, query = self.processes.together(collected) if suite.interactive else collected()
            return suite.metrics(tasks) | outer.step(learner, supports, query)
        except Diverged as error:
            self._mark(str(error))
            return None

    def _mark(self, diverged: str) -> None:
        """Note in the last checkpoint that the run ends here. Its learner stays: this one has gone astray."""
        self.state.diverged = diverged
        if not self.processes.first:
            return
        if not self.checkpoint_path.exists():
            self.save()
            return
        self.log.write()
        last = checkpoint.load_run(self.checkpoint_path)
        last["state"]["diverged"] = diverged
        checkpoint.save(self.checkpoint_path, last)

    def validate(self, progress: Progress) -> None:
        """Score the validation tasks, and keep the learner if it is the best so far."""
        try:
            scores = evaluate(
                self.built.suite,
                self.built.learner,
                "val",
                self.recipe.val_tasks,
                self.recipe.judged,
                workers=self.workers,
                processes=self.processes,
                at_once=self.built.at_once,
            )
        except Diverged as error:
            self._mark(f"{error}, at validation")
            return
        mean, ci95, _ = mean_interval(scores[:, -1])
        point = {"iteration": self.state.iteration, "mean": mean, "ci95": ci95}
        self.state.curve.append(point)
        self.log.add({"iteration": self.state.iteration, "val": mean, "val_ci95": ci95})
        progress.validated(point)
        if mean > self.state.best:
            self.state.best = mean
            self.keep()

    def keep(self) -> None:
        """Keep the learner as it is now: it is the one to be tested unless a better or later one is kept."""
        self.state.best_iteration = self.state.iteration
        self.state.best_learner = {k: v.detach().cpu().clone() for k, v in self.built.learner.state_dict().items()}

    def save(self) -> None:
        """Checkpoint and log, on the first process. The log is written first: a resumed run cuts it to fit."""
        self.saved_at, self.saved = time.monotonic(), self.state.iteration
        if not self.processes.first:
            return
        self.log.write()
        checkpoint.save(
            self.checkpoint_path,
            {
                "fields": dataclasses.asdict(self.recipe),
                "seed": self.seed,
                "data": self.data,
                "learner": self.built.learner.state_dict(),
                "outer": self.built.outer.state_dict(),
                "state": vars(self.state),
            },
        )

    def resume(self) -> None:
        """Continue from the folder's checkpoint, if there is one.

        Raises:
            RunFolderError: if it is of another recipe, seed or data, or damaged, or not seen by every process.
        """
        if self.checkpoint_path.exists():
            self._restore(checkpoint.load_run(self.checkpoint_path))
        if len(set(self.processes.gather([self.state.iteration]))) > 1:
            raise checkpoint.RunFolderError(f"run folder {self.folder} must be on a disk that all processes share")
        if not self.state.diverged:
            self.log.cut(self.state.iteration)

    def _restore(self, saved: dict[str, Any]) -> None:
        longer = saved["fields"] | {"iterations": self.recipe.iterations}
        if (digest(longer), saved["seed"]) != (self.recipe.digest(), self.seed):
            had = saved["fields"] | {"seed": saved["seed"]}
            asked = dataclasses.asdict(self.recipe) | {"seed": self.seed}
            other = ", ".join(f"{k} {had.get(k)!r}, not {v!r}" for k, v in asked.items() if had.get(k) != v)
            raise checkpoint.RunFolderError(
                f"{self.folder} holds a run of another recipe or seed ({other}); choose another folder with --out"
            )
        if saved["fields"]["iterations"] != self.recipe.iterations:
            self._lengthen(saved["fields"]["iterations"], saved["state"]["iteration"])
        same_data(self.folder, saved["data"], self.data)
        try:
            self.built.learner.load_state_dict(saved["learner"])
            self.built.outer.load_state_dict(saved["outer"])
            self.state = State(**saved["state"])
            self.saved = self.state.iteration
        except (RuntimeError, LookupError, TypeError, ValueError) as error:
            why = f"{' '.join(str(error).split()):.200}"
            raise checkpoint.RunFolderError(
                f"{self.checkpoint_path} does not fit the learner as it is now ({why}); train again with another --out"
            ) from error

    def _lengthen(self, planned: int, reached: int) -> None:
        """Raise RunFolderError unless a run that was to end after `planned` iterations can end as now asked for.

        It can where it is so far what the other run would have been: a last validation that falls between the regular
        ones may have picked the learner.
        """
        asked, every = self.recipe.iterations, self.recipe.val_every
        if reached > asked:
            raise checkpoint.RunFolderError(
                f"{self.folder} stands at iteration {reached}, beyond the {asked} asked for; choose another --out"
            )
        if reached == planned and planned % every and self.recipe.val_tasks:
            raise checkpoint.RunFolderError(
                f"{self.folder} was validated at its end, iteration {planned}, and not only every {every}: a run of "
                f"{asked} would not have been, so this one cannot go on to there; train anew with another --out"
            )

    def load_best(self) -> None:
        """Put the learner that is to be tested into place: what `keep` kept, or the present one where nothing was."""
        if self.state.best_learner:
            self.built.learner.load_state_dict(self.state.best_learner)
