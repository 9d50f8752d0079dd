"""Meta-learning on one's own data in a loop of one's own: sample tasks, adapt, evaluate, step.

`python examples/mnist_loop.py` draws 28 x 28 digits, learns to tell any three of 0, 1, 4, 6, 8 and 9 apart from one
example each, and prints how well. With torchvision's MNIST, `digits()` is `MNIST("data", download=True)` and nothing
else changes.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from metabench.algorithms import MAML, Categorical, Network, adapt, cross_entropy
from metabench.vision.data.source import Dataset
from metabench.vision.models.backbones import Conv4


def digits(each: int = 30, seed: int = 0) -> list[tuple[Image.Image, int]]:
    """Pictures of the ten digits, moved, turned and sized at random, with their labels."""
    draw, pairs = np.random.default_rng(seed), []
    for label in np.repeat(np.arange(10), each).tolist():
        page = Image.new("L", (28, 28))
        font = ImageFont.load_default(size=int(draw.integers(16, 26)))
        ImageDraw.Draw(page).text(tuple(14 + draw.normal(0, 1.5, 2)), str(label), 255, font, anchor="mm")
        pairs.append((page.rotate(float(draw.normal(0, 12))), label))
    return pairs


def main(steps: int = 150) -> float:
    """Train, print the accuracy over every 50 steps' tasks, and return that of the last 50."""
    torch.manual_seed(0)
    data = Dataset.of(digits())
    tasks = data.episodes(ways=3, shots=1, queries=5, classes=[0, 1, 4, 6, 8, 9])
    learner = MAML(Network(Conv4(1, 28, width=16), 3, Categorical()), inner_lr=0.2)
    optimizer = torch.optim.Adam(learner.parameters(), 5e-3)
    correct = []
    for step in range(steps):
        support, query = tasks.draw(range(4 * step, 4 * step + 4))
        fast = adapt(learner, [support])
        logits = learner.predict(fast, query.x)
        optimizer.zero_grad()
        cross_entropy(logits, query).mean().backward()
        optimizer.step()
        correct.append((logits.argmax(-1) == query.y).float().mean().item())
        if step % 50 == 49:
            print(f"step {step + 1}: {np.mean(correct[-50:]):.1%} of queries")
    return float(np.mean(correct[-50:]))


if __name__ == "__main__":
    main()
