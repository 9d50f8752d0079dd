"""Where the time of a whole MAML-TRPO iteration goes: HalfCheetah, 20 tasks × 20 rollouts × 100 steps, one update."""

from __future__ import annotations

import copy
import dataclasses
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch

from metabench.algorithms import TrustRegionOuter, Workers
from metabench.algorithms.suite import collect
from metabench.bench.distributed import Processes
from metabench.bench.recipes.control import control
from metabench.bench.speed.stopwatch import Stopwatch, Watched
from metabench.bench.worlds import Place
from metabench.bench.worlds.control_build import build
from metabench.envs import Simulator, rollouts, suite
from metabench.envs.robots.physics import Physics
from metabench.envs.suite import Control
from metabench.vision.data.source import cache_root, data_root

MEASURES = "observations, rewards"
SIMULATION = ("physics", MEASURES)
"""Parts that are simulation. The policy that chooses actions is not."""
UPDATE, GRADIENT, PRODUCTS, SEARCH = "inner update", "surrogate, gradient", "Fisher products", "line search"
LEARNING = (UPDATE, GRADIENT, PRODUCTS, SEARCH)
"""Parts that are the learner's and the outer step's."""
WATCHED: tuple[Watched, ...] = (
    (Physics, "advance", "physics"),
    (Physics, "reset", "physics"),
    (Simulator, "step", MEASURES),
    (Simulator, "reset", MEASURES),
    (Control, "episodes", MEASURES),
    (rollouts, "act", "policy"),
    (Control, "roll", "noise, records"),
    (suite, "normalised_advantages", "baselines, advantages"),
    (TrustRegionOuter, "_natural", PRODUCTS),
    (TrustRegionOuter, "_search", SEARCH),
)


@dataclass(frozen=True)
class Iteration:
    """The first iteration of `maml cheetah-dir`, beside the simulation in it.

    Args:
        curvature: of the recipe: the share of transitions that Fisher-vector products are taken over.
    """

    curvature: float
    target: float = 0.6

    @property
    def peer(self) -> str:
        """The name of what it stands beside, in a table."""
        return f"the simulation in it; curvature {self.curvature:g}"

    def row(self, workers: Workers, rounds: int, **fields: Any) -> dict[str, Any]:
        """What a record says of it; the ratio is simulation's share of the wall time.

        Args:
            fields: of the recipe, changed.
        """
        fields = {"meta_batch": 20, "curvature": self.curvature} | fields
        recipe = dataclasses.replace(control("maml", "cheetah-dir"), **fields)
        built = build(recipe, 0, Place(data_root(), cache_root(), Processes(workers.device), workers))
        start = copy.deepcopy(built.learner.state_dict())
        turns = []
        for _ in range(rounds + 1):
            built.learner.load_state_dict(start)
            watch, before = Stopwatch(), time.perf_counter()
            with watch.watching(WATCHED):
                tasks = built.suite.tasks(range(recipe.meta_batch), "train")
                with watch.part(UPDATE):
                    supports, query = collect(built.suite, tasks, built.learner, recipe.inner_steps)
                with watch.part(GRADIENT):
                    built.outer.step(built.learner, supports, query)
                    if workers.device == "cuda":
                        torch.cuda.synchronize()
            turns.append((time.perf_counter() - before, watch.seconds))
        return {"peer": self.peer, "target": self.target, "curvature": self.curvature} | _shares(turns[1:])


def _shares(turns: list[tuple[float, dict[str, float]]]) -> dict[str, Any]:
    """The shares of some iterations, each given as its seconds and those of its parts."""
    simulated = [sum(parts[name] for name in SIMULATION) for _, parts in turns]
    shares = sorted(s / whole for s, (whole, _) in zip(simulated, turns, strict=True))
    return {
        "ours_iterations_per_second": 1 / statistics.median(whole for whole, _ in turns),
        "peer_iterations_per_second": 1 / statistics.median(simulated),
        "ratio": {"min": shares[0], "median": statistics.median(shares), "max": shares[-1]},
        "profile": {name: statistics.median(parts[name] / whole for whole, parts in turns) for name in turns[0][1]},
    }
