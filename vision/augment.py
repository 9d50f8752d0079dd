"""Augmentations of training images, by name.

    metaoptnet   Lee et al., CVPR 2019, §4.1: a random crop after padding by 8 pixels, brightness, contrast and
                 saturation scaled by up to ±40 %, a horizontal flip
    simpleshot   Wang et al. 2019 and its program: a crop of any size, brought back to size, and a flip
    closer-look  Chen et al., ICLR 2019, and its program: the same with MetaOptNet's jitter between
    strong       flip, rotation, shift, scale, shear, perspective, colour jitter, blur and erasing, each image by draws
                 of its own, by torchvision's transforms

All draws of an episode come from its index, so a resumed or sharded run sees the same images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2  # type: ignore[import-untyped]

from metabench.algorithms.streams import generator, stream


class Augmentation(Protocol):
    """What alters the images of a training episode."""

    def __call__(self, x: Tensor, seed: int, episode: int, part: int) -> Tensor:
        """Images (N, C, H, W) in [0, 1] of one episode -> the same shape; `part` tells support from query."""
        ...


@dataclass(frozen=True)
class Augment:
    """MetaOptNet's: random crop, colour jitter and flip.

    padding: pixels added on each side before the crop. jitter: largest relative change of brightness,
    contrast and saturation. flip: whether to mirror half of the images.
    """

    padding: int = 8
    jitter: float = 0.4
    flip: bool = True

    def __call__(self, x: Tensor, seed: int, episode: int, part: int) -> Tensor:
        """Images (N, C, H, W) in [0, 1] of one episode -> the same shape; `part` tells support from query."""
        g = generator(seed, episode, part)
        x = self._crop(x, g)
        x = self._jitter(x, g)
        if not self.flip:
            return x
        mirrored = torch.rand(len(x), generator=g) < 0.5
        flipped: Tensor = torch.where(mirrored.to(x.device)[:, None, None, None], x.flip(-1), x)
        return flipped

    def _crop(self, x: Tensor, g: torch.Generator) -> Tensor:
        n, _, h, w = x.shape
        padded = F.pad(x, [self.padding] * 4)
        top, left = torch.randint(2 * self.padding + 1, (2, n), generator=g).to(x.device)
        rows = (top[:, None] + torch.arange(h, device=x.device))[:, None, :, None]
        columns = (left[:, None] + torch.arange(w, device=x.device))[:, None, None, :]
        each = torch.arange(n, device=x.device)[:, None, None, None]
        channels = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
        cropped: Tensor = padded[each, channels, rows, columns]
        return cropped

    def _jitter(self, x: Tensor, g: torch.Generator) -> Tensor:
        if not self.jitter:
            return x
        factors = 1 + self.jitter * (2 * torch.rand(3, len(x), 1, 1, 1, generator=g) - 1)
        brightness, contrast, saturation = factors.to(x.device).unbind()
        x = (x * brightness).clamp(0, 1)
        mean = x.mean((1, 2, 3), keepdim=True)
        x = (mean + (x - mean) * contrast).clamp(0, 1)
        grey = x.mean(1, keepdim=True)
        return (grey + (x - grey) * saturation).clamp(0, 1)


@dataclass(frozen=True)
class ResizedCrop(Augment):
    """A crop of 8 % to all of the area and of 3:4 to 4:3, brought back to size bilinearly; then jitter and flip.

    As torchvision draws it: an area and the logarithm of a ratio, both uniform, up to ten times until the crop fits;
    the whole image where none does. A crop is never larger than its image, so that nothing is padded.
    """

    padding: int = field(default=0, init=False)

    def _crop(self, x: Tensor, g: torch.Generator) -> Tensor:
        n = len(x)
        area = 0.08 + 0.92 * torch.rand(10, n, generator=g)
        ratio = torch.exp(math.log(4 / 3) * (2 * torch.rand(10, n, generator=g) - 1))
        shares = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()])  # of width and height
        fits = (shares <= 1).all(0)
        first = fits.int().argmax(0)
        share = shares[:, first, torch.arange(n)].where(fits.any(0), 1.0)
        centre = (1 - share) * (2 * torch.rand(2, n, generator=g) - 1)  # of the image's own, −1 to 1
        window = torch.zeros(n, 2, 3)
        window[:, 0, 0], window[:, 1, 1], window[:, :, 2] = share[0], share[1], centre.T
        grid = F.affine_grid(window.to(x), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


class Strong:
    """Everything that leaves a photograph recognisable, most of it on a part of the images."""

    def __init__(self) -> None:
        self.transform = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.RandomApply([v2.RandomRotation(20, v2.InterpolationMode.BILINEAR)], 0.5),
                v2.RandomApply(
                    [v2.RandomAffine(0, (0.1, 0.1), (0.8, 1.2), 10, interpolation=v2.InterpolationMode.BILINEAR)], 0.5
                ),
                v2.RandomPerspective(0.3, 0.3),
                v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
                v2.RandomApply([v2.GaussianBlur(3, (0.1, 1.5))], 0.3),
                v2.RandomErasing(0.3, (0.02, 0.2)),
            ]
        )

    def __call__(self, x: Tensor, seed: int, episode: int, part: int) -> Tensor:
        """Images (N, C, H, W) in [0, 1] of one episode -> the same shape; `part` tells support from query.

        Image by image, so on the CPU whatever device they are on.
        """
        # The transforms know the global generator alone; the scope gives it back as it was.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(stream(seed, episode, part))  # and not CUDA's, which it leaves alone
            return torch.stack([self.transform(image) for image in x.cpu()]).clamp(0, 1).to(x.device)


AUGMENTATIONS: dict[str, Augmentation | None] = {
    "none": None,
    "metaoptnet": Augment(),
    "simpleshot": ResizedCrop(jitter=0.0),
    "closer-look": ResizedCrop(),
    "strong": Strong(),
}
"""The augmentations, by the names that recipes and protocols have for them."""
