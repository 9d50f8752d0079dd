"""What a training step learns from: the support of every update, and the query after the last."""

import torch
from torch import nn

from metabench.algorithms import Batch, Categorical, Network, ProtoNet
from metabench.algorithms.suite import collect


class Interactive:
    """A suite whose support shows what the learner has become."""

    interactive = True

    def __init__(self) -> None:
        self.heads = []

    def support(self, tasks, learner, fast, update) -> Batch:
        assert update == len(self.heads)
        self.heads.append(fast["head.weight"].clone())
        x = torch.tensor([[[1.0], [3.0]]]) * len(self.heads)
        return Batch(x, torch.tensor([[0, 1]]), torch.ones(1, 2), 2)

    query = support


def test_where_a_support_depends_on_the_learner_it_adapts_on_the_way():
    body = nn.Module()
    body.features, body.forward = 1, lambda fast, x: x
    learner = ProtoNet(Network(body, 2, Categorical()))
    suite = Interactive()
    supports, query = collect(suite, None, learner, 2)
    assert [float(b.x[0, 0]) for b in (*supports, query)] == [1, 2, 3]
    # W = 2c: the class means are 1 and 3, then 2 and 6.
    assert [h.flatten().tolist() for h in suite.heads[1:]] == [[2, 6], [4, 12]]
    assert not suite.heads[1].requires_grad
    suite.interactive = False
    suite.heads.clear()
    collect(suite, None, learner, 2)
    assert all(torch.equal(h, learner.begin()["head.weight"]) for h in suite.heads)
