"""Mini-batches of all classes: by index, every image once an epoch, labels over the split, turns as classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metabench.vision.batches import Batches
from metabench.vision.data.source import DataError
from tests.unit.vision.test_episodes import CLASSES, EACH, dataset, names

TRAIN = 20
"""Classes of the toy's training split."""


def test_a_batch_is_the_same_whatever_was_drawn_before_and_with_it() -> None:
    batches = Batches(dataset(), "train", 7, rotations=True, seed=4)
    support, query = batches.draw(range(100))
    assert support.x.shape == (100, 0, 1, 4, 4)
    assert (support.ways, query.ways) == (80, 80)
    assert torch.equal(query.w, torch.ones(100, 7))
    for i in (99, 0, 91):
        _, alone = Batches(dataset(), "train", 7, rotations=True, seed=4).draw([i])
        assert torch.equal(alone.x[0], query.x[i])
        assert torch.equal(alone.y[0], query.y[i])


def test_every_image_comes_once_an_epoch_across_the_batches_edges() -> None:
    """160 images in batches of 7: the epoch ends within the 23rd."""
    images, turns, labels = (a.reshape(-1) for a in Batches(dataset(), "train", 7).indices(range(46)))
    assert not turns.any()
    for epoch in (0, 1):
        part = slice(epoch * TRAIN * EACH, (epoch + 1) * TRAIN * EACH)
        assert sorted(images[part]) == list(range(TRAIN * EACH))
    assert not np.array_equal(images[: TRAIN * EACH], images[TRAIN * EACH : 2 * TRAIN * EACH])
    assert np.array_equal(labels, images // EACH)


def test_labels_are_places_in_the_split_whatever_the_class_numbers() -> None:
    _, query = Batches(dataset(), "test", 500).draw([0])
    shown, _ = names(query.x)
    assert np.array_equal(shown[0], query.y[0].numpy() + 24)
    assert query.ways == CLASSES - 24


def test_classes_of_unequal_size() -> None:
    data = dataset([3, 5] * 15)
    images, _, labels = (a[0] for a in Batches(data, "train", 80).indices([0]))
    assert np.bincount(labels).tolist() == [3, 5] * 10
    assert np.array_equal(np.searchsorted(data.images.starts, images, "right") - 1, labels)


def test_a_turned_class_is_a_class_of_its_own() -> None:
    data = dataset()
    batches = Batches(data, "train", TRAIN * EACH * 4, rotations=True)
    images, turns, labels = (a[0] for a in batches.indices([0]))
    assert len({*zip(images.tolist(), turns.tolist(), strict=True)}) == TRAIN * EACH * 4
    assert np.array_equal(labels, images // EACH * 4 + turns)
    _, query = batches.draw([0])
    for i in range(0, 640, 37):
        picture = np.rot90(data.images.images[images[i]], turns[i], (-2, -1)) / 255
        assert np.allclose(query.x[0, i].numpy(), picture, atol=1e-6)


def test_seed_and_split_are_other_orders() -> None:
    data = dataset()
    data.splits["val"] = data.splits["train"]
    orders = {
        (split, seed): Batches(data, split, 5, seed=seed).order(0).tobytes()
        for split in ("train", "val")
        for seed in (0, 1, -1)
    }
    assert len(set(orders.values())) == 6


def test_one_class_is_nothing_to_tell_apart() -> None:
    data = dataset()
    data.splits["train"] = data.splits["train"][:1]
    with pytest.raises(DataError, match="toy train: a classifier needs 2 classes, and the split has 1"):
        Batches(data, "train", 5)
