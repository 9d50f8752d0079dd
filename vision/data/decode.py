"""One encoded image to uint8 pixels, with every way in which that fails as a DataError."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
from PIL import Image

from vision.data.archive import Member
from vision.data.source import DataError, Pixels

MAX_PIXELS = 4096 * 4096
"""A picture that unpacks to more is taken for a decompression bomb."""
FORMATS = ("PNG", "JPEG")
RESAMPLE = {
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
}


def decode(
    data: bytes, place: str, *, channels: int, size: int, resample: str = "lanczos", invert: bool = False
) -> Pixels:
    """A PNG or JPEG as (C, size, size) uint8.

    Args:
        place: the file and member, for the message.
        channels: 1 for grey-scale, 3 for RGB.
        resample: the filter, where the picture has another size; grey levels are resized, never 1-bit pixels.
        invert: dark strokes on paper become bright strokes on black.

    Raises:
        DataError: not a PNG or JPEG, cut short, damaged, or far too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{picture.width} x {picture.height} pixels")
            picture.load()
            image = picture.convert("L" if channels == 1 else "RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{place} would unpack to far more than an image should ({error}). Remove it or replace it."
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        # Pillow's own message ends in the address of a buffer, which tells the reader nothing.
        reason = str(error).split(" <_io")[0]
        raise DataError(
            f"{place} is not a readable PNG or JPEG ({reason}). It is damaged: get it again, then import it."
        ) from error
    if image.size != (size, size):
        image = image.resize((size, size), RESAMPLE[resample])
    pixels: Pixels = np.asarray(image).reshape(size, size, channels).transpose(2, 0, 1)
    return 255 - pixels if invert else pixels


def decode_all(members: Iterable[Member], *, channels: int) -> int:
    """Decode images only to see that it can be done; how many there were."""
    count = 0
    for member in members:
        decode(member.read(), member.place, channels=channels, size=28)
        count += 1
    return count
