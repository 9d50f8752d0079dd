"""The few-shot suite: a data set's episodes behind the interface that both worlds share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metabench.algorithms.learner import Batch, Learner, check_labels, finite
from metabench.algorithms.network import Params
from metabench.algorithms.streams import stream
from metabench.vision.augment import Augmentation
from metabench.vision.episodes import STREAMS, Drawn

_DRAWS = 1
"""Tells a task's draws at evaluation from those of other uses of its place."""


@dataclass(frozen=True)
class Tasks:
    """T drawn episodes, and a seed for what else is drawn for each: its place's in the stream. Batches are the same
    without a support."""

    support: Batch
    query: Batch
    seeds: tuple[int, ...] = ()

    def at(self, tasks: slice) -> Tasks:
        """A slice of them."""
        return Tasks(self.support.at(tasks), self.query.at(tasks), self.seeds[tasks])

    def __len__(self) -> int:
        return int(self.query.x.shape[0])


class FewShot:
    """Few-shot classification: every update sees the same support.

    Args:
        episodes: split -> its episodes.
        device: where the tasks are put.
        augment: applied to training images, or None.
    """

    interactive = False
    score_name = "accuracy"
    later_rate = 1.0

    def __init__(
        self, episodes: Mapping[str, Drawn], device: torch.device, augment: Augmentation | None = None
    ) -> None:
        self.episodes = episodes
        self.device = device
        self.augment = augment

    def tasks(self, indices: Iterable[int], split: str) -> Tasks:
        """The tasks with these indices; a task depends on its index and the split's seed alone.

        Raises:
            ValueError: a label is none of 0 … K − 1.
        """
        indices = list(indices)
        episodes = self.episodes[split]
        support, query = episodes.draw(indices, self.device)
        if self.augment is not None and split == "train":
            seeds = [(episodes.seed, i) for i in indices]
            support, query = (_augmented(self.augment, b, seeds, part) for part, b in enumerate((support, query)))
        check_labels((support, query))
        return Tasks(support, query, tuple(stream(episodes.seed, i, STREAMS.get(split, 0), _DRAWS) for i in indices))

    def support(self, tasks: Tasks, learner: Learner, fast: Params, update: int) -> Batch:
        """The same examples, whatever the learner does."""
        return tasks.support

    def query(self, tasks: Tasks, learner: Learner, fast: Params, update: int) -> Batch:
        """The same examples, whatever the learner does."""
        return tasks.query

    def draws(self, tasks: Tasks) -> Sequence[torch.Generator]:
        """A generator a task, on the CPU, so that a rule draws the same whatever the device."""
        return [torch.Generator().manual_seed(seed) for seed in tasks.seeds]

    def scorer(self, tasks: Tasks, learner: Learner) -> Callable[[Params, int], Tensor]:
        """Accuracy on each task's query, (T,), which is encoded once; NaN where a task has diverged."""
        query = learner.encode(tasks.query)

        def score(fast: Params, update: int) -> Tensor:
            outputs = learner.answer(fast, query)
            accuracy = (outputs.argmax(-1) == tasks.query.y).float().mean(1)
            return accuracy.where(finite(outputs), torch.nan)

        return score

    def metrics(self, tasks: Tasks) -> dict[str, float]:
        """Nothing: the examples are given."""
        return {}


def _augmented(augment: Augmentation, batch: Batch, seeds: Sequence[tuple[int, int]], part: int) -> Batch:
    """Each task's images, altered by draws of its own."""
    if not batch.y.numel():
        return batch
    images = [augment(x, *seed, part) for x, seed in zip(batch.x, seeds, strict=True)]
    return batch._replace(x=torch.stack(images))
