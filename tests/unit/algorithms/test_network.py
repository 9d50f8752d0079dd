"""Layers with a task axis are torch's layers, one task at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metabench.algorithms import Batch, adapt
from metabench.algorithms.network import BatchNorm, current_pass, forward_pass, linear, scoped
from tests.support.checks import assert_batch_norm_is_torchs
from tests.support.small import images, learner, network

G = torch.Generator().manual_seed(0)


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=G, dtype=torch.float64)


@pytest.mark.parametrize(("weights", "biases"), [(1, 1), (3, 3), (1, 3), (3, 1)])
def test_linear_is_torchs_for_every_task(weights: int, biases: int) -> None:
    x, weight, bias = randn(3, 5, 4), randn(weights, 2, 4), randn(biases, 2)
    got = linear(x, weight, bias)
    for task in range(3):
        expected = F.linear(x[task], weight[task % weights], bias[task % biases])
        torch.testing.assert_close(got[task], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("shape", [(2, 5, 3, 4, 4), (1, 2, 3, 2, 2), (3, 4, 2, 1, 1)])
def test_batch_norm_is_torchs_for_every_task(shape: tuple[int, ...]) -> None:
    norm = BatchNorm("norm.", shape[2]).double()
    norm.weight.data, norm.bias.data = randn(shape[2]), randn(shape[2])
    assert_batch_norm_is_torchs(norm, 3 * randn(*shape) + 1)


def test_batch_norm_of_vectors_with_weights_of_their_own() -> None:
    norm, x = BatchNorm("n.", 4).double(), randn(3, 6, 4)
    fast = {"n.weight": randn(3, 4), "n.bias": randn(3, 4)}
    got = norm(fast, x)
    for task in range(3):
        expected = F.batch_norm(
            x[task], None, None, fast["n.weight"][task], fast["n.bias"][task], training=True, eps=1e-5
        )
        torch.testing.assert_close(got[task], expected, atol=1e-12, rtol=0)


def test_given_statistics_are_used_and_none_are_left() -> None:
    norm, x = BatchNorm("n.", 3).double(), randn(2, 4, 3, 2, 2)
    fast = {"n.weight": norm.weight[None], "n.bias": norm.bias[None], "n.mean": randn(2, 3), "n.var": randn(2, 3) ** 2}
    with forward_pass() as seen:
        got = norm(fast, x)
    assert seen.statistics == {}
    for task in range(2):
        expected = F.batch_norm(x[task], fast["n.mean"][task], fast["n.var"][task], norm.weight, norm.bias, eps=1e-5)
        torch.testing.assert_close(got[task], expected, atol=1e-12, rtol=0)


def test_batch_norm_changes_no_buffer_and_constants_stay_finite() -> None:
    norm = BatchNorm("n.", 2).double()
    fast = {"n.weight": norm.weight[None], "n.bias": norm.bias[None]}
    with forward_pass() as seen:
        out = norm(fast, torch.full((1, 4, 2), 7.0, dtype=torch.float64))
    assert torch.equal(out, torch.zeros_like(out))
    [(mean, var, _)] = seen.statistics["n."]
    assert torch.equal(mean, torch.full((1, 2), 7.0, dtype=torch.float64))
    torch.testing.assert_close(var, torch.zeros(1, 2, dtype=torch.float64), atol=1e-12, rtol=0)
    assert torch.equal(norm.mean, torch.zeros(2).double())
    assert torch.equal(norm.var, torch.ones(2).double())


def test_a_forward_pass_is_the_innermost_of_its_own_thread() -> None:
    assert current_pass() is None
    with forward_pass() as outer:
        with forward_pass([torch.Generator()]) as inner:
            assert current_pass() is inner
            assert len(inner.generators) == 1
        assert current_pass() is outer
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(current_pass).result() is None
    assert current_pass() is None


def test_a_forward_pass_ends_with_an_error_too() -> None:
    with pytest.raises(KeyError, match="stop"), forward_pass():
        raise KeyError("stop")
    assert current_pass() is None


def test_scoped_takes_the_prefix_off() -> None:
    fast = {"body.a": randn(1), "body.norm.b": randn(1), "head.a": randn(1)}
    assert scoped(fast, "body.").keys() == {"a", "norm.b"}
    assert scoped(fast, "body.")["a"] is fast["body.a"]


def test_a_network_is_its_body_then_its_head() -> None:
    net, x = network(), randn(2, 5, 1, 3, 3)
    fast = {n: p.unsqueeze(0) for n, p in net.named_parameters()}
    z = net.features(fast, x)
    assert z.shape == (2, 5, net.width)
    assert isinstance(net.head, nn.Linear)
    torch.testing.assert_close(net(fast, x), net.head(z))


@pytest.mark.parametrize("kind", ["maml", "protonet", "metaoptnet-svm"])
def test_under_bfloat16_the_body_alone_loses_precision(kind: str) -> None:
    """Outputs are float32, and apart from a float32 run's by the body's rounding; a bfloat16 head would add its own."""
    rule, support, query = learner(kind, "conv4").float(), *(floats(images(2, 2, of="conv4", seed=s)) for s in (0, 1))
    with torch.no_grad():
        wanted = rule.predict(adapt(rule, [support]), query.x)
        with torch.autocast("cpu", torch.bfloat16):
            found = rule.predict(adapt(rule, [support]), query.x)
            features = rule.network.features(rule.begin(), query.x)
        again = rule.network.read_out(rule.begin(), features)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(rule.network.read_out(rule.begin(), features), again)
    assert (found.dtype, features.dtype) == (torch.float32, torch.float32)
    assert (found - wanted).abs().max() < 0.1 * wanted.abs().max()


def floats(batch: Batch) -> Batch:
    return batch._replace(x=batch.x.float(), w=batch.w.float())
