"""`Dataset.of`: anything with images and labels is a data set, and a stream of tasks."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metabench.vision.data.decode import decode
from metabench.vision.data.source import DataError, Dataset
from metabench.vision.episodes import Episodes, Shape


class Digits:
    """What a data set of torchvision looks like: a length and an index, and no end that iterating would find."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        return Image.new("L", (8, 8), 3 * i), i % 12


def test_a_data_set_of_torchvisions_kind_as_it_is() -> None:
    data = Dataset.of(Digits())
    assert data.images.names == tuple(map(str, range(12))), "numbers in their own order"
    assert data.images.images.shape == (60, 1, 8, 8)
    assert data.images.images.dtype == np.uint8
    assert data.images.counts.tolist() == [5] * 12
    assert data.images.images[:5, 0, 0, 0].tolist() == [0, 36, 72, 108, 144]
    assert list(data.splits) == ["all"]
    assert data.notes == "all: 12 classes x 5 images"


@pytest.mark.parametrize("kind", ["tensor", "array"])
@pytest.mark.parametrize("numbers", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(4, 4), (3, 4, 4)])
def test_tensors_and_labels(kind: str, numbers: torch.dtype, shape: tuple[int, ...]) -> None:
    levels = torch.arange(30)
    images = levels.to(numbers).view(30, *[1] * len(shape)).expand(30, *shape).contiguous()
    if numbers != torch.uint8:
        images = images - 7.5
    labels = levels % 3
    data = Dataset.of(images if kind == "tensor" else images.numpy(), labels if kind == "tensor" else labels.tolist())
    assert data.images.images.shape == (30, *((1, 4, 4) if len(shape) == 2 else shape))
    support, query = data.episodes(ways=3, shots=2, queries=3).draw([0])
    assert (support.x.dtype, support.x.shape[:2], query.x.shape[:2]) == (torch.float32, (1, 6), (1, 9))
    for batch in (support, query):
        drawn = (
            (batch.x[0, :, 0, 0, 0] * 255 if numbers == torch.uint8 else batch.x[0, :, 0, 0, 0] + 7.5).round().long()
        )
        classes = [set(labels[drawn[batch.y[0] == way]].tolist()) for way in range(3)]
        assert all(len(found) == 1 for found in classes)
        assert set.union(*classes) == {0, 1, 2}


def test_ones_and_zeros_are_black_and_white() -> None:
    images = torch.tensor([[[False, True]], [[True, True]]])
    assert Dataset.of(images, [0, 1]).images.images.tolist() == [[[[0, 255]]], [[[255, 255]]]]


def test_floating_point_numbers_are_kept_in_their_range() -> None:
    images = torch.linspace(-5, 7, 12 * 4).view(12, 1, 2, 2)
    data = Dataset.of(images, [i // 4 for i in range(12)])
    assert np.array_equal(data.images.images, images.numpy())
    assert data.episodes(ways=2, shots=1, queries=1).draw([0])[0].x.abs().max() > 1


@pytest.mark.parametrize(
    "image",
    [
        np.full((5, 5), 7, np.uint8), np.full((5, 5, 1), 7, np.uint8), torch.full((5, 5), 7, dtype=torch.uint8),
        torch.full((1, 5, 5), 7, dtype=torch.uint8), Image.new("L", (5, 5), 7),
    ],
)  # fmt: skip
def test_one_grey_image_in_every_form(image: Any) -> None:
    data = Dataset.of([(image, label) for label in "aabb"])
    assert data.images.images.shape == (4, 1, 5, 5)
    assert (data.images.images == 7).all()
    colour = Dataset.of([(image, label) for label in "aabb"], size=3, grey=False)
    assert colour.images.images.shape == (4, 3, 3, 3)


def test_pictures_are_read_as_files_are() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures = [
        Image.new("LA", (9, 9), (0, 0)), Image.fromarray(np.full((9, 9), 30000, np.uint16)),
        Image.new("P", (9, 9), 1), Image.new("CMYK", (9, 9), (0, 255, 255, 0)), Image.new("1", (9, 9), 1),
    ]  # fmt: skip
    data = Dataset.of([(picture, 0) for picture in pictures], size=6, grey=True)
    for picture, found in zip(pictures, data.images.images, strict=True):
        buffer = io.BytesIO()
        picture.save(buffer, "TIFF" if picture.mode == "CMYK" else "PNG")
        assert np.array_equal(found, decode(buffer.getvalue(), "x", channels=1, size=6))


def test_labels_of_any_kind_and_splits() -> None:
    labels = [torch.tensor(2), np.int64(10), 1, "b", "a", np.array("c")]
    data = Dataset.of([(torch.zeros(2, 2), label) for label in labels], splits={"train": [2, "a"], "test": [10, 1]})
    assert data.images.names == ("1", "2", "10", "a", "b", "c")
    assert {s: [data.images.names[c] for c in of] for s, of in data.splits.items()} == {
        "train": ["2", "a"],
        "test": ["1", "10"],
    }
    with pytest.raises(DataError, match="own: class 1 is in two splits, train and test"):
        Dataset.of([(torch.zeros(2, 2), 1)], splits={"train": [1], "test": [1]})
    with pytest.raises(DataError, match="own: train lacks 1 of 1 classes, the first 7"):
        Dataset.of([(torch.zeros(2, 2), 1)], splits={"train": [7]})


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        ([], None, "own: there are no images"),
        (
            [(torch.zeros(2, 2), 0), (torch.zeros(3, 3), 0)],
            None,
            r"image 1 is float32 \(1, 3, 3\), image 0 .*with size=",
        ),
        (
            [(Image.new("L", (2, 2)), 0), (Image.new("RGB", (2, 2)), 0)],
            None,
            r"image 1 is uint8 \(3, 2, 2\), .*grey=True",
        ),
        ([(torch.zeros(2), 0)], None, r"own: image 0 has the shape \(2,\); expected a picture"),
        ([(torch.zeros(2, 2, dtype=torch.int64), 0)], None, "own: image 0 holds int64; give uint8"),
        ([(torch.full((2, 2), float("nan")), 0)], None, "own: image 0 holds numbers that are not finite"),
        ([(Image.new("F", (2, 2)), 0)], None, "own: image 0 holds floating-point numbers, not 8 or 16 bits"),
        (torch.zeros(4, 2, 2), [0, 1], r"images of shape \(4, 2, 2\) and 2 labels; expected"),
        (torch.zeros(4), [0] * 4, r"images of shape \(4,\) and 4 labels"),
        (7, None, "int is neither a sequence of"),
        ("/nowhere/at/all", None, "/nowhere/at/all does not exist"),
    ],
)
def test_what_is_no_data_set_is_refused(data: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Dataset.of(data, labels)


def test_floats_are_not_resized() -> None:
    with pytest.raises(DataError, match=r"own: image 0 is float32 \(1, 2, 2\); only pictures and uint8 can be resized"):
        Dataset.of([(torch.zeros(2, 2), 0)], size=4)


@pytest.mark.parametrize("splits", [("", "", ""), ("train/", "val/", "test/")])
def test_a_folder_with_and_without_splits(splits: tuple[str, ...], tmp_path: Path) -> None:
    for c in range(6):
        folder = tmp_path / f"{splits[c // 2]}class{c}"
        folder.mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (9, 9), (10 * c + i, 0, 0)).save(folder / f"{i}.png")
    data = Dataset.of(tmp_path, size=4)
    assert data.images.images.shape == (12, 3, 4, 4)
    assert data.images.images[:, 0, 0, 0].tolist() == [10 * c + i for c in range(6) for i in range(2)]
    found = {s: [data.images.names[c] for c in of] for s, of in data.splits.items()}
    assert found == (
        {"all": [f"class{c}" for c in range(6)]}
        if not splits[0]
        else {s: [f"class{c}" for c in of] for s, of in (("train", (0, 1)), ("val", (2, 3)), ("test", (4, 5)))}
    )


# ---- streams of tasks


def test_only_the_classes_that_are_asked_for() -> None:
    data = Dataset.of(Digits())
    stream = data.episodes(ways=3, shots=1, queries=2, classes=[0, 1, 4, 11])
    images, _ = stream.indices(range(200))
    seen = {data.images.names[int(np.searchsorted(data.images.starts, i, "right")) - 1] for i in images.flatten()}
    assert seen == {"0", "1", "4", "11"}
    with pytest.raises(DataError, match="own: all lacks 1 of 2 classes, the first 99"):
        data.episodes(ways=2, shots=1, queries=1, classes=[0, 99])
    with pytest.raises(DataError, match="episodes of 5 ways need as many classes, and the split has 4"):
        data.episodes(ways=5, shots=1, queries=1, classes=[0, 1, 4, 11])
    split = Dataset.of(Digits(), splits={"train": range(6), "test": range(6, 12)})
    assert split.episodes(ways=2, shots=1, queries=1).split == "train"
    assert split.episodes(ways=2, shots=1, queries=1, split="test", classes=[6, 7]).split == "test"
    with pytest.raises(DataError, match=r"own: class 1 is not of its test split\."):
        split.episodes(ways=2, shots=1, queries=1, split="test", classes=[1, 7])


def test_a_fixed_number_of_tasks_or_no_end() -> None:
    data = Dataset.of(Digits())
    few = data.episodes(ways=3, shots=1, queries=2, tasks=5)
    assert len(list(few)) == 5
    assert np.array_equal(few.indices(range(5))[0], few.indices(range(5, 10))[0])
    assert len(np.unique(few.indices(range(100))[0].reshape(100, -1), axis=0)) == 5
    endless = data.episodes(ways=3, shots=1, queries=2)
    assert len(list(itertools.islice(endless, 20))) == 20
    assert len(np.unique(endless.indices(range(100))[0].reshape(100, -1), axis=0)) == 100
    assert np.array_equal(endless.indices(range(5))[0], few.indices(range(5))[0]), "the first of the endless ones"
    support, query = next(iter(few))
    assert torch.equal(support.x, few.draw([0])[0].x)
    assert (support.ways, query.y.tolist()) == (3, [[0, 0, 1, 1, 2, 2]])
    with pytest.raises(DataError, match="own: 0 tasks asked for; give at least 1"):
        data.episodes(ways=3, shots=1, queries=2, tasks=0)


def test_seeds_and_splits_have_streams_of_their_own() -> None:
    data = Dataset.of(Digits(), splits={s: range(12) if s == "all" else [] for s in ("all", "train")})
    drawn = [data.episodes(ways=3, shots=1, queries=2, seed=seed).indices(range(3))[0] for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    named = Dataset.of(Digits(), splits={"train": range(12)})
    assert not np.array_equal(Episodes(named, "train", Shape(3, 1, 2)).indices(range(3))[0], drawn[0])
