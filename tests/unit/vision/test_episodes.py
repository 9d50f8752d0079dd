"""Episodes: by index, balanced, disjoint, uniform; rotations are classes; errors say what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from metabench.vision.data.glyphs import GLYPHS
from metabench.vision.data.lake import Runs
from metabench.vision.data.source import ClassImages, DataError, Dataset
from metabench.vision.episodes import Episodes, FixedEpisodes, Shape

CLASSES, EACH = 30, 8


def dataset(counts: list[int] | None = None, *, groups: bool = True) -> Dataset:
    """Class c's image i is a 4 × 4 picture whose upper left corner says c and i, and whose rest is noise."""
    counts = counts or [EACH] * CLASSES
    starts = np.concatenate([[0], np.cumsum(counts)])
    pixels = np.random.default_rng(0).integers(0, 256, (int(starts[-1]), 1, 4, 4), dtype=np.uint8)
    for c, n in enumerate(counts):
        pixels[starts[c] : starts[c + 1], 0, 0, 0] = c
        pixels[starts[c] : starts[c + 1], 0, 0, 1] = np.arange(n)
    images = ClassImages(pixels, starts, tuple(f"class{c:02d}" for c in range(len(counts))), "digest")
    order = np.arange(len(counts))
    splits = {"train": order[:20], "val": order[20:24], "test": order[24:]}
    return Dataset("toy", images, splits, groups=order // 5 if groups else None, split_version="toy")


def names(x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Class and image number of unrotated pictures (..., 1, 4, 4)."""
    pixels = (x * 255).round().numpy().astype(int)
    return pixels[..., 0, 0, 0], pixels[..., 0, 0, 1]


def test_an_episode_is_the_same_whatever_was_drawn_before_and_with_it() -> None:
    episodes = Episodes(dataset(), "train", Shape(5, 2, 3), rotations=True, seed=4)
    support, query = episodes.draw(range(6))
    for i in (5, 0, 3):
        alone = Episodes(dataset(), "train", Shape(5, 2, 3), rotations=True, seed=4).draw([i])
        for together, one in zip((support, query), alone, strict=True):
            assert torch.equal(one.x[0], together.x[i])
            assert torch.equal(one.y[0], together.y[i])
    first, second = (episodes.indices([i])[0] for i in (0, 1))
    assert not np.array_equal(first, second)


def test_seed_and_split_are_other_streams() -> None:
    data = dataset()
    data.splits["test"] = data.splits["val"] = data.splits["train"]  # the same classes, to compare the draws
    drawn = {
        (split, seed): Episodes(data, split, Shape(5, 1, 1), seed=seed).indices(range(3))[0].tobytes()
        for split in ("train", "val", "test")
        for seed in (0, 1, 2**63, -1)
    }
    assert len(set(drawn.values())) == 12


def test_classes_are_of_the_split_and_labels_balanced_and_support_and_query_disjoint() -> None:
    data, shape = dataset(), Shape(4, 2, 3)
    for split in ("train", "val", "test"):
        support, query = Episodes(data, split, shape).draw(range(50))
        assert support.ways == query.ways == 4
        assert support.x.shape == (50, 8, 1, 4, 4)
        assert query.x.shape == (50, 12, 1, 4, 4)
        assert torch.equal(support.w, torch.ones(50, 8))
        (shown, image), (asked, other) = names(support.x), names(query.x)
        assert set(shown.flatten()) == set(asked.flatten()) == set(data.splits[split].tolist())
        for t in range(50):
            assert torch.bincount(support.y[t]).tolist() == [2] * 4
            assert torch.bincount(query.y[t]).tolist() == [3] * 4
            label = dict(zip(shown[t], support.y[t].tolist(), strict=True))
            assert len(label) == 4, "four different classes"
            assert [label[c] for c in asked[t]] == query.y[t].tolist()
            drawn = [*zip(shown[t], image[t], strict=True), *zip(asked[t], other[t], strict=True)]
            assert len(set(drawn)) == 4 * 5, "no picture twice"


def test_pixels_are_those_of_the_data_in_zero_to_one() -> None:
    episodes = Episodes(dataset(), "train", Shape(3, 1, 2))
    index, turns = episodes.indices(range(4))
    support, query = episodes.draw(range(4))
    expected = torch.from_numpy(episodes.data.images.images[index]).float() / 255
    assert torch.equal(support.x, expected[:, :, :1].flatten(1, 2))
    assert torch.equal(query.x, expected[:, :, 1:].flatten(1, 2))
    assert not turns.any()


def test_turned_classes_are_the_rotated_pictures_and_other_classes() -> None:
    episodes = Episodes(dataset(), "val", Shape(16, 2, 1), rotations=True)
    index, turns = episodes.indices(range(2))
    support, _ = episodes.draw(range(2))
    x = support.x.unflatten(1, (16, 2))
    for t in range(2):
        seen = set()
        for k in range(16):
            assert len(set(turns[t, k])) == 1, "all images of a class are turned alike"
            for n in range(2):
                picture = np.rot90(episodes.data.images.images[index[t, k, n], 0], turns[t, k, n])
                assert np.array_equal((x[t, k, n, 0] * 255).round().numpy(), picture)
            seen.add((int(episodes.data.images.images[index[t, k, 0], 0, 0, 0]), int(turns[t, k, 0])))
        assert len(seen) == 16, "4 characters at 4 angles are 16 classes, each drawn once"


@pytest.mark.parametrize("rotations", [False, True])
def test_classes_and_images_are_uniform(rotations: bool) -> None:
    """Pearson's χ² of 6000 classes and 12 000 images; the seed is fixed, so this cannot fail by chance."""
    episodes = Episodes(dataset(), "train", Shape(3, 1, 1), rotations=rotations)
    index, turns = episodes.indices(range(2000))
    kinds = (index[..., 0] // EACH) * 4 + turns[..., 0]
    classes = np.unique(kinds, return_counts=True)[1]
    assert len(classes) == (80 if rotations else 20)
    expected = 6000 / len(classes)
    assert ((classes - expected) ** 2 / expected).sum() < (124.8 if rotations else 43.8)  # p = 0.001 at 79 and 19
    for part in (0, 1):
        images = np.bincount(index[..., part].flatten() % EACH, minlength=EACH)
        assert ((images - 750) ** 2 / 750).sum() < 24.3  # p = 0.001 at 7


def test_classes_with_fewer_images_are_drawn_fairly_and_within_their_images() -> None:
    data = dataset([3, 8, 5, 4, *[8] * 26])
    episodes = Episodes(data, "train", Shape(20, 1, 2))
    index, _ = episodes.indices(range(300))
    starts = data.images.starts
    for t in range(300):
        of = np.searchsorted(starts, index[t], side="right") - 1
        assert (of == of[:, :1]).all()
        assert all(len(set(row)) == 3 for row in index[t])
    short = index[(index >= starts[2]) & (index < starts[3])] - starts[2]
    counts = np.bincount(short, minlength=5)
    assert ((counts - 180) ** 2 / 180).sum() < 18.5  # p = 0.001 at 4


def test_within_a_group_all_classes_share_it_and_every_group_comes_up() -> None:
    data = dataset()
    episodes = Episodes(data, "train", Shape(4, 1, 1), within_group=True)
    index, _ = episodes.indices(range(400))
    assert data.groups is not None
    groups = data.groups[index[..., 0] // EACH]
    assert (groups == groups[:, :1]).all()
    counts = np.bincount(groups[:, 0], minlength=4)
    assert ((counts - 100) ** 2 / 100).sum() < 16.3  # p = 0.001 at 3


def test_a_group_too_small_for_the_ways_is_left_out() -> None:
    data = dataset()
    assert data.groups is not None
    data.groups[17:20] = 9  # groups of 5, 5, 5, 2 and 3
    index, _ = Episodes(data, "train", Shape(4, 1, 1), within_group=True).indices(range(60))
    assert set(data.groups[index[..., 0] // EACH].flatten()) == {0, 1, 2}
    turned, _ = Episodes(data, "train", Shape(12, 1, 1), within_group=True, rotations=True).indices(range(100))
    assert set(data.groups[turned[..., 0] // EACH].flatten()) == {0, 1, 2, 9}


def test_errors_say_what_is_wrong_and_what_to_do() -> None:
    with pytest.raises(DataError, match="toy has no split 'dev'; it has test, train, val"):
        Episodes(dataset(), "dev", Shape(2, 1, 1))
    few = "toy val: episodes of 5 ways need as many classes, and the split has 4; lower --ways, or train with --train-"
    with pytest.raises(DataError, match=few):
        Episodes(dataset(), "val", Shape(5, 1, 1))
    assert Episodes(dataset(), "val", Shape(16, 1, 1), rotations=True).turns == 4
    with pytest.raises(DataError, match="6 ways need as many classes, and the split has 0"):
        Episodes(dataset(), "train", Shape(6, 1, 1), within_group=True)
    lacking = (
        r"class class02 of the train split has 5 images, but an episode takes 6 of each class \(shots \+ queries\)"
    )
    with pytest.raises(DataError, match=lacking):
        Episodes(dataset([8, 8, 5, *[8] * 27]), "train", Shape(5, 2, 4))
    with pytest.raises(DataError, match="toy has no groups to draw episodes within; use another split"):
        Episodes(dataset(groups=False), "train", Shape(2, 1, 1), within_group=True)


def test_a_real_data_set_s_classes_are_disjoint_between_splits(tmp_path: Path) -> None:
    data = GLYPHS.load(tmp_path, GLYPHS.splits[0], cache=tmp_path)
    splits = [set(map(int, data.splits[s])) for s in ("train", "val", "test")]
    assert all(splits)
    assert len(set.union(*splits)) == sum(map(len, splits))
    support, query = Episodes(data, "test", Shape(5, 1, 5)).draw([0])
    assert support.x.shape == (1, 5, 1, 28, 28)
    assert float(query.x.max()) == 1.0


def runs() -> Runs:
    rng = np.random.default_rng(0)
    support, query = (rng.integers(0, 256, (20, 20, 1, 4, 4), dtype=np.uint8) for _ in range(2))
    labels = np.stack([rng.permutation(20) for _ in range(20)])
    return Runs(support, query, labels)


def test_fixed_episodes_are_the_runs_as_published() -> None:
    given = runs()
    support, query = FixedEpisodes(given).draw([7, 0])
    assert support.ways == query.ways == 20
    assert torch.equal(support.x[0] * 255, torch.from_numpy(given.support[7]).float())
    assert torch.equal(query.x[1] * 255, torch.from_numpy(given.query[0]).float())
    assert support.y[0].tolist() == list(range(20))
    assert query.y[0].tolist() == given.labels[7].tolist()
    assert query.y.dtype == support.y.dtype == torch.int64
    assert FixedEpisodes(given).seed == 0
