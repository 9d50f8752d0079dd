"""A compiled chunk gives the eager chunk's gradient."""

from __future__ import annotations

import shutil

import pytest
import torch

from metabench.algorithms import CannotCompile, Workers, cross_entropy, meta_gradient
from metabench.algorithms.meta_gradient import chunk_outputs
from metabench.algorithms.ops.compiled import CompiledChunk
from tests.support.checks import EXACT, assert_close, gradient_of
from tests.support.small import images, learner

COMPILER = any(shutil.which(name) for name in ("c++", "g++", "clang++"))


@pytest.mark.slow
@pytest.mark.skipif(not COMPILER, reason="torch.compile on a CPU needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_compiled_is_eager() -> None:
    """Exact MAML with its second derivatives; other parameters and other data of the same shape use the same graph."""
    rule, compiled = learner("maml"), CompiledChunk(chunk_outputs(cross_entropy))
    for seed in (0, 2):
        support, query = images(2, 2, seed=seed), images(2, 2, seed=seed + 1)
        got = meta_gradient(rule, [support], query, cross_entropy, chunk=2, workers=Workers(1), compiled=compiled)
        eager = gradient_of(rule, [support], query)
        assert_close(got.grads, eager.grads, EXACT, "gradient")
        assert_close([got.losses], [eager.losses], EXACT, "losses")
        assert torch.equal(got.correct, eager.correct)
        assert got.statistics.keys() == eager.statistics.keys() == {"norm."}
        assert_close(got.statistics["norm."], eager.statistics["norm."], EXACT, "running statistics")
        for p in rule.parameters():
            p.data *= 1.1
    assert len(compiled._graphs) == 1


@pytest.mark.parametrize("kind", ["maml", "meta-sgd", "anil", "protonet"])
def test_a_graph_knows_what_is_frozen(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced, not compiled. What is frozen later needs another graph."""
    monkeypatch.setattr(torch, "compile", lambda graph, **_: graph)
    rule, compiled = learner(kind), CompiledChunk(chunk_outputs(cross_entropy))
    support, query = images(2, 2), images(2, 2, seed=1)
    for name in ("", "body.weight", "head.bias"):
        if name:
            rule.network.get_parameter(name).requires_grad_(False)
        got = meta_gradient(rule, [support], query, cross_entropy, chunk=2, workers=Workers(1), compiled=compiled)
        assert_close(got.grads, gradient_of(rule, [support], query).grads, EXACT, f"{name} frozen")
    assert len(compiled._graphs) == 3


def test_a_chunk_that_branches_on_values_is_refused() -> None:
    """MetaOptNet's SVM stops when it has converged, which depends on the data."""
    rule, compiled = learner("metaoptnet-svm"), CompiledChunk(chunk_outputs(cross_entropy))
    with pytest.raises(CannotCompile, match="MetaOptNet branches on values, which a graph cannot"):
        compiled(rule, [images(2, 2)], images(2, 2, seed=1))


def test_what_one_replay_gave_outlives_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA graph writes its outputs to the same memory each time; two chunks of a block are summed afterwards."""
    memory = torch.zeros(3)
    monkeypatch.setattr(CompiledChunk, "_compile", lambda self, *_: lambda parameters, tensors: [memory.add_(1)])
    rule, compiled = learner("maml"), CompiledChunk(chunk_outputs(cross_entropy))
    on_accelerator = images(2, 2)._replace(x=torch.empty(2, 2, device="meta"))
    first, second = (compiled(rule, [on_accelerator], on_accelerator)[0] for _ in range(2))
    assert (first.tolist(), second.tolist()) == ([1.0] * 3, [2.0] * 3)


def test_another_failure_than_a_branch_is_not_called_one() -> None:
    def full(*_: object) -> list[torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        CompiledChunk(full)(learner("maml"), [images(2, 2)], images(2, 2))
