"""Seeds of places: fixed numbers, and those that a tuple's hash gave before they were written out."""

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metabench.algorithms.streams import generator, step_stream, stream


def test_the_numbers_are_fixed() -> None:
    assert stream(0) == 469874208863542616
    assert stream(0, 1, 2) == 2187946392326065592
    assert step_stream(3, 41) == -5627473370741462151


@pytest.mark.skipif(sys.hash_info.width != 64, reason="a tuple's hash is mixed otherwise")
@given(st.lists(st.integers(-(2**70), 2**70), max_size=5))
def test_places_are_mixed_as_a_tuple_was(place: list[int]) -> None:
    assert step_stream(*place) == hash(tuple(place))
    assert stream(*place) == hash(tuple(place)) % 2**63


def test_neighbouring_places_share_no_seed() -> None:
    seeds = {stream(seed, step, task) for seed in range(10) for step in range(20) for task in range(20)}
    assert len(seeds) == 10 * 20 * 20


def test_a_generator_starts_from_its_place_alone() -> None:
    first, again, other = (torch.rand(4, generator=generator(*place)) for place in ((1, 2), (1, 2), (2, 1)))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
