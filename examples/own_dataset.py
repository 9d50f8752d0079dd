"""Arrays of one's own as a data set: ProtoNet learns to tell patterns apart that it has not seen.

`python examples/own_dataset.py` makes stripes of 24 directions in noise, trains on 16 of these classes and prints the
accuracy on the other 8, before and after training.
"""

from __future__ import annotations

import numpy as np
import torch

from metabench.algorithms import Categorical, Network, ProtoNet, adapt, cross_entropy
from metabench.vision.data.source import Dataset
from metabench.vision.episodes import Episodes
from metabench.vision.models.backbones import Conv4


def stripes(classes: int = 24, each: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28), uint8, and their labels (N,): stripes whose direction is the class's."""
    draw, labels = np.random.default_rng(0), np.repeat(np.arange(classes), each)
    y, x = np.mgrid[:28, :28]
    angle, phase = np.pi * labels / classes, draw.uniform(0, 2 * np.pi, len(labels))
    wave = np.sin(0.8 * (np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y) + phase[:, None, None])
    return (128 + 60 * wave + draw.normal(0, 40, wave.shape)).clip(0, 255).astype(np.uint8), labels


def accuracy(learner: ProtoNet, tasks: Episodes) -> float:
    """The share of queries that are classified right over 50 tasks."""
    support, query = tasks.draw(range(50))
    logits = learner.predict(adapt(learner, [support]), query.x)
    return (logits.argmax(-1) == query.y).float().mean().item()


def main(steps: int = 60) -> tuple[float, float]:
    """The accuracy on unseen classes before and after training."""
    torch.manual_seed(0)
    test_classes = range(0, 24, 3)
    data = Dataset.of(*stripes(), splits={"train": set(range(24)) - set(test_classes), "test": test_classes})
    train, test = (data.episodes(ways=5, shots=1, queries=5, split=split) for split in ("train", "test"))
    learner = ProtoNet(Network(Conv4(1, 28, width=8), 5, Categorical()))
    optimizer = torch.optim.Adam(learner.parameters(), 5e-3)
    before = accuracy(learner, test)
    for step in range(steps):
        support, query = train.draw(range(4 * step, 4 * step + 4))
        loss = cross_entropy(learner.predict(adapt(learner, [support]), query.x), query).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = accuracy(learner, test)
    print(f"accuracy on 50 tasks of unseen classes: {before:.1%} before training, {after:.1%} after")
    return before, after


if __name__ == "__main__":
    main()
