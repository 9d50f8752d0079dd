"""`metabench data`: list, import, verify, preview and download, without the command line around them."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from algorithms.learner import Batch
from bench import data as command
from bench.data import download, import_data, list_data, preview, source_of, verify
from vision import DATASETS
from vision.images import DataError, data_root
from vision.omniglot import OMNIGLOT, PARTS
from vision.quick_draw import QUICK_DRAW

REAL = data_root()
needs_data = pytest.mark.skipif(
    "METABENCH_DATA" not in os.environ or not QUICK_DRAW.locate(REAL),
    reason="needs real drawings: set METABENCH_DATA to a folder with quickdraw/*.npz",
)


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (28, 28), level).save(buffer, "PNG")
    return buffer.getvalue()


def archive(path: Path, part: str, characters: int = 2, drawings: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as target:
        for c in range(characters):
            for d in range(drawings):
                target.writestr(f"{part}/{part[7:11]}/character{c:02d}/{d:02d}.png", png(20 * c + d))
    return path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a user's downloads: two zips, and something else."""
    folder = tmp_path / "downloads"
    for part in PARTS:
        archive(folder / f"{part}.zip", part)
    (folder / "thesis.txt").write_text("not data")
    with zipfile.ZipFile(folder / "strokes.zip", "w") as other:
        other.writestr("strokes/motor.txt", "1 2 3")
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """An Omniglot of two characters a part."""
    monkeypatch.setitem(DATASETS, "omniglot", dataclasses.replace(OMNIGLOT, drawings=2, characters=(2, 2)))


# ---- list


def test_list_without_data(tmp_path: Path) -> None:
    rows = {row.name: row for row in list_data(tmp_path)}
    assert list(rows) == list(DATASETS)
    assert not rows["omniglot"].present
    assert rows["omniglot"].obtain == "metabench data download omniglot"
    assert rows["mini-imagenet"].obtain == "metabench data import mini-imagenet PATH"
    assert (rows["quick-draw"].classes, rows["quick-draw"].images) == (None, None)
    glyphs = rows["glyphs"]
    assert (glyphs.present, glyphs.classes, glyphs.images, glyphs.obtain) == (True, 350, 7000, "")
    assert rows["omniglot"].licence == "MIT, Brenden Lake 2015"
    assert rows["omniglot"].schemes[0] == "random"


def test_list_counts_what_is_there(files: Path, tmp_path: Path) -> None:
    shutil.copytree(files, tmp_path / "omniglot")
    folder = tmp_path / "quickdraw"
    folder.mkdir()
    np.save(folder / "cat.npy", np.zeros((1200, 784), np.uint8))
    np.save(folder / "dog.npy", np.zeros((30, 784), np.uint8))
    rows = {row.name: row for row in list_data(tmp_path)}
    assert (rows["omniglot"].classes, rows["omniglot"].images, rows["omniglot"].obtain) == (4, 8, "")
    assert (rows["quick-draw"].classes, rows["quick-draw"].images) == (2, 1030)


# ---- import


def test_import_a_folder_of_files(files: Path, tmp_path: Path) -> None:
    done = import_data("omniglot", files, tmp_path / "root")
    target = tmp_path / "root" / "omniglot"
    assert [path.name for path in done.files] == ["images_background.zip", "images_evaluation.zip"]
    assert done.images == 8
    assert sorted(path.name for path in target.iterdir()) == ["images_background.zip", "images_evaluation.zip"]
    assert (target / "images_background.zip").read_bytes() == (files / "images_background.zip").read_bytes()


def test_import_one_file_and_then_the_same_again(files: Path, tmp_path: Path) -> None:
    first = import_data("omniglot", files / "images_background.zip", tmp_path / "root")
    again = import_data("omniglot", files / "images_background.zip", tmp_path / "root")
    assert (len(first.files), first.skipped) == (1, ())
    assert again.files == ()
    assert again.skipped == (files / "images_background.zip",)


def test_import_a_class_folder(files: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(files / "images_background.zip") as source:
        source.extractall(tmp_path / "extracted")
    done = import_data("omniglot", tmp_path / "extracted" / "images_background", tmp_path / "root")
    assert (done.images, [path.name for path in done.files]) == (4, ["images_background"])
    assert (tmp_path / "root/omniglot/images_background/back/character01/01.png").read_bytes() == png(21)


def test_import_other_sets(tmp_path: Path) -> None:
    np.save(tmp_path / "cat.npy", np.zeros((30, 784), np.uint8))
    assert import_data("quick-draw", tmp_path / "cat.npy", tmp_path / "root").images == 30
    (tmp_path / "train.csv").write_text("filename,label\na.jpg,n01532829\n")
    assert import_data("mini-imagenet", tmp_path / "train.csv", tmp_path / "root").files[0].name == "train.csv"


def test_a_damaged_image_imports_nothing(files: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(files / "images_evaluation.zip", "a") as target:
        target.writestr("images_evaluation/eval/character09/00.png", png(0)[:40])
    with pytest.raises(
        DataError, match=r"images_evaluation.zip: images_evaluation/eval/character09/00.png is not a readable PNG"
    ):
        import_data("omniglot", files, tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_another_file_in_its_place(files: Path, tmp_path: Path) -> None:
    archive(tmp_path / "root" / "omniglot" / "images_background.zip", PARTS[0], characters=3)
    with pytest.raises(DataError, match=r"images_background.zip is there already, and is not the same as .*Remove one"):
        import_data("omniglot", files, tmp_path / "root")


def test_nothing_to_import(files: Path, tmp_path: Path) -> None:
    for path in (files / "thesis.txt", files / "strokes.zip", tmp_path / "root"):
        (tmp_path / "root").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=r"has no images of omniglot in it\. Get images_background.zip"):
            import_data("omniglot", path, tmp_path / "root")
    with pytest.raises(DataError, match=r"nowhere does not exist\. Give the file or folder with the data of omniglot"):
        import_data("omniglot", tmp_path / "nowhere", tmp_path / "root")
    with pytest.raises(DataError, match="glyphs takes no files: it is used as it is"):
        import_data("glyphs", files, tmp_path / "root")
    with pytest.raises(DataError, match=r"There is no data set 'omniglott'\. Did you mean 'omniglot'\?"):
        import_data("omniglott", files, tmp_path / "root")


def test_a_full_disk_leaves_nothing_behind(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(command.shutil, "copy2", full)
    with pytest.raises(
        DataError, match=r"The data folder .*omniglot is full\. Nothing was imported; set METABENCH_DATA"
    ):
        import_data("omniglot", files, tmp_path / "root")
    assert list((tmp_path / "root" / "omniglot").iterdir()) == []


# ---- verify and download


@pytest.mark.usefixtures("small")
def test_verify_reads_everything(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "root"
    import_data("omniglot", files, root)
    done = verify("omniglot", root)
    assert (done.classes, done.images, done.recognised) == (4, 8, None)
    assert [path.name for path in done.files] == ["images_background.zip", "images_evaluation.zip"]
    assert len(done.digest) == 64
    assert done.notes.endswith("test: 2 classes x 2 images")
    assert list((tmp_path / "cache").iterdir()) == []
    known = dataclasses.replace(source_of("omniglot"), known=((done.digest, "four characters"),))
    monkeypatch.setitem(DATASETS, "omniglot", known)
    assert verify("omniglot", root).recognised == "four characters"
    (root / "omniglot" / "all_runs.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"all_runs.zip is not a whole zip"):
        verify("omniglot", root)


def test_verify_absent_and_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="quick-draw: its drawings not found under"):
        verify("quick-draw", tmp_path)
    assert (verify("glyphs", tmp_path).classes, verify("glyphs", tmp_path).images) == (350, 7000)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"The cache folder .*file cannot be written .*Set METABENCH_CACHE"):
        verify("glyphs", tmp_path)


def test_download_says_where_data_comes_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="metabench data import mini-imagenet PATH"):
        download("mini-imagenet", tmp_path)
    with pytest.raises(DataError, match=r"There is no data set 'imagenet'\. Did you mean 'mini-imagenet'\?"):
        download("imagenet", tmp_path)


@needs_data
def test_verify_real_drawings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    done = verify("quick-draw", REAL)
    assert done.recognised == "9,570 drawings rasterised from raw strokes"
    assert (done.classes, done.images) == (345, 9570)


# ---- preview


def episode(ways: int, each: int, channels: int) -> Batch:
    y = torch.arange(ways).repeat(each)[None]
    x = torch.zeros(1, ways * each, channels, 20, 20) + y[:, :, None, None, None] / ways
    return Batch(x, y, torch.ones_like(x[:, :, 0, 0, 0]), ways)


@pytest.mark.parametrize("channels", [1, 3])
def test_preview_draws_ways_as_rows(tmp_path: Path, channels: int) -> None:
    path = preview(episode(5, 1, channels), episode(5, 15, channels), tmp_path / "new" / "p.png", title="an episode")
    picture = np.asarray(Image.open(path).convert("L"), dtype=np.float64)
    height, width = picture.shape
    assert 300 < width < 2000
    assert 100 < height < 2000
    # Down the query's middle, the grey levels of five ways: 0, 51, ..., 204, scaled to the range 0 to 255.
    column = picture[:, int(0.7 * width)]
    levels = [
        int(v) for v, run in zip(*np.unique(column.round(), return_counts=True), strict=True) if run > height / 12
    ]
    assert [level for level in (0, 64, 128, 191) if min(abs(v - level) for v in levels) > 2] == []


def test_preview_rejects_what_is_not_a_picture(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"p.txt2 cannot be written .*Give a path that ends in .png"):
        preview(episode(2, 1, 1), episode(2, 1, 1), tmp_path / "p.txt2")


def test_preview_keeps_no_pyplot_state(tmp_path: Path) -> None:
    import sys

    before = "matplotlib.pyplot" in sys.modules
    preview(episode(2, 1, 1), episode(2, 1, 1), tmp_path / "p.png")
    assert ("matplotlib.pyplot" in sys.modules) == before
