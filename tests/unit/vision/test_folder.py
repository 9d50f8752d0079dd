"""Anybody's pictures: which layouts are understood, how classes are split, what is refused."""

from __future__ import annotations

import io
import json
import os
import tarfile
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metabench.vision.data.decode import decode
from metabench.vision.data.folder import by_seed
from metabench.vision.data.imported import Imported, Report, import_pictures
from metabench.vision.data.options import Options
from metabench.vision.data.source import DataError

CLASSES = [f"class{i}" for i in range(10)]


def picture(level: int, format: str = "PNG", size: int = 6, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (level % 256, 100, 50)).convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def tree(classes: list[str] = CLASSES, each: int = 3, ending: str = "png") -> dict[str, bytes]:
    return {f"{name}/{i}.{ending}": picture(10 * c + i) for c, name in enumerate(classes) for i in range(each)}


def unpack(folder: Path, members: Mapping[str, bytes | str]) -> Path:
    for name, data in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def take(tmp_path: Path, members: Mapping[str, bytes | str], skip: bool = False, **options: Any) -> Report:
    return import_pictures(
        "mine", unpack(tmp_path / "given", members), tmp_path / "root", Options(size=6, **options), skip=skip
    )


def classes_of(report: Report) -> dict[str, list[str]]:
    return {split: [report.data.images.names[c] for c in classes] for split, classes in report.data.splits.items()}


# ---- layouts


@pytest.mark.parametrize("above", ["", "set/", "a/b c/"])
@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_class_folders_in_any_container(kind: str, above: str, tmp_path: Path) -> None:
    members = {above + name: data for name, data in tree().items()}
    if kind == "folder":
        path = unpack(tmp_path / "given", members)
    elif kind == "zip":
        path = tmp_path / "Given.ZIP"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    else:
        path = tmp_path / "given.tar"
        with tarfile.open(path, "w") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    done = import_pictures("mine", path, tmp_path / "root", Options(size=6))
    images = done.data.images
    assert images.names == tuple(CLASSES)
    assert images.counts.tolist() == [3] * 10
    assert images.images[:, 0, 0, 0].tolist() == [10 * c + i for c in range(10) for i in range(3)]
    assert {split: len(names) for split, names in classes_of(done).items()} == {"train": 6, "val": 2, "test": 2}
    assert (done.survey.scheme, done.survey.left_out, done.unreadable) == ("seed0", [], ())


def test_nested_classes_are_paths_and_names_may_be_any(tmp_path: Path) -> None:
    names = ["Tiere/Hund", "Tiere/Äffchen", "鳥", "a b", "x/y/z", "x/y"]
    done = take(tmp_path, tree(names, 2))
    assert sorted(done.data.images.names) == sorted(names)


def test_one_name_in_two_spellings_of_unicode_is_one_class(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "Äffchen") for form in ("NFC", "NFD")]
    assert names[0] != names[1]
    members = tree([f"c{i}" for i in range(5)], 2) | {f"{name}/{i}.png": picture(i) for i, name in enumerate(names)}
    done = take(tmp_path, members)
    assert dict(zip(done.data.images.names, done.data.images.counts.tolist(), strict=True))[names[0]] == 2
    assert len(done.data.images.names) == 6


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "TEST"), ("base", "dev", "novel")])
def test_folders_of_splits(names: tuple[str, str, str], tmp_path: Path) -> None:
    homes = dict(zip(CLASSES, [names[0]] * 5 + [names[1]] * 2 + [names[2]] * 3, strict=True))
    members = {f"{homes[path.split('/')[0]]}/{path}": data for path, data in tree().items()}
    done = take(tmp_path, members | {"extra/unlabelled/x.png": picture(1)})
    assert classes_of(done) == {"train": CLASSES[:5], "val": CLASSES[5:7], "test": CLASSES[7:]}
    assert done.survey.scheme == "folder"
    assert [member.parts[-3:] for member in done.survey.left_out] == [("extra", "unlabelled", "x.png")]


def test_without_validation_a_fifth_of_the_training_classes_validate(tmp_path: Path) -> None:
    many = [f"c{i:02d}" for i in range(20)]
    members = {
        f"{'test' if i > 14 else 'train'}/{c}/{j}.png": picture(i + j) for i, c in enumerate(many) for j in range(2)
    }
    done = take(tmp_path, members)
    found = classes_of(done)
    assert found["test"] == many[15:]
    assert (len(found["train"]), len(found["val"])) == (12, 3)
    assert sorted(found["train"] + found["val"]) == many[:15]
    assert done.data.split_version.startswith("folder-val-seed0/")


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    names = ["car", "bus", "train", "test", "bike", "plane"]
    assert sorted(take(tmp_path, tree(names)).data.images.names) == sorted(names)


def csv(members: Mapping[str, bytes], split: Mapping[str, str] | None = None, prefix: str = "") -> str:
    lines = [
        f"{prefix}{path},{path.split('/')[-2]}" + (f",{split[path.split('/')[-2]]}" if split else "")
        for path in members
    ]
    return "\n".join(["file,label" + (",split" if split else ""), *lines])


HOMES = dict(zip(CLASSES, ["train"] * 5 + ["val"] * 2 + ["test"] * 3, strict=True))


@pytest.mark.parametrize("place", ["images/", ""])
def test_a_list_of_labels_and_splits(place: str, tmp_path: Path) -> None:
    flat = {f"{place}{path.replace('/', '_')}": data for path, data in tree().items()}
    rows = [f"{path},{path.split('_')[0].split('/')[-1]},{HOMES[path.split('_')[0].split('/')[-1]]}" for path in flat]
    members: dict[str, bytes | str] = {**flat, "labels.csv": "\n".join(["file,label,split", *rows])}
    done = take(tmp_path, members | {f"{place}other.png": picture(7), "columns.csv": "a,b\n1,2\n"})
    assert classes_of(done) == {"train": CLASSES[:5], "val": CLASSES[5:7], "test": CLASSES[7:]}
    assert done.survey.scheme == "file"
    assert sorted(member.parts[-1] for member in done.survey.left_out) == ["columns.csv", "other.png"]
    # The same list from elsewhere, without what it says of splits.
    (tmp_path / "given" / "labels.csv").rename(tmp_path / "else.csv")
    again = import_pictures(
        "other", tmp_path / "given", tmp_path / "root", Options(size=6, labels=tmp_path / "else.csv", split="seed")
    )
    assert again.survey.scheme == "seed0"
    assert again.data.images.digest == done.data.images.digest
    assert again.data.split_version != done.data.split_version


def test_a_list_for_each_split(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {f"images/{path}": data for path, data in tree().items()}
    for split in ("train", "val", "test"):
        members[f"{split}.csv"] = csv({p: b"" for p in tree() if HOMES[p.split("/")[0]] == split})
    assert classes_of(take(tmp_path, members)) == {"train": CLASSES[:5], "val": CLASSES[5:7], "test": CLASSES[7:]}


@pytest.mark.parametrize("above", ["", "train/"])
def test_a_list_of_classes_and_their_splits(above: str, tmp_path: Path) -> None:
    rows = [f"{name},{split}" for name, split in HOMES.items() if name != "class9"]
    members = {(above if path < "class5" else "test/" if above else "") + path: data for path, data in tree().items()}
    done = take(tmp_path, {**members, "classes.csv": "\n".join(["class,split", *rows])})
    assert classes_of(done) == {"train": CLASSES[:5], "val": CLASSES[5:7], "test": CLASSES[7:9]}
    assert done.survey.scheme == "file"
    assert len(done.survey.left_out) == 3, "the pictures of class9, which is not listed"
    (tmp_path / "given" / "classes.csv").write_text("\n".join(["class,split", *rows, "class77,test"]))
    with pytest.raises(DataError, match=r"The list splits 1 classes that have no pictures, the first class77"):
        import_pictures("other", tmp_path / "given", tmp_path / "root", Options(size=6))
    (tmp_path / "given" / "classes.csv").write_text("\n".join(["class,split", *rows, "class0,test"]))
    with pytest.raises(DataError, match=r"classes.csv: class class0 is in two splits, train and test"):
        import_pictures("other", tmp_path / "given", tmp_path / "root", Options(size=6))


def test_a_list_that_means_none_of_the_pictures_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no pictures of any class: .*l.csv, line 2 is the first that means none"):
        take(tmp_path, {"a.png": picture(1), "b.png": picture(2), "l.csv": "file,label\nx.png,cat\n"})


# ---- the split by seed


def test_a_seed_splits_by_shares_and_at_least_two_each() -> None:
    where = Path("x")
    for n, shares, sizes in (
        (10, (60, 20, 20), [6, 2, 2]),
        (6, (60, 20, 20), [2, 2, 2]),
        (7, (98, 1, 1), [3, 2, 2]),
        (100, (64, 16, 20), [64, 16, 20]),
        (6, (1, 1, 98), [2, 2, 2]),
        (9, (1, 98, 1), [2, 5, 2]),
    ):
        splits = by_seed([f"c{i}" for i in range(n)], 0, shares, where)
        assert [len(splits[s]) for s in ("train", "val", "test")] == sizes, (n, shares)
        assert len({c for names in splits.values() for c in names}) == n
    assert by_seed(CLASSES, 0, (60, 20, 20), where) != by_seed(CLASSES, 1, (60, 20, 20), where)
    with pytest.raises(
        DataError, match=r"x has 5 classes; training, validation and test take 2 at least each: 6 in all"
    ):
        by_seed(CLASSES[:5], 0, (60, 20, 20), where)


# ---- what is refused, and what is left out by name


def test_a_class_in_two_splits_is_refused_unless_a_seed_splits(tmp_path: Path) -> None:
    members = {f"{split}/{path}": data for split in ("train", "test") for path, data in tree().items()}
    with pytest.raises(
        DataError, match=r"class class0 is in two splits, train and test\. .*let a seed split .*--split seed"
    ):
        take(tmp_path, members)
    assert not (tmp_path / "root" / "imported" / "mine").exists()
    done = take(tmp_path, members, split="seed")
    assert done.data.images.counts.tolist() == [6] * 10


@pytest.mark.parametrize(
    ("members", "options", "message"),
    [
        ({}, {}, r"has no pictures of any class: expected a folder of pictures for each class, or a CSV"),
        ({"a.png": picture(1), "b.png": picture(2)}, {}, r"has no pictures of any class"),
        (tree(CLASSES[:4]), {}, r"has 4 classes; training, validation and test take 2 at least each"),
        (tree(), {"split": "folder"}, r"has no folders train, val and test with class folders in them"),
        (tree(), {"split": "file"}, r"has no list: a CSV with the columns file, label and split"),
        (tree(), {"least": 4}, r"has no pictures of any class"),
        ({**tree(), "a.csv": csv(tree()), "b.csv": csv(tree())}, {}, r"a.csv and .*b.csv: which list is meant\?"),
        (
            {**tree(), "l.csv": csv(tree(), dict.fromkeys(CLASSES, "holdout"))},
            {},
            r"l.csv, line 2: there is no split 'holdout'",
        ),
        ({**tree(), "l.csv": csv(tree(), {**HOMES, "class3": ""})}, {}, r"gives class class3 no split, and others one"),
        (
            {**tree(), "l.csv": csv(tree(), {**dict.fromkeys(CLASSES, "train"), "class3": "test"})},
            {},
            r"the test split has 1 classes",
        ),
        (
            {**tree(), "l.csv": csv(tree()) + "\nclass1/0.png,class2"},
            {},
            r"class1/0.png is class2 \(.*\), and class1 .*two labels",
        ),
    ],
)
def test_what_is_no_data_set_is_refused(
    members: dict[str, bytes | str], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "given").mkdir()
    with pytest.raises(DataError, match=message):
        take(tmp_path, members, **options)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "--size is 0; it must be between 1 and 1024 pixels"),
        ({"shares": (1, 0, 1)}, "all three must be positive"),
        ({"least": 0}, "--least is 0"),
    ],
)
def test_numbers_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Options(**options)


def test_unreadable_pictures_are_all_named_and_nothing_or_the_rest_is_imported(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = dict(tree())
    members["class3/1.png"] = picture(1)[:40]
    members["class4/0.png"] = "no picture"
    members["labels.csv"] = csv(tree() | {"class9/99.png": b""})
    with pytest.raises(DataError) as caught:
        take(tmp_path, members)
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        f"{tmp_path}/given: 3 pictures cannot be read, so nothing was imported. Mend or remove them, or leave them out "
        "with --unreadable skip."
    )
    assert lines[1] == "  labels.csv, line 32: class9/99.png is not there"
    assert [
        "given/class3/1.png is not a readable picture" in lines[2],
        "given/class4/0.png is not a readable picture" in lines[3],
    ] == [True] * 2
    assert list((tmp_path / "root" / "imported").iterdir()) == []
    done = take(tmp_path, members, skip=True)
    assert len(done.unreadable) == 3
    assert done.data.images.counts.tolist() == [3, 3, 3, 2, 2, 3, 3, 3, 3, 3]
    assert done.data.images.images[:, 0, 0, 0].tolist() == [
        10 * c + i for c in range(10) for i in range(3) if (c, i) not in ((3, 1), (4, 0))
    ]


def test_a_class_without_any_readable_picture_is_in_no_split(tmp_path: Path) -> None:
    done = take(tmp_path, {**tree(), **{f"class3/{i}.png": "broken" for i in range(3)}}, skip=True)
    assert [name for names in classes_of(done).values() for name in sorted(names)].count("class3") == 0
    assert len(done.data.images.names) == 9


def test_small_classes_and_other_files_are_left_out_by_name(tmp_path: Path) -> None:
    members = {**tree(), "few/1.png": picture(1), "readme.txt": "x", "class1/x.heic": "x", ".DS_Store": "x"}
    done = take(tmp_path, members)
    assert done.survey.notes == ["left out, with fewer than 2 pictures: 1 classes (few)"]
    assert sorted(member.parts[-1] for member in done.survey.left_out) == ["1.png", "readme.txt", "x.heic"]


# ---- pixels, and what is kept


def test_pictures_of_every_kind_and_size_are_brought_to_one(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = {
        "a.PNG": picture(9, size=50), "b.JPG": picture(9, "JPEG", 20, exif=exif), "c.webp": picture(9, "WEBP"),
        "d.tif": picture(9, "TIFF", mode="L"), "e.gif": picture(9, "GIF"), "f.png": picture(9, mode="RGBA"),
    }  # fmt: skip
    members = {**tree(), **{f"kinds/{name}": data for name, data in kinds.items()}}
    for grey in (False, True):
        done = import_pictures(
            f"mine{grey}", unpack(tmp_path / "given", members), tmp_path / "root", Options(size=8, grey=grey)
        )
        images, c = done.data.images, done.data.images.names.index("kinds")
        assert images.images.shape[1:] == (1 if grey else 3, 8, 8)
        for i, data in enumerate(kinds.values()):
            expected = decode(data, "x", channels=1 if grey else 3, size=8)
            assert np.array_equal(images.images[images.starts[c] + i], expected)


def test_the_same_again_is_the_same_and_another_is_refused(tmp_path: Path) -> None:
    first, again = take(tmp_path, tree()), take(tmp_path, tree())
    assert (first.fresh, again.fresh) == (True, False)
    assert first.data.split_version == again.data.split_version
    for options in ({"grey": True}, {"seed": 1}):
        with pytest.raises(
            DataError, match=r"imported/mine is there already, of other pictures, another size or another"
        ):
            take(tmp_path, tree(), **options)
    assert [path.name for path in (tmp_path / "root" / "imported").iterdir()] == ["mine"]


def test_the_pictures_may_go(tmp_path: Path) -> None:
    done = take(tmp_path, tree())
    (tmp_path / "given").rename(tmp_path / "gone")
    source = Imported("mine", tmp_path / "root")
    data = source.load(tmp_path / "root", "seed0", cache=tmp_path)
    assert data.images.digest == done.data.images.digest
    assert (source.census(tmp_path / "root"), source.size, source.channels, source.splits) == (
        (10, 30),
        6,
        3,
        ("seed0",),
    )
    with pytest.raises(DataError, match=r"mine has no split 'folder'\. "):
        source.load(tmp_path / "root", "folder", cache=tmp_path)


@pytest.mark.parametrize("damage", ["pixel", "cut", "manifest", "format", "splits"])
def test_a_damaged_data_set_is_named(damage: str, tmp_path: Path) -> None:
    folder = take(tmp_path, tree()).folder
    manifest, pixels = folder / "manifest.json", folder / "images.npy"
    if damage == "pixel":
        pixels.write_bytes(pixels.read_bytes()[:-1] + b"\x07")
    elif damage == "cut":
        os.truncate(pixels, 200)
    elif damage == "manifest":
        manifest.write_text("[1, 2]")
    else:
        content = json.loads(manifest.read_text())
        content |= {"format": 99} if damage == "format" else {"splits": {"train": [1], "val": [], "test": []}}
        manifest.write_text(json.dumps(content))
    source = Imported("mine", tmp_path / "root")
    with pytest.raises(
        DataError, match=r"imported/mine is damaged \(.*\)\. Remove that folder, then import mine again"
    ):
        source.load(tmp_path / "root", "seed0", cache=tmp_path)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("metabench.vision.data.cache.os.fsync", full)
    with pytest.raises(
        DataError, match=r"The data folder .*imported is full\. Nothing was imported; set METABENCH_DATA"
    ):
        take(tmp_path, tree())
    assert list((tmp_path / "root" / "imported").iterdir()) == []
