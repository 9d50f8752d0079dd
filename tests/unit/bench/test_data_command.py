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

from metabench.algorithms.learner import Batch
from metabench.bench.cli.main import main
from metabench.bench.data_sets.verbs import download, import_data, list_data, preview, source_of, verify
from metabench.vision import DATASETS
from metabench.vision.data.omniglot import OMNIGLOT, PARTS
from metabench.vision.data.quick_draw import QUICK_DRAW
from metabench.vision.data.source import DataError, data_root

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


def extracted(files: Path) -> Path:
    """The background set as a folder."""
    with zipfile.ZipFile(files / "images_background.zip") as source:
        source.extractall(files.parent / "extracted")
    return files.parent / "extracted" / "images_background"


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


def test_one_damaged_set_does_not_hide_the_others(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(files, tmp_path / "omniglot")
    broken = tmp_path / "omniglot" / "images_background.zip"
    broken.write_bytes(broken.read_bytes()[:-60])
    (tmp_path / "quickdraw").mkdir()
    np.save(tmp_path / "quickdraw" / "cat.npy", np.zeros((30, 784), np.uint8))
    rows = {row.name: row for row in list_data(tmp_path)}
    assert (rows["quick-draw"].images, rows["quick-draw"].damaged) == (30, "")
    assert (rows["omniglot"].present, rows["omniglot"].images, rows["omniglot"].obtain) == (True, None, "")
    assert rows["omniglot"].damaged.startswith(f"{broken} is not a whole zip")
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path))
    assert main(["data", "list"]) == 0
    printed = capsys.readouterr().out
    assert f"omniglot is damaged: {broken} is not a whole zip" in printed
    assert "damaged" in next(line for line in printed.splitlines() if "MIT, Brenden Lake" in line)


def test_list_where_a_folder_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    rows = {row.name: row for row in list_data(tmp_path)}
    assert rows["omniglot"].damaged == f"{tmp_path}/omniglot cannot be read: Permission denied. Check its permissions."
    assert rows["glyphs"].images == 7000


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
    done = import_data("omniglot", extracted(files), tmp_path / "root")
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
        DataError, match=r"images_evaluation.zip: images_evaluation/eval/character09/00.png is not a readable picture"
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
        with pytest.raises(DataError, match=r"has no images of omniglot in it\. .*get images_background.zip"):
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

    monkeypatch.setattr(shutil, "copy2", full)
    for path in (files, extracted(files)):
        with pytest.raises(
            DataError, match=r"The data folder .*omniglot is full\. Nothing was imported; set METABENCH_DATA"
        ):
            import_data("omniglot", path, tmp_path / "root")
        assert list((tmp_path / "root" / "omniglot").iterdir()) == []


def test_a_failure_half_way_takes_back_what_was_moved(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def fail(source: Path, target: Path) -> None:
        if target == tmp_path / "root" / "omniglot" / "images_evaluation.zip":
            raise OSError(errno.EIO, "Input/output error", str(target))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(DataError, match=r"omniglot cannot be written \(.*Input/output error.*Nothing was imported"):
            import_data("omniglot", files, tmp_path / "root")
    assert list((tmp_path / "root" / "omniglot").iterdir()) == []
    assert len(import_data("omniglot", files, tmp_path / "root").files) == 2


def test_a_source_that_cannot_be_read_is_not_blamed_on_the_data_folder(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "copy2", refuse)
    with pytest.raises(
        DataError,
        match=r"^.*downloads/images_background.zip cannot be read: Permission denied\..* Nothing was imported",
    ):
        import_data("omniglot", files, tmp_path / "root")


def test_two_copies_of_a_file_are_one(files: Path, tmp_path: Path) -> None:
    copy = files / "omniglot-py" / "images_background.zip"
    copy.parent.mkdir()
    shutil.copy(files / "images_background.zip", copy)
    done = import_data("omniglot", files, tmp_path / "root")
    assert ([path.name for path in done.files], done.images) == (["images_background.zip", "images_evaluation.zip"], 8)
    archive(copy, PARTS[0], characters=3)
    with pytest.raises(
        DataError,
        match=r"downloads/images_background.zip and .*omniglot-py/images_background.zip have one name and are not the",
    ):
        import_data("omniglot", files, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_folder_again_and_a_folder_that_differs(files: Path, tmp_path: Path) -> None:
    folder = extracted(files)
    import_data("omniglot", folder, tmp_path / "root")
    again = import_data("omniglot", folder, tmp_path / "root")
    assert (again.files, again.skipped) == ((), (folder,))
    (folder / "back" / "character01" / "01.png").write_bytes(png(99))
    with pytest.raises(DataError, match=r"images_background is there already, and is not the same as .*Remove one"):
        import_data("omniglot", folder, tmp_path / "root")
    (tmp_path / "root/omniglot/images_background/back/character01/01.png").unlink()
    with pytest.raises(DataError, match="images_background is there already, and is not the same as"):
        import_data("omniglot", folder, tmp_path / "root")


def test_what_would_not_be_used_is_not_imported(files: Path, tmp_path: Path) -> None:
    zipped, folder, target = files / "images_background.zip", extracted(files), tmp_path / "root" / "omniglot"
    for first, second in ((zipped, folder), (folder, zipped)):
        import_data("omniglot", first, tmp_path / "root")
        with pytest.raises(
            DataError,
            match=r"omniglot/images_background is not used where there is also images_background.zip\. Nothing",
        ):
            import_data("omniglot", second, tmp_path / "root")
        assert [path.name for path in target.iterdir()] == [first.name]
        shutil.rmtree(target)


def test_runs_that_are_not_whole_are_not_imported(files: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(files / "all_runs.zip", "w") as runs:
        runs.writestr("run01/class_labels.txt", "garbage")
    with pytest.raises(DataError, match=r"all_runs.zip lacks run01/training/class01.png: it is not whole"):
        import_data("omniglot", files, tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_leftovers_of_a_killed_import_are_swept(files: Path, tmp_path: Path) -> None:
    left = tmp_path / "root" / "omniglot" / ".import-killed"
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    import_data("omniglot", files, tmp_path / "root")
    assert not left.exists()


def test_paths_that_cannot_be_expanded_or_look_like_markup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path / "[old] [/ird]"))
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["data", "list"]) == 0
    assert f"data sets (in {tmp_path}/[old] [/ird])" in "".join(capsys.readouterr().out.splitlines()[0])
    for arguments, message in (
        (["import", "omniglot", "/x/we[/ird]"], "/x/we[/ird] does not exist"),
        (["import", "omniglot", "~nosuch/x"], "~nosuch/x: there is no home folder for ~nosuch. Give the full path."),
        (["download", "[/a]"], "There is no data set '[/a]'"),
        (["verify", "[/a]"], "There is no data set '[/a]'"),
    ):
        assert main(["data", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_a_name_that_is_not_utf8_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path / "root"))
    np.save(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.npy"), np.zeros((30, 784), np.uint8))
    assert main(["data", "import", "quick-draw", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("/quickdraw/caf\\xe9.npy\n")


# ---- verify and download


def whole_runs(path: Path) -> Path:
    """Lake's file in form, with other pictures."""
    with zipfile.ZipFile(path, "w") as target:
        for run in (f"run{r:02d}" for r in range(1, 21)):
            pairs = [(f"{run}/test/item{i:02d}.png", f"{run}/training/class{i:02d}.png") for i in range(1, 21)]
            target.writestr(f"{run}/class_labels.txt", "\n".join(map(" ".join, pairs)))
            for name in (name for pair in pairs for name in pair):
                target.writestr(name, png(0))
    return path


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
    shutil.copy(whole_runs(tmp_path / "all_runs.zip"), root / "omniglot")
    assert verify("omniglot", root).notes == f"{done.notes}; all_runs.zip: not the official 20 runs"
    left = tmp_path / "cache" / ".verify-killed"
    left.mkdir()
    os.utime(left, (0, 0))
    verify("omniglot", root)
    assert not left.exists()
    (root / "omniglot" / "all_runs.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"all_runs.zip is not a whole zip"):
        verify("omniglot", root)


def test_verify_absent_and_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="quick-draw: its drawings not found under"):
        verify("quick-draw", tmp_path)
    assert (verify("glyphs", tmp_path).classes, verify("glyphs", tmp_path).images) == (350, 7000)
    assert main(["data", "verify", "glyphs"]) == 0
    printed = capsys.readouterr().out
    assert "does not know" not in printed
    assert f"\n  sha256 {verify('glyphs', tmp_path).digest}\n" in printed
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


def test_preview_refuses_a_folder_and_a_name_without_an_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.png").mkdir()
    for out, what in (("", "is a folder"), ("folder.png", "is a folder"), ("name", "has no ending")):
        assert main(["data", "preview", "glyphs", "--out", out]) == 2
        assert f"{what}. Give a path that ends in .png." in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["folder.png"]


def test_preview_bounds_the_episode(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = ["data", "preview", "glyphs", "--out", str(tmp_path / "p.png"), "--episode"]
    assert main([*flags, str(2**64)]) == 2
    assert "--episode is 18446744073709551616; the last one is 9223372036854775807" in capsys.readouterr().err
    assert main([*flags, str(2**63)]) == 2
    assert main([*flags, str(2**63 - 1)]) == 0


def test_a_long_title_stays_within_the_picture(tmp_path: Path) -> None:
    title = "quick-draw hashed-60-20-20/20-samples/seed0, test: 5 ways, 1 shots"
    path = preview(episode(5, 1, 1), episode(5, 5, 1), tmp_path / "p.png", title=title)
    picture = np.asarray(Image.open(path).convert("L"))
    head = picture[:50]
    assert head.min() < 100
    assert head[:, :8].min() == head[:, -8:].min() == 255


def test_preview_keeps_no_pyplot_state(tmp_path: Path) -> None:
    import sys

    before = "matplotlib.pyplot" in sys.modules
    preview(episode(2, 1, 1), episode(2, 1, 1), tmp_path / "p.png")
    assert ("matplotlib.pyplot" in sys.modules) == before
