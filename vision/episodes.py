"""Few-shot episodes: seeded by index, drawn without loops over images.

Episode i of a stream depends on (seed, stream, i) alone, so any process can draw it without the ones before.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from metabench.algorithms.learner import Batch
from metabench.vision.data.source import ALL, DataError, Dataset

if TYPE_CHECKING:
    from metabench.vision.data.form import Form
    from metabench.vision.data.omniglot import Runs

STREAMS = {ALL: 0, "train": 1, "val": 2, "test": 3}
"""Split -> its number among the random streams of a seed; any other split has that of "all"."""


@dataclass(frozen=True)
class Shape:
    """What one episode holds: `ways` classes, `shots` support and `queries` query images of each."""

    ways: int
    shots: int
    queries: int


class Drawn(Protocol):
    """Anything that gives episodes by index."""

    @property
    def seed(self) -> int:
        """Seed of the stream."""

    def draw(self, episodes: Iterable[int], device: torch.device | str = "cpu") -> tuple[Batch, Batch]:
        """Support and query of these episodes."""
        ...


class Episodes:
    """The episodes of one split.

    Args:
        data: the data set.
        split: "train", "val" or "test"; any other that the data has.
        shape: ways, shots and queries (a class).
        rotations: every class turned by 90°, 180° and 270° counts as three more classes; the same character
            at two angles may then be two classes of one episode, as in ProtoNet. (MAML's code draws different
            characters and turns each: the same but for the few episodes in which one would be drawn twice.)
        within_group: draw an episode's classes from one group (Omniglot: one alphabet).
        tasks: how many different episodes there are; None for no end.
        seed: of the stream of episodes.

    Raises:
        DataError: if the split has too few classes, or a class too few images.
    """

    def __init__(
        self,
        data: Dataset,
        split: str,
        shape: Shape,
        *,
        rotations: bool = False,
        within_group: bool = False,
        tasks: int | None = None,
        seed: int = 0,
    ) -> None:
        if tasks is not None and tasks < 1:
            raise DataError(f"{data.name}: {tasks} tasks asked for; give at least 1, or none for no end")
        if split not in data.splits:
            raise DataError(f"{data.name} has no split {split!r}; it has {', '.join(sorted(data.splits))}")
        self.data, self.split, self.shape = data, split, shape
        self.turns = 4 if rotations else 1
        self.tasks = tasks
        self.seed = seed
        starts = data.images.starts
        self.counts = np.diff(starts)
        classes = np.asarray(data.splits[split])
        data.require(split, shape.shots + shape.queries)
        if not within_group:
            self.pools = [classes]
        elif data.groups is None:
            raise DataError(f"{data.name} has no groups to draw episodes within; use another split")
        else:
            of = data.groups[classes]
            pools = [classes[of == g] for g in np.unique(of)]
            self.pools = [p for p in pools if len(p) * self.turns >= shape.ways]
        most = max((len(p) for p in self.pools), default=0) * self.turns
        if most < shape.ways:
            raise DataError(
                f"{data.name} {split}: episodes of {shape.ways} ways need as many classes, and the split has {most}; "
                "lower --ways, or train with --train-ways"
            )

    def indices(self, episodes: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
        """Which images, and quarter turns: each (T, ways, shots + queries) int64."""
        s, need = self.shape, self.shape.shots + self.shape.queries
        # Typed: NumPy would make one float64 of a list with numbers beyond int64.
        key = np.array([self.seed & (2**64 - 1), STREAMS.get(self.split, STREAMS[ALL])], dtype=np.uint64)
        images, turns = [], []
        for episode in episodes:
            episode = episode % self.tasks if self.tasks else episode
            bits = np.random.Philox(key=key, counter=[0, 0, 0, episode])
            rng = np.random.Generator(bits)
            pool = self.pools[rng.integers(len(self.pools)) if len(self.pools) > 1 else 0]
            chosen = rng.choice(len(pool) * self.turns, s.ways, replace=False)
            classes = pool[chosen // self.turns]
            counts = self.counts[classes]
            keys = rng.random((s.ways, counts.max()))
            if counts.min() < keys.shape[1]:
                keys[np.arange(keys.shape[1]) >= counts[:, None]] = 2.0  # sorted behind every real image
            order = keys.argsort(1)[:, :need]
            images.append(self.data.images.starts[classes][:, None] + order)
            turns.append(np.broadcast_to((chosen % self.turns)[:, None], order.shape))
        return np.stack(images), np.stack(turns)

    def draw(self, episodes: Iterable[int], device: torch.device | str = "cpu") -> tuple[Batch, Batch]:
        """Support and query of T episodes, class-major: x (T, ways·n, C, H, W), pictures in [0, 1], and y labels."""
        s = self.shape
        index, turns = self.indices(episodes)
        x = pictures(self.data, index, turns, device)
        return _batch(x[:, :, : s.shots]), _batch(x[:, :, s.shots :])

    def __iter__(self) -> Iterator[tuple[Batch, Batch]]:
        """Support and query of one episode after another (T = 1): all of them once, or without end."""
        for episode in itertools.count() if self.tasks is None else range(self.tasks):
            yield self.draw([episode])


class FixedEpisodes:
    """Episodes that were published as they are: the Omniglot challenge's 20 runs.

    Args:
        runs: one support and one query image a class, with the query's labels.
    """

    seed = 0

    def __init__(self, runs: Runs) -> None:
        self.runs = runs

    def draw(self, episodes: Iterable[int], device: torch.device | str = "cpu") -> tuple[Batch, Batch]:
        """Support and query of these runs; x (T, 20, C, H, W) float in [0, 1], y labels."""
        which = list(episodes)
        support, query = (
            torch.from_numpy(x[which]).to(device).float().div_(255) for x in (self.runs.support, self.runs.query)
        )
        labels = torch.from_numpy(self.runs.labels[which]).to(device)
        return _batch(support.unsqueeze(2)), _batch(query.unsqueeze(2))._replace(y=labels)


def pictures(data: Dataset, index: np.ndarray, turns: np.ndarray, device: torch.device | str) -> torch.Tensor:
    """The images with these indices, of any shape, turned by so many quarters: (*shape, C, H, W) float in [0, 1]."""
    pixels = data.images.images[index]
    for quarter in (1, 2, 3):
        where = turns == quarter
        if where.any():
            pixels[where] = np.rot90(pixels[where], quarter, (-2, -1))
    x = torch.from_numpy(pixels).to(device)
    return x.float().div_(255) if x.dtype == torch.uint8 else x


class Brought:
    """Episodes whose images are brought to another size or number of channels, for a learner of another data set.

    Args:
        episodes: whose images are uint8.
        form: of the images that the learner reads.
    """

    def __init__(self, episodes: Drawn, form: Form) -> None:
        self.episodes, self.form = episodes, form
        self.seed = episodes.seed

    def draw(self, episodes: Iterable[int], device: torch.device | str = "cpu") -> tuple[Batch, Batch]:
        """Support and query of these episodes; x (T, N, channels, size, size) in [0, 1]."""
        support, query = self.episodes.draw(episodes)
        return self._brought(support, device), self._brought(query, device)

    def _brought(self, batch: Batch, device: torch.device | str) -> Batch:
        pixels = (batch.x.flatten(0, 1) * 255).round().to(torch.uint8)  # what it was made of, exactly
        x = torch.from_numpy(self.form.bring(pixels.numpy())).to(device).float().div_(255)
        return Batch(x.unflatten(0, batch.y.shape), batch.y.to(device), batch.w.to(device), batch.ways)


def _batch(x: torch.Tensor) -> Batch:
    """Images (T, K, n, C, H, W), class by class, with their labels and weight 1."""
    tasks, ways, n = x.shape[:3]
    y = torch.arange(ways, device=x.device).repeat_interleave(n).expand(tasks, -1).contiguous()
    return Batch(x.flatten(1, 2), y, torch.ones(tasks, ways * n, device=x.device), ways)
