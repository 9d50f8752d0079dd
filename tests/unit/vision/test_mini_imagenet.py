"""miniImageNet in its three shapes, and splits that are not Ravi & Larochelle's."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabench.bench.data_sets.verbs import import_data
from metabench.vision.data.mini_imagenet import MINI_IMAGENET, MiniImageNet, ravi_larochelle, read_lists
from metabench.vision.data.source import DataError, Dataset, data_root

SPLITS = ravi_larochelle()
REAL = data_root()
needs_data = pytest.mark.skipif(
    "METABENCH_DATA" not in os.environ or not MINI_IMAGENET.locate(REAL),
    reason="needs the real miniImageNet: set METABENCH_DATA to a folder with miniimagenet/*.zip",
)


def jpeg(level: int, size: int = 84) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (level, 255 - level, 7)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def tree(per_class: int = 2, first: int = 0) -> dict[str, bytes]:
    """{split}/{class}/{image}.jpg of all 100 classes; class c of its split has red level c."""
    return {
        f"{split}/{name}/{name}{i:08d}.jpg": JPEGS[c]
        for split, names in SPLITS.items()
        for c, name in enumerate(names)
        for i in range(first, first + per_class)
    }


JPEGS = [jpeg(level) for level in range(64)]


def save(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def unpack(folder: Path, members: dict[str, bytes]) -> None:
    for name, data in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def load(root: Path) -> Dataset:
    return MINI_IMAGENET.load(root, "ravi-larochelle", cache=root / "cache")


# ---- the split


def test_ravi_and_larochelle() -> None:
    assert {split: len(names) for split, names in SPLITS.items()} == {"train": 64, "val": 16, "test": 20}
    assert len({name for names in SPLITS.values() for name in names}) == 100
    assert (SPLITS["train"][0], SPLITS["val"][0], SPLITS["test"][-1]) == ("n01532829", "n01855672", "n07613480")


# ---- the three shapes


def test_zips_merge_and_folders_give_the_same(tmp_path: Path) -> None:
    one, two = tmp_path / "zips", tmp_path / "folders"
    save(one / "miniimagenet" / "a.zip", tree(1))
    # The second zip repeats one image of the first, under a folder of its own: it counts once.
    more = {f"mini/{name}": data for name, data in tree(1, first=1).items()}
    repeated = f"train/{SPLITS['train'][0]}/{SPLITS['train'][0]}00000000.jpg"
    save(one / "miniimagenet" / "b.zip", more | {f"mini/{repeated}": JPEGS[0]})
    unpack(two / "miniimagenet", tree(2))
    zipped, folders = load(one), load(two)
    assert zipped.images.digest == folders.images.digest
    assert zipped.images.images.shape == (200, 3, 84, 84)
    assert zipped.images.counts.tolist() == [2] * 100
    assert np.array_equal(zipped.images.images, folders.images.images)


def test_classes_splits_version_and_notes(tmp_path: Path) -> None:
    save(tmp_path / "miniimagenet" / "all.zip", tree())
    data = load(tmp_path)
    for split, names in SPLITS.items():
        assert [data.images.names[c] for c in data.splits[split]] == sorted(names)
    assert data.split_version == "ravi-larochelle/train-2/val-2/test-2"
    assert data.resampling == "lanczos"
    assert data.notes == "train: 64 classes x 2 images; val: 16 classes x 2 images; test: 20 classes x 2 images"
    assert MiniImageNet(complete=2).load(tmp_path, "ravi-larochelle", cache=tmp_path).split_version == "ravi-larochelle"


@pytest.mark.parametrize("short", ["train", "val", "test"])
def test_every_split_that_is_not_whole_is_in_the_version(tmp_path: Path, short: str) -> None:
    members = tree()
    # One image of one class is enough: the benchmark is not the same.
    del members[f"{short}/{SPLITS[short][5]}/{SPLITS[short][5]}00000001.jpg"]
    save(tmp_path / "miniimagenet" / "all.zip", members)
    data = MiniImageNet(complete=2).load(tmp_path, "ravi-larochelle", cache=tmp_path / "cache")
    assert data.split_version == f"ravi-larochelle/{short}-1"


def test_pixels_are_taken_as_they_are(tmp_path: Path) -> None:
    save(tmp_path / "miniimagenet" / "all.zip", tree(1))
    data = load(tmp_path)
    c = data.images.names.index(SPLITS["train"][40])
    expected = np.asarray(Image.open(io.BytesIO(JPEGS[40]))).transpose(2, 0, 1)
    assert np.array_equal(data.images.images[data.images.starts[c]], expected)
    assert np.abs(expected[:, 0, 0].astype(int) - [40, 215, 7]).max() <= 3


def test_one_image_folder_and_lists(tmp_path: Path) -> None:
    members = tree()
    folder = tmp_path / "lists" / "miniimagenet"
    unpack(folder, {f"images/{name.rsplit('/', 1)[1]}": data for name, data in members.items()})
    for split in SPLITS:
        rows = [name.split("/")[2] + "," + name.split("/")[1] for name in members if name.startswith(split)]
        (folder / f"{split}.csv").write_text("\n".join(["filename,label", *rows]) + "\n")
    save(tmp_path / "zip" / "miniimagenet" / "all.zip", members)
    assert load(tmp_path / "lists").images.digest == load(tmp_path / "zip").images.digest


def caches(folder: Path, per_class: int = 2, **options: int) -> dict[str, np.ndarray]:
    """The three pickles; class c of its split is filled with 10 c + i."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split, names in SPLITS.items():
        levels = [(2 * c + i) % 256 for c in range(len(names)) for i in range(per_class)]
        array = np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], (len(levels), 84, 84, 3)).copy()
        classes = {name: list(range(c * per_class, (c + 1) * per_class)) for c, name in enumerate(names)}
        with open(folder / f"mini-imagenet-cache-{split}.pkl", "wb") as file:
            pickle.dump({"image_data": array, "class_dict": classes}, file, **options)
        arrays[split] = array
    return arrays


def test_pickles(tmp_path: Path) -> None:
    arrays = caches(tmp_path / "miniimagenet")
    data = load(tmp_path)
    assert data.images.images.shape == (200, 3, 84, 84)
    for split, names in SPLITS.items():
        for c, name in enumerate(names):
            start = data.images.starts[data.images.names.index(name)]
            assert data.images.images[start + 1, 0, 0, 0] == arrays[split][2 * c + 1, 0, 0, 0]


# ---- bad input


def test_absent_data_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"its images not found under .*`metabench data import mini-imagenet PATH`"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"ImageNet's terms do not let metabench fetch it.*metabench data import"):
        MINI_IMAGENET.download(tmp_path)
    with pytest.raises(DataError, match=r"mini-imagenet has no split 'ravi'\. Did you mean 'ravi-larochelle'\?"):
        MINI_IMAGENET.load(tmp_path, "ravi", cache=tmp_path)


def test_a_class_in_two_splits(tmp_path: Path) -> None:
    name = SPLITS["train"][3]
    save(tmp_path / "miniimagenet" / "all.zip", tree(1) | {f"test/{name}/other.jpg": JPEGS[0]})
    with pytest.raises(
        DataError, match=rf"mini-imagenet in .*miniimagenet: class {name} is in two splits, train and test"
    ):
        load(tmp_path)


def test_a_class_moved_to_another_split(tmp_path: Path) -> None:
    name = SPLITS["val"][0]
    moved = {path.replace(f"val/{name}", f"train/{name}"): data for path, data in tree(1).items()}
    save(tmp_path / "miniimagenet" / "all.zip", moved)
    with pytest.raises(
        DataError, match=rf"class {name} is given in train, but in the split of .* it belongs to val\. Move"
    ):
        load(tmp_path)


def test_a_class_of_another_data_set(tmp_path: Path) -> None:
    save(tmp_path / "miniimagenet" / "all.zip", tree(1) | {"test/n00000001/1.jpg": JPEGS[0]})
    with pytest.raises(DataError, match=r"class n00000001 is given in test, but .* is not one of its 100 classes"):
        load(tmp_path)


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    some = {name: data for name, data in tree(1).items() if not name.startswith("val")}
    save(tmp_path / "miniimagenet" / "all.zip", some)
    with pytest.raises(DataError, match=r"val lacks 16 of 16 classes, the first n01855672. Import the missing files"):
        load(tmp_path)


def test_a_corrupt_jpeg_is_named(tmp_path: Path) -> None:
    members = tree(1)
    name = list(members)[10]
    save(tmp_path / "miniimagenet" / "all.zip", members | {name: members[name][:300]})
    with pytest.raises(DataError, match=rf"all.zip: {name} is not a readable picture .*get it again"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture,species\na.jpg,n1\n", r"train.csv, line 2: expected the columns filename,label"),
        ("filename,label\na.jpg\n", r"train.csv, line 2: expected the columns filename,label"),
        ("filename,label\n", r"train.csv names no image: expected rows of filename,label\. Correct the list"),
        ("", r"train.csv names no image: expected rows of filename,label\. Correct the list"),
        (
            'filename,label\na.jpg,n1\n"b.jpg,n1\n' + 20000 * "c.jpg,n1\n",
            r"train.csv: a stray quotation mark after line 2 \(field larger than field limit",
        ),
        (
            'filename,label\na.jpg,n1\nb.jpg,"n1\nc.jpg,n1\n',
            r"train.csv: a stray quotation mark after line 2 \(unexpected end of data",
        ),
    ],
)
def test_bad_lists(tmp_path: Path, text: str, message: str) -> None:
    unpack(tmp_path / "miniimagenet", {"images/a.jpg": JPEGS[0], "train.csv": text.encode()})
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_a_list_with_every_name_quoted(tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_text('"filename","label"\n"a.jpg","n1"\n')
    (row,) = read_lists([tmp_path / "val.csv"])
    assert row == (("a.jpg",), "val", "n1", "val.csv, line 2")


def test_only_images_of_a_class_are_counted(tmp_path: Path) -> None:
    name = SPLITS["train"][0]
    path = save(tmp_path / "mini.zip", {f"train/{name}/1.jpg": JPEGS[0], "poster.jpg": JPEGS[1], "a/b/c.jpg": b"bad"})
    assert list(MINI_IMAGENET.inspect([path], tmp_path).images.values()) == [1]
    unpack(
        tmp_path,
        {
            "images/a.jpg": JPEGS[0],
            "images/b.jpg": JPEGS[1],
            "val.csv": f"filename,label\nb.jpg,{SPLITS['val'][0]}\n".encode(),
        },
    )
    found = MINI_IMAGENET.inspect([tmp_path / "images"], tmp_path).images
    assert found == {tmp_path / "images": 1, tmp_path / "val.csv": 0}


def test_files_without_any_image_are_not_a_data_set(tmp_path: Path) -> None:
    unpack(tmp_path / "miniimagenet", {"images/a.jpg": JPEGS[0], "train/readme.txt": b"nothing"})
    with pytest.raises(DataError, match=r"mini-imagenet: no image in .*miniimagenet has a class\. ImageNet's terms"):
        MINI_IMAGENET.census(tmp_path)


def test_images_of_another_data_set_are_not_imported(tmp_path: Path) -> None:
    path = save(tmp_path / "images_background.zip", {"images_background/Greek/character01/0001_01.png": JPEGS[0]})
    with pytest.raises(
        DataError, match=r"images_background.zip has no images of mini-imagenet in it\. .*\{train,val,test\}/<class>/"
    ):
        import_data("mini-imagenet", path, tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_lists_that_overlap(tmp_path: Path) -> None:
    files = {"train.csv": b"filename,label\na.jpg,n1\n", "test.csv": b"filename,label\nb.jpg,n1\n"}
    unpack(tmp_path / "miniimagenet", {"images/a.jpg": JPEGS[0], **files})
    with pytest.raises(DataError, match=r"the lists: class n1 is in two splits, train and test"):
        load(tmp_path)


def test_pickles_of_another_size(tmp_path: Path) -> None:
    caches(tmp_path / "miniimagenet", per_class=1)
    with pytest.raises(DataError, match=r"images are 84 x 84, expected 32 x 32. Import the JPEGs instead"):
        MiniImageNet(size=32).load(tmp_path, "ravi-larochelle", cache=tmp_path)


# ---- the real thing


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    given = os.environ.get("METABENCH_CACHE")
    cache = Path(given) if given else tmp_path_factory.mktemp("real-mini")
    yield MINI_IMAGENET.load(REAL, "ravi-larochelle", cache=cache)
    if not given:
        shutil.rmtree(cache)


@needs_data
def test_real_mini_imagenet(real: Dataset) -> None:
    assert real.images.digest in dict(MINI_IMAGENET.known)
    counts = real.images.counts
    assert counts[real.splits["val"]].tolist() == [600] * 16
    assert counts[real.splits["test"]].tolist() == [600] * 20
    train = int(counts[real.splits["train"]].min())
    assert real.split_version == ("ravi-larochelle" if train == 600 else f"ravi-larochelle/train-{train}")
    assert real.notes.startswith(f"train: 64 classes x {train} images; val: 16 classes x 600")
    assert real.images.images.shape[1:] == (3, 84, 84)
    # ImageNet's channel means are 0.485, 0.456 and 0.406; this selection's are close to them.
    means = real.images.images[::40].mean((0, 2, 3)) / 255
    assert np.abs(means - [0.473, 0.449, 0.403]).max() < 0.01
