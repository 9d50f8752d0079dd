"""A new algorithm, data set or environment: one page each, one line each, and every verb knows them."""

import inspect
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from metabench.algorithms import LEARNERS
from metabench.bench.cli.main import main
from metabench.envs import ENVIRONMENTS
from metabench.vision import DATASETS
from metabench.vision.data.cache import content_digest
from metabench.vision.data.source import ClassImages, Dataset, check_scheme
from tests.support.examples import example
from tests.support.line import Line, Points

NearestAngle = example("own_learner").NearestAngle


@dataclass(frozen=True)
class Bars:
    """Bars at 30 positions, each with its noise."""

    name: str = "bars"
    splits: tuple[str, ...] = ("thirds",)
    channels: int = 1
    size: int = 32
    licence: str = "none needed"

    def load(self, root: Path, split: str, *, cache: Path, seed: int = 0) -> Dataset:
        check_scheme(self, split)
        x = np.random.default_rng(seed).integers(0, 60, (30, 10, 1, 32, 32), dtype=np.uint8)
        for i in range(30):
            x[i, ..., i : i + 3] += 190
        names = tuple(f"bar{i:02d}" for i in range(30))
        digest = content_digest((name, "all", x[i].tobytes()) for i, name in enumerate(names))
        images = ClassImages(x.reshape(-1, 1, 32, 32), np.arange(31) * 10, names, digest)
        classes = {s: np.arange(i, 30, 3) for i, s in enumerate(("train", "val", "test"))}
        return Dataset(self.name, images, classes, split_version="thirds")

    def locate(self, root: Path) -> list[Path]:
        return [Path(__file__)]

    def download(self, root: Path) -> None: ...


@pytest.mark.usefixtures("registered")
def test_a_learner_says_what_it_cannot(tmp_path, capsys):
    """It takes other ways at test than in training, and refuses control with one line."""
    tiny = "--iterations 1 --val-tasks 2 --test-tasks 4 --width 4 --queries 2 --train-queries 2 --threads 1 --out out"
    assert main(["run", "nearest-angle", "glyphs-5w1s", "--ways", "10", *tiny.split()]) == 0
    assert json.loads((tmp_path / "out" / "record.json").read_text())["protocol"]["ways"] == 10
    capsys.readouterr()
    assert main(["run", "nearest-angle", "navigation", "--dry-run"]) == 2
    assert capsys.readouterr().err == (
        "metabench: nearest-angle needs labels, of which control has none; navigation has maml, anil, meta-sgd, "
        "protonet, metaoptnet, maml-fo, maml-promp, untrained, pretrained, oracle\n"
    )
    assert main(["run"]) == 2
    usage = capsys.readouterr().err
    assert re.search(r"few-shot images: +maml, anil, meta-sgd, protonet, metaoptnet, [a-z,\s-]*nearest-angle", usage)
    assert re.search(r"control: +maml, anil, meta-sgd, protonet, metaoptnet, maml-fo", usage)


@pytest.mark.parametrize("toy", [NearestAngle, Bars])
def test_it_takes_less_than_thirty_lines(toy):
    assert len(inspect.getsource(toy).splitlines()) < 30


def test_an_environment_does_too():
    """The page of a specification; a world that is not MuJoCo's is half a page more."""
    assert len(inspect.getsource(Line).splitlines()) < 35
    assert len(inspect.getsource(Points).splitlines()) < 25


@pytest.fixture
def registered(monkeypatch, tmp_path):
    monkeypatch.setitem(LEARNERS, "nearest-angle", NearestAngle)
    monkeypatch.setitem(DATASETS, "bars", Bars())
    monkeypatch.setitem(ENVIRONMENTS, "line", Line())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize(
    ("algorithm", "name"), [("nearest-angle", "glyphs-5w1s"), ("protonet", "bars-5w1s"), ("nearest-angle", "bars-3w2s")]
)
@pytest.mark.usefixtures("registered")
def test_it_runs_through_the_command_line(algorithm, name, tmp_path):
    small = "--iterations 6 --val-every 3 --val-tasks 5 --test-tasks 20 --width 8 --train-queries 5 --queries 5"
    argv = ["run", algorithm, name, *small.split(), "--meta-batch", "2", "--threads", "1", "--out", "out"]
    assert main(argv) == 0
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert (record["algorithm"], record["benchmark"], record["status"]) == (algorithm, name, "complete")
    assert record["test"]["mean"][1] > 1.5 / record["protocol"]["ways"]
    assert main(["evaluate", "out", "--ways", "4", "--queries", "5", "--threads", "1", "--tasks", "4"]) == 0


@pytest.mark.usefixtures("registered")
def test_a_setting_of_its_own_is_a_flag_a_field_and_part_of_the_record(tmp_path, capsys):
    """One file and one line: nothing outside the learner names its setting."""
    small = "--iterations 2 --val-tasks 2 --test-tasks 4 --width 4 --queries 2 --train-queries 2 --threads 1"
    scores = {}
    for sharpness in ("1.0", "9.0"):
        argv = ["run", "nearest-angle", "glyphs-5w1s", *small.split(), "--sharpness", sharpness, "--out", sharpness]
        assert main(argv) == 0
        record = json.loads((tmp_path / sharpness / "record.json").read_text())
        assert record["recipe"]["sharpness"] == float(sharpness)
        scores[sharpness] = record["recipe_digest"]
    assert scores["1.0"] != scores["9.0"]
    capsys.readouterr()
    assert main(["run", "nearest-angle", "glyphs-5w1s", "--help"]) == 0
    help = " ".join(capsys.readouterr().out.split())
    assert "--sharpness FLOAT" in help
    assert "What the class means, brought to length 1, are multiplied with." in help
    assert main(["run", "maml", "glyphs-5w1s", "--sharpness", "2"]) == 2, "it is of no other learner"
    assert main(["run", "nearest-angle", "glyphs-5w1s", "--sharpness", "0"]) == 2
    assert "sharpness is 0.0; it must be a positive number" in capsys.readouterr().err


@pytest.mark.usefixtures("registered")
def test_the_other_verbs_know_it(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "nearest-angle" in out
    assert "The head's rows are the class means, brought to one length" in out
    assert "bars-5w1s" in out
    assert main(["run", "nearest-angle", "bars-5w1s", "--dry-run", "--threads", "1"]) == 0
    assert "learned parameters" in capsys.readouterr().out
    assert main(["data", "preview", "bars"]) == 0
    assert main(["data", "verify", "bars"]) == 0
    assert "bars: 30 classes, 300 images, all readable" in capsys.readouterr().out
    assert main(["run", "nearest-angel", "bars-5w1s"]) == 2
    assert "did you mean 'nearest-angle'?" in capsys.readouterr().err


@pytest.mark.parametrize("algorithm", ["maml", "nearest-line"])
@pytest.mark.usefixtures("registered")
def test_an_environment_runs_through_the_command_line(algorithm, tmp_path, capsys):
    if algorithm != "maml":
        assert main(["run", algorithm, "line"]) == 2
        assert "no algorithm 'nearest-line'" in capsys.readouterr().err
        return
    small = "--iterations 4 --val-every 2 --val-tasks 4 --test-tasks 8 --meta-batch 4 --rollouts 8 --hidden 8"
    argv = ["run", algorithm, "line", *small.split(), "--threads", "1", "--out", "out"]
    assert main(argv) == 0
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert (record["benchmark"], record["status"], record["metric"]) == ("line", "complete", "return")
    assert record["protocol"]["goals"] == "U[-1,1]"
    assert all(-6 * 4 < mean < 0 for mean in record["test"]["mean"])
    assert main(["evaluate", "out", "--tasks", "2", "--threads", "1"]) == 0
    assert main([*argv, "--dry-run"]) == 0
    assert "simulation steps" in capsys.readouterr().out
    assert main(["list"]) == 0
    assert "line" in capsys.readouterr().out
