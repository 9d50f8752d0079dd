"""The policy's body against the same perceptron written out, shared by tasks and one for each."""

import re

import numpy as np
import pytest
import torch

from metabench.algorithms import Gaussian, Network
from metabench.algorithms.perceptron import Perceptron

HIDDEN = (5, 4)


def fast_of(body: Perceptron, tasks: int, seed: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    named = body.named_parameters()
    return {n: torch.randn(tasks, *p.shape, generator=generator, dtype=torch.float64) for n, p in named}


@pytest.mark.parametrize(("name", "function"), [("relu", lambda x: np.maximum(x, 0)), ("tanh", np.tanh)])
@pytest.mark.parametrize("owners", [1, 3])
def test_it_is_the_perceptron_written_out(name, function, owners):
    body = Perceptron(2, HIDDEN, name)
    fast = fast_of(body, owners)
    x = np.random.default_rng(0).standard_normal((3, 7, 2))
    out = body(fast, torch.from_numpy(x)).numpy()
    assert out.shape == (3, 7, body.features) == (3, 7, 4)
    for t in range(3):
        values = x[t]
        for i in range(2):
            weight, bias = (fast[f"{i}.{part}"][t % owners].numpy() for part in ("weight", "bias"))
            values = function(values @ weight.T + bias)
        np.testing.assert_allclose(out[t], values, rtol=1e-12)


def test_a_hand_computed_policy():
    """relu(2·3 − 5) = 1 and relu(−3) = 0; the head 4·1 + 7·0 + 0.5 = 4.5; log σ = log 1 = 0."""
    network = Network(Perceptron(1, (2,)), 1, Gaussian(1)).double()
    network.body.get_parameter("0.weight").data = torch.tensor([[2.0], [-1.0]]).double()
    network.body.get_parameter("0.bias").data = torch.tensor([-5.0, 0.0]).double()
    network.head.weight.data, network.head.bias.data = torch.tensor([[4.0, 7.0]]).double(), torch.tensor([0.5]).double()
    fast = {n: p[None] for n, p in network.named_parameters()}
    assert network(fast, torch.tensor([[[3.0]]]).double()).tolist() == [[[4.5, 0.0]]]


def test_weights_start_in_xaviers_range_and_biases_at_zero():
    torch.manual_seed(0)
    body = Perceptron(20, (100, 64))
    for i, (n, m) in enumerate([(20, 100), (100, 64)]):
        bound = (6 / (n + m)) ** 0.5
        weight = body.get_parameter(f"{i}.weight")
        assert weight.shape == (m, n)
        assert 0.98 * bound < float(weight.detach().abs().max()) <= bound
        assert not body.get_parameter(f"{i}.bias").any()
    assert (body.inputs, body.features, body.first_bias) == (20, 64, "0.bias")
    assert "0.bias" in dict(body.named_parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, (5,), "gelu"), "activation is 'gelu'; choose one of relu, tanh"),
        ((2, ()), "hidden is (); a policy needs at least one layer of at least one unit"),
        ((2, (5, 0)), "hidden is (5, 0); a policy needs at least one layer of at least one unit"),
    ],
)
def test_a_policy_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Perceptron(*arguments)
