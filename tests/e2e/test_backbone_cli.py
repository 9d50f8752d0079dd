"""`--backbone` with torchvision's resnet18, and with a module of one's own."""

import json
import sys
from pathlib import Path

import pytest
import torch

from metabench.bench.cli.main import main
from tests.e2e.test_own_pictures import pictures

TINY = [
    *("--schedule", "short", "--iterations", "2", "--val-every", "1", "--val-tasks", "2", "--test-tasks", "4"),
    *("--threads", "1", "--queries", "1", "--train-queries", "1", "--meta-batch", "2"),
]
NETS = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, channels, width=8):
        super().__init__(
            nn.Conv2d(channels, width, 3, 4), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.2),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        )

class Native(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.features = 3
        self.scale = nn.Parameter(channels * __import__("torch").ones(3))

    def forward(self, fast, x):
        return x.flatten(2)[..., :3] * fast["scale"].unsqueeze(1)

class Mixed(Native):
    def __init__(self):
        super().__init__(1)
        self.norm = nn.BatchNorm1d(3)

class Sampled(Net):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x))
"""


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    (tmp_path / "own_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


def record_of(folder):
    return json.loads((Path(folder) / "record.json").read_text())


@pytest.mark.parametrize(
    ("backbone", "ran"), [("resnet18", "resnet18"), ("module:own_nets.Net", "module:own_nets.Net#")]
)
def test_a_plain_network_trains_and_its_record_says_what_ran(backbone, ran, capsys):
    argv = ["run", "maml", "glyphs-5w1s", *TINY, "--backbone", backbone, "--norm", "running", "--width", "6"]
    assert main([*argv, "--out", "out"]) == 0
    record = record_of("out")
    assert (record["status"], record["recipe"]["backbone"]) == ("complete", backbone)
    assert record["protocol"]["backbone"].startswith(ran)
    saved = torch.load("out/checkpoint.pt", weights_only=True)["learner"]
    first = saved["network.body.module.conv1.weight" if backbone == "resnet18" else "network.body.module.0.weight"]
    assert first.shape == ((64, 1, 7, 7) if backbone == "resnet18" else (6, 1, 3, 3))
    assert saved["network.body.module.bn1.mean" if backbone == "resnet18" else "network.body.module.1.mean"].any()
    assert main(["evaluate", "out", "--tasks", "2", "--threads", "1"]) == 0
    assert main([*argv, "--dry-run"]) == 0
    assert "learned parameters" in capsys.readouterr().out


def test_resnet18_trains_in_bfloat16_on_two_processes_and_imported_pictures(warm, tmp_path):
    folder = str(pictures(tmp_path / "pictures", classes=15, each=3))
    assert main(["data", "import", "mine", folder, "--size", "32"]) == 0
    argv = ["run", "maml", "mine-3w1s", *TINY, "--backbone", "resnet18", "--precision", "bf16", "--out"]
    where = {"METABENCH_DATA": str(tmp_path / "data"), "METABENCH_CACHE": str(tmp_path / "cache")}
    for fork in warm.start_ranks(2, *argv, tmp_path / "out", **where):
        assert fork.wait() == 0, fork.output
    record = record_of(tmp_path / "out")
    ran = record["provenance"]["processes"], record["provenance"]["precision"], record["protocol"]["backbone"]
    assert ran == (2, "bf16", "resnet18")
    losses = [json.loads(line).get("loss", 0.0) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert len([loss for loss in losses if 0 < loss < 1.1]) == 2, "nor worse than a guess"


def test_what_ran_changes_with_what_the_module_holds():
    names = []
    for width in ("6", "7"):
        argv = ["run", "protonet", "glyphs-5w1s", *TINY, "--iterations", "0", "--backbone", "module:own_nets.Net"]
        assert main([*argv, "--width", width, "--out", width]) == 0
        names.append(record_of(width)["protocol"]["backbone"])
    assert names[0] != names[1]


def test_a_body_with_a_task_axis_is_taken_as_it_is():
    argv = ["run", "maml", "glyphs-5w1s", *TINY, "--iterations", "1", "--backbone", "module:own_nets.Native"]
    assert main([*argv, "--out", "out"]) == 0
    assert "network.body.scale" in torch.load("out/checkpoint.pt", weights_only=True)["learner"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ["--backbone", "resnet50"],
            "backbone is 'resnet50'; choose one of conv4, conv4-strided, mlp, resnet12, resnet18",
        ),
        (["--backbone", "module:own_nets.Net()"], "or a class of your own as module:my_package.Net"),
        (["--backbone", "module:own_nets.Nit"], "module:own_nets.Nit: own_nets has no Nit; did you mean Net"),
        (["--backbone", "module:own_nets.nn"], "--backbone module:own_nets.nn: it is no class derived from torch"),
        (
            ["--backbone", "module:own_nets.Mixed"],
            "own_nets.Mixed: BatchNorm1d norm normalises by statistics of",
        ),
        (["--backbone", "module:own_nets.Sampled"], "Sampled draws from the global generators"),
        (["--backbone", "module:own_nets.Net", "--compile"], "--compile cannot carry a plain module's loop over tasks"),
    ],
)
def test_what_cannot_be_ends_in_one_line(flags, told, capsys):
    assert main(["run", "maml", "glyphs-5w1s", *TINY, *flags, "--out", "out"]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
