"""What `metabench peers` times: the same work by us and by a peer, with a check that it is the same."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metabench.algorithms import ANIL, MAML, ProtoNet, Workers, cross_entropy
from metabench.algorithms.learner import Batch
from metabench.algorithms.meta_gradient import meta_gradient, tasks_at_once
from metabench.algorithms.ops.convex import dual_optimum
from metabench.bench.recipes.few_shot import few_shot
from metabench.bench.recipes.recipe import FewShotRecipe
from metabench.bench.speed import peers
from metabench.bench.worlds.few_shot_build import make_learner
from metabench.vision import DATASETS
from metabench.vision.data.source import Dataset
from metabench.vision.episodes import Episodes, Shape

TOLERANCE = 1e-9
"""Largest entry of the difference of two float64 meta-gradients, relative to the largest entry."""
SVM = {"tasks": 8, "ways": 5, "shots": 15, "width": 1600}
PENALTY = 0.1


class Unequal(RuntimeError):
    """The two sides of a workload do not do the same, so their times mean nothing."""


class Sides(NamedTuple):
    """One call of each does `tasks` tasks."""

    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    tasks: int
    counted: Callable[[], Any] | None = None
    """One task of ours on this thread, for the roofline; None where there is nothing to count."""


@dataclass(frozen=True)
class Training:
    """The meta-gradient of one outer iteration of a recipe, against learn2learn's.

    Args:
        target: the ratio that the project asks for, on a CPU.
        fields: of the recipe, changed.
    """

    algorithm: str
    benchmark: str
    target: float
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)
    peer = "learn2learn"

    def recipe(self) -> FewShotRecipe:
        """What is trained."""
        return dataclasses.replace(few_shot(self.algorithm, self.benchmark), **self.fields)

    def sides(self, workers: Workers, tasks: int = 0, dtype: torch.dtype = torch.float32) -> Sides:
        """Both sides on the same weights and the same random images; `tasks` 0 for the recipe's meta-batch."""
        recipe = self.recipe()
        source = DATASETS[recipe.dataset]
        tasks = tasks or recipe.meta_batch
        learner = make_learner(recipe, 0, source.channels, source.size).to(workers.device, dtype).train()
        support, query = random_tasks(recipe, tasks, workers.device, dtype)
        steps = recipe.inner_steps
        chunk = tasks_at_once(learner.reads, support.x[0].numel(), workers.device)
        alone = Workers(1, workers.device)

        def ours(workers: Workers = workers, tasks: slice = slice(None)) -> list[Tensor]:
            shown = [support.at(tasks)] * steps
            return meta_gradient(learner, shown, query.at(tasks), cross_entropy, chunk=chunk, workers=workers).grads

        match learner:
            case ANIL():
                theirs = peers.anil(learner, steps)
            case MAML():
                theirs = peers.maml(learner, steps)
            case ProtoNet():
                theirs = peers.protonet(learner)
            case _:
                raise ValueError(f"learn2learn has no {self.algorithm}")
        return Sides(ours, lambda: theirs(support, query), tasks, lambda: ours(alone, slice(0, 1)))

    def check(self, workers: Workers) -> str:
        """Compare the float64 gradients of two tasks; raises Unequal where they differ."""
        both = self.sides(workers, min(2, self.recipe().meta_batch), torch.float64)
        difference = peers.largest_difference(both.ours(), both.theirs())
        if not difference <= TOLERANCE:
            raise Unequal(f"{self.algorithm} {self.benchmark}: gradients differ by {difference:.1e}")
        return f"float64 gradients differ by {difference:.1e} of their largest entry"


@dataclass(frozen=True)
class SVMHead:
    """MetaOptNet's SVM head, fit and backward, of 8 episodes of 5w15s at once, against qpth one by one."""

    target: float = 10.0
    peer = "qpth"

    def sides(self, workers: Workers) -> Sides:
        """Both sides on the same features, as a ReLU network's."""
        z, y = svm_episodes(SVM["width"])
        ways = SVM["ways"]

        def theirs() -> list[tuple[Tensor, Tensor]]:
            found = []
            for f, labels in zip(z, y, strict=True):
                solve = functools.partial(peers.svm_dual, y=labels, ways=ways, penalty=PENALTY)
                found.append(fit_and_backward(f, solve))
            return found

        return Sides(lambda: fit_and_backward(z, lambda f: dual_optimum(f, y, ways, PENALTY)), theirs, len(z))

    def check(self, workers: Workers) -> str:
        """Our dual objective must be no higher than qpth's, in float64; raises Unequal."""
        z, y = svm_episodes(SVM["width"])
        ours = dual_optimum(z, y, SVM["ways"], PENALTY)
        theirs = torch.stack([peers.svm_dual(f, labels, SVM["ways"], PENALTY) for f, labels in zip(z, y, strict=True)])
        lead = svm_objective(z, y, theirs) - svm_objective(z, y, ours)
        if not lead.min() >= -1e-7:
            raise Unequal(f"the dual objective is {-lead.min():.1e} above qpth's")
        return f"dual objective below qpth's by {lead.min():.1e} to {lead.max():.1e}"


@dataclass(frozen=True)
class Sampling:
    """Drawing training episodes with rotated classes, 20 ways, 5 shots and 5 queries, against the fused Taskset."""

    data: Dataset
    target: float = 50.0
    peer = "learn2learn"
    batch = 16

    def sides(self, workers: Workers) -> Sides:
        """A meta-batch of ours; a call of theirs draws as many one by one. Both have the 28×28 images in memory."""
        episodes = Episodes(self.data, "train", Shape(20, 5, 5), rotations=True)
        draw = peers.sampler(self.data, "train", 20, 10)
        return Sides(lambda: episodes.draw(range(self.batch)), lambda: [draw() for _ in range(self.batch)], self.batch)

    def check(self, workers: Workers) -> str:
        """Both give as many images of one size, in [0, 1]."""
        both = self.sides(workers)
        support, query = both.ours()
        one = torch.cat([support.x[0], query.x[0]])
        other = both.theirs()[0]
        if one.shape != other.shape:
            raise Unequal(f"{tuple(one.shape)} and {tuple(other.shape)} images")
        if not 0 <= float(other.min()) <= float(other.max()) <= 1:
            raise Unequal("pixels beyond [0, 1]")
        return f"{one.shape[0]} images of {one.shape[-1]}×{one.shape[-1]} an episode on either side"


def workloads(data: Dataset) -> dict[str, Training | SVMHead | Sampling]:
    """Every workload by its name.

    Args:
        data: whose episodes are drawn.
    """
    omniglot = {"meta_batch": 32}
    return {
        "maml-omniglot-1-step": Training("maml", "omniglot-5w1s", 1.4, omniglot),
        "maml-omniglot-5-steps": Training("maml", "omniglot-5w1s", 1.4, omniglot | {"inner_steps": 5, "inner_lr": 0.1}),
        "maml-mini-5w1s": Training("maml", "mini-imagenet-5w1s", 1.4),
        "maml-mini-5w5s": Training("maml", "mini-imagenet-5w5s", 1.4),
        "anil-omniglot": Training("anil", "omniglot-5w1s", 1.5, omniglot | {"inner_steps": 5, "inner_lr": 0.1}),
        "anil-mini-5w1s": Training("anil", "mini-imagenet-5w1s", 1.5),
        "protonet-omniglot": Training("protonet", "omniglot-5w1s", 1.3),
        "svm-head": SVMHead(),
        "sampling": Sampling(data),
    }


def random_tasks(recipe: FewShotRecipe, tasks: int, device: str, dtype: torch.dtype) -> tuple[Batch, Batch]:
    """Support and query of random images in the shape of the recipe's training tasks."""
    source = DATASETS[recipe.dataset]
    generator = torch.Generator().manual_seed(0)

    def batch(n: int) -> Batch:
        images = recipe.train_ways * n
        x = torch.rand(tasks, images, source.channels, source.size, source.size, generator=generator)
        y = torch.arange(recipe.train_ways).repeat_interleave(n).expand(tasks, -1).contiguous()
        return Batch(
            x.to(device, dtype), y.to(device), torch.ones(tasks, images, device=device, dtype=dtype), recipe.train_ways
        )

    return batch(recipe.train_shots), batch(recipe.train_queries)


def svm_episodes(width: int) -> tuple[Tensor, Tensor]:
    """5w15s features as a ReLU network's: (8, 75, D) float32 and labels (8, 75)."""
    generator = torch.Generator().manual_seed(0)
    tasks, ways, shots = SVM["tasks"], SVM["ways"], SVM["shots"]
    centres = 0.3 * torch.randn(tasks, ways, 1, width, generator=generator)
    z = (centres + torch.randn(tasks, ways, shots, width, generator=generator)).relu().flatten(1, 2)
    return z, torch.arange(ways).repeat_interleave(shots).expand(tasks, -1)


def fit_and_backward(z: Tensor, fit: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """α, and the gradient of Σ W² in z, W = αᵀ z."""
    z = z.clone().requires_grad_()
    alpha = fit(z)
    [gradient] = torch.autograd.grad((alpha.mT @ z).square().sum(), z)
    return alpha.detach(), gradient


def svm_objective(z: Tensor, y: Tensor, alpha: Tensor) -> Tensor:
    """Crammer and Singer's dual objective ½ Σ αᵀ (ZZᵀ + I) α − Σ α·y per task, (T,), in float64."""
    z, alpha = z.double(), alpha.double()
    labels = (y.unsqueeze(-1) == torch.arange(alpha.shape[-1])).double()
    h = z @ z.mT + torch.eye(z.shape[1], dtype=z.dtype)
    return (0.5 * alpha * (h @ alpha) - labels * alpha).sum((1, 2))
