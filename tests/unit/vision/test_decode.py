"""Pictures of every kind to pixels: what a viewer shows on white paper, or a refusal that names the file."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metabench.vision.data.decode import decode
from metabench.vision.data.source import DataError


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(array: np.ndarray, mode: str | None = None, format: str = "PNG") -> bytes:
    image = Image.fromarray(np.asarray(array, np.uint8))
    return encoded(image.convert(mode) if mode else image, format)


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


# ---- what was always read


def test_decode_grey_inverted_and_colour() -> None:
    strokes = np.full((4, 4), 255)
    strokes[1] = 0
    bright = decode(png(strokes, "1"), "x", channels=1, size=4, invert=True)
    assert bright.shape == (1, 4, 4)
    assert bright.dtype == np.uint8
    assert bright[0].tolist() == [[0] * 4, [255] * 4, [0] * 4, [0] * 4]
    colour = np.arange(48).reshape(4, 4, 3)
    assert np.array_equal(decode(png(colour), "x", channels=3, size=4), colour.transpose(2, 0, 1))


def test_resizing_is_lanczos_on_grey_levels_or_nearest() -> None:
    picture = (np.random.default_rng(0).random((105, 105)) < 0.9) * 255
    grey = np.asarray(Image.fromarray(picture.astype(np.uint8)).resize((28, 28), Image.Resampling.LANCZOS))
    assert np.array_equal(decode(png(picture, "1"), "x", channels=1, size=28)[0], grey)
    assert len(np.unique(grey)) > 20
    nearest = decode(png(picture, "1"), "x", channels=1, size=28, resample="nearest")
    assert np.array_equal(
        nearest[0], np.asarray(Image.fromarray(picture.astype(np.uint8)).convert("1").resize((28, 28), 0)) * 255
    )


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_damaged_image_names_file_and_member(format: str) -> None:
    whole = png(np.random.default_rng(0).integers(0, 255, (40, 40)), format=format)
    for bad in (whole[: len(whole) // 2], b"not an image", b""):
        with pytest.raises(
            DataError, match=r"^set.zip: a/1 is not a readable picture \(.*\)\. It is damaged, or not one of PNG, JPEG"
        ):
            decode(bad, "set.zip: a/1", channels=1, size=28)


def test_one_flipped_byte_in_a_png_is_found() -> None:
    whole = bytearray(png(np.random.default_rng(0).integers(0, 255, (40, 40))))
    whole[len(whole) // 2] ^= 1
    with pytest.raises(DataError, match="is not a readable picture"):
        decode(bytes(whole), "x", channels=1, size=28)


def test_other_formats_are_not_tried() -> None:
    with pytest.raises(DataError, match="is not a readable picture"):
        decode(png(np.zeros((4, 4)), format="ICO"), "x", channels=1, size=4)


@pytest.mark.parametrize("side", [5000, 11000, 60000])
def test_decompression_bombs_are_refused(side: int) -> None:
    with pytest.raises(DataError, match=r"bomb.png would unpack to far more than an image should"):
        decode(png_claiming(side, side), "bomb.png", channels=1, size=28)


# ---- transparent, deep and turned pictures

INK = np.zeros((4, 4), bool)
INK[1] = True
STROKE = [255, 0, 255, 255]
"""Down any column: black ink on white paper."""


def transparent() -> dict[str, bytes]:
    """Black ink on a page that is transparent, and black where it is: in every way that a file can say so."""
    alpha = Image.fromarray(INK.astype(np.uint8) * 255)
    grey, colour = Image.new("L", (4, 4)), Image.new("RGB", (4, 4))
    grey.putalpha(alpha)
    colour.putalpha(alpha)
    palette = Image.fromarray(1 - INK.astype(np.uint8))
    palette.putpalette([0, 0, 0, 10, 20, 30])
    level = Image.fromarray(np.where(INK, 0, 77).astype(np.uint8))
    deep = Image.fromarray(np.where(INK, 0, 777).astype(np.uint16))
    key = Image.fromarray(np.where(INK[..., None], 0, [7, 8, 9]).astype(np.uint8))
    return {
        "LA": encoded(grey),
        "LA in a TIFF": encoded(grey, "TIFF"),
        "RGBA": encoded(colour),
        "RGBA in a TIFF": encoded(colour, "TIFF"),
        "RGBA in a WebP": encoded(colour, "WEBP", lossless=True),
        "one palette entry": encoded(palette, transparency=1),
        "alpha of each palette entry": encoded(palette, transparency=bytes([255, 0])),
        "palette entry of a GIF": encoded(palette, "GIF", transparency=1),
        "a grey level": encoded(level, transparency=77),
        "a 16-bit grey level": encoded(deep, transparency=777),
        "a colour": encoded(key, transparency=(7, 8, 9)),
        "1 bit": encoded(Image.fromarray(~INK), transparency=1),
    }


@pytest.mark.parametrize("kind", transparent())
def test_what_is_transparent_is_white_paper(kind: str) -> None:
    data = transparent()[kind]
    assert decode(data, "x", channels=1, size=4)[0].T.tolist() == [STROKE] * 4
    assert decode(data, "x", channels=3, size=4).transpose(0, 2, 1).tolist() == [[STROKE] * 4] * 3
    assert decode(data, "x", channels=1, size=4, invert=True)[0, :, 0].tolist() == [0, 255, 0, 0]


def test_half_transparent_ink_is_half_grey() -> None:
    assert decode(encoded(Image.new("LA", (4, 4), (0, 128))), "x", channels=1, size=4)[0, 0, 0] == 127


RAMP = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))


@pytest.mark.parametrize(
    ("format", "order"), [("PNG", "="), ("TIFF", "<"), ("TIFF", ">"), ("PPM", "=")], ids=lambda value: str(value)
)
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled(format: str, order: str, channels: int) -> None:
    data = encoded(Image.fromarray(RAMP.astype(np.dtype(np.uint16).newbyteorder(order))), format)
    found = decode(data, "x", channels=channels, size=64)
    # 15603 / 257 = 60.7, 32247 / 257 = 125.5, 48891 / 257 = 190.2
    assert found[:, 10, [0, 15, 31, 47, 63]].tolist() == [[0, 61, 125, 190, 255]] * channels


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (Image.fromarray(np.zeros((4, 4), np.float32)), "floating-point numbers"),
        (Image.fromarray(np.zeros((4, 4), np.int32)), "32-bit whole numbers"),
        (Image.new("LAB", (4, 4)), r"L\*a\*b\* colours"),
    ],
)
def test_pixels_without_a_meaning_in_eight_bits_are_refused_by_name(image: Image.Image, what: str) -> None:
    with pytest.raises(DataError, match=rf"^x.tif holds {what}, not 8 or 16 bits .*Convert it to PNG, then import it"):
        decode(encoded(image, "TIFF"), "x.tif", channels=1, size=4)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_what_it_prints(format: str) -> None:
    data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), format)
    assert decode(data, "x", channels=3, size=8)[:, 0, 0].tolist() == [255, 0, 0]
    assert decode(data, "x", channels=1, size=8)[0, 0, 0] == 76


CORNER = {1: (0, 0), 2: (0, 3), 3: (3, 3), 4: (3, 0), 5: (0, 0), 6: (0, 3), 7: (3, 3), 8: (3, 0)}
"""Where EXIF's orientation puts the pixel that is stored first."""
NEXT = {1: (0, 1), 2: (0, 2), 3: (3, 2), 4: (3, 1), 5: (1, 0), 6: (1, 3), 7: (2, 3), 8: (2, 0)}
"""And the one after it."""


@pytest.mark.parametrize("turn", CORNER)
@pytest.mark.parametrize(("format", "kind"), [("PNG", np.uint8), ("PNG", np.uint16), ("TIFF", np.uint8)])
def test_a_picture_is_turned_as_its_exif_says(turn: int, format: str, kind: Any) -> None:
    stored = np.zeros((4, 4), kind)
    stored[0, :2] = np.array([200, 100]) * (257 if kind == np.uint16 else 1)
    exif = Image.Exif()
    exif[0x0112] = turn
    found = decode(encoded(Image.fromarray(stored), format, exif=exif), "x", channels=1, size=4)[0]
    assert (found[CORNER[turn]], found[NEXT[turn]], found.sum()) == (200, 100, 300)


def test_a_turn_that_does_not_exist_and_a_damaged_exif_block_turn_nothing() -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    image = Image.new("L", (16, 16), 9)
    image.putpixel((0, 0), 255)
    for block in (exif.tobytes(), b"Exif\0\0MM\0*\0\0\0\xff" + b"\xff" * 40, b"Exif\0\0nonsense"):
        assert decode(encoded(image, exif=block), "x", channels=1, size=16)[0, 0, 0] == 255


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
def test_every_lossless_format_gives_the_same_pixels(format: str) -> None:
    stored = np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)
    options = {"lossless": True} if format == "WEBP" else {}
    assert np.array_equal(
        decode(encoded(Image.fromarray(stored), format, **options), "x", channels=1, size=8)[0], stored
    )


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "PPM"])
def test_damaged_bytes_are_refused_or_read_but_raise_nothing_else(format: str) -> None:
    whole = png(np.random.default_rng(0).integers(0, 255, (16, 16)), "RGB", format)
    draw, refused = np.random.default_rng(1), set[str]()
    for _ in range(60):
        bad = bytearray(whole)
        for at in draw.integers(len(bad), size=3):
            bad[at] = draw.integers(256)
        try:
            assert decode(bytes(bad), "x", channels=3, size=16).shape == (3, 16, 16)
        except DataError as error:
            refused.add(str(error).split(" ")[0])
    assert refused <= {"x"}
