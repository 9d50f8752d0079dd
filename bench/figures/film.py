"""Films side by side as one animated GIF, small enough to be sent around."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from metabench.envs.environment import Environment
from metabench.envs.render import Film

LARGEST = 2_000_000
"""Bytes of a film."""
HEAD, GAP = 38, 4
"""Pixels above the pictures, and between them."""
QUALITIES = ((128, 1), (64, 1), (32, 1), (32, 2), (16, 3), (16, 6), (8, 12))
"""(colours, every so many pictures): the first that makes the film small enough."""


Strip = tuple[str, Sequence[Film]]
"""A row of films under one title."""


def filmstrip(rows: Sequence[Strip], spec: Environment, every: int) -> bytes:
    """A GIF that plays the films at once, a row a task; one that has ended stands still.

    Args:
        rows: of films, whose pictures are (H, W, 3), every so many steps of the environment.
        every: steps a picture.
    """
    seconds = every * getattr(spec, "dt", 0.05)
    count = max(len(film.pictures) for _, films in rows for film in films)
    frames = [stacked([frame(title, films, i) for title, films in rows]) for i in range(count)]
    for colours, stride in QUALITIES:
        film = encode([*frames[:-1:stride], frames[-1]], colours, seconds * stride)
        if len(film) <= LARGEST:
            break
    return film


def frame(title: str, films: Sequence[Film], i: int) -> Image.Image:
    """Picture i of every film, each under its number of updates and what it has earned so far."""
    height, width, _ = films[0].pictures[0].shape
    whole = Image.new("RGB", (len(films) * (width + GAP) - GAP, height + HEAD + 16), "white")
    draw = ImageDraw.Draw(whole)
    large, small = ImageFont.load_default(14), ImageFont.load_default(11)
    draw.text((4, 1), title, "black", small)
    for k, film in enumerate(films):
        at, left = min(i, len(film.pictures) - 1), k * (width + GAP)
        over = film.ended and i >= len(film.pictures) - 1
        draw.text((left + 4, 16), when(film.updates), "black", large)
        earned = f"return {film.returns[at]:.1f}{', ended' if over else ''}"
        draw.text((left + width - 4, 19), earned, "black", small, anchor="ra")
        whole.paste(Image.fromarray(film.pictures[at]), (left, HEAD))
        text = f"mean of all episodes: {film.score:.1f}"
        draw.text((left + 4, HEAD + height + 1), text, "#555555", small)
    return whole


def stacked(rows: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one width under each other."""
    whole = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        whole.paste(row, (0, top))
        top += row.height
    return whole


def when(updates: int) -> str:
    """0 -> "before", 1 -> "after 1 update"."""
    return "before" if updates == 0 else f"after {updates} update{'s' * (updates > 1)}"


def encode(frames: Sequence[Image.Image], colours: int, seconds: float) -> bytes:
    """Frames as a GIF that repeats, each shown for some seconds; all have the colours of the middle one."""
    palette = frames[len(frames) // 2].quantize(colours)
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    file = io.BytesIO()
    drawn[0].save(
        file, "GIF", save_all=True, append_images=drawn[1:], duration=round(1000 * seconds), loop=0, optimize=True
    )
    return file.getvalue()
