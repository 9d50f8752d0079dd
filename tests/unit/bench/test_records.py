"""Records: every fact is in them, they are JSON for anyone, and they are filed under safe names."""

import dataclasses
import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from metabench.algorithms import Workers
from metabench.bench.distributed import Processes
from metabench.bench.leaderboard.protocol import VISION_FIELDS
from metabench.bench.recipes.recipe import from_fields
from metabench.bench.records.schema import file_name
from metabench.bench.training import record as records
from metabench.bench.training.checkpoint import RunFolderError
from metabench.bench.training.record import make_record, provenance, write_record
from metabench.bench.training.trainer import State
from metabench.bench.worlds import build, resolve
from metabench.bench.worlds.few_shot_build import protocol as protocol_of
from metabench.vision import DATASETS
from metabench.vision.data.glyphs import Glyphs

RECIPE = dataclasses.replace(resolve("maml", "glyphs-5w1s"), width=4, rotations=("train",), test_tasks=4, test_steps=1)
SCORES = np.array([[0.2, 0.5], [0.2, 1.0], [0.2, 0.75], [0.2, 1 / 3]])
STATE = State(iteration=9, best=0.5, best_iteration=6, curve=[{"iteration": 6, "mean": 0.5, "ci95": math.nan}])
FACTS = {"commit": "abc", "dirty": False}


@pytest.fixture
def built(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "glyphs", Glyphs(alphabets=(1, 1, 1), drawings=20))
    processes = Processes("cpu")
    return build(RECIPE, 0, root=tmp_path, cache=tmp_path, processes=processes, workers=Workers(1))


def test_a_record_holds_the_whole_recipe_and_the_scores(built):
    record = make_record(RECIPE, 3, built, STATE, SCORES, FACTS)
    assert record["recipe"].keys() == {f.name for f in dataclasses.fields(RECIPE)}
    assert from_fields(record["recipe"]) == RECIPE
    assert record["recipe_digest"] == RECIPE.digest()
    assert (record["schema"], record["kind"], record["status"], record["metric"]) == (
        2,
        "result",
        "complete",
        "accuracy",
    )
    assert (record["algorithm"], record["benchmark"], record["seed"]) == ("maml", "glyphs-5w1s", 3)
    assert record["judged_update"] == 1
    assert (record["test"]["updates"], record["test"]["tasks"]) == ([0, 1], 4)
    assert record["test"]["mean"] == pytest.approx([0.2, (0.5 + 1 + 0.75 + 1 / 3) / 4])
    assert record["test"]["ci95"] == pytest.approx([0, 3.1824463 * SCORES[:, 1].std(ddof=1) / 2])
    assert record["per_task"] == [0.5, 1.0, 0.75, 0.333333]
    assert np.mean(record["per_task"]) == pytest.approx(record["test"]["mean"][-1], abs=1e-6)
    assert (record["selected_iteration"], record["curve"]) == (6, STATE.curve)
    assert record["provenance"] == FACTS


def test_the_protocol_has_every_field_that_a_published_number_is_compared_in(built, tmp_path):
    protocol = built.protocol
    assert VISION_FIELDS.keys() - protocol.keys() == {"precision"}, "which provenance says of a run"
    for field in protocol.keys() & VISION_FIELDS.keys():
        assert type(protocol[field]) is VISION_FIELDS[field], field
    assert (protocol["split"], protocol["image_size"], protocol["backbone"]) == (
        "alphabets/seed0",
        28,
        "conv4-strided-4",
    )
    assert (protocol["rotations_train"], protocol["rotations_test"]) == (True, False)
    assert len(protocol["data_digest"]) == 64
    assert (protocol["test_tasks"], protocol["episodes"]) == (RECIPE.test_tasks, "drawn")
    lake = protocol_of(
        dataclasses.replace(RECIPE, lake_runs=True),
        DATASETS["glyphs"].load(tmp_path, "alphabets", cache=tmp_path),
        built.learner.network.body,
    )
    assert (lake["test_tasks"], lake["episodes"]) == (20, "lake-runs")


def test_a_diverged_run_has_a_record_without_scores(built):
    state = dataclasses.replace(STATE, diverged="the loss is nan")
    record = make_record(RECIPE, 0, built, state, np.empty((0, 4)), {})
    assert record["status"] == "diverged: the loss is nan"
    assert record["test"] == {"updates": [], "mean": [], "ci95": [], "tasks": 0}
    assert record["per_task"] == []


def test_the_file_is_strict_json_and_replaced_as_a_whole(tmp_path, built, monkeypatch):
    path = tmp_path / "new" / "record.json"
    record = make_record(RECIPE, 0, built, STATE, SCORES, {"times": (math.inf, 1.0)})

    def no_constants(word):
        raise AssertionError(f"{word} is not JSON")

    write_record(path, record)
    text = path.read_text()
    read = json.loads(text, parse_constant=no_constants)
    assert read["curve"] == [{"iteration": 6, "mean": 0.5, "ci95": None}]
    assert read["provenance"] == {"times": [None, 1.0]}
    assert read["recipe"]["rotations"] == ["train"]
    content = json.dumps({k: v for k, v in read.items() if k != "checksum"}, sort_keys=True, separators=(",", ":"))
    assert read["checksum"] == hashlib.sha256(content.encode()).hexdigest()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("metabench.bench.training.checkpoint.os.fsync", full)
    with pytest.raises(RunFolderError, match=r"cannot write .*record\.json: No space left on device"):
        write_record(path, record | {"seed": 1})
    assert path.read_text() == text
    assert [p.name for p in path.parent.iterdir()] == ["record.json"]


def test_a_file_name_says_what_it_holds_and_stays_in_its_folder():
    record = {"algorithm": "maml", "benchmark": "glyphs-5w1s", "recipe_digest": "0123456789ab", "seed": 2}
    assert file_name(record) == "maml_glyphs-5w1s_0123456789ab_seed2.json"
    odd = record | {"algorithm": "../a b/c", "benchmark": "x:y\\z"}
    assert file_name(odd) == "---a-b-c_x-y-z_0123456789ab_seed2.json"
    assert Path(file_name(odd)).name == file_name(odd)


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", folder, *who, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_commit_and_dirty_are_of_the_sources_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    facts = provenance(torch.device("cpu"), 2, "fp32", 1)
    assert (facts["commit"], facts["dirty"]) == ("unknown", None)
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "train.py").write_text("1")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "a")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "record.json").write_text("{}")
    facts = provenance(torch.device("cpu"), 2, "fp32", 1)
    assert (facts["commit"], facts["dirty"]) == (git(tmp_path, "rev-parse", "HEAD"), False)
    monkeypatch.setattr(records, "ROOT", tmp_path / "bench")  # installed within another project's checkout
    facts = provenance(torch.device("cpu"), 2, "fp32", 1)
    assert (facts["commit"], facts["dirty"]) == ("unknown", None)
    monkeypatch.setattr(records, "ROOT", tmp_path)
    (tmp_path / "bench" / "train.py").write_text("2")
    assert provenance(torch.device("cpu"), 2, "fp32", 1)["dirty"] is True


def test_the_command_can_be_pasted_into_a_shell(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/metabench", "run", "maml", "glyphs-5w1s", "--out", "a b"])
    facts = provenance(torch.device("cpu"), 2, "fp32", 1)
    assert facts["command"] == "metabench run maml glyphs-5w1s --out 'a b'"
    assert (facts["threads"], facts["precision"], facts["processes"]) == (2, "fp32", 1)
    assert facts["device"].startswith("cpu: ")
    assert (
        facts["packages"]["torch"] == torch.__version__.split("+")[0] or facts["packages"]["torch"] == torch.__version__
    )
    several = provenance(torch.device("cpu"), 2, "fp32", 4)
    assert several["command"] == "torchrun --nproc-per-node=4 -m metabench run maml glyphs-5w1s --out 'a b'"
