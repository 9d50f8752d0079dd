"""A film of a row, made small enough to lie in the page."""

from __future__ import annotations

import base64
import io
import warnings
from typing import NamedTuple

from PIL import Image, ImageSequence, UnidentifiedImageError

from metabench.bench.leaderboard.board import Line

WIDTH = 288
"""Pixels of the small film."""
QUALITIES = ((30, 1), (20, 1), (20, 2), (10, 4))
"""(quality, every so many pictures): the first that makes the film small enough."""
LARGEST = 170_000
"""Bytes of the small film."""
PIXELS, PICTURES = 4_000_000, 600
"""Of a film that is looked at, at most."""


class Film(NamedTuple):
    """A moving picture and a still one, as addresses that hold them."""

    line: Line
    file: str
    """The whole film, under figures/."""
    moving: str
    still: str
    """Its last picture, for who wants nothing to move."""
    width: int
    height: int


def embedded(line: Line) -> Film | None:
    """The first film of a row; None where it has none, or none that can be read and made small."""
    for figure in line.figures:
        try:
            with warnings.catch_warnings(action="error"), Image.open(io.BytesIO(figure.content)) as film:
                pictures, seconds = _pictures(film)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Warning):
            continue
        for quality, stride in QUALITIES:
            moving = _webp([*pictures[:-1:stride], pictures[-1]], quality, seconds * stride)
            if len(moving) <= LARGEST:
                still = _webp(pictures[-1:], quality, seconds)
                return Film(line, figure.file, _address(moving), _address(still), *pictures[0].size)
    return None


def _pictures(film: Image.Image) -> tuple[list[Image.Image], float]:
    """The film's pictures at the page's width, and how long each is shown."""
    width, height = film.size
    if width * height > PIXELS or getattr(film, "n_frames", 1) > PICTURES:
        raise ValueError("too large a film")
    size = (WIDTH, max(1, round(height * WIDTH / width))) if width > WIDTH else (width, height)
    pictures = [picture.convert("RGB").resize(size) for picture in ImageSequence.Iterator(film)]
    return pictures, film.info.get("duration", 100) / 1000


def _webp(pictures: list[Image.Image], quality: int, seconds: float) -> bytes:
    buffer = io.BytesIO()
    more = {"save_all": True, "append_images": pictures[1:], "loop": 0, "duration": round(1000 * seconds)}
    pictures[0].save(buffer, "WEBP", quality=quality, method=4, **more if len(pictures) > 1 else {})
    return buffer.getvalue()


def _address(content: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"
