"""What a run is told besides its recipe: how it uses the machine, where it is written, its seed.

The fields are flags of several verbs, whose help is there at once: torch, which takes seconds, is imported by the
methods alone.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from metabench.algorithms.meta_gradient import Workers
    from metabench.bench.distributed import Processes
    from metabench.bench.recipes.recipe import Recipe
    from metabench.bench.worlds import Place


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
        from metabench.bench.training.precision import automatic
        from metabench.bench.worlds import world_of

        world = world_of(recipe)
        precision = automatic(world.learner(recipe.algorithm), world.metric.name, self.where())
        return dataclasses.replace(self, precision=precision)

    def workers(self) -> Workers:
        """The threads that run tasks, and their precision; raises RecipeError for a number that cannot be."""
        import torch

        from metabench.algorithms.meta_gradient import Workers
        from metabench.bench.recipes.recipe import RecipeError
        from metabench.bench.training.allocator import keep_freed_memory

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
        from metabench.bench.training.record import provenance

        return provenance(processes.device, workers.threads, self.precision, processes.world, compile=self.compile)

    def place(self, processes: Processes, workers: Workers | None = None) -> Place:
        """Where a recipe is built on this machine."""
        from metabench.bench.worlds import Place
        from metabench.vision.data.source import cache_root, data_root

        return Place(data_root(), cache_root(), processes, workers or self.workers(), self.chunk, self.compile)

    def where(self) -> str:
        """The device's kind, "cpu" or "cuda"."""
        import torch

        from metabench.bench.training.checkpoint import RunFolderError

        if self.device == "cuda" and not torch.cuda.is_available():
            raise RunFolderError("--device cuda: this machine has no usable CUDA GPU; use --device cpu")
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device


@dataclass(frozen=True)
class Options:
    """What a run does besides what its recipe says."""

    seed: int = 0
    """Seed of the initial weights and of the training tasks."""
    seeds: tuple[int, ...] = ()
    """Several in place of --seed: a run for each, one after another, and a line over all of them at the end."""
    out: Path | None = None
    """Run folder; runs/ALGORITHM_BENCHMARK_SCHEDULE/seedN if not given. With --seeds, what holds the folders seedN."""
    weights: Path | None = None
    """Start training from these weights: a folder of `metabench export`, or of a finished run."""
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

    def each(self) -> list[Options]:
        """The options of each run: these, or one for each of several seeds; raises RecipeError for seeds that clash."""
        from metabench.bench.recipes.recipe import RecipeError

        if not self.seeds:
            return [self]
        if self.seed:
            raise RecipeError(f"--seed {self.seed} and --seeds exclude each other; give --seeds alone")
        if len(set(self.seeds)) < len(self.seeds):
            raise RecipeError(f"--seeds names a seed twice: {' '.join(map(str, self.seeds))}")
        runs = [dataclasses.replace(self, seed=seed, seeds=()) for seed in self.seeds]
        for run in runs:
            run.check()
        if self.out is None:
            return runs
        return [dataclasses.replace(run, out=self.out / f"seed{run.seed}") for run in runs]

    def check(self) -> None:
        """Raise RecipeError for what no run can be told."""
        from metabench.bench.recipes.recipe import RecipeError

        if not 0 <= self.seed < 2**63:
            raise RecipeError(f"--seed is {self.seed}; it must be at least 0 and below 2^63")
        if not self.save_every >= 0:
            raise RecipeError(f"--save-every is {self.save_every}; it must be at least 0 seconds")
