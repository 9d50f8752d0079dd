"""What the roofline counts, by hand."""

from __future__ import annotations

import torch

from metabench.bench.speed import roofline


def test_a_product_and_what_follows_it() -> None:
    """(64, 32) @ (32, 16), transposed in place and rectified: 2 · 64 · 32 · 16 FLOPs in float32."""
    a, b = torch.ones(64, 32), torch.ones(32, 16)
    work = roofline.count(lambda: (a @ b).mT.relu())
    product = 4 * (64 * 32 + 32 * 16 + 64 * 16)
    assert work.flops == 2 * 64 * 32 * 16
    assert work.product_bytes == product
    assert work.all_bytes == product + 2 * 4 * 64 * 16, "a view moves nothing"
    assert work.largest == 4 * 64 * 16


def test_nothing_is_counted_outside() -> None:
    assert roofline.count(lambda: None) == (0, 0, 0, 0)
