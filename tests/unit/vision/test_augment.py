"""Augmentation: a function of the episode, within range, and what it says it does."""

from __future__ import annotations

import pytest
import torch

from vision.augment import Augment

STILL = {"padding": 0, "jitter": 0.0, "flip": False}


def pictures(n: int = 50, size: int = 12) -> torch.Tensor:
    return 0.3 + 0.4 * torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_nothing_to_do_does_nothing() -> None:
    x = pictures()
    torch.testing.assert_close(Augment(**STILL)(x, 0, 0, 0), x, atol=1e-6, rtol=0)  # type: ignore[arg-type]


def test_the_draw_depends_on_seed_episode_and_part_alone() -> None:
    x, augment = pictures(), Augment()
    first = augment(x, 1, 2, 0)
    torch.manual_seed(5)
    assert torch.equal(augment(x, 1, 2, 0), first)
    for other in ((2, 2, 0), (1, 3, 0), (1, 2, 1)):
        assert not torch.equal(augment(x, *other), first)


def test_images_keep_shape_and_range_and_the_argument_is_not_touched() -> None:
    x = torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    copy = x.clone()
    out = Augment()(x, 0, 0, 0)
    assert out.shape == x.shape
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1
    assert torch.equal(x, copy)


def test_half_of_the_images_are_mirrored() -> None:
    x = pictures(400)
    out = Augment(padding=0, jitter=0.0)(x, 0, 0, 0)
    mirrored = [torch.allclose(a, b.flip(-1), atol=1e-6) for a, b in zip(out, x, strict=True)]
    kept = [torch.allclose(a, b, atol=1e-6) for a, b in zip(out, x, strict=True)]
    assert sum(mirrored) + sum(kept) == 400
    assert 160 < sum(mirrored) < 240  # four standard deviations


def test_a_crop_is_a_window_of_the_padded_image_and_all_offsets_occur() -> None:
    size, pad = 6, 2
    x = torch.zeros(2000, 1, size, size)
    x[:, :, 3, 3] = 1.0
    out = Augment(padding=pad, jitter=0.0, flip=False)(x, 0, 0, 0)
    row, column = out.flatten(1).argmax(1) // size, out.flatten(1).argmax(1) % size
    torch.testing.assert_close(out.sum((1, 2, 3)), torch.ones(2000), atol=1e-6, rtol=0)
    counts = torch.bincount((row - 1) * 5 + column - 1, minlength=25)
    assert counts.numel() == 25
    assert float((counts - 80).square().sum() / 80) < 51.2  # χ² with 24 degrees of freedom, p = 0.001


def test_jitter_is_brightness_then_contrast_then_saturation() -> None:
    """Brightness and contrast keep a pixel's rank, grey pictures have no saturation, and factors stay within ±40 %."""
    grey = pictures(300)[:, :1].expand(-1, 3, -1, -1)
    out = Augment(padding=0, jitter=0.4, flip=False)(grey, 0, 0, 0)
    torch.testing.assert_close(out[:, 0], out[:, 2])
    ratio = out.mean((1, 2, 3)) / grey.mean((1, 2, 3))
    assert 0.59 < float(ratio.min()) < 0.65
    assert 1.35 < float(ratio.max()) < 1.41
    contrast = out.std((1, 2, 3)) / grey.std((1, 2, 3)) / ratio
    assert 0.59 < float(contrast.min()) < 0.65
    assert 1.3 < float(contrast.max()) < 1.41


@pytest.mark.parametrize("part", [0, 1])
def test_every_image_has_draws_of_its_own(part: int) -> None:
    x = pictures(1).expand(8, -1, -1, -1)
    out = Augment()(x, 0, 0, part)
    assert len({tuple(image.flatten().tolist()) for image in out}) == 8
