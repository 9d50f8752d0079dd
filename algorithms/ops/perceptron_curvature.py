"""How the outputs of an adapted perceptron policy change with θ, written out: J·v and Jᵀ·u without a graph.

An update φ_{k+1} = φ_k − α ∘ g_k, with g_k = ∇L(φ_k; support k) and H_k its Jacobian, has the tangent

    φ̇_{k+1} = φ̇_k − α ∘ H_k φ̇_k − α̇ ∘ g_k,

and the transposed way back is φ̄_k = φ̄_{k+1} − H_k (α ∘ φ̄_{k+1}), ᾱ = −Σ_k g_k ∘ φ̄_{k+1}, since H_k is symmetric. So
one Hessian-vector product serves both ways: that of the R-operator (Pearlmutter, "Fast Exact Multiplication by the
Hessian", Neural Computation 1994), with all that does not depend on the vector kept from one pass.

What is kept has the shape (T, D, N), D the units of a layer: the long axis last makes matrix products 1.2 × as fast
on a CPU as (T, N, D). Nearly all of the time is in those products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from metabench.algorithms.learner import Batch, Learner, trajectory
from metabench.algorithms.learners.maml import MAML
from metabench.algorithms.learners.meta_sgd import MetaSGD
from metabench.algorithms.likelihood import Gaussian
from metabench.algorithms.network import Network, Params, scoped
from metabench.algorithms.perceptron import Perceptron

LOG_STD = "likelihood.log_std"

SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda a: (a > 0).to(a.dtype),
    "tanh": lambda a: 1 - a.square(),
}
"""Activation -> its derivative, of its value."""


def can_be_written_out(learner: Learner, supports: Sequence[Batch]) -> bool:
    """Whether `PerceptronJacobian` is the learner's: exact gradient steps on all of a perceptron with a Gaussian head.

    Types are asked for, not what is derived from them, which may do anything else. What is frozen, shared or
    parametrised anew changes the list of what is learned. Ratios in a support's loss couple the actions' dimensions.
    """
    if type(learner) not in (MAML, MetaSGD) or learner.settings.first_order:  # type: ignore[attr-defined]
        return False
    network = learner.network
    kinds = (type(network), type(network.body), type(network.likelihood))
    return (
        kinds == (Network, Perceptron, Gaussian)
        and list(learner.learned()) == [*(f"network.{n}" for n in _names(network)), *_rate_names(learner)]
        and all(support.old is None for support in supports)
        and not torch.is_autocast_enabled(next(learner.parameters()).device.type)
    )


def _layers(network: Network) -> list[str]:
    return [*(f"body.{i}" for i in range(network.body.depth)), "head"]  # type: ignore[arg-type]


def _names(network: Network) -> list[str]:
    """Of a perceptron's parameters, in the order of their definition."""
    return [*(f"{layer}.{kind}" for layer in _layers(network) for kind in ("weight", "bias")), LOG_STD]


def _rate_names(learner: Learner) -> list[str]:
    return [f"rates.{i}" for i in range(len(learner.rates))] if isinstance(learner, MetaSGD) else []


class PerceptronJacobian:
    """J of the adapted policies' outputs in all that is learned, θ and Meta-SGD's rates (see `outer.jacobian`).

    Args:
        learner: one that `can_be_written_out`, at its present θ.
        supports: one for each update, of T tasks.
        x: the query's inputs, (T, N, O).
    """

    @torch.no_grad()
    def __init__(self, learner: Learner, supports: Sequence[Batch], x: Tensor) -> None:
        self.names = _names(learner.network)
        self.learned_rates = isinstance(learner, MetaSGD)
        rates = learner.rates if isinstance(learner, MetaSGD) else [learner.settings.inner_lr] * len(self.names)  # type: ignore[attr-defined]
        self.rates: dict[str, Tensor | float] = dict(zip(self.names, rates, strict=True))
        *before, adapted = trajectory(learner, supports)
        self.updates = [UpdatePass(learner, fast, s) for fast, s in zip(before, supports, strict=True)]
        self.query = Pass(learner.network, adapted, x)
        self.outputs = self.query.outputs
        """Of the adapted policies, (T, N, 2A)."""

    @torch.no_grad()
    def push(self, along: Sequence[Tensor]) -> Tensor:
        """J · along, one tensor for each that is learned: (T, N, 2A)."""
        moved = {name: t.unsqueeze(0) for name, t in zip(self.names, along, strict=False)}
        rates = dict(zip(self.names, along[len(self.names) :], strict=False))
        for update in self.updates:
            turned = update.hessian(moved)
            moved = {name: t - self.rates[name] * turned[name] for name, t in moved.items()}
            for name, rate in rates.items():
                moved[name] -= rate * update.gradient[name]
        _, means = self.query.push(moved)
        std = self.query.log_std_change(moved)
        return torch.cat([means, std.expand_as(means)], 1).mT

    @torch.no_grad()
    def pull(self, along: Tensor) -> list[Tensor]:
        """Jᵀ · along, (T, N, 2A), summed over tasks: one tensor for each that is learned."""
        means, std = along.mT.contiguous().chunk(2, 1)
        moved = self.query.pull(means) | {LOG_STD: self.query.gate * std.sum(-1)}
        rates = {name: torch.zeros_like(moved[name][0]) for name in self.names if self.learned_rates}
        for update in reversed(self.updates):
            for name in rates:
                rates[name] -= (update.gradient[name] * moved[name]).sum(0)
            turned = update.hessian({name: self.rates[name] * t for name, t in moved.items()})
            moved = {name: t - turned[name] for name, t in moved.items()}
        return [*(moved[name].sum(0) for name in self.names), *rates.values()]


class Pass:
    """One batch's way through the network at φ, and the first derivatives on it.

    Args:
        network: a perceptron with a Gaussian head.
        fast: φ, of T tasks or shared by all.
        x: (T, N, O).
    """

    def __init__(self, network: Network, fast: Params, x: Tensor) -> None:
        law, self.tasks = network.likelihood, len(x)
        assert isinstance(law, Gaussian)
        self.layers = _layers(network)
        self.weights = [self._each(fast[f"{layer}.weight"]) for layer in self.layers]
        self.gate = (fast[LOG_STD] >= law.least).to(x.dtype)
        """0 where the log-std is at its floor and so does not move, (T or 1, A)."""
        self.inputs = [x.mT.contiguous()]
        """Of each layer, (T, D, N)."""
        self.slopes: list[Tensor] = []
        """Of each hidden layer's activation, (T, D, N)."""
        for layer, weight in zip(self.layers, self.weights, strict=True):
            out = torch.baddbmm(self._each(fast[f"{layer}.bias"]).unsqueeze(-1), weight, self.inputs[-1])
            if layer != self.layers[-1]:
                kind = str(network.body.activation)
                self.inputs.append(torch.relu_(out) if kind == "relu" else torch.tanh_(out))
                self.slopes.append(SLOPES[kind](self.inputs[-1]))
        self.outputs = law.parametrise(scoped(fast, "likelihood."), out.mT.contiguous())

    def _each(self, t: Tensor) -> Tensor:
        return t.expand(self.tasks, *t.shape[1:])

    def push(self, along: Params) -> tuple[list[Tensor], Tensor]:
        """Tangents of the hidden layers' outputs, (T, D, N) each, and of the means, (T, A, N)."""
        hidden: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            bias, weight = (self._each(along[f"{layer}.{kind}"]) for kind in ("bias", "weight"))
            out = torch.baddbmm(bias.unsqueeze(-1), weight, self.inputs[i])
            if i:
                out.baddbmm_(self.weights[i], hidden[-1])
            if i < len(self.slopes):
                hidden.append(out.mul_(self.slopes[i]))
        return hidden, out

    def log_std_change(self, along: Params) -> Tensor:
        """Tangent of the log-stds, (T or 1, A, 1)."""
        return (self.gate * along[LOG_STD]).unsqueeze(-1)

    def pull(self, means: Tensor) -> Params:
        """Cotangents of weights and biases, (T, *shape), from those of the means (T, A, N)."""
        found, out = {}, means
        for i in reversed(range(len(self.layers))):
            found[f"{self.layers[i]}.weight"] = torch.bmm(out, self.inputs[i].mT)
            found[f"{self.layers[i]}.bias"] = out.sum(-1)
            if i:
                out = torch.bmm(self.weights[i].mT, out).mul_(self.slopes[i - 1])
        return found


class UpdatePass(Pass):
    """A support's way through the network at φ_k: also the gradient of its loss, and products with its Hessian.

    Args:
        learner: whose loss it is.
        fast: φ_k.
        support: without `old`.
    """

    def __init__(self, learner: Learner, fast: Params, support: Batch) -> None:
        super().__init__(learner.network, fast, support.x)
        (means, stds), self.second = _derivatives(learner, self.outputs, support)
        self.deltas = [means]
        """∂L/∂z of each layer but the first, the means' the last: (T, D, N)."""
        self.bends: list[Tensor] = []
        """σ″(z) / σ′(z) · ∂L/∂a of each hidden layer, (T, D, N); empty where σ has no second derivative."""
        bent = learner.network.body.activation == "tanh"
        for i in reversed(range(1, len(self.layers))):
            back = torch.bmm(self.weights[i].mT, self.deltas[0])
            if bent:
                self.bends.insert(0, -2 * self.inputs[i] * back)
            self.deltas.insert(0, back.mul_(self.slopes[i - 1]))
        self.gradient = {LOG_STD: self.gate * stds.sum(-1)}
        """∇L(φ_k), (T, *shape) each."""
        for layer, delta, x in zip(self.layers, self.deltas, self.inputs, strict=True):
            self.gradient |= {f"{layer}.weight": torch.bmm(delta, x.mT), f"{layer}.bias": delta.sum(-1)}

    def hessian(self, along: Params) -> Params:
        """∂²L/∂φ² · along, (T, *shape) each."""
        hidden, means = self.push(along)
        std = self.log_std_change(along)
        by_means, mixed, by_stds = self.second
        found = {LOG_STD: self.gate * (mixed * means + by_stds * std).sum(-1)}
        out = by_means * means + mixed * std
        for i in reversed(range(len(self.layers))):
            weight = found[f"{self.layers[i]}.weight"] = torch.bmm(out, self.inputs[i].mT)
            found[f"{self.layers[i]}.bias"] = out.sum(-1)
            if i:
                weight.baddbmm_(self.deltas[i], hidden[i - 1].mT)
                back = torch.bmm(self.weights[i].mT, out)
                back.baddbmm_(self._each(along[f"{self.layers[i]}.weight"]).mT, self.deltas[i])
                out = back.mul_(self.slopes[i - 1])
                if self.bends:
                    out.addcmul_(self.bends[i - 1], hidden[i - 1])
        return found


def _derivatives(learner: Learner, outputs: Tensor, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
    """Of a batch's loss in its outputs, (T, A, N) each: in means, in log-stds; twice in means, in both, in log-stds.

    The second ones are all there are: an example's loss is a sum over the dimensions of its action.
    """
    with torch.enable_grad():
        outputs = outputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(learner.loss_of(outputs, batch).sum(), outputs, create_graph=True)
        rows = [torch.autograd.grad(part.sum(), outputs, retain_graph=True)[0] for part in slope.chunk(2, -1)]
    means, stds, by_means, mixed, _, by_stds = (t.contiguous() for of in (slope, *rows) for t in of.mT.chunk(2, 1))
    return [means.detach(), stds.detach()], [by_means, mixed, by_stds]
