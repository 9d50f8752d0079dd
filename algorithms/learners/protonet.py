"""ProtoNet: one moment of the support, its class means, is the head.

Snell, Swersky & Zemel, "Prototypical Networks for Few-shot Learning", NIPS 2017. A softmax over squared
Euclidean distances to the class means c_k is a linear head (their §2.4): −‖z − c‖² = 2c·z − ‖c‖² − ‖z‖²,
and the last term is the same for every class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from metabench.algorithms.learner import Batch, Learner, LearnerSettings
from metabench.algorithms.likelihood import Gaussian
from metabench.algorithms.network import Network, Params


@dataclass(frozen=True)
class PrototypeSettings(LearnerSettings):
    """Settings of ProtoNet."""

    embedding: int = 64
    """Control only: size of the prototype."""

    def problem(self) -> str | None:
        """A size below one."""
        return self.not_positive("embedding")


class ProtoNet(Learner):
    """W = 2c and b = −‖c‖². It learns only the body; the head of `begin` is a prior that no task keeps.

    In control (a network with a Gaussian likelihood) it learns the whole policy and a `Prototype`.
    """

    Settings = PrototypeSettings
    settings: PrototypeSettings

    reads = "features"
    any_ways = True

    def __init__(self, network: Network, **arguments: Any) -> None:
        super().__init__(network, **arguments)
        self.prototype = (
            Prototype(network, self.settings.embedding) if isinstance(network.likelihood, Gaussian) else None
        )
        if self.prototype is not None:
            self.reads = "inputs"

    def rule(self, fast: Params, support: Batch) -> Params:
        """The head whose logits are the negative squared distances, up to a constant per example."""
        if self.prototype is not None:
            return self._control_rule(fast, support, self.prototype)
        return fast | nearest_mean(support)

    def _control_rule(self, fast: Params, support: Batch, prototype: Prototype) -> Params:
        """The first layer's bias, moved by the task's prototype: a policy conditioned on what was seen of the task.

        Actions have no classes whose means could be a head, and their mean weighted by advantages would be one
        action for every state. What carries over is that a task is known by a weighted mean of embeddings, w being
        now the advantage: it tells where, and by which actions, more was earned than expected. The mean enters where
        a task variable beside the observation would: as a shift of the first layer. It adds to the shift before, as
        an advantage tells what to change of the policy that acted. **A metabench extension: no number was published
        for it.**
        """
        return self.moved(fast, {prototype.bias: fast[prototype.bias] + prototype(support)})


class Prototype(nn.Module):
    """Transitions of each task -> a shift of the policy's first layer, linear in their mean embedding, E[w e(x, y)].

    Args:
        network: its body also says `inputs`, O, and `first_bias`, the name of its first layer's bias.
        width: of both tanh layers that embed a transition.

    Raises:
        ValueError: the body has no `inputs` or `first_bias`.
    """

    def __init__(self, network: Network, width: int) -> None:
        super().__init__()
        body = network.body
        if not (hasattr(body, "inputs") and hasattr(body, "first_bias")):
            raise ValueError(f"a {type(body).__name__} has no inputs or first_bias, which ProtoNet needs in control")
        observation, action = int(body.inputs), network.head.out_features  # type: ignore[arg-type]
        self.bias = f"body.{body.first_bias}"
        like = network.get_parameter(self.bias)
        self.embed = nn.Sequential(
            nn.Linear(observation + action, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()
        ).to(like)
        self.shift = nn.Linear(width, len(like), bias=False).to(like)

    def forward(self, support: Batch) -> Tensor:
        """Observations (T, N, O), actions (T, N, A) and advantages (T, N) -> (T, units of the first layer)."""
        embedded = self.embed(torch.cat([support.x, support.y], -1))
        out: Tensor = self.shift(support.mean(support.w.unsqueeze(-1) * embedded))
        return out


def nearest_mean(support: Batch) -> Params:
    """The head whose logits are the negative squared distances to the class means, up to a constant per example.

    Raises:
        ValueError: the examples have no classes.
    """
    centre = class_means(support)
    return {"head.weight": 2 * centre, "head.bias": -centre.square().sum(-1)}


def class_means(support: Batch) -> Tensor:
    """Weighted mean of the features (T, N, D) of each class: (T, K, D).

    Raises:
        ValueError: the examples have no classes. A learner whose rule calls this says so: ``needs_labels = True``.
    """
    if support.ways == 0:
        raise ValueError("the examples have actions and no labels, of which there is a mean a class")
    classes = torch.arange(support.ways, device=support.y.device)
    member = (support.y.unsqueeze(-1) == classes) * support.w.unsqueeze(-1)
    return member.transpose(1, 2) @ support.x / member.sum(1).unsqueeze(-1)
