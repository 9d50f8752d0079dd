"""One encoded picture to uint8 pixels, with every way in which that fails as a DataError."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import ExifTags, Image

from metabench.vision.data.source import DataError, Pixels

MAX_PIXELS = 4096 * 4096
"""A picture that unpacks to more is taken for a decompression bomb."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""Pillow's names of what is read; of a file with several pictures (GIF, TIFF) the first."""
RESAMPLE = {
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
}
COLOURS = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr"})
"""Pillow's modes that it turns into 8-bit RGB itself, in the meaning that viewers give them."""
REFUSED = {"I": "32-bit whole numbers", "F": "floating-point numbers", "LAB": "L*a*b* colours", "HSV": "HSV colours"}
"""Modes with no agreed 8-bit meaning, or that Pillow does not convert: a picture of them is refused by this name."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation of EXIF (tag 0x0112); 1 is upright."""


def decode(
    data: bytes, place: str, *, channels: int, size: int, resample: str = "lanczos", invert: bool = False
) -> Pixels:
    """A picture as a viewer shows it on white paper, as (C, size, size) uint8.

    Transparent pictures are laid on white; 16 bits of grey are scaled so that 65535 is 255, and rounded (of 16 bits of
    colour Pillow keeps the upper eight); those that a camera took sideways are turned as their EXIF says.

    Args:
        place: the file and member, for the message.
        channels: 1 for grey-scale, 3 for RGB.
        resample: the filter, where the picture has another size; grey levels are resized, never 1-bit pixels.
        invert: dark strokes on paper become bright strokes on black.

    Raises:
        DataError: of no kind that is read (`FORMATS`), cut short, damaged, far too large, or of pixels that are not
            8 or 16 bits of grey or colour (`REFUSED`).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is odd in a file and can be read all the same
            image = _read(data, place, "L" if channels == 1 else "RGB")
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{place} would unpack to far more than an image should ({error}). Remove it or replace it."
        ) from error
    # A damaged or malicious file can make a decoder raise nearly anything.
    except Exception as error:
        # Pillow's own message ends in the address of a buffer, which tells the reader nothing.
        reason = str(error).split(" <_io")[0]
        raise DataError(
            f"{place} is not a readable picture ({reason}). It is damaged, or not one of {', '.join(FORMATS)}: get it "
            "again, then import it."
        ) from error
    return finished(image, size, resample, invert)


def finished(image: Image.Image, size: int, resample: str, invert: bool) -> Pixels:
    """A picture in mode "L" or "RGB" as (C, size, size) uint8; the arguments are those of `decode`."""
    if image.size != (size, size):
        image = image.resize((size, size), RESAMPLE[resample])
    pixels: Pixels = np.asarray(image).reshape(size, size, -1).transpose(2, 0, 1)
    return 255 - pixels if invert else pixels


def _read(data: bytes, place: str, mode: str) -> Image.Image:
    """The picture upright, on white, in this mode ("L" or "RGB")."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{picture.width} x {picture.height} pixels")
        picture.load()
        return prepared(picture, place, mode)


def prepared(picture: Image.Image, place: str, mode: str) -> Image.Image:
    """A picture that is open already, upright, on white, in this mode ("L" or "RGB"); DataError as in `decode`."""
    return _on_white(_eight_bits(_upright(picture), place), mode)


def _upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF says; one with a damaged EXIF block stays as it is."""
    try:
        turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    # The block is a small file of its own, and a picture with a damaged one is still a picture.
    except Exception:
        return picture
    return picture if turn is None else picture.transpose(turn)


def _eight_bits(picture: Image.Image, place: str) -> Image.Image:
    """The picture in 8 bits a channel; DataError names pixels that cannot be brought there."""
    # Pillow gives a 16-bit PGM as 32-bit numbers, scaled to 65535.
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM"):
        deep = np.asarray(picture).astype(np.float64)
        grey = Image.fromarray(np.rint(deep / 257).astype(np.uint8))
        clear = picture.info.get("transparency")
        if clear is not None:
            grey.putalpha(Image.fromarray(np.where(deep == clear, 0, 255).astype(np.uint8)))
        return grey
    if picture.mode not in COLOURS:
        what = REFUSED.get(picture.mode, f"pixels of mode {picture.mode}")
        raise DataError(f"{place} holds {what}, not 8 or 16 bits of grey or colour. Convert it to PNG, then import it.")
    return picture


def _on_white(picture: Image.Image, mode: str) -> Image.Image:
    """The picture in this mode ("L" or "RGB"), with white where it is transparent."""
    if picture.has_transparency_data:
        clear = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    elif picture.mode == "CMYK":
        picture = picture.convert("RGB")  # Pillow has no grey of CMYK
    return picture.convert(mode)
