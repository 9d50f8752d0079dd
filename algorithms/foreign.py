"""Any `torch.nn.Module` as a body: its parameters become an argument, and its gradients stay exact.

A module of torch's knows neither a task axis nor parameters from outside. So each task is one ordinary call, on that
task's images and with its parameters put in place (`torch.func.functional_call`): a loop, which costs time and no
exactness, whatever the module does with its batch. A ``vmap`` over the tasks would be faster and, where batch norm's
scale is adapted, silently wrong by up to some percent in the second derivative.

Two kinds of layer are replaced, as they would not follow the rules of this project. Batch norm (of 1, 2 or 3
dimensions) becomes `TaskNorm`: the named protocol says whose statistics it uses, and the outer step moves its running
averages. Dropout becomes `TaskDropout`, with a task's own draws. Everything else must be a function of parameters and
input: `FromModule` tries the module out, and refuses by name what changes a buffer, draws from the global generators
or keeps a state of another kind.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metabench.algorithms.network import BatchNorm, Moments, Params, current_pass, forward_pass
from metabench.algorithms.ops.stateful import DROPOUTS, NORMS, refuse_stateful, watched

EXAMPLES = 3
"""Examples in the batch that a module is tried out on."""

_FAST: ContextVar[Mapping[str, Tensor]] = ContextVar("parameters of the task at hand")


class _Skeletons(threading.local):
    """Copies of modules without numbers: `functional_call` swaps numbers in and out, so each thread needs its own."""

    def __init__(self) -> None:
        self.of: WeakKeyDictionary[FromModule, nn.Module] = WeakKeyDictionary()


_SKELETONS = _Skeletons()


class FromModule(nn.Module):
    """A plain module as a `Body`: x (T, N, *shape) -> features (T, N, D), D = `features`.

    The module is copied, its weights with it; what asks for no gradient stays as it is. All that its forward pass
    returns for an example counts as features: take a classifier's last layer off first.

    Args:
        module: (N, *shape) -> (N, ...).
        shape: of one example, e.g. (3, 84, 84).

    Raises:
        ValueError: the module, or a layer that is named, cannot be treated exactly, or does not take such examples.
    """

    def __init__(self, module: nn.Module, shape: Sequence[int]) -> None:
        super().__init__()
        refuse_stateful(module, treated=(*NORMS, *DROPOUTS))
        try:
            copied = copy.deepcopy(module)
        except RuntimeError as error:
            raise ValueError(f"a {type(module).__name__} cannot be copied: {error}") from error
        self.module = _treated(copied, "module.", {})
        self.features = self._try_out(shape)

    def forward(self, fast: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Examples (T, N, *shape) -> features (T, N, D), one task after another."""
        tasks, current = len(x), current_pass()
        slices = {name: t.split(1) if len(t) > 1 else [t] * tasks for name, t in fast.items()}
        features: list[Tensor] = []
        statistics: list[dict[str, list[Moments]]] = []
        for task in range(tasks):
            own = {name: pieces[task] for name, pieces in slices.items()}
            with forward_pass(current.generators[task : task + 1] if current else ()) as seen:
                features.append(self._of_task(own, x[task]))
            statistics.append(seen.statistics)
        if current is not None:
            for name in statistics[0]:
                for passes in zip(*(of[name] for of in statistics), strict=True):
                    current.statistics.setdefault(name, []).append(_joined(passes))
        return torch.stack(features)

    def _of_task(self, own: Params, x: Tensor) -> Tensor:
        """One task: parameters (1, *shape) and examples (N, *shape) -> (N, D)."""
        numbers = dict(self.module.named_buffers())
        numbers |= {name.removeprefix("module."): t.squeeze(0) for name, t in own.items()}
        token = _FAST.set(own)
        try:
            out = functional_call(self._skeleton(), numbers, (x,))
        finally:
            _FAST.reset(token)
        if not isinstance(out, Tensor) or out.ndim < 2 or len(out) != len(x):
            what = f"{tuple(out.shape)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
            raise ValueError(f"of {len(x)} examples {self._what} makes {what}; it must make one row of features each")
        return out.flatten(1)

    def _skeleton(self) -> nn.Module:
        """The module's structure for this thread, in this body's mode."""
        if self not in _SKELETONS.of:
            empty: dict[int, Tensor] = {id(b): torch.empty_like(b, device="meta") for b in self.module.buffers()}
            for p in self.module.parameters():
                empty[id(p)] = nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad)
            _SKELETONS.of[self] = copy.deepcopy(self.module, empty)
        return _SKELETONS.of[self].train(self.training)

    def _try_out(self, shape: Sequence[int]) -> int:
        """D, if the module is a function of its parameters and its input in both modes; raises ValueError."""
        fast = {name: p.detach().unsqueeze(0) for name, p in self.named_parameters()}
        like = next(iter(fast.values()), torch.empty(0))
        x = torch.randn((1, EXAMPLES, *shape), generator=torch.Generator().manual_seed(0)).to(like)
        given, mode = x.clone(), self.training
        for training in (True, False):
            skeleton = self.train(training)._skeleton()
            with torch.no_grad(), watched(skeleton):
                first, second = (self._with_draws(fast, x) for _ in range(2))
            if not torch.equal(x, given):
                raise ValueError(f"{self._what} changes its input in place, which a support does not outlive")
            if not torch.equal(first, second):
                raise ValueError(f"{self._what} answers the same examples in two ways: it keeps a state, or draws")
        self.train(mode)
        return first.shape[-1]

    def _with_draws(self, fast: Params, x: Tensor) -> Tensor:
        with forward_pass([torch.Generator(x.device).manual_seed(0)]):
            try:
                out: Tensor = self(fast, x)
            except (RuntimeError, TypeError, IndexError) as error:
                what = f"examples {tuple(x.shape[2:])}"
                raise ValueError(f"{self._what} cannot take {what}: {' '.join(str(error).split()):.300}") from error
        return out

    @property
    def _what(self) -> str:
        return f"a {type(self.module).__name__}"


class TaskNorm(BatchNorm):
    """A batch-norm layer within a plain module: `BatchNorm` on the task at hand.

    Args:
        name: prefix of its entries in the body's `fast`.
        of: the layer that it replaces, whose parameters and running averages it takes over. The weight of the newest
            batch in these averages is the outer step's, as for every body.
    """

    def __init__(self, name: str, of: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__(name, of.num_features)
        self.eps = of.eps
        with torch.no_grad():
            for mine, theirs in ((self.weight, of.weight), (self.bias, of.bias)):
                if theirs is not None:
                    mine.data = theirs.detach().clone()
                mine.requires_grad_(theirs is not None and theirs.requires_grad)
            if of.running_mean is not None and of.running_var is not None:
                self.mean, self.var = of.running_mean.clone(), of.running_var.clone()

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Examples (N, C, ...) -> the same shape, normalised over all but C."""
        return super().forward(_FAST.get(), x.unsqueeze(0)).squeeze(0)


class TaskDropout(nn.Module):
    """Dropout within a plain module: it zeroes a share p while training, and scales up the rest, by the task's draws.

    Args:
        p: the share that is zeroed.
        channels: zero whole channels (N, C, ...) and not single entries.
    """

    def __init__(self, p: float, channels: bool) -> None:
        super().__init__()
        self.p, self.channels = p, channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same shape."""
        if not self.training or self.p == 0:
            return x
        current = current_pass()
        generator = current.generators[0] if current and current.generators else None
        shape = (*x.shape[:2], *[1] * (x.ndim - 2)) if self.channels else x.shape
        kept = torch.rand(shape, generator=generator, device=x.device) >= self.p
        return x * kept.to(x.dtype) / max(1 - self.p, torch.finfo(x.dtype).tiny)


def _treated(module: nn.Module, prefix: str, done: dict[int, nn.Module]) -> nn.Module:
    """The module with its batch norms and dropouts replaced, wherever they are; one that is used twice stays one."""
    if id(module) not in done:
        if type(module) in NORMS:
            done[id(module)] = TaskNorm(prefix, module)  # type: ignore[arg-type]
        elif type(module) in DROPOUTS:
            done[id(module)] = TaskDropout(module.p, type(module) is not nn.Dropout)  # type: ignore[arg-type]
        else:
            done[id(module)] = module
            for name, child in [(n, c) for n, c in module._modules.items() if c is not None]:
                module._modules[name] = _treated(child, f"{prefix}{name}.", done)
    return done[id(module)]


def _joined(passes: Sequence[Moments]) -> Moments:
    """The statistics of several tasks, (1, C) each, as one."""
    return Moments(torch.cat([m.mean for m in passes]), torch.cat([m.var for m in passes]), passes[0].size)
