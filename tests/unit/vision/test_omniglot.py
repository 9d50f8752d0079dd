"""Omniglot: four splits, Lake's runs, incomplete copies; on real data where METABENCH_DATA points at it."""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
import sys
import types
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabench.vision.data.lake import OFFICIAL, read_runs
from metabench.vision.data.omniglot import OMNIGLOT, PARTS, Omniglot, lake_runs, vinyals
from metabench.vision.data.source import DataError, Dataset, data_root

REAL = data_root()
needs_data = pytest.mark.skipif(
    "METABENCH_DATA" not in os.environ or not OMNIGLOT.locate(REAL),
    reason="needs the real Omniglot: set METABENCH_DATA to a folder with omniglot/images_{background,evaluation}.zip",
)
TINY = dataclasses.replace(OMNIGLOT, drawings=2)


def stroke(column: int) -> bytes:
    """A 105 x 105 page of 1 bit with a vertical bar: dark on light, as the originals are."""
    page = np.full((105, 105), 255, np.uint8)
    page[:, column : column + 8] = 0
    buffer = io.BytesIO()
    Image.fromarray(page).convert("1").save(buffer, "PNG")
    return buffer.getvalue()


def official() -> dict[str, list[str]]:
    """Characters with their real names, 964 and 659: the last alphabets by name stand for the evaluation set."""
    names = sorted(c for members in vinyals().values() for c in members)
    return {PARTS[0]: names[:964], PARTS[1]: names[964:]}


def members_of(part: str, drawings: int = 2) -> dict[str, bytes]:
    """Archive members of one part; drawing j has its bar at column 20 j."""
    pages = [stroke(20 * j) for j in range(drawings)]
    return {
        f"{part}/{c}/{i:04d}_{j + 1:02d}.png": pages[j] for i, c in enumerate(official()[part]) for j in range(drawings)
    }


def save(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("omniglot-root")
    for part in PARTS:
        save(folder / "omniglot" / f"{part}.zip", members_of(part))
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("omniglot-cache")


# ---- splits


def test_vinyals_files_are_whole() -> None:
    members = vinyals()
    assert {split: len(names) for split, names in members.items()} == {"train": 1028, "val": 172, "test": 423}
    assert len({name for names in members.values() for name in names}) == 1623
    # Gurmukhi is the one alphabet that the files divide.
    assert "Gurmukhi/character41" in members["train"]
    assert "Gurmukhi/character42" in members["test"]
    assert {name.split("/")[0] for name in members["val"]} == {
        "Armenian",
        "Bengali",
        "Early_Aramaic",
        "Hebrew",
        "Mkhedruli_(Georgian)",
    }


@pytest.mark.parametrize(
    ("split", "version", "counts"),
    [
        ("random", "random-1200-423/seed0", [1100, 100, 423]),
        ("vinyals", "vinyals", [1028, 172, 423]),
        ("vinyals-trainval", "vinyals-trainval", [1200, 0, 423]),
        ("within-alphabet", "vinyals-within-alphabet", [1028, 172, 423]),
    ],
)
def test_split_sizes_and_versions(root: Path, cache: Path, split: str, version: str, counts: list[int]) -> None:
    data = TINY.load(root, split, cache=cache)
    assert data.split_version == version
    assert data.name == "omniglot"
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == counts
    assert data.images.images.shape == (3246, 1, 28, 28)
    assert data.images.counts.tolist() == [2] * 1623
    assert data.notes == "; ".join(
        f"{s}: {n} classes x {2 if n else 0} images" for s, n in zip(("train", "val", "test"), counts, strict=True)
    )


def test_vinyals_split_holds_the_characters_of_the_files(root: Path, cache: Path) -> None:
    data = TINY.load(root, "vinyals", cache=cache)
    for split, names in vinyals().items():
        assert {data.images.names[c] for c in data.splits[split]} == set(names)


def test_training_and_validation_characters_train_together(root: Path, cache: Path) -> None:
    data, files = TINY.load(root, "vinyals-trainval", cache=cache), vinyals()
    names = {split: {data.images.names[c] for c in classes} for split, classes in data.splits.items()}
    assert names == {"train": {*files["train"], *files["val"]}, "val": set(), "test": set(files["test"])}


def test_random_split_follows_the_seed(root: Path, cache: Path) -> None:
    first, again, other = (TINY.load(root, "random", cache=cache, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.splits["test"], again.splits["test"])
    assert other.split_version == "random-1200-423/seed1"
    assert 70 < len(np.intersect1d(first.splits["test"], other.splits["test"])) < 150  # 110 by chance
    # Pinned: records name this split, so it must stay the same for ever.
    assert [first.images.names[c] for c in first.splits["test"][:2]] == [
        "Alphabet_of_the_Magi/character02",
        "Alphabet_of_the_Magi/character03",
    ]


def test_lake_split_keeps_whole_alphabets_apart(root: Path, cache: Path) -> None:
    data = TINY.load(root, "lake", cache=cache)
    assert data.split_version == "lake-background-evaluation/seed0"
    assert data.resampling == "lanczos"
    names = {split: {data.images.names[c] for c in classes} for split, classes in data.splits.items()}
    assert names["test"] == set(official()[PARTS[1]])
    assert names["train"] | names["val"] == set(official()[PARTS[0]])
    alphabets = {split: {name.split("/")[0] for name in members} for split, members in names.items()}
    assert len(alphabets["val"]) == 5
    assert not alphabets["val"] & alphabets["train"]


def test_groups_are_alphabets(root: Path, cache: Path) -> None:
    data = TINY.load(root, "random", cache=cache)
    assert data.groups is not None
    assert data.groups.max() == 49
    by_group = Counter(zip(data.groups.tolist(), (name.split("/")[0] for name in data.images.names), strict=True))
    assert len(by_group) == 50
    assert by_group[0, "Alphabet_of_the_Magi"] == 20


def test_unknown_split_suggests_the_nearest(root: Path, cache: Path) -> None:
    with pytest.raises(
        DataError, match=r"omniglot has no split 'vinyal'\. Did you mean 'vinyals'\? Known: random, vinyals, vinyals-t"
    ):
        TINY.load(root, "vinyal", cache=cache)


# ---- pixels and layouts


def test_strokes_are_bright_on_black(root: Path, cache: Path) -> None:
    images = TINY.load(root, "vinyals", cache=cache).images.images
    page = Image.open(io.BytesIO(stroke(20))).convert("L").resize((28, 28), Image.Resampling.LANCZOS)
    assert np.array_equal(images[1, 0], 255 - np.asarray(page))
    assert images[1, 0, :, 6].min() == 255
    assert images[1, 0, :, 14].max() == 0


def test_resampling_and_size_have_their_own_cache(root: Path, cache: Path) -> None:
    near = dataclasses.replace(TINY, resample="nearest").load(root, "vinyals", cache=cache).images
    assert set(np.unique(near.images)) == {0, 255}
    assert near.digest == TINY.load(root, "vinyals", cache=cache).images.digest
    assert dataclasses.replace(TINY, size=14).load(root, "vinyals", cache=cache).images.images.shape[-1] == 14


def test_torchvision_folders_give_the_same_content(root: Path, cache: Path, tmp_path: Path) -> None:
    place = tmp_path / "omniglot" / "omniglot-py"
    for part in PARTS:
        with zipfile.ZipFile(root / "omniglot" / f"{part}.zip") as archive:
            archive.extractall(place)
    # torchvision leaves the zip beside what it extracted: it counts once.
    shutil.copy(root / "omniglot" / f"{PARTS[0]}.zip", place)
    assert OMNIGLOT.locate(tmp_path) == [place / f"{PARTS[0]}.zip", place / PARTS[1]]
    extracted, zipped = (TINY.load(r, "vinyals", cache=cache).images for r in (tmp_path, root))
    assert extracted.digest == zipped.digest
    assert extracted.names == zipped.names
    assert np.array_equal(extracted.images, zipped.images)


def never(data: bytes, place: str, **options: object) -> np.ndarray:
    raise AssertionError("decoded again")


def test_a_cached_set_is_not_decoded_again(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = TINY.load(root, "vinyals", cache=cache).images
    monkeypatch.setattr("metabench.vision.data.omniglot.decode", never)
    after = TINY.load(root, "lake", cache=cache).images
    assert after.digest == before.digest
    assert np.array_equal(after.images[:50], before.images[:50])


# ---- bad input


def test_absent_data_says_how_to_get_it(tmp_path: Path) -> None:
    assert OMNIGLOT.locate(tmp_path) == []
    with pytest.raises(
        DataError,
        match=r"omniglot: its images not found under .*\. `metabench data download omniglot` .* images_background.*"
        "`metabench data import omniglot PATH`",
    ):
        OMNIGLOT.load(tmp_path, "random", cache=tmp_path)


def test_half_of_it_is_not_enough(tmp_path: Path) -> None:
    save(tmp_path / "omniglot" / "images_background.zip", members_of(PARTS[0]))
    with pytest.raises(DataError, match="omniglot: images_evaluation not found under"):
        TINY.load(tmp_path, "random", cache=tmp_path)


def test_a_missing_character_and_a_missing_drawing(tmp_path: Path) -> None:
    background, evaluation = members_of(PARTS[0]), members_of(PARTS[1])
    save(tmp_path / "omniglot" / "images_background.zip", background)
    last = list(evaluation)[-1]
    lost = {name: data for name, data in evaluation.items() if name != last}
    save(tmp_path / "omniglot" / "images_evaluation.zip", lost)
    with pytest.raises(
        DataError, match=r"class ULOG/character26 in .*images_evaluation.zip has 1 images, expected 2\."
    ):
        TINY.load(tmp_path, "random", cache=tmp_path)
    del lost[list(lost)[-1]]
    save(tmp_path / "omniglot" / "images_evaluation.zip", lost)
    with pytest.raises(
        DataError, match=r"images_evaluation has 658 characters, the official one 659\. The copy is not whole"
    ):
        TINY.load(tmp_path, "random", cache=tmp_path)


def test_one_corrupt_png_is_named(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "omniglot", tmp_path / "omniglot")
    members = members_of(PARTS[1])
    name = list(members)[100]
    save(tmp_path / "omniglot" / "images_evaluation.zip", members | {name: members[name][:60]})
    with pytest.raises(
        DataError, match=rf"images_evaluation.zip: {name.replace('(', '.').replace(')', '.')} is not a readable picture"
    ):
        TINY.load(tmp_path, "random", cache=tmp_path / "cache")


class FakeRemote:
    """torchvision's data set: leaves its zips in omniglot-py, or has no network."""

    broken = False

    def __init__(self, folder: str, background: bool, download: bool) -> None:
        if self.broken:
            raise RuntimeError("File not found or corrupted.")
        save(
            Path(folder, "omniglot-py", f"{PARTS[0 if background else 1]}.zip"),
            members_of(PARTS[0 if background else 1]),
        )


def test_a_folder_that_cannot_be_read_is_not_taken_for_absent_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    (tmp_path / "omniglot").mkdir()
    with pytest.raises(DataError, match=r"/omniglot cannot be read: Permission denied\. Check its permissions"):
        TINY.load(tmp_path, "random", cache=tmp_path)


def test_download_through_torchvision(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", types.SimpleNamespace(Omniglot=FakeRemote))
    OMNIGLOT.download(tmp_path)
    assert sorted(p.name for p in (tmp_path / "omniglot").iterdir()) == [
        "images_background.zip",
        "images_evaluation.zip",
    ]
    assert len(TINY.load(tmp_path, "random", cache=cache).splits["test"]) == 423
    monkeypatch.setattr(FakeRemote, "broken", True)
    with pytest.raises(
        DataError,
        match=r"could not be downloaded into .*File not found or corrupted.*`metabench data import omniglot PATH`",
    ):
        OMNIGLOT.download(tmp_path)


# ---- Lake's runs


def runs() -> dict[str, bytes]:
    """Item i of run r is of class (3 i + r) mod 20; a class is drawn as a bar at five times its number."""
    members = {}
    for run in range(20):
        folder = f"run{run + 1:02d}"
        for way in range(20):
            members[f"{folder}/training/class{way + 1:02d}.png"] = stroke(5 * way)
            members[f"{folder}/test/item{way + 1:02d}.png"] = stroke(5 * ((3 * way + run) % 20))
        pairs = [
            f"{folder}/test/item{i + 1:02d}.png {folder}/training/class{(3 * i + run) % 20 + 1:02d}.png"
            for i in range(20)
        ]
        members[f"{folder}/class_labels.txt"] = "\n".join(pairs).encode()
    return members


def test_lake_runs_match_queries_to_support(tmp_path: Path) -> None:
    save(tmp_path / "omniglot" / "all_runs.zip", runs())
    support, query, labels = lake_runs(tmp_path)
    assert support.shape == query.shape == (20, 20, 1, 28, 28)
    assert support.dtype == np.uint8
    assert labels.tolist() == [[(3 * i + r) % 20 for i in range(20)] for r in range(20)]
    assert np.array_equal(np.take_along_axis(support, labels[:, :, None, None, None], 1), query)
    assert lake_runs(tmp_path, size=14).query.shape[-1] == 14


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"run07/test/item03.png": None},
            r"all_runs.zip lacks run07/test/item03.png: it is not whole\. Get all_runs.zip",
        ),
        (
            {"run02/class_labels.txt": b"nonsense here"},
            r"run02/class_labels.txt: not pairs of a test item and a training class",
        ),
        (
            {"run02/class_labels.txt": b"run02/test/item01.png run02/training/class03.png"},
            "class_labels.txt: item02 has no class",
        ),
        ({"run01/test/item01.png": b"broken"}, "all_runs.zip: run01/test/item01.png is not a readable picture"),
    ],
)
def test_bad_runs(tmp_path: Path, change: dict[str, bytes | None], message: str) -> None:
    members = {name: data for name, data in (runs() | change).items() if data is not None}
    save(tmp_path / "omniglot" / "all_runs.zip", members)
    with pytest.raises(DataError, match=message):
        lake_runs(tmp_path)
    with pytest.raises(DataError, match=message):
        OMNIGLOT.inspect([tmp_path / "omniglot" / "all_runs.zip"], tmp_path)


def test_runs_are_told_apart_by_images_and_labels(tmp_path: Path) -> None:
    members = runs()
    path = save(tmp_path / "all_runs.zip", members)
    repacked = save(tmp_path / "again.zip", dict(reversed(members.items())))
    other = members["run03/class_labels.txt"].splitlines()
    swapped = [other[0].replace(b"item01", b"item02"), other[1].replace(b"item02", b"item01"), *other[2:]]
    relabelled = save(tmp_path / "labels.zip", members | {"run03/class_labels.txt": b"\n".join(swapped)})
    redrawn = save(tmp_path / "images.zip", members | {"run03/test/item01.png": stroke(1)})
    digests = [read_runs(p)[1] for p in (path, repacked, relabelled, redrawn)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert list(OMNIGLOT.inspect([path], tmp_path).images.values()) == [800]
    assert OMNIGLOT.remark(path) == "all_runs.zip: not the official 20 runs"
    assert OMNIGLOT.remark(tmp_path / "images_background.zip") == ""


def test_absent_runs_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"all_runs.zip not found under .*python/one-shot-classification.*`metabench data import omniglot PATH`",
    ):
        lake_runs(tmp_path)


# ---- the real thing


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    given = os.environ.get("METABENCH_CACHE")
    cache = Path(given) if given else tmp_path_factory.mktemp("real-omniglot")
    yield OMNIGLOT.load(REAL, "vinyals", cache=cache)
    if not given:
        shutil.rmtree(cache)


@needs_data
def test_real_omniglot_is_the_official_one(real: Dataset) -> None:
    assert dict(Omniglot().known)[real.images.digest] == "the official 32,460 images of 1623 characters"
    assert real.images.images.shape == (32460, 1, 28, 28)
    assert real.images.counts.tolist() == [20] * 1623
    assert [len(real.splits[s]) for s in ("train", "val", "test")] == [1028, 172, 423]
    assert float(real.images.images.mean()) == pytest.approx(21.427, abs=0.001)


@needs_data
def test_real_braille_has_its_two_identical_drawings(real: Dataset) -> None:
    c = real.images.names.index("Braille/character01")
    drawings = real.images.images[real.images.starts[c] : real.images.starts[c + 1]]
    assert np.array_equal(drawings[2], drawings[18])
    assert not np.array_equal(drawings[2], drawings[3])


@needs_data
@pytest.mark.skipif(not (REAL / "omniglot" / "all_runs.zip").is_file(), reason="needs omniglot/all_runs.zip")
def test_real_runs_by_nearest_pixel() -> None:
    assert read_runs(REAL / "omniglot" / "all_runs.zip")[1] == OFFICIAL
    assert OMNIGLOT.remark(REAL / "omniglot" / "all_runs.zip") == "all_runs.zip: the official 20 runs"
    support, query, labels = (a.astype(np.float64) if a.dtype == np.uint8 else a for a in lake_runs(REAL))
    distances = ((query[:, :, None] - support[:, None]) ** 2).sum((3, 4, 5))
    assert sorted(map(tuple, np.sort(labels, 1))) == [tuple(range(20))] * 20
    assert (distances.argmin(2) == labels).mean() == pytest.approx(0.21, abs=0.01)
