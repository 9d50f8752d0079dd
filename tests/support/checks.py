"""What the exactness tests assert, as functions: the tests call them, and the planted bugs must make them fail.

Every function raises AssertionError where the property does not hold. Differences of gradients are relative to the
largest entry of the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algorithms import Batch, Learner, Workers, adapt, cross_entropy, meta_gradient
from metabench.algorithms.learner import Encoded
from metabench.algorithms.meta_gradient import MetaGradient
from metabench.algorithms.network import BatchNorm, Params, forward_pass
from metabench.bench.speed.peers import largest_difference
from tests.support.small import HEAD

EXACT = 1e-10
"""What rounding in float64 may leave between two orders of the same operations."""


def gradient_of(
    learner: Learner, supports: Sequence[Batch], query: Batch, *, chunk: int = 0, threads: int = 1
) -> MetaGradient:
    """The meta-gradient of the query's cross-entropy; chunk 0 carries all tasks at once."""
    tasks = chunk or len(query.x)
    return meta_gradient(learner, supports, query, cross_entropy, chunk=tasks, workers=Workers(threads))


def assert_close(ours: Sequence[Tensor], theirs: Sequence[Tensor], tolerance: float, what: str) -> None:
    """The largest difference of two gradients, relative to the largest entry of the second."""
    difference = largest_difference(ours, theirs)
    assert difference <= tolerance, f"{what}: off by {difference:.1e} of the largest entry, {tolerance:.0e} allowed"


def assert_same_meta_gradient(learner: Learner, supports: Sequence[Batch], query: Batch) -> None:
    """All tasks at once, chunks of two, threads and threads of chunks give what a loop over tasks gives."""
    loop = gradient_of(learner, supports, query, chunk=1)
    tasks = len(query.x)
    for chunk, threads in ((tasks, 1), (2, 1), (tasks, 2), (1, tasks)):
        what = f"chunks of {chunk} on {threads} threads"
        got = gradient_of(learner, supports, query, chunk=chunk, threads=threads)
        assert_close(got.grads, loop.grads, EXACT, what)
        assert_close([got.losses], [loop.losses], EXACT, f"losses, {what}")
        assert torch.equal(got.correct, loop.correct), f"accuracies differ, {what}"
        assert got.statistics.keys() == loop.statistics.keys()
        for name, pair in got.statistics.items():
            assert_close(pair, loop.statistics[name], EXACT, f"statistics of {name}, {what}")


def assert_matches_peer(
    peer: Callable[[Batch, Batch], list[Tensor]], learner: Learner, support: Batch, query: Batch, steps: int
) -> None:
    """Another program's meta-gradient, summed over tasks, is ours."""
    ours = gradient_of(learner, [support] * steps, query).grads
    assert_close(ours, peer(support, query), EXACT, f"{type(learner).__name__}, {steps} steps")


def assert_finite_differences(
    learner: Learner, supports: Sequence[Batch], query: Batch, *, directions: int = 2
) -> None:
    """Every parameter's meta-gradient, along random directions, is the central difference of the query loss.

    The step is 1e-5: truncation and rounding then leave about 1e-9 of a loss of order one.
    """
    grads = gradient_of(learner, supports, query).grads
    generator = torch.Generator().manual_seed(1)
    for (name, p), grad in zip(learner.learned().items(), grads, strict=True):
        for _ in range(directions):
            along = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            along /= along.norm()
            difference = _central_difference(learner, supports, query, p, 1e-5 * along) / 1e-5
            slope = float((grad * along).sum())
            allowed = 1e-7 + 1e-6 * abs(slope)
            assert abs(slope - difference) < allowed, f"{name}: gradient {slope:.9g}, differences {difference:.9g}"


def _central_difference(
    learner: Learner, supports: Sequence[Batch], query: Batch, p: nn.Parameter, step: Tensor
) -> float:
    before, sides = p.detach().clone(), []
    for sign in (1.0, -1.0):
        p.data = before + sign * step
        with torch.no_grad():
            sides.append(float(learner.loss(adapt(learner, supports), query).sum()))
    p.data = before
    return (sides[0] - sides[1]) / 2


def assert_logits_are_distances(learner: Learner, support: Batch, query: Batch) -> None:
    """ProtoNet's logits are −‖z − c_k‖² plus a number that depends on the example and not on the class."""
    prior = learner.begin()
    z, shown = (learner.network.features(prior, b.x).detach() for b in (query, support))
    centres = torch.stack(
        [torch.stack([f[y == k].mean(0) for k in range(support.ways)]) for f, y in zip(shown, support.y, strict=True)]
    )
    distances = (z.unsqueeze(2) - centres.unsqueeze(1)).square().sum(-1)
    logits = learner.predict(adapt(learner, [support]), query.x).detach()
    constant = logits + distances
    spread = float((constant - constant.mean(-1, keepdim=True)).abs().max())
    assert spread < EXACT, f"logits differ from squared distances by up to {spread:.1e} between classes"
    torch.testing.assert_close(constant[..., 0], z.square().sum(-1), atol=EXACT, rtol=0)


def assert_only_the_head_changes(learner: Learner, supports: Sequence[Batch]) -> None:
    """An adapted φ has the prior's names, the head's entries are new, and every other is the prior's."""
    before, after = learner.begin(), adapt(learner, supports)
    assert after.keys() == before.keys()
    changed = {n for n in before if after[n].shape != before[n].shape or not torch.equal(after[n], before[n])}
    assert changed == HEAD, f"changed: {sorted(changed)}"


def assert_no_side_effect(learner: Learner, support: Batch) -> None:
    """An update leaves θ, its buffers, its gradients and the given φ as they were, and keeps their identity."""
    state = {name: t.clone() for name, t in learner.state_dict().items()}
    given = learner.begin()
    copies, objects = {n: t.clone() for n, t in given.items()}, dict(given)
    encoded: Encoded = learner.encode(support)
    learner.update(learner.update(given, encoded), encoded)
    assert given.keys() == objects.keys(), "the given φ has other names"
    assert all(given[n] is objects[n] and torch.equal(given[n], copies[n]) for n in given), "the given φ changed"
    assert all(torch.equal(t, state[name]) for name, t in learner.state_dict().items()), "θ or a buffer changed"
    assert all(p.grad is None for p in learner.parameters()), "a gradient was left on θ"


def assert_gradient_descent(
    learner: Learner, support: Batch, model: nn.Module, parameters: Sequence[nn.Parameter], rate: float, steps: int
) -> Params:
    """For each task, `steps` updates equal those of torch.optim.SGD on a plain module with the same weights.

    `parameters` are the model's, in the order of the learner's network; they are restored after every task.
    """
    fast = adapt(learner, [support] * steps)
    start = [p.detach().clone() for p in parameters]
    for task in range(len(support.x)):
        optimizer = torch.optim.SGD(parameters, rate)
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(model(support.x[task]), support.y[task]).backward()
            optimizer.step()
        names = [name for name, _ in learner.network.named_parameters()]
        assert_close([fast[n][task] for n in names], list(parameters), EXACT, f"task {task} after {steps} steps")
        for p, value in zip(parameters, start, strict=True):
            p.data = value.clone()
    return fast


def assert_batch_norm_is_torchs(norm: BatchNorm, x: Tensor) -> None:
    """Each task's output and statistics are those of a torch.nn.BatchNorm2d in training mode that sees it alone."""
    tasks = len(x)
    fast = {f"{norm.name}{k}": p.detach().expand(tasks, -1) for k, p in norm.named_parameters()}
    with forward_pass() as seen:
        got = norm(fast, x)
    [(mean, var, _)] = seen.statistics[norm.name]
    for task in range(tasks):
        theirs = nn.BatchNorm2d(x.shape[2], momentum=1.0, dtype=x.dtype)
        theirs.load_state_dict({"weight": norm.weight, "bias": norm.bias}, strict=False)
        out = theirs(x[task])
        assert theirs.running_mean is not None
        assert theirs.running_var is not None
        assert_close([got[task]], [out], EXACT, f"output of task {task}")
        assert_close([mean[task]], [theirs.running_mean], EXACT, f"mean of task {task}")
        assert_close([var[task]], [theirs.running_var], EXACT, f"variance of task {task}")


def assert_statistics_are_torchs(learner: Learner, model: nn.Module, support: Batch, query: Batch) -> None:
    """Left by a rule that sees the support and the query once: the mean of both batches' statistics, over tasks.

    `model` is the plain torch module with the same weights, whose batch norms are in the order of ours.
    """
    got = gradient_of(learner, [support], query).statistics
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over batches
    for x in (*support.x, *query.x):
        model(x)
    for (name, pair), norm in zip(got.items(), norms, strict=True):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert_close(pair[:1], [norm.running_mean], EXACT, f"mean of {name}")
        assert_close(pair[1:], [norm.running_var], EXACT, f"variance of {name}")
