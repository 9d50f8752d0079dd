"""Bodies: torch's layers task by task, the published sizes, and DropBlock."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algorithms.network import forward_pass
from metabench.vision.data.source import DataError
from metabench.vision.models.backbones import MLP, Conv4, ResNet12, channels_last, conv2d, drop_block, max_pool
from tests.support.checks import EXACT, assert_close
from tests.support.reference import plain
from tests.support.small import BODIES, images, network


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("stride", "padding", "kernel"), [(1, 1, 3), (2, 1, 3), (1, 0, 1)])
@pytest.mark.parametrize("own", [1, 3])
@pytest.mark.parametrize("biased", [True, False])
def test_conv2d_is_torchs_for_every_task(stride: int, padding: int, kernel: int, own: int, biased: bool) -> None:
    x, weight = randn(3, 4, 2, 6, 6), randn(own, 5, 2, kernel, kernel, seed=1)
    bias = randn(own, 5, seed=2) if biased else None
    got = conv2d(x, weight, bias, stride, padding)
    for task in range(3):
        mine = task % own
        expected = F.conv2d(x[task], weight[mine], None if bias is None else bias[mine], stride, padding)
        torch.testing.assert_close(got[task], expected, atol=1e-12, rtol=0)


def test_max_pool_halves_and_drops_an_odd_row() -> None:
    x = randn(2, 3, 4, 5, 5)
    torch.testing.assert_close(max_pool(x), torch.stack([F.max_pool2d(t, 2) for t in x]), atol=0, rtol=0)
    assert max_pool(x).shape == (2, 3, 4, 2, 2)


def test_channels_last_changes_memory_and_not_values() -> None:
    x = randn(2, 3, 4, 5, 6)
    got = channels_last(x)
    assert torch.equal(got, x)
    assert got.stride()[2] == 1


@pytest.mark.parametrize("of", BODIES)
def test_features_are_those_of_an_ordinary_torch_module(of: str) -> None:
    """With weights that all tasks share, and with each task's own."""
    x, nets = images(2, 2, of).x, [network(of, seed) for seed in (0, 1)]
    models = [plain(net)[0] for net in nets]
    fasts = [{n: p.unsqueeze(0) for n, p in net.named_parameters()} for net in nets]
    assert_close([nets[0].features(fasts[0], x)], [torch.stack([models[0][0](t) for t in x])], EXACT, "shared")
    own = {n: torch.cat([fast[n] for fast in fasts]) for n in fasts[0]}
    expected = torch.stack([model[0](t) for model, t in zip(models, x, strict=True)])
    assert_close([nets[0].features(own, x)], [expected], EXACT, "own")
    assert expected.shape[-1] == nets[0].width


def size_of(body: nn.Module) -> int:
    return sum(p.numel() for p in body.parameters())


def test_conv4_has_the_published_sizes() -> None:
    """Parameters: 9·C·W + W a convolution, 2 W a batch norm; features: 64 of ProtoNet, 800 of MAML on miniImageNet."""
    assert (size_of(Conv4(1, 28, 64)), Conv4(1, 28, 64).features) == (111_936, 64)
    assert (size_of(Conv4(3, 84, 64)), Conv4(3, 84, 64).features) == (113_088, 1600)
    assert (size_of(Conv4(3, 84, 32)), Conv4(3, 84, 32).features) == (28_896, 800)
    assert (size_of(Conv4(1, 28, 64, pool=False)), Conv4(1, 28, 64, pool=False).features) == (111_936, 64)


def test_mlp_has_the_published_sizes() -> None:
    body = MLP(1, 28)
    assert [tuple(w.shape) for w in body.weights] == [(256, 784), (128, 256), (64, 128), (64, 64)]
    assert body.features == 64
    assert size_of(body) == 245_760 + 3 * 512


def test_mlp_starts_from_a_normal_cut_at_two_deviations() -> None:
    """TensorFlow's truncated normal of deviation 0.01, as MAML's code asks for."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = torch.cat([w.detach().flatten() for w in MLP(1, 28).weights])
    assert weights.abs().max() <= 0.02
    assert weights.std().item() == pytest.approx(0.0088, abs=5e-5)


def test_resnet12_has_the_published_widths() -> None:
    """12 convolutions and 4 shortcuts; 640 · 5 · 5 features of an 84-pixel image; 12.4 million parameters."""
    with torch.device("meta"):
        body = ResNet12(3, 84)
    assert (body.features, body.keep, len(body.weights)) == (16_000, 0.9, 16)
    convolutions = sum(9 * a * b + 18 * b * b + a * b for a, b in ((3, 64), (64, 160), (160, 320), (320, 640)))
    assert size_of(body) == convolutions + 8 * (64 + 160 + 320 + 640)
    assert round(size_of(body) / 1e6, 1) == 12.4


@pytest.mark.parametrize(("block", "size", "keep"), [(1, 10, 0.9), (5, 10, 0.9), (5, 21, 0.8), (5, 3, 0.9)])
def test_drop_block_keeps_its_share_and_the_mean(block: int, size: int, keep: float) -> None:
    """Overlap of blocks leaves a little more than `keep`; blocks wider than the image drop it whole."""
    x = torch.ones(2, 100, 50, size, size)
    with forward_pass([torch.Generator().manual_seed(task) for task in (0, 1)]):
        out = drop_block(x, keep, block)
    share = float((out != 0).float().mean())
    assert keep - 0.005 < share < keep + (0.005 if block == 1 or size < block else 0.03)
    assert float(out.mean()) == pytest.approx(1, abs=1e-5)
    for task in out:
        assert task.unique().numel() == 2
        assert float(task.max()) == pytest.approx(1 / float((task != 0).float().mean()), rel=1e-4)


def test_drop_block_drops_squares() -> None:
    """A zero pixel lies in a 3 × 3 square of zeros: opening the zeros with that square changes nothing."""
    with forward_pass([torch.Generator().manual_seed(0)]):
        out = drop_block(torch.ones(1, 20, 10, 12, 12), 0.9, 3)
    dropped = (out == 0).float().flatten(0, 2).unsqueeze(1)
    centres = 1 - F.max_pool2d(1 - dropped, 3, 1)  # 1 where all nine are zero
    opened = F.max_pool2d(F.pad(centres, [2] * 4), 3, 1)
    assert torch.equal(opened, dropped)
    assert 0.05 < float(dropped.mean()) < 0.1
    edge, middle = float(dropped[..., 0, :].mean()), float(dropped[..., 5, :].mean())
    assert edge < middle, "a square lies within the image, so its edge is covered by fewer"


def test_drop_block_is_a_function_of_the_generator() -> None:
    def draw(seed: int) -> Tensor:
        with forward_pass([torch.Generator().manual_seed(seed)]):
            return drop_block(torch.ones(1, 4, 3, 8, 8), 0.8, 3)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(drop_block(torch.ones(1, 2, 3, 8, 8), 1.0, 3), torch.ones(1, 2, 3, 8, 8))


def test_resnet12_drops_only_while_training() -> None:
    net, x = network("resnet12"), images(1, 2, "resnet12").x
    assert isinstance(net.body, ResNet12)
    net.body.keep = 0.5
    fast = {n: p.unsqueeze(0) for n, p in net.named_parameters()}
    first, second = (net.train().features(fast, x) for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (net.eval().features(fast, x) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("body", "make"), [("conv4", lambda size: Conv4(3, size, 4)), ("resnet12", lambda size: ResNet12(3, size))]
)
@pytest.mark.parametrize("size", [1, 8, 12, 15])
def test_images_that_would_be_halved_to_nothing_are_refused(
    body: str, make: Callable[[int], nn.Module], size: int
) -> None:
    with pytest.raises(
        DataError,
        match=rf"^{body} halves its images 4 times and needs 16 x 16 pixels at least; these are {size} x {size}\.",
    ):
        make(size)


@pytest.mark.parametrize("size", [1, 8, 12, 15])
def test_what_is_too_small_for_pooling_is_not_for_strides_and_layers(size: int) -> None:
    x = torch.rand(2, 3, 1, size, size)
    for body in (Conv4(1, size, 4, pool=False), MLP(1, size, (4, 4))):
        fast = {name: p.unsqueeze(0) for name, p in body.named_parameters()}
        assert body(fast, x).shape == (2, 3, 4)
