"""Small policies, and what they did on a few tasks, in float64: for tests that ask about exactness."""

from __future__ import annotations

import torch
from torch import Tensor

from metabench.algorithms import ANIL, MAML, Batch, Gaussian, Learner, MetaOptNet, MetaSGD, Network, ProtoNet, adapt
from metabench.algorithms.perceptron import Perceptron

POLICIES = ("maml", "anil", "meta-sgd", "protonet", "metaoptnet")
OBSERVATION, ACTION = 3, 2


def policy(kind: str, *, first_order: bool = False, seed: int = 0, activation: str = "tanh") -> Learner:
    """A learner over a tiny Gaussian policy, no parameter at a special value; inner steps are long."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(Perceptron(OBSERVATION, (4, 3), activation), ACTION, Gaussian(ACTION, std=0.6))
        rule = _learner(kind, network, first_order).double()
        for p in rule.parameters():
            p.data += 0.1 * torch.randn_like(p)
    return rule


def _learner(kind: str, network: Network, first_order: bool) -> Learner:
    if kind == "protonet":
        return ProtoNet(network, embedding=3)
    if kind == "metaoptnet":
        return MetaOptNet(network, head="ridge", penalty=3.0, inner_lr=0.7)
    kinds = {"maml": MAML, "anil": ANIL, "meta-sgd": MetaSGD}
    return kinds[kind](network, inner_lr=0.3, first_order=first_order)


def acted(rule: Learner, supports: list[Batch], tasks: int, examples: int, seed: int) -> Batch:
    """Examples of the policy adapted to the supports; the last third of them counts in even tasks only."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(tasks, examples, *shape, generator=generator, dtype=torch.float64)

    x, w = randn(OBSERVATION), randn()
    with torch.no_grad():
        outputs = rule.predict(adapt(rule, supports), x)
        mean, log_std = outputs.expand(tasks, -1, -1).chunk(2, -1)
        y = mean + log_std.exp() * randn(ACTION)
        old = rule.network.likelihood.log_prob(outputs, y)
    valid = torch.ones_like(w)
    valid[1::2, examples - examples // 3 :] = 0
    return Batch(x, y, w, valid=valid, old=old)


def meta_batch(
    rule: Learner, *, tasks: int = 3, examples: int = 9, updates: int = 1, ratio: bool = False, seed: int = 0
) -> tuple[list[Batch], Batch]:
    """A support for each update and the query, each acted by the policy as it then was."""
    supports: list[Batch] = []
    for k in range(updates):
        batch = acted(rule, supports, tasks, examples, seed + k)
        supports.append(batch if ratio else batch._replace(old=None))
    return supports, acted(rule, supports, tasks, examples + 3, seed + 50)
