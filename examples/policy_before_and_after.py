"""A policy before and after one update: MAML learns to find a goal that it is told by its returns alone.

`python examples/policy_before_and_after.py` trains a point on a plane for 15 iterations and prints its mean return on
test goals before and after one update from 20 episodes of each. The return is minus the distance to the goal, summed
over the steps: nearer to 0 is better.
"""

from __future__ import annotations

import torch

from metabench.algorithms import MAML, Gaussian, Network, TrustRegionOuter, Workers
from metabench.algorithms.perceptron import Perceptron
from metabench.algorithms.suite import collect, scores_by_update
from metabench.envs import ENVIRONMENTS
from metabench.envs.suite import Control


def main(iterations: int = 15) -> tuple[float, float]:
    """The mean return on 20 test goals before and after one update."""
    torch.manual_seed(0)
    suite = Control(ENVIRONMENTS["navigation"], rollouts=20, seeds={"train": 0, "test": 1})
    network = Network(Perceptron(suite.observation_size), suite.spec.action_size, Gaussian(suite.spec.action_size))
    learner = MAML(network, inner_lr=0.1)
    outer = TrustRegionOuter(workers=Workers(threads=1))
    for i in range(iterations):
        goals = suite.tasks(range(10 * i, 10 * i + 10), "train")
        supports, query = collect(suite, goals, learner, updates=1)  # episodes before the update, and after it
        outer.step(learner, supports, query)
    returns = scores_by_update(suite, suite.tasks(range(20), "test"), learner, updates=1)  # (tasks, updates + 1)
    before, after = returns.mean(0).tolist()
    print(f"mean return on 20 goals: {before:.1f} before an update, {after:.1f} after")
    return before, after


if __name__ == "__main__":
    main()
