"""Log-probabilities are those of torch.distributions and of cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Independent, Normal, kl_divergence

from metabench.algorithms import Categorical, Gaussian

G = torch.Generator().manual_seed(0)


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=G, dtype=torch.float64)


def test_gaussian_log_prob_is_that_of_torch_distributions() -> None:
    mean, log_std, actions = randn(2, 5, 3), randn(2, 5, 3), randn(2, 5, 3)
    got = Gaussian(3).log_prob(torch.cat([mean, log_std], -1), actions)
    expected = Independent(Normal(mean, log_std.exp()), 1).log_prob(actions)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)


def test_gaussian_by_hand() -> None:
    """At the mean, with σ = 2 and two actions: −2 (ln 2 + ½ ln 2π)."""
    outputs = torch.tensor([[[0.5, -1.0, math.log(2), math.log(2)]]], dtype=torch.float64)
    got = Gaussian(2).log_prob(outputs, outputs[..., :2])
    assert got.item() == pytest.approx(-2 * (math.log(2) + 0.5 * math.log(2 * math.pi)), abs=1e-12)


def test_gaussian_parameters_are_mean_and_log_std_of_each_task() -> None:
    law, scores, own = Gaussian(3, std=0.5), randn(2, 4, 3), randn(2, 3)
    shared = law.parametrise({"log_std": law.log_std[None].double()}, scores)
    assert shared.shape == (2, 4, 6)
    assert torch.equal(shared[..., :3], scores)
    torch.testing.assert_close(shared[..., 3:], torch.full((2, 4, 3), math.log(0.5)).double(), atol=1e-7, rtol=0)
    each = law.parametrise({"log_std": own}, scores)
    assert torch.equal(each[1, 2, 3:], own[1])


def test_the_standard_deviation_has_a_floor() -> None:
    law = Gaussian(2, floor=0.1)
    got = law.parametrise({"log_std": torch.tensor([[-9.0, 0.0]])}, torch.zeros(1, 1, 2))
    torch.testing.assert_close(got[0, 0, 2:].exp(), torch.tensor([0.1, 1.0]))


def test_categorical_is_cross_entropy() -> None:
    logits, labels = randn(2, 5, 4), torch.randint(4, (2, 5), generator=G)
    expected = torch.stack([-F.cross_entropy(a, b, reduction="none") for a, b in zip(logits, labels, strict=True)])
    assert torch.equal(Categorical().log_prob(logits, labels), expected)
    assert Categorical().parametrise({}, logits) is logits


def test_categorical_by_hand() -> None:
    logits = torch.tensor([[[0.0, math.log(3.0)]]], dtype=torch.float64)
    for label, p in ((0, 0.25), (1, 0.75)):
        got = Categorical().log_prob(logits, torch.tensor([[label]])).item()
        assert got == pytest.approx(math.log(p), abs=1e-12)


def test_gaussian_kl_is_that_of_torch_distributions() -> None:
    old, new = randn(2, 5, 6), randn(2, 5, 6)
    laws = [Independent(Normal(o[..., :3], o[..., 3:].exp()), 1) for o in (old, new)]
    torch.testing.assert_close(Gaussian(3).kl(old, new), kl_divergence(*laws), atol=1e-12, rtol=1e-12)
    assert torch.equal(Gaussian(3).kl(old, old), torch.zeros(2, 5).double())


def test_gaussian_kl_by_hand() -> None:
    """From N(0, 1) to N(1, 2²): ln 2 + (1 + 1) / 8 − ½; and back: −ln 2 + (4 + 1) / 2 − ½."""
    a, b = (torch.tensor([[[m, math.log(s)]]], dtype=torch.float64) for m, s in ((0.0, 1.0), (1.0, 2.0)))
    assert Gaussian(1).kl(a, b).item() == pytest.approx(math.log(2) + 0.25 - 0.5, abs=1e-12)
    assert Gaussian(1).kl(b, a).item() == pytest.approx(-math.log(2) + 2.5 - 0.5, abs=1e-12)


def test_fisher_information_is_the_second_derivative_of_the_kl() -> None:
    old = randn(1, 1, 4)
    hessian = torch.autograd.functional.hessian(lambda new: Gaussian(2).kl(old, new).sum(), old).view(4, 4)
    torch.testing.assert_close(Gaussian(2).fisher(old).flatten(), hessian.diagonal(), atol=1e-10, rtol=0)
    assert float((hessian - hessian.diagonal().diag()).abs().max()) < 1e-12
    by_hand = Gaussian(1).fisher(torch.tensor([[[5.0, math.log(2)]]], dtype=torch.float64))
    torch.testing.assert_close(by_hand, torch.tensor([[[0.25, 2.0]]]).double())
