"""A perceptron whose parameters are an argument: the body of policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from metabench.algorithms.network import linear

ACTIVATIONS = {"relu": nn.functional.relu, "tanh": nn.functional.tanh}


class Perceptron(nn.Module):
    """Observations (T, N, O) -> features (T, N, D), D the last hidden width.

    Weights start Xavier-uniform and biases at zero, as in rllab, whose policies the published line uses.

    Args:
        inputs: O.
        hidden: widths of the layers: (100, 100) in Finn et al. 2017, (64, 64) in Rothfuss et al. 2019.
        activation: "relu" (the former) or "tanh" (the latter).
    """

    first_bias = "0.bias"
    """Name of the first layer's bias among the parameters."""

    def __init__(self, inputs: int, hidden: Sequence[int] = (100, 100), activation: str = "relu") -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}; choose one of {', '.join(ACTIVATIONS)}")
        if not hidden or min(hidden) < 1:
            raise ValueError(f"hidden is {tuple(hidden)}; a policy needs at least one layer of at least one unit")
        self.inputs = inputs
        self.features = hidden[-1]
        self.activation = activation
        self.depth = len(hidden)
        for i, (n, m) in enumerate(zip((inputs, *hidden), hidden, strict=False)):
            layer = nn.Linear(n, m)
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
            self.add_module(str(i), layer)

    def forward(self, fast: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """x (T, N, O) -> (T, N, D)."""
        activate = ACTIVATIONS[self.activation]
        for i in range(self.depth):
            x = activate(linear(x, fast[f"{i}.weight"], fast[f"{i}.bias"]))
        return x
