"""The contract: what a meta-learner is, and the fold that adapts it.

A task shows a few *weighted examples* and asks for behaviour on more of them. A classifier's example is
(image, label, 1); a policy's is (observation, action, advantage). Learning from either means raising
``sum w * log p(y | f(x))``, so one interface serves both worlds.

Shape legend, used in every docstring of this project:

    T tasks, N examples of one task, K classes (ways), D features, A action size, H horizon, E episodes.

**Every tensor carries the task axis first.** A fast parameter has shape (T, *shape), or (1, *shape) where
all tasks share it. Looping over tasks is therefore T = 1 many times and batching is T = all at once: the
same code, the same gradient (`algorithms.meta_gradient` chooses the size).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from metabench.algorithms.network import Network, Params, forward_pass, full_precision

NORMS = ("transductive", "running", "support")


class Batch(NamedTuple):
    """Weighted examples of T tasks.

    x: (T, N, ...) inputs. y: (T, N) class labels, or (T, N, A) actions. w: (T, N) weights: 1 for a
    classifier, the advantage for a policy. ways: K, or 0 where y is an action.
    valid: (T, N), 1 where an example counts and 0 where a rollout had already ended; None where all count.
    old: (T, N), log p(y) when y was drawn. With it the loss weighs by the likelihood ratio instead of the
    log-probability (see `Learner.loss`).
    """

    x: Tensor
    y: Tensor
    w: Tensor
    ways: int = 0
    valid: Tensor | None = None
    old: Tensor | None = None

    def at(self, tasks: slice) -> Batch:
        """The same examples for a slice of the tasks."""
        return self._each(lambda t: t[tasks])

    def every(self, stride: int) -> Batch:
        """Every stride-th example of each task."""
        return self._each(lambda t: t[:, ::stride].contiguous())

    def first(self, n: int) -> Batch:
        """The first n examples of each task."""
        return self._each(lambda t: t[:, :n])

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the examples that count, per task: (T, N, ...) -> (T, ...); 0 where none does."""
        if self.valid is None:
            return values.mean(1)
        valid = self.valid.view(*self.valid.shape, *[1] * (values.ndim - 2))
        return values.where(valid > 0, 0.0).sum(1) / valid.sum(1).clamp(min=1)

    def ratio(self, log_prob: Tensor) -> Tensor:
        """p(y) over what it was when y was drawn, (T, N); 1 where an example does not count, whatever it holds."""
        if self.old is None:
            raise ValueError("the batch does not hold the log-probabilities of its actions (old)")
        change = log_prob - self.old
        return torch.exp(change if self.valid is None else change.where(self.valid > 0, 0.0))

    def _each(self, of: Callable[[Tensor], Tensor]) -> Batch:
        valid, old = (None if t is None else of(t) for t in (self.valid, self.old))
        return Batch(of(self.x), of(self.y), of(self.w), self.ways, valid, old)


def check_labels(batches: Iterable[Batch]) -> None:
    """Raise ValueError where a label is none of the batch's 0 … K − 1. The host waits for the device once.

    Past this door nothing would tell: such an example is of no class to a class mean, and a NaN or a guess comes out.
    """
    labelled = [batch for batch in batches if batch.ways and batch.y.numel()]
    if not labelled:
        return
    ends = torch.stack([torch.stack(batch.y.aminmax()) for batch in labelled]).tolist()
    for batch, (low, high) in zip(labelled, ends, strict=True):
        if low < 0 or high >= batch.ways:
            wrong = [str(label) for label in batch.y.unique().tolist() if not 0 <= label < batch.ways]
            *first, last = [*wrong[:5], f"{len(wrong) - 5} more"] if len(wrong) > 6 else wrong
            named = f"labels {', '.join(first)} and {last}" if first else f"label {last}"
            raise ValueError(
                f"{named} in a batch of {batch.ways} ways; number each task's classes 0 … {batch.ways - 1}"
            )


class Encoded(NamedTuple):
    """Examples as given, and as the learner's rule reads them (see `Learner.encode`)."""

    given: Batch
    read: Batch


@dataclass(frozen=True)
class LearnerSettings:
    """What a learner's recipe may set beside what all learners share. A learner with settings of its own extends it.

    From a subclass's fields, and the docstring under each, come the recipe's fields, the flags of `metabench run`,
    their help and the record.
    """

    def problem(self) -> str | None:
        """What is wrong with the values, naming the field; None where they can work."""
        return None

    def not_positive(self, *names: str) -> str | None:
        """The `problem` of the first of these fields that is no positive number; None where all are."""
        for name in names:
            value = getattr(self, name)
            if not 0 < value < math.inf:
                return f"{name} is {value}; it must be a positive number"
        return None


class Learner(nn.Module):
    """Holds the meta-parameters θ. A subclass is one rule that maps support examples to overrides of them.

    A subclass implements `rule`. One whose rule leaves the body as it is and reads only its features says
    so with ``reads = "features"``; the body then sees a support once, however many updates it serves.

    Args:
        network: a body, a linear head and a likelihood.
        norm: whose statistics batch normalisation uses at evaluation: "transductive" (the batch being
            classified), "running" (averages over training), "support" (the task's own support; before any
            update, the batch). While training it is always the batch's own.
        settings: the fields of the class's `Settings`, by name.
    """

    Settings: ClassVar[type[LearnerSettings]] = LearnerSettings
    """The learner's own settings, with their defaults."""
    settings: LearnerSettings
    reads = "inputs"
    any_ways = False
    """Whether the rule makes the head from the support alone, so that no task depends on a learned number of ways."""
    needs_labels = False
    """Whether the rule reads class labels. Actions are none, so that control refuses it."""

    def __init__(self, network: Network, *, norm: str = "transductive", **settings: Any) -> None:
        super().__init__()
        self.settings = self.Settings(**settings)
        if norm not in NORMS:
            raise ValueError(f"norm is {norm!r}; choose one of {', '.join(NORMS)}")
        self.network = network
        self.norm = norm

    def begin(self) -> Params:
        """φ₀(θ): the prior, before any data. Every entry is (1, *shape)."""
        fast = {name: p.unsqueeze(0) for name, p in self.network.named_parameters()}
        if self.norm == "running" and not self.training:
            fast |= {name: b.unsqueeze(0) for name, b in self.network.named_buffers()}
        return fast

    def learned(self) -> dict[str, nn.Parameter]:
        """The parameters that the outer step learns, by name: those that ask for a gradient.

        A frozen one (``requires_grad_(False)``) is neither learned nor adapted by gradients. A head that a rule makes
        anew, as ProtoNet and MetaOptNet do, is no parameter: there is nothing to freeze.

        Raises:
            ValueError: every parameter is frozen.
        """
        found = {name: p for name, p in self.named_parameters() if p.requires_grad}
        if not found:
            raise ValueError(f"a {type(self).__name__} has nothing to learn: every parameter is frozen")
        return found

    def moved(self, fast: Params, to: Params) -> Params:
        """φ with the entries of `to` in place of its own, but for those of frozen parameters."""
        return fast | {name: t for name, t in to.items() if self.network.get_parameter(name).requires_grad}

    def encode(self, batch: Batch) -> Encoded:
        """What all updates share: the examples, and their features where the rule reads only these."""
        if self.reads == "inputs":
            return Encoded(batch, batch)
        return Encoded(batch, batch._replace(x=self.embed(self.begin(), batch.x)))

    def update(self, fast: Params, support: Encoded) -> Params:
        """φ_{k+1} from φ_k: differentiable in θ where gradients are enabled, without side effect."""
        if self.norm != "support" or self.training:
            return self._ruled(fast, support.read)
        statistics = {name for name, _ in self.network.named_buffers()}
        fast = self._ruled({k: v for k, v in fast.items() if k not in statistics}, support.read)
        with forward_pass() as seen:
            self.network.features(fast, support.given.x)
        for name, passes in seen.statistics.items():
            if len(passes) > 1:
                raise ValueError(f"batch norm {name} runs {len(passes)} times a pass: norm 'support' needs one batch")
            [moments] = passes
            fast |= {f"body.{name}mean": moments.mean, f"body.{name}var": moments.biased}
        return fast

    def _ruled(self, fast: Params, support: Batch) -> Params:
        if self.reads == "inputs":
            return self.rule(fast, support)
        with full_precision(support.x.device):
            return self.rule(fast, support)

    def rule(self, fast: Params, support: Batch) -> Params:
        """The learner's own φ_{k+1}, as a new dictionary."""
        raise NotImplementedError

    def embed(self, fast: Params, x: Tensor) -> Tensor:
        """Inputs (T, N, ...) -> what the head reads of them, (T, N, D): the body's features, or a function of these."""
        return self.network.features(fast, x)

    def predict(self, fast: Params, x: Tensor) -> Tensor:
        """Inputs (T, N, ...) -> the likelihood's parameters (T, N, ...): logits, or means and log-stds."""
        return self.network.read_out(fast, self.embed(fast, x))

    def answer(self, fast: Params, encoded: Encoded) -> Tensor:
        """What `predict` gives for encoded examples. No update changes the body's features where the rule reads them,
        but for the support's own statistics: elsewhere the body is not passed again."""
        if self.reads == "inputs" or (self.norm == "support" and not self.training):
            return self.predict(fast, encoded.given.x)
        return self.network.read_out(fast, encoded.read.x)

    def loss(self, fast: Params, batch: Batch) -> Tensor:
        """−mean over N of w · log p(y | f(x)), per task: (T,).

        Where the batch holds `old`, −mean of w · p / p_old. At the policy that drew the actions its gradient is
        the same, and its second derivative has a term of the expected return's that the score alone lacks, though
        still not all of them (Rothfuss, Lee, Clavera, Asfour & Abbeel, "ProMP", ICLR 2019, §5).

        Raises:
            ValueError: a label is none of 0 … K − 1.
        """
        check_labels([batch])
        return self.loss_of(self.predict(fast, batch.x), batch)

    def support_loss(self, fast: Params, support: Batch) -> Tensor:
        """The same loss of what the rule reads, (T,): the body is passed over where x holds its features."""
        read = self.predict if self.reads == "inputs" else self.network.read_out
        return self.loss_of(read(fast, support.x), support)

    def loss_of(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The same loss of given outputs, (T,): labels are not checked."""
        score = self.network.likelihood.log_prob(outputs, batch.y)
        return -batch.mean(batch.w * (score if batch.old is None else batch.ratio(score)))


def adapt(learner: Learner, supports: Iterable[Batch]) -> Params:
    """φ_K: the fold of `update` over K supports, starting from `begin`.

    Vision gives the same support K times and pays for its encoding once; control gives K fresh ones.

    Raises:
        ValueError: a label is none of 0 … K − 1.
    """
    return fold(learner, _checked(supports))


def _checked(supports: Iterable[Batch]) -> Iterator[Batch]:
    previous: Batch | None = None
    for support in supports:
        if support is not previous:
            check_labels([support])
            previous = support
        yield support


def fold(learner: Learner, supports: Iterable[Batch]) -> Params:
    """`adapt` of supports whose labels have been checked: it looks at no value, and so can be traced."""
    for fast in trajectory(learner, supports):  # noqa: B007
        pass
    return fast


def trajectory(learner: Learner, supports: Iterable[Batch]) -> Iterator[Params]:
    """φ_0 … φ_K: what `fold` passes through."""
    fast = learner.begin()
    yield fast
    previous: Batch | None = None
    for support in supports:
        if support is not previous:
            encoded, previous = learner.encode(support), support
        fast = learner.update(fast, encoded)
        yield fast


def gradient_step(
    learner: Learner, fast: Params, names: Sequence[str], support: Batch, *, exact: bool = True
) -> list[Tensor]:
    """Per-task gradients of the support loss with respect to the named fast parameters.

    Args:
        fast: φ_k. The named entries are (T, *shape): see `per_task`.
        exact: keep the graph, so that the result can be differentiated again (where gradients are enabled).

    Returns:
        One tensor (T, *shape) a name. The tasks are independent, so the gradient of their losses' sum is
        each task's own gradient.
    """
    outer = torch.is_grad_enabled()
    create_graph = exact and outer
    with torch.enable_grad():
        leaves = [fast[n] if outer else fast[n].detach().requires_grad_() for n in names]
        loss = learner.support_loss(fast | dict(zip(names, leaves, strict=True)), support).sum()
        return gradients(loss, leaves, create_graph=create_graph)


def gradients(
    outputs: Tensor, of: Sequence[Tensor], along: Tensor | None = None, *, create_graph: bool = False
) -> list[Tensor]:
    """∂⟨outputs, along⟩ / ∂ each tensor, in their shapes; zeros where the outputs do not depend on it.

    Args:
        along: the cotangent, in the outputs' shape; None for an output that is one number.
    """
    if not (of and outputs.requires_grad):
        return [torch.zeros_like(t) for t in of]
    return list(torch.autograd.grad(outputs, of, along, create_graph=create_graph, materialize_grads=True))


def finite(outputs: Tensor) -> Tensor:
    """Whether all that a task's outputs (T, N, ...) hold is finite, (T,): a task has diverged where it is not.

    The largest of NaNs is the first, so that their argmax would score as a guess.
    """
    return outputs.isfinite().flatten(1).all(1)


def per_task(fast: Params, names: Sequence[str], tasks: int) -> Params:
    """φ with the named entries widened from (1, *shape) to (T, *shape), so that each task has its own."""
    return fast | {n: fast[n].expand(tasks, *fast[n].shape[1:]) for n in names}


def partway(before: Params, after: Params, share: float) -> Params:
    """φ moved only a share of the way: for a gradient step, that step at this share of its rate.

    Finn et al. 2017 test with later updates at half of the rate.
    """
    if share == 1.0:
        return after
    return after | {name: b + share * (after[name] - b) for name, b in before.items()}
