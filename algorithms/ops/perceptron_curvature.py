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
        self.learned_rates = isinstance(learner, MetaSGD)
        self.rates: Sequence[Tensor | float]
        if isinstance(learner, MetaSGD):
            self.rates = _blocks([rate.unsqueeze(0) for rate in learner.rates])
        else:
            self.rates = [learner.settings.inner_lr] * (len(_layers(learner.network)) + 1)  # type: ignore[attr-defined]
        *before, adapted = trajectory(learner, supports)
        self.updates = [UpdatePass(learner, fast, s) for fast, s in zip(before, supports, strict=True)]
        self.query = Pass(learner.network, adapted, x)
        self.outputs = self.query.outputs
        """Of the adapted policies, (T, N, 2A)."""

    @torch.no_grad()
    def push(self, along: Sequence[Tensor]) -> Tensor:
        """J · along, one tensor for each that is learned: (T, N, 2A)."""
        count = len(along) // 2 if self.learned_rates else len(along)
        moved = _blocks([t.unsqueeze(0) for t in along[:count]])
        rates = _blocks([t.unsqueeze(0) for t in along[count:]])
        for update in self.updates:
            turned = update.hessian(moved)
            moved = [t - rate * h for t, rate, h in zip(moved, self.rates, turned, strict=True)]
            for t, rate, g in zip(moved, rates, update.gradient, strict=False):
                t -= rate * g
        _, means = self.query.push(moved)
        std = self.query.log_std_change(moved)
        return torch.cat([means, std.expand_as(means)], 1).mT

    @torch.no_grad()
    def pull(self, along: Tensor) -> list[Tensor]:
        """Jᵀ · along, (T, N, 2A), summed over tasks: one tensor for each that is learned."""
        means, std = along.mT.contiguous().chunk(2, 1)
        moved = [*self.query.pull(means), self.query.gate * std.sum(-1)]
        rates = [torch.zeros_like(t) for t in moved] if self.learned_rates else []
        for update in reversed(self.updates):
            for rate, t, g in zip(rates, moved, update.gradient, strict=False):
                rate -= g * t
            turned = update.hessian([rate * t for rate, t in zip(self.rates, moved, strict=True)])
            moved = [t - h for t, h in zip(moved, turned, strict=True)]
        return [*_parameters([t.sum(0) for t in moved]), *_parameters([t.sum(0) for t in rates])]


Blocks = list[Tensor]
"""What has the shape of φ: for each layer its weights and, as a last column, its biases (T or 1, D, D' + 1), D' its
inputs; then the log-stds (T or 1, A)."""


def _blocks(parameters: Sequence[Tensor]) -> Blocks:
    """From one (T or 1, *shape) for each parameter, in their order; nothing from nothing."""
    pairs = zip(parameters[:-1:2], parameters[1:-1:2], strict=True)
    return [*(torch.cat([w, b.unsqueeze(-1)], -1) for w, b in pairs), *parameters[-1:]]


def _parameters(blocks: Sequence[Tensor]) -> list[Tensor]:
    """Undo of `_blocks`."""
    return [*(part for t in blocks[:-1] for part in (t[..., :-1], t[..., -1])), *blocks[-1:]]


class Pass:
    """One batch's way through the network at φ, and the first derivatives on it.

    Args:
        network: a perceptron with a Gaussian head.
        fast: φ, of T tasks or shared by all.
        x: (T, N, O).
    """

    def __init__(self, network: Network, fast: Params, x: Tensor) -> None:
        law, kind, self.tasks = network.likelihood, str(network.body.activation), len(x)
        assert isinstance(law, Gaussian)
        *layers, log_std = _blocks([fast[name] for name in _names(network)])
        self.weights = [self._each(t)[..., :-1] for t in layers]
        self.gate = (log_std >= law.least).to(x.dtype)
        """0 where the log-std is at its floor and so does not move, (T or 1, A)."""
        self.inputs = [_with_ones(x.mT)]
        """Of each layer, and a row of ones for its biases, (T, D' + 1, N)."""
        self.slopes: list[Tensor] = []
        """Of each hidden layer's activation, (T, D, N)."""
        for layer in layers[:-1]:
            out = torch.bmm(self._each(layer), self.inputs[-1])
            out = torch.relu_(out) if kind == "relu" else torch.tanh_(out)
            self.inputs.append(_with_ones(out))
            self.slopes.append(SLOPES[kind](out))
        means = torch.bmm(self._each(layers[-1]), self.inputs[-1])
        self.outputs = law.parametrise(scoped(fast, "likelihood."), means.mT.contiguous())

    def _each(self, t: Tensor) -> Tensor:
        return t.expand(self.tasks, *t.shape[1:])

    def push(self, along: Blocks) -> tuple[list[Tensor], Tensor]:
        """Tangents of the hidden layers' outputs, (T, D, N) each, and of the means, (T, A, N)."""
        hidden: list[Tensor] = []
        for i, weight in enumerate(self.weights):
            out = torch.bmm(self._each(along[i]), self.inputs[i])
            if i:
                out.baddbmm_(weight, hidden[-1])
            if i < len(self.slopes):
                hidden.append(out.mul_(self.slopes[i]))
        return hidden, out

    def log_std_change(self, along: Blocks) -> Tensor:
        """Tangent of the log-stds, (T or 1, A, 1)."""
        return (self.gate * along[-1]).unsqueeze(-1)

    def pull(self, means: Tensor) -> Blocks:
        """Cotangents of the layers, but not of the log-stds, (T, ...), from those of the means (T, A, N)."""
        found, out = [torch.bmm(means, self.inputs[-1].mT)], means
        for i in reversed(range(len(self.slopes))):
            out = torch.bmm(self.weights[i + 1].mT, out).mul_(self.slopes[i])
            found.insert(0, torch.bmm(out, self.inputs[i].mT))
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
        """∂L/∂z of each layer, the means' the last: (T, D, N)."""
        self.bends: list[Tensor] = []
        """σ″(z) / σ′(z) · ∂L/∂a of each hidden layer, (T, D, N); empty where σ has no second derivative."""
        bent = learner.network.body.activation == "tanh"
        for i in reversed(range(len(self.slopes))):
            back = torch.bmm(self.weights[i + 1].mT, self.deltas[0])
            if bent:
                self.bends.insert(0, -2 * self.inputs[i + 1][:, :-1] * back)
            self.deltas.insert(0, back.mul_(self.slopes[i]))
        layers = [torch.bmm(delta, x.mT) for delta, x in zip(self.deltas, self.inputs, strict=True)]
        self.gradient = [*layers, self.gate * stds.sum(-1)]
        """∇L(φ_k), (T, ...) each."""

    def hessian(self, along: Blocks) -> Blocks:
        """∂²L/∂φ² · along, (T, ...) each."""
        hidden, means = self.push(along)
        std = self.log_std_change(along)
        by_means, mixed, by_stds = self.second
        found = [self.gate * (mixed * means + by_stds * std).sum(-1)]
        out = by_means * means + mixed * std
        for i in reversed(range(len(self.weights))):
            layer = torch.bmm(out, self.inputs[i].mT)
            found.insert(0, layer)
            if i:
                layer[..., :-1].baddbmm_(self.deltas[i], hidden[i - 1].mT)
                out = torch.bmm(self.weights[i].mT, out)
                out.baddbmm_(self._each(along[i])[..., :-1].mT, self.deltas[i])
                out.mul_(self.slopes[i - 1])
                if self.bends:
                    out.addcmul_(self.bends[i - 1], hidden[i - 1])
        return found


def _with_ones(x: Tensor) -> Tensor:
    """(T, D, N) -> (T, D + 1, N), contiguous."""
    return torch.cat([x, torch.ones_like(x[:, :1])], 1)


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
