"""MetaOptNet's augmentation of training images (Lee et al., CVPR 2019, §4.1): crop, jitter, flip.

A random crop after padding by 8 pixels, brightness, contrast and saturation scaled by up to ±40 %, and a
horizontal flip. All draws of an episode come from its index, so a resumed or sharded run sees the same images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from algorithms.streams import generator


@dataclass(frozen=True)
class Augment:
    """Random crop, colour jitter and flip.

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
        factors = 1 + self.jitter * (2 * torch.rand(3, len(x), 1, 1, 1, generator=g) - 1)
        brightness, contrast, saturation = factors.to(x.device).unbind()
        x = (x * brightness).clamp(0, 1)
        mean = x.mean((1, 2, 3), keepdim=True)
        x = (mean + (x - mean) * contrast).clamp(0, 1)
        grey = x.mean(1, keepdim=True)
        return (grey + (x - grey) * saturation).clamp(0, 1)
