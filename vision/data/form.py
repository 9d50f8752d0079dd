"""The form that a learner's images have, and how other pictures are brought to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from metabench.vision.data.decode import RESAMPLE, decode, finished, prepared
from metabench.vision.data.options import LARGEST
from metabench.vision.data.source import DataError, Pixels, Source


@dataclass(frozen=True)
class Form:
    """What a body reads, and how files became it: as a data set decodes its own pictures (`vision.data.decode`)."""

    channels: int
    """1 for grey-scale, 3 for RGB."""
    size: int
    """Height and width, in pixels."""
    resample: str = "lanczos"
    """The filter for pictures of another size."""
    invert: bool = False
    """Dark strokes on paper become bright strokes on black."""

    def __str__(self) -> str:
        return f"{self.size} x {self.size} {'grey' if self.channels == 1 else 'colour'}"

    def decode(self, data: bytes, place: str) -> Pixels:
        """A file's bytes -> (C, size, size) uint8; DataError, which names the place, for what is no picture."""
        return decode(data, place, channels=self.channels, size=self.size, resample=self.resample, invert=self.invert)

    def picture(self, image: Image.Image, place: str) -> Pixels:
        """A picture that is open already -> (C, size, size) uint8, as its file would be."""
        upright = prepared(image, place, "L" if self.channels == 1 else "RGB")
        return finished(upright, self.size, self.resample, self.invert)

    def bring(self, pixels: Pixels, place: str = "images") -> Pixels:
        """Decoded images (N, C, H, W) uint8 of any form -> (N, channels, size, size) uint8.

        They are not inverted: data sets keep their strokes bright. Other sizes are squeezed with Lanczos' filter.

        Raises:
            DataError: images that are neither grey nor RGB.
        """
        if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or pixels.dtype != np.uint8:
            raise DataError(f"{place}: {pixels.dtype} {pixels.shape}; expected uint8, (N, 1 or 3, H, W).")
        if pixels.shape[1:] == (self.channels, self.size, self.size):
            return pixels
        mode = "L" if self.channels == 1 else "RGB"
        images = (Image.fromarray(p[0] if len(p) == 1 else p.transpose(1, 2, 0)).convert(mode) for p in pixels)
        found = [finished(image, self.size, "lanczos", invert=False) for image in images]
        return np.stack(found) if found else np.empty((0, self.channels, self.size, self.size), np.uint8)


def form_of(source: Source) -> Form:
    """The form of a data set's images.

    A source that resizes or inverts the pictures it reads says so by attributes `resample` and `invert`.
    """
    resample, invert = getattr(source, "resample", "lanczos"), getattr(source, "invert", False)
    return Form(source.channels, source.size, resample, invert)


def form_from(fields: Mapping[str, Any]) -> Form:
    """The form that a file's fields name; TypeError for unknown ones, DataError for one that pictures cannot have."""
    form = Form(**fields)
    sound = form.channels in (1, 3) and type(form.size) is int and 1 <= form.size <= LARGEST
    if not (sound and form.resample in RESAMPLE and isinstance(form.invert, bool)):
        raise DataError(f"no picture can be brought to the form {dict(fields)}")
    return form
