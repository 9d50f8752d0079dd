"""A folder of anybody's pictures becomes a benchmark like any other, by the command line."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metabench.algorithms.suite import scores_by_update
from metabench.bench.cli.main import main
from metabench.bench.data_sets.own import import_own
from metabench.bench.worlds import resolve
from metabench.bench.worlds.few_shot_build import make_learner
from metabench.vision.data.glyphs import GLYPHS
from metabench.vision.data.mini_imagenet import MINI_IMAGENET, ravi_larochelle
from metabench.vision.data.options import Options
from metabench.vision.data.registry import Registry
from metabench.vision.data.source import Dataset, data_root
from metabench.vision.episodes import Episodes, Shape
from metabench.vision.suite import FewShot

ROOT = Path(__file__).resolve().parents[2]
REAL = data_root()
needs_data = pytest.mark.skipif(
    "METABENCH_DATA" not in os.environ or not MINI_IMAGENET.locate(REAL),
    reason="needs the real miniImageNet: set METABENCH_DATA to a folder with miniimagenet/*.zip",
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path


def pictures(folder: Path, classes: int = 15, each: int = 8) -> Path:
    """Class folders of bars with noise: black ink on a transparent page, in pictures of several sizes."""
    draw = np.random.default_rng(0)
    for c in range(classes):
        (folder / f"Gruppe {c % 3}" / f"bär{c:02d}").mkdir(parents=True)
        for i in range(each):
            ink = draw.random((20, 20)) < 0.1
            ink[:, c : c + 3] = True
            page = Image.fromarray(np.stack([0 * ink, 255 * ink], -1).astype(np.uint8), "LA")
            page.resize((20 + i, 20 + i), 0).save(folder / f"Gruppe {c % 3}" / f"bär{c:02d}" / f"{i}.PNG")
    return folder


SMALL = (
    "--iterations 4 --val-every 2 --val-tasks 4 --test-tasks 10 --width 8 --train-queries 3 --queries 3 --meta-batch 2"
)


def test_from_a_folder_to_a_row(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.make_archive("mine", "zip", pictures(here / "pictures"))
    (here / "pictures" / "Gruppe 0" / "bär00" / "broken.png").write_bytes(b"no picture")
    (here / "pictures" / "notes.txt").write_text("x")
    flags = ["--size", "28", "--grey", "--shares", "40", "30", "30"]
    assert main(["data", "import", "mine", "pictures", *flags]) == 2
    said = capsys.readouterr().err
    assert "1 pictures cannot be read, so nothing was imported" in said
    assert "Gruppe 0/bär00/broken.png is not a readable picture" in said
    assert main(["data", "import", "mine", "pictures", *flags, "--unreadable", "skip"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "mine: 120 pictures of 15 classes, 28 x 28 grey; train: 7 classes x 8 images; val: 4 classes x 8 images; "
        "test: 4 classes x 8 images\nclasses are split by seed0; this split is seed0/"
    )
    assert "broken.png is not a readable picture" in said
    assert "left out, as no part of mine: 1 .txt\n" in said
    # The zip of the same pictures, made before the two files were added, is the same data set.
    assert main(["data", "import", "mine", "mine.zip", *flags]) == 0
    assert f"there already, and the same:\n  {here}/data/imported/mine\n" in capsys.readouterr().out
    shutil.rmtree(here / "pictures")

    assert main(["list"]) == 0
    assert "mine-5w1s, mine-5w5s" in capsys.readouterr().out
    assert main(["data", "list"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if " mine " in line)
    assert [cell.strip() for cell in row.split("│")[2:7]] == ["yes", "15", "120", "seed0", "yours"]
    assert main(["data", "verify", "mine"]) == 0
    assert "mine: 15 classes, 120 images, all readable" in capsys.readouterr().out
    assert main(["data", "preview", "mine", "--ways", "3"]) == 0
    assert (here / "preview.png").is_file()

    run = ["run", "protonet", "mine-3w1s", *SMALL.split(), "--threads", "1", "--out", "out"]
    assert main([*run, "--dry-run"]) == 0
    assert "present" in capsys.readouterr().out
    assert main([*run, "--publish"]) == 0
    record = json.loads((here / "out" / "record.json").read_text())
    assert (record["benchmark"], record["status"]) == ("mine-3w1s", "complete")
    assert record["protocol"]["split"].startswith("seed0/")
    assert record["protocol"]["image_size"] == 28
    assert record["test"]["mean"][1] > 0.5, "bars are told apart"
    assert main(["evaluate", "out", "--shots", "2", "--queries", "3", "--tasks", "4", "--threads", "1"]) == 0
    shutil.copy(ROOT / "results" / "published.yaml", here / "results")
    assert main(["report"]) == 0
    assert "| protonet | mine-3w1s |" in (here / "results" / "leaderboard.md").read_text()
    assert "**no published number**" in (here / "results" / "leaderboard.md").read_text()


def test_ways_and_images_that_are_not_there_end_in_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "import", "mine", str(pictures(here / "pictures")), "--size", "28"]) == 0
    capsys.readouterr()
    assert main(["run", "protonet", "mine-5w1s", *SMALL.split()]) == 2
    assert "mine val: episodes of 5 ways need as many classes, and the split has 3" in capsys.readouterr().err
    assert main(["run", "protonet", "mine-3w1s", "--queries", "3", "--train-queries", "8", "--threads", "1"]) == 2
    assert "has 8 images, but an episode takes 9 of each class" in capsys.readouterr().err
    assert main(["run", "protonet", "mien-3w1s"]) == 2
    assert "no benchmark 'mien-3w1s'" in capsys.readouterr().err
    (here / "data" / "imported" / "mine" / "images.npy").write_bytes(b"")
    assert main(["data", "verify", "mine"]) == 2
    assert "imported/mine is damaged" in capsys.readouterr().err
    assert main(["data", "list"]) == 0
    assert "mine is damaged: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("omniglot", "omniglot is imported as it is; only its name and a path can be given"),
        ("glyphs", "glyphs is imported as it is"),
        ("omniglott", "'omniglott' is nearly the name of metabench's own 'omniglot'. Choose another name"),
        ("omniglot-lake", "'omniglot-lake' is the name of metabench's own 'omniglot-lake'"),
        ("mine-5w1s", "'mine-5w1s' ends like the name of a benchmark"),
        ("Mine", "'Mine' is no name: at most 48 lower-case letters, digits and dashes"),
        ("../mine", "'../mine' is no name"),
        ("a" * 49, "is no name"),
    ],
)
def test_names_that_are_taken_or_are_none(
    name: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "import", name, str(here), "--size", "28"]) == 2
    assert message in capsys.readouterr().err


def test_a_registered_data_set_is_found_before_an_imported_one_of_its_name(here: Path) -> None:
    import_own("mine", pictures(here / "pictures", 6, 2), here / "data", Options(size=8))
    registered = dataclasses.replace(GLYPHS, name="mine")
    registry = Registry((registered,))
    assert list(registry) == ["mine"]
    assert registry["mine"] is registered
    del registry["mine"]
    assert list(registry) == ["mine"]
    assert registry["mine"].size == 8
    with pytest.raises(KeyError):
        registry["yours"]


@needs_data
def test_mini_imagenets_pictures_as_a_strangers_folder_are_mini_imagenet(here: Path) -> None:
    part = here / "data" / "miniimagenet"
    part.mkdir(parents=True)
    classes = {name for names in ravi_larochelle().values() for name in names}
    taken = dict.fromkeys(classes, 0)
    with zipfile.ZipFile(part / "part.zip", "w") as into:
        for path in sorted((REAL / "miniimagenet").glob("*.zip")):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.lower().endswith(".jpg") and taken[name.split("/")[-2]] < 4:
                        taken[name.split("/")[-2]] += 1
                        into.writestr(name, archive.read(name))
                        archive.extract(name, here / "strangers")
    ours = MINI_IMAGENET.load(here / "data", "ravi-larochelle", cache=here / "cache")
    theirs = import_own("somebodys", here / "strangers", here / "data", Options()).data
    assert len(ours.images.images) == 400
    assert theirs.images.names == ours.images.names
    assert theirs.images.digest == ours.images.digest
    assert np.array_equal(theirs.images.images, ours.images.images)
    assert {split: c.tolist() for split, c in theirs.splits.items()} == {
        split: c.tolist() for split, c in ours.splits.items()
    }
    recipe = resolve("protonet", "mini-imagenet-5w1s")

    def accuracy(data: Dataset) -> torch.Tensor:
        episodes = Episodes(data, "test", Shape(5, 1, 3), seed=0)
        suite = FewShot({"test": episodes}, torch.device("cpu"))
        return scores_by_update(suite, suite.tasks(range(5), "test"), make_learner(recipe, 0, 3, 84).eval(), 1)

    assert torch.equal(accuracy(ours), accuracy(theirs))
    assert 0.2 < accuracy(ours)[:, 1].mean() < 0.9
