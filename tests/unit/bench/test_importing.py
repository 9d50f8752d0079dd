"""What `metabench data import` takes, counts, leaves out and refuses, whatever shape the files come in."""

from __future__ import annotations

import dataclasses
import io
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabench.bench.cli.main import main
from metabench.bench.data_sets.verbs import import_data
from metabench.vision import DATASETS
from metabench.vision.data.cache import sweep
from metabench.vision.data.mini_imagenet import MINI_IMAGENET, ravi_larochelle
from metabench.vision.data.omniglot import OMNIGLOT, PARTS
from metabench.vision.data.quick_draw import QUICK_DRAW
from metabench.vision.data.source import DataError

SPLITS = ravi_larochelle()
TRAIN, VAL = SPLITS["train"], SPLITS["val"]


def picture(level: int, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 12), (level, 100, 50)).save(buffer, format)
    return buffer.getvalue()


def unpack(folder: Path, members: dict[str, bytes | str]) -> Path:
    for name, data in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def csv(*rows: tuple[str, str]) -> str:
    return "\n".join(["filename,label", *(",".join(row) for row in rows)]) + "\n"


def listed(n: int = 3, prefix: str = "") -> dict[str, bytes | str]:
    """n images of two classes in one folder, and their lists."""
    members: dict[str, bytes | str] = {
        f"images/{split}{i}.png": picture(i) for split in ("train", "val") for i in range(n)
    }
    for split, names in (("train", TRAIN), ("val", VAL)):
        members[f"{split}.csv"] = csv(*((f"{prefix}{split}{i}.png", names[0]) for i in range(n)))
    return members


# ---- lists


@pytest.mark.parametrize("prefix", ["", "images/", "./images/", "C:\\mini\\images\\", "/home/me/mini/images/"])
def test_rows_with_paths_find_their_images(prefix: str, tmp_path: Path) -> None:
    done = import_data("mini-imagenet", unpack(tmp_path / "mini", listed(3, prefix)), tmp_path / "root")
    assert (done.images, done.left_out, done.notes) == (6, (), ())
    assert [path.name for path in done.files] == ["images", "train.csv", "val.csv"]
    assert MINI_IMAGENET.census(tmp_path / "root") == (2, 6)


def test_lists_in_a_folder_of_their_own(tmp_path: Path) -> None:
    members = {name if name.startswith("images") else f"split/{name}": data for name, data in listed().items()}
    folder = unpack(tmp_path / "mini", members)
    # As a data root of its own, and imported.
    unpack(tmp_path / "as-it-is" / "miniimagenet", members)
    assert MINI_IMAGENET.census(tmp_path / "as-it-is") == (2, 6)
    done = import_data("mini-imagenet", folder, tmp_path / "root")
    assert (done.images, done.left_out) == (6, ())
    assert [path.name for path in done.files] == ["images", "train.csv", "val.csv"]
    assert MINI_IMAGENET.census(tmp_path / "root") == (2, 6)
    unpack(folder, {"other/train.csv": members["split/train.csv"]})
    with pytest.raises(DataError, match=r"There are lists in .*/other and in .*/split\. Remove those that do not"):
        import_data("mini-imagenet", folder, tmp_path / "other-root")


def test_lists_beside_an_image_folder_come_with_it(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "mini", listed())
    done = import_data("mini-imagenet", folder / "images", tmp_path / "root")
    assert [path.name for path in done.files] == ["images", "train.csv", "val.csv"]
    assert MINI_IMAGENET.census(tmp_path / "root") == (2, 6)
    # Lists that are there already serve as well.
    unpack(tmp_path / "bare", {name: data for name, data in listed().items() if name.startswith("images")})
    import_data("mini-imagenet", folder / "train.csv", tmp_path / "later")
    assert import_data("mini-imagenet", tmp_path / "bare" / "images", tmp_path / "later").images == 3


def test_a_listed_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "mini", listed())
    (folder / "images" / "val1.png").unlink()
    with pytest.raises(
        DataError,
        match=r"^mini-imagenet: 1 of 6 listed images are not there, the first val1.png \(val.csv, line 3\)\. Get them",
    ):
        import_data("mini-imagenet", folder, tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_lists_that_mean_none_of_the_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"6 of 6 listed images are not there, the first pictures/train0.png"):
        import_data("mini-imagenet", unpack(tmp_path / "mini", listed(3, "pictures/")), tmp_path / "root")


def test_lists_beside_class_folders_are_only_compared_with_them(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {
        f"train/{TRAIN[0]}/a.png": picture(1),
        "train.csv": csv(("a.png", TRAIN[0]), ("b.png", TRAIN[0])),
    }
    done = import_data("mini-imagenet", unpack(tmp_path / "half", members), tmp_path / "root")
    assert (done.images, done.notes) == (
        1,
        ("1 of 2 listed images are not there, the first b.png (train.csv, line 3)",),
    )
    members["train.csv"] = csv(("a.png", TRAIN[1]))
    with pytest.raises(
        DataError,
        match=rf"a.png lies in the folder of {TRAIN[0]}, of train, and train.csv, line 2 says {TRAIN[1]} of train: one",
    ):
        import_data("mini-imagenet", unpack(tmp_path / "two", members), tmp_path / "root")


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        ([("a.png", TRAIN[0]), ("a.png", TRAIN[1])], [], rf"a.png is {TRAIN[1]} of train \(train.csv, line 3\), and"),
        (
            [("a.png", TRAIN[0])],
            [("a.png", VAL[0])],
            rf"a.png is {VAL[0]} of val \(val.csv, line 2\), and {TRAIN[0]} of",
        ),
        ([("a.png", TRAIN[0])], [("b.png", TRAIN[0])], rf"the lists: class {TRAIN[0]} is in two splits, train and val"),
        (
            [("a.png", "cat"), ("b.png", "cat")],
            [],
            r"class cat is given in train, but .* is not one of its 100 classes",
        ),
        ([("a.png", VAL[0]), ("b.png", VAL[0])], [], rf"class {VAL[0]} is given in train, but .* it belongs to val"),
    ],
)
def test_lists_that_are_wrong_are_refused(
    train: list[tuple[str, str]], val: list[tuple[str, str]], message: str, tmp_path: Path
) -> None:
    members: dict[str, bytes | str] = {"images/a.png": picture(1), "images/b.png": picture(2), "train.csv": csv(*train)}
    folder = unpack(tmp_path / "mini", members | ({"val.csv": csv(*val)} if val else {}))
    with pytest.raises(DataError, match=message):
        import_data("mini-imagenet", folder, tmp_path / "root")
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("layout", ["train/class{i:02d}/x.png", "images_{i}/class{i:02d}/x.png"])
def test_invented_classes_are_not_mini_imagenet(layout: str, tmp_path: Path) -> None:
    unpack(tmp_path / "mine", {layout.format(i=i): picture(i) for i in range(100)})
    with pytest.raises(DataError, match=r"class class00 is given in train, but|has no images of mini-imagenet in it"):
        import_data("mini-imagenet", tmp_path / "mine", tmp_path / "root")
    assert not (tmp_path / "root").exists()


# ---- kinds of pictures and of files


def test_pictures_of_every_kind_are_read_and_the_rest_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {
        "png": "PNG",
        "JPEG": "JPEG",
        "jfif": "JPEG",
        "webp": "WEBP",
        "bmp": "BMP",
        "TIF": "TIFF",
        "gif": "GIF",
        "ppm": "PPM",
    }
    folder = unpack(
        tmp_path / "mini",
        {f"train/{TRAIN[0]}/{i}.{end}": picture(i, kind) for i, (end, kind) in enumerate(kinds.items())},
    )
    unpack(
        folder,
        {
            f"train/{TRAIN[0]}/9.heic": b"x",
            "notes.txt": b"x",
            ".DS_Store": b"x",
            "more/a.txt": b"x",
            f"train/{TRAIN[0]}/Thumbs.db": b"x",
        },
    )
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["data", "import", "mini-imagenet", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mini-imagenet: 8 images read; imported",
        f"  {tmp_path}/root/miniimagenet/train",
        "left out, as no part of mini-imagenet: 1 .heic, 1 folder, 1 .txt",
        f"  {folder}/train: train/{TRAIN[0]}/9.heic",
        f"  {folder}/more/",
        f"  {folder}/notes.txt",
    ]
    assert MINI_IMAGENET.census(tmp_path / "root") == (1, 8)


def test_pictures_of_no_class_are_left_out_by_name(tmp_path: Path) -> None:
    path = zipped(tmp_path / "mini.zip", {f"train/{TRAIN[0]}/1.png": picture(1), "poster.png": picture(2)})
    done = import_data("mini-imagenet", path, tmp_path / "root")
    assert (done.images, done.left_out) == (1, (f"{path}: poster.png",))


def test_flat_class_folders_are_image_nets(tmp_path: Path) -> None:
    classes = [*TRAIN[:2], VAL[0], "n09999999"]
    members = {f"{name}/{name}_{i}.JPEG": picture(i, "JPEG") for name in classes for i in range(2)}
    done = import_data("mini-imagenet", unpack(tmp_path / "imagenet", members), tmp_path / "root")
    assert (done.images, done.left_out) == (6, (f"{tmp_path}/imagenet/n09999999/",))
    assert MINI_IMAGENET.census(tmp_path / "root") == (3, 6)
    packed = zipped(tmp_path / "IMAGENET.ZIP", members)
    done = import_data("mini-imagenet", packed, tmp_path / "packed")
    assert (done.images, len(done.left_out)) == (6, 2)
    assert MINI_IMAGENET.census(tmp_path / "packed") == (3, 6)


# ---- archives


def omniglot(part: str) -> dict[str, bytes]:
    return {
        f"{part}/{part[7:11]}/character{c:02d}/{d:02d}.png": picture(20 * c + d) for c in range(2) for d in range(2)
    }


@pytest.mark.parametrize("ending", [".tar", ".TAR", ".ZIP", ".zip"])
def test_archives_in_any_case_and_tars(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(OMNIGLOT, drawings=2, characters=(2, 2))
    monkeypatch.setitem(DATASETS, "omniglot", small)
    for part in PARTS:
        (tarred if ending.lower() == ".tar" else zipped)(tmp_path / "files" / f"{part}{ending}", omniglot(part))
        zipped(tmp_path / "plain" / "omniglot" / f"{part}.zip", omniglot(part))
    done = import_data("omniglot", tmp_path / "files", tmp_path / "root")
    assert (done.images, [path.name for path in done.files]) == (8, [f"{part}{ending}" for part in PARTS])
    ours, plain = (
        small.load(root, "lake", cache=root / "cache").images for root in (tmp_path / "root", tmp_path / "plain")
    )
    assert ours.digest == plain.digest
    assert np.array_equal(ours.images, plain.images)


@pytest.mark.parametrize(
    ("ending", "mode"), [(".tar.gz", "w:gz"), (".tgz", "w:gz"), (".tar.bz2", "w:bz2"), (".TAR.XZ", "w:xz")]
)
def test_compressed_tars_are_refused_with_advice(ending: str, mode: str, tmp_path: Path) -> None:
    path = tarred(tmp_path / f"images{ending}", omniglot(PARTS[0]), mode)
    with pytest.raises(DataError, match=r"is compressed as a whole, .*Unpack it with tar -xf, then import the folder"):
        import_data("omniglot", path, tmp_path / "root")


def test_a_tar_that_is_cut_or_changed_is_refused(tmp_path: Path) -> None:
    whole = tarred(tmp_path / "whole.tar", omniglot(PARTS[0])).read_bytes()
    for i, end in enumerate((100, 512 + 20, 1024, 1536, 2048, 4 * 1024)):
        path = tmp_path / f"{i}.tar"
        path.write_bytes(whole[:end])
        with pytest.raises(
            DataError, match=rf"{i}.tar is not a whole tar \(.*\): it may be cut short\. Copy or download"
        ):
            import_data("omniglot", path, tmp_path / "root")
    (tmp_path / "text.tar").write_text("not a tar" * 200)
    with pytest.raises(DataError, match=r"text.tar is not a whole tar"):
        import_data("omniglot", tmp_path / "text.tar", tmp_path / "root")


@pytest.mark.parametrize(
    ("name", "kind"), [("../a.png", b"0"), ("/etc/a.png", b"0"), ("a/l.png", b"2"), ("a/h.png", b"1"), ("a/dev", b"3")]
)
def test_a_tar_member_that_leads_out_or_is_no_file_is_refused(name: str, kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd" if kind in b"12" else ""
        archive.addfile(info)
    with pytest.raises(DataError, match=r"evil.tar: member .* is a (path that leads out|link or a device).*Refused"):
        import_data("omniglot", tmp_path / "evil.tar", tmp_path / "root")


def test_the_repository_of_omniglot_is_imported_as_it_is(tmp_path: Path) -> None:
    repository = tmp_path / "omniglot-master"
    for part in PARTS:
        zipped(repository / "python" / f"{part}.zip", omniglot(part))
    zipped(repository / "python" / "strokes_background.zip", {"strokes_background/Greek/c/1.txt": b"1 2 3"})
    unpack(repository, {"README.md": b"x", "python/demo.py": b"x", "matlab/demo.m": b"x", ".git/HEAD": b"x"})
    done = import_data("omniglot", repository, tmp_path / "root")
    assert (done.images, [path.name for path in done.files]) == (8, [f"{part}.zip" for part in PARTS])
    assert [place.removeprefix(f"{repository}/") for place in done.left_out] == [
        "README.md", "matlab/", "python/demo.py", "python/strokes_background.zip"
    ]  # fmt: skip
    assert [path.name for path in OMNIGLOT.find(repository)][:2] == [f"{part}.zip" for part in PARTS]


def test_upper_case_drawings_and_files_below(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    for name in ("cat.NPY", "dog.npy"):
        with open(folder / name, "wb") as file:
            np.save(file, np.zeros((30, 784), np.uint8))
    done = import_data("quick-draw", tmp_path / "a", tmp_path / "root")
    assert (done.images, [path.name for path in done.files]) == (60, ["cat.NPY", "dog.npy"])
    assert QUICK_DRAW.census(tmp_path / "root") == (2, 60)


# ---- killed half way

SLOW = """
import shutil, sys, time
from metabench.bench.cli.main import main
def slow(*_):
    print("copying", flush=True)
    time.sleep(60)
shutil.copy2 = slow
sys.exit(main(["data", "import", "omniglot", sys.argv[1]]))
"""


@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_import_leaves_nothing_that_stays(kill: int, tmp_path: Path) -> None:
    part = zipped(tmp_path / f"{PARTS[0]}.zip", omniglot(PARTS[0]))
    target = tmp_path / "root" / "omniglot"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "METABENCH_DATA": str(tmp_path / "root")}
    with subprocess.Popen([sys.executable, "-c", SLOW, str(part)], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"copying\n"
        sweep(target)
        assert [path.name[:8] for path in target.iterdir()] == [".import-"], "that of a living process stays"
        process.send_signal(kill)
        assert process.wait(30) == (143 if kill == signal.SIGTERM else -kill)
    assert [path.name[:8] for path in target.iterdir()] == ([] if kill == signal.SIGTERM else [".import-"])
    import_data("omniglot", part, tmp_path / "root")
    assert [path.name for path in target.iterdir()] == [f"{PARTS[0]}.zip"]
