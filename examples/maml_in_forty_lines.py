"""MAML in forty lines: draw tasks, adapt to their supports, learn from their queries.

`python examples/maml_in_forty_lines.py` trains on characters that a program draws, so that nothing is downloaded, and
prints how many queries of unseen characters it gets right before and after training.
"""

from __future__ import annotations

from pathlib import Path

import torch

from metabench.algorithms import MAML, Categorical, Network, adapt, cross_entropy
from metabench.vision.data.glyphs import Glyphs
from metabench.vision.episodes import Episodes
from metabench.vision.models.backbones import Conv4


def accuracy(learner: MAML, tasks: Episodes) -> float:
    """The share of queries that are classified right after one update, over the first 50 tasks."""
    support, query = tasks.draw(range(50))
    logits = learner.predict(adapt(learner, [support]), query.x)  # (tasks, queries, ways)
    return (logits.argmax(-1) == query.y).float().mean().item()


def main(steps: int = 150) -> tuple[float, float]:
    """The accuracy on test tasks before and after training."""
    torch.manual_seed(0)
    glyphs = Glyphs().load(Path(), "alphabets", cache=Path())  # drawn here: it reads and writes no file
    train, test = (glyphs.episodes(ways=5, shots=1, queries=5, split=split) for split in ("train", "test"))
    learner = MAML(Network(Conv4(1, 28, width=16), 5, Categorical()), inner_lr=0.4)
    optimizer = torch.optim.Adam(learner.parameters(), 5e-3)
    before = accuracy(learner, test)
    for step in range(steps):
        support, query = train.draw(range(4 * step, 4 * step + 4))  # four tasks, each by its number
        fast = adapt(learner, [support])  # one update; [support] * 5 would be five
        loss = cross_entropy(learner.predict(fast, query.x), query).mean()
        optimizer.zero_grad()
        loss.backward()  # through the update: second derivatives are exact
        optimizer.step()
    after = accuracy(learner, test)
    print(f"accuracy on 50 test tasks: {before:.1%} before training, {after:.1%} after")
    return before, after


if __name__ == "__main__":
    main()
