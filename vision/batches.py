"""Mini-batches of all classes of a split, as learners that are trained as classifiers need them.

Batch i depends on (seed, split, i) alone, as an episode does.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from metabench.algorithms.learner import Batch
from metabench.vision.data.source import DataError, Dataset
from metabench.vision.episodes import STREAMS, pictures


class Batches:
    """Mini-batches of one split: every image once an epoch, in an order of the epoch's own.

    Batch i holds images i·B … (i + 1)·B − 1 of the endless row of epochs, so that all batches are of one size.

    Args:
        data: the data set.
        split: whose classes; a class's label is its place among them.
        size: B, images of a batch.
        rotations: every class turned by 90°, 180° and 270° counts as three more.
        seed: of the stream of batches.

    Raises:
        DataError: the split has fewer than two classes.
    """

    def __init__(self, data: Dataset, split: str, size: int, *, rotations: bool = False, seed: int = 0) -> None:
        self.data, self.size, self.seed = data, size, seed
        self.turns = 4 if rotations else 1
        members = np.asarray(data.splits[split])
        self.classes = len(members) * self.turns
        if self.classes < 2:
            raise DataError(f"{data.name} {split}: a classifier needs 2 classes, and the split has {self.classes}")
        starts, counts = data.images.starts, data.images.counts[members]
        self.images = np.concatenate([np.arange(starts[c], starts[c + 1]) for c in members])
        self.places = np.repeat(np.arange(len(members)), counts)
        self.stream = STREAMS[split]
        self._orders: dict[int, np.ndarray] = {}

    def order(self, epoch: int) -> np.ndarray:
        """The images of an epoch in their order, each turn an image of its own: (images · turns,) int64."""
        if epoch not in self._orders:
            key = np.array([self.seed & (2**64 - 1), self.stream], dtype=np.uint64)
            rng = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 1, epoch]))
            self._orders = {epoch: rng.permutation(len(self.images) * self.turns)}
        return self._orders[epoch]

    def indices(self, batches: Iterable[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which images, quarter turns and labels: each (T, B) int64."""
        whole = len(self.images) * self.turns
        rows = []
        for batch in batches:
            at = np.arange(batch * self.size, (batch + 1) * self.size)
            rows.append(
                np.concatenate([self.order(int(e))[at[at // whole == e] % whole] for e in np.unique(at // whole)])
            )
        image, turn = np.divmod(np.stack(rows), self.turns)
        return self.images[image], turn, self.places[image] * self.turns + turn

    def draw(self, batches: Iterable[int], device: torch.device | str = "cpu") -> tuple[Batch, Batch]:
        """A support without examples, and T batches: x (T, B, C, H, W), pictures in [0, 1], and y (T, B) labels."""
        images, turns, labels = self.indices(batches)
        x = pictures(self.data, images, turns, device)
        y = torch.from_numpy(labels).to(device)
        batch = Batch(x, y, torch.ones(y.shape, device=device), self.classes)
        return batch.first(0), batch
