"""Where random numbers come from: a seed for every place at which something is drawn, and no state in between.

What is drawn at a place (which task, which step, which image) depends on the run's seed and on that place alone. So
neither chunks nor threads nor processes change it, and a resumed run draws what an undisturbed one would have.
"""

from __future__ import annotations

import torch

_WORD = 2**64 - 1
_FOLD = 2**61 - 1
_START, _SPREAD, _MIX = 2870177450012600261, 14029467366897019727, 11400714785074694791
"""The fifth, second and first prime of xxHash64 (Collet, xxHash fast digest algorithm)."""


def stream(*place: int) -> int:
    """A seed in [0, 2⁶³) for a place, e.g. ``stream(seed, step, task)``.

    The numbers are taken modulo 2⁶¹ − 1 (negative ones as minus that of their size) and mixed by xxHash64's rounds,
    one a number. These are the rounds with which CPython 3.8 and later hash a tuple of integers; they are written out
    here because no language promises them.
    """
    return _mixed(place) & (2**63 - 1)


def step_stream(*place: int) -> int:
    """The same as a signed 64-bit number, to be a number of another place."""
    word = _mixed(place)
    return word - 2**64 if word >> 63 else word


def generator(*place: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that starts from the place's seed."""
    return torch.Generator(device).manual_seed(stream(*place))


def _mixed(place: tuple[int, ...]) -> int:
    word = _START
    for number in place:
        lane = number % _FOLD if number >= 0 else -(-number % _FOLD)
        word = (word + (-2 if lane == -1 else lane) * _SPREAD) & _WORD
        word = ((word << 31) | (word >> 33)) & _WORD
        word = word * _MIX & _WORD
    word = (word + (len(place) ^ _START ^ 3527539)) & _WORD
    return 1546275796 if word == _WORD else word
