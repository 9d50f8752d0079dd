"""Networks whose parameters are an argument: a body, a linear head, and the likelihood they parametrise.

Layers are functions of (x, parameters). Inputs and parameters carry the task axis first; a parameter whose
task axis is 1 is shared by all tasks.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algorithms.likelihood import Likelihood
from metabench.algorithms.ops.normalise import normalise
from metabench.algorithms.ops.stateful import refuse_stateful

Params = dict[str, Tensor]
"""Parameter overrides φ: name -> (T, *shape), or (1, *shape) where shared by all tasks."""


class Moments(NamedTuple):
    """Batch statistics of one layer: mean (T, C), and the unbiased variance (T, C) of `size` values."""

    mean: Tensor
    var: Tensor
    size: int

    @property
    def biased(self) -> Tensor:
        """The variance that the batch itself was normalised by; running averages take the unbiased one."""
        return self.var * (max(self.size - 1, 1) / self.size)


class ForwardPass(NamedTuple):
    """What one forward pass may use beyond its arguments, and what it leaves behind."""

    generators: Sequence[torch.Generator]
    statistics: dict[str, list[Moments]]


_PASS: ContextVar[ForwardPass | None] = ContextVar("forward_pass", default=None)


@contextlib.contextmanager
def forward_pass(generators: Sequence[torch.Generator] = ()) -> Iterator[ForwardPass]:
    """Scope (one per thread) that hands layers their randomness, a generator a task, and collects batch statistics."""
    this = ForwardPass(generators, {})
    token = _PASS.set(this)
    try:
        yield this
    finally:
        _PASS.reset(token)


def current_pass() -> ForwardPass | None:
    """The innermost `forward_pass`, or None outside of any."""
    return _PASS.get()


class Body(Protocol):
    """An embedding: forward(fast, x) maps (T, N, ...) to features (T, N, D), D = `features`."""

    features: int

    def __call__(self, fast: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Embed x."""
        ...


def is_body(module: nn.Module) -> bool:
    """Whether a module is a `Body`, whose forward takes parameters and input, and not a plain one of torch's."""
    parameters = inspect.signature(module.forward).parameters.values()
    needed = sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    return needed == 2 and isinstance(getattr(module, "features", None), int)


class Network(nn.Module):
    """p(y | x): a body, a linear head with `outputs` rows, and a likelihood.

    Args:
        body: a module that is also a `Body`; of a plain one `algorithms.foreign.FromModule` makes one.
        outputs: K classes, or A action dimensions.
        likelihood: what the head's outputs parametrise.

    Raises:
        ValueError: the body is none, or holds layers that keep a state or draw numbers, as torch's own do.
    """

    def __init__(self, body: nn.Module, outputs: int, likelihood: Likelihood) -> None:
        super().__init__()
        refuse_stateful(body)
        if not is_body(body):
            raise ValueError(
                f"a {type(body).__name__} is no body, which has forward(fast, x) and a number of features; "
                "FromModule(module, shape) makes one of a plain module"
            )
        self.body = body
        self.width = int(body.features)  # type: ignore[arg-type]
        self.head = nn.Linear(self.width, outputs)
        self.likelihood = likelihood

    def features(self, fast: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """(T, N, ...) -> (T, N, D), in float32 where the body ran in less."""
        out: Tensor = self.body(scoped(fast, "body."), x)
        return out.float() if out.dtype in (torch.bfloat16, torch.float16) else out

    def read_out(self, fast: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """Features (T, N, D) -> the likelihood's parameters (T, N, ...)."""
        with full_precision(features.device):
            scores = linear(features, fast["head.weight"], fast["head.bias"])
            return self.likelihood.parametrise(scoped(fast, "likelihood."), scores)

    def forward(self, fast: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """(T, N, ...) -> the likelihood's parameters (T, N, ...)."""
        return self.read_out(fast, self.features(fast, x))


@contextlib.contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No autocast within: a head is cheap, and its outputs are small differences of large numbers (2c·z − ‖c‖²)."""
    if not torch.is_autocast_enabled(device.type):
        yield
        return
    with torch.autocast(device.type, enabled=False):
        yield


def scoped(fast: Mapping[str, Tensor], prefix: str) -> Params:
    """The entries below a prefix, with the prefix removed."""
    n = len(prefix)
    return {name[n:]: value for name, value in fast.items() if name.startswith(prefix)}


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x (T, N, D), weight (T or 1, O, D), bias (T or 1, O) -> (T, N, O)."""
    if weight.shape[0] == 1 and bias.shape[0] == 1:
        return F.linear(x, weight.squeeze(0), bias.squeeze(0))  # indexing would fill a zero tensor on the way back
    return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2).expand(x.shape[0], -1, -1))


def fold(x: Tensor) -> Tensor:
    """(T, N, C, ...) -> (N, T*C, ...). One task keeps its strides, which say in what order the memory is."""
    return x.squeeze(0) if x.shape[0] == 1 else x.transpose(0, 1).flatten(1, 2)


def unfold(x: Tensor, tasks: int) -> Tensor:
    """(N, T*C, ...) -> (T, N, C, ...), as a view."""
    return x.unsqueeze(0) if tasks == 1 else x.unflatten(1, (tasks, -1)).transpose(0, 1)


class Averages(nn.Module):
    """Running averages of a layer's batch statistics. The layer leaves what it saw; the outer step moves the averages.

    Args:
        name: prefix of this layer's statistics.
        channels: C.
    """

    always = False
    """Whether they move under every batch-norm protocol, and not under "running" alone."""
    mean: Tensor
    var: Tensor

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        self.name = name
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))

    def leave(self, moments: Moments) -> None:
        """Put a batch's statistics into the current `forward_pass`, if there is one."""
        current = current_pass()
        if current is not None:
            current.statistics.setdefault(self.name, []).append(moments)


class BatchNorm(Averages):
    """Batch normalisation of channels, per task.

    The statistics come from `fast` where it holds ``mean`` and ``var``, else from the batch itself, per
    task; the latter are also left in the current `forward_pass`, which is how running averages are made
    without a side effect. So the protocol (transductive, running, support) is a matter of what `fast` holds.

    Args:
        name: prefix of this layer's entries in the body's `fast`, e.g. "0.norm.".
        channels: C.
    """

    eps = 1e-5

    def __init__(self, name: str, channels: int) -> None:
        super().__init__(name, channels)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, fast: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """x (T, N, C, ...) -> the same shape, normalised over all but T and C."""
        tasks = x.shape[0]
        weight, bias = fast[self.name + "weight"], fast[self.name + "bias"]
        folded = fold(x)
        weight = weight.expand(tasks, -1).flatten()
        bias = bias.expand(tasks, -1).flatten()
        if self.name + "mean" in fast:
            mean = fast[self.name + "mean"].expand(tasks, -1).flatten()
            var = fast[self.name + "var"].expand(tasks, -1).flatten()
            out = F.batch_norm(folded, mean, var, weight, bias, training=False, eps=self.eps)
        else:
            out, mean, scale = normalise(folded, weight, bias, self.eps)
            if current_pass() is not None:
                self.leave(self._moments(mean, scale, folded.numel() // folded.shape[1], tasks))
        return unfold(out, tasks)

    def _moments(self, mean: Tensor, scale: Tensor, count: int, tasks: int) -> Moments:
        var = (scale.detach().square().reciprocal() - self.eps) * (count / max(count - 1, 1))
        return Moments(mean.detach().unflatten(0, (tasks, -1)), var.unflatten(0, (tasks, -1)), count)
