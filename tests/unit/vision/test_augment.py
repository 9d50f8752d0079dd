"""Augmentation: a function of the episode, within range, and what it says it does."""

from __future__ import annotations

import dataclasses
from typing import get_args, get_type_hints

import pytest
import torch

from metabench.bench.recipes.recipe import FewShotRecipe
from metabench.vision.augment import AUGMENTATIONS, Augment, ResizedCrop, Strong

STILL = {"padding": 0, "jitter": 0.0, "flip": False}


def pictures(n: int = 50, size: int = 12) -> torch.Tensor:
    return 0.3 + 0.4 * torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_nothing_to_do_does_nothing() -> None:
    x = pictures()
    torch.testing.assert_close(Augment(**STILL)(x, 0, 0, 0), x, atol=1e-6, rtol=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Augment, ResizedCrop])
def test_the_draw_depends_on_seed_episode_and_part_alone(kind: type[Augment]) -> None:
    x, augment = pictures(), kind()
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


def test_a_resized_crop_is_a_window_of_the_image_of_every_size_and_shape_that_is_drawn() -> None:
    """Of a picture whose values are their own places, a window keeps the slopes: they are its width and height."""
    n, size = 4000, 21
    place = (torch.arange(size) + 0.5) / size
    x = torch.stack([place.expand(size, size), place.unsqueeze(1).expand(size, size), torch.zeros(size, size)])
    out = ResizedCrop(jitter=0.0, flip=False)(x.expand(n, -1, -1, -1), 0, 0, 0)
    inner = out[:, :, 7:14, 7:14]  # away from the edges, where places beyond the outermost pixels' middles end
    width = (inner[:, 0, 0, -1] - inner[:, 0, 0, 0]) / 6 * size
    height = (inner[:, 1, -1, 0] - inner[:, 1, 0, 0]) / 6 * size
    area, ratio = width * height, width / height
    assert 0.075 < float(area.min()) < 0.1
    assert 0.95 < float(area.max()) < 1.001
    assert 0.74 < float(ratio.min()) < 0.76
    assert 1.32 < float(ratio.max()) < 1.34
    middle = out[:, :2, 10, 10]
    for share, at in ((width, middle[:, 0]), (height, middle[:, 1])):
        assert float((at - share / 2).min()) > -1e-3
        assert float((at + share / 2).max()) < 1 + 1e-3
        where = ((at - share / 2) / (1 - share))[share < 0.9]
        assert abs(float(where.mean()) - 0.5) < 0.02


def test_a_whole_image_is_taken_where_no_crop_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """All draws at their largest: the whole area at 4:3, which is wider than the image."""
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.ones(shape))
    x = pictures(3)
    torch.testing.assert_close(ResizedCrop(jitter=0.0, flip=False)(x, 0, 0, 0), x, atol=1e-6, rtol=0)


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


# ---- strong


def test_the_names_are_those_of_recipes() -> None:
    field = next(f for f in dataclasses.fields(FewShotRecipe) if f.name == "augment")
    assert get_args(get_type_hints(FewShotRecipe)["augment"]) == tuple(AUGMENTATIONS)
    assert AUGMENTATIONS[field.default] is None


@pytest.mark.parametrize("channels", [1, 3])
def test_strong_depends_on_seed_episode_and_part_alone_and_draws_from_nobody_else(channels: int) -> None:
    x, augment = torch.rand(12, channels, 20, 20), Strong()
    torch.manual_seed(1)
    first = augment(x, 1, 2, 0)
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), after), "the global generator is as it was"
    torch.manual_seed(5)
    assert torch.equal(augment(x, 1, 2, 0), first)
    for other in ((2, 2, 0), (1, 3, 0), (1, 2, 1)):
        assert not torch.equal(augment(x, *other), first)
    assert first.shape == x.shape
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1


def test_strong_draws_for_each_image_its_own() -> None:
    x = pictures(1).expand(40, -1, -1, -1).contiguous()
    assert len({image.numpy().tobytes() for image in Strong()(x, 0, 0, 0)}) == 40


def test_strong_mirrors_moves_erases_and_colours() -> None:
    """Of a white page with one corner of a dull red."""
    page = torch.ones(600, 3, 24, 24)
    page[:, 0, :6, :6], page[:, 1:, :6, :6] = 0.8, 0.5
    out = Strong()(page, 0, 0, 0)
    left, right = out[:, :, 1:5, 1:5].mean((1, 2, 3)), out[:, :, 1:5, -5:-1].mean((1, 2, 3))
    assert 0.4 < (right < left).float().mean() < 0.6
    black = (out == 0).all(1).sum((1, 2))
    assert 0.45 < (black > 4).float().mean() < 0.75, "what comes in from outside, and what is erased, is black"
    hue = (out[:, 1] - out[:, 2]).abs().amax((1, 2))
    assert 0.6 < (hue > 0.01).float().mean() < 0.85, "green and blue are one but for a turn of the hue, in four of five"
