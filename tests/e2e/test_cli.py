"""The command line as a person meets it: results, messages, exit codes. No bad input ends in a traceback."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metabench.algorithms import LEARNERS
from metabench.bench.cli.main import main
from metabench.bench.cli.verbs import VERBS
from metabench.bench.recipes.recipe import RecipeError, digest
from metabench.bench.training import checkpoint
from metabench.bench.worlds import Retest, resolve
from metabench.bench.worlds.retest import retested
from metabench.vision import DATASETS
from metabench.vision.models.backbones import MLP

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    *("--schedule", "short", "--iterations", "4", "--val-every", "2", "--val-tasks", "4", "--test-tasks", "6"),
    *("--width", "4", "--threads", "1"),
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A working directory of its own, and no data but what is embedded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished ProtoNet run."""
    folder = tmp_path_factory.mktemp("runs") / "protonet"
    assert main(["run", "protonet", "glyphs-5w1s", *TINY, "--train-ways", "6", "--out", str(folder)]) == 0
    return folder


def record_of(folder):
    return json.loads((folder / "record.json").read_text())


def test_a_run_leaves_its_record(trained):
    record = record_of(trained)
    assert (record["algorithm"], record["benchmark"], record["seed"]) == ("protonet", "glyphs-5w1s", 0)
    assert (record["status"], record["metric"], record["schema"]) == ("complete", "accuracy", 2)
    recipe = {k: record["recipe"][k] for k in ("schedule", "iterations", "width", "train_ways", "norm")}
    assert recipe == {"schedule": "custom", "iterations": 4, "width": 4, "train_ways": 6, "norm": "running"}
    assert re.fullmatch("[0-9a-f]{12}", record["recipe_digest"])
    protocol = record["protocol"]
    assert (protocol["ways"], protocol["train_ways"], protocol["backbone"]) == (5, 6, "conv4-strided-4")
    assert [point["iteration"] for point in record["curve"]] == [2, 4]
    assert record["selected_iteration"] in (2, 4)
    test = record["test"]
    assert (test["updates"], test["tasks"], len(record["per_task"])) == ([0, 1], 6, 6)
    assert test["mean"][1] == pytest.approx(sum(record["per_task"]) / 6, abs=1e-6)
    assert all(score * 25 == pytest.approx(round(score * 25), abs=1e-4) for score in record["per_task"])
    assert record["provenance"]["threads"] == 1
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "loss" in line] == [1, 2, 3, 4]


def test_a_finished_run_asked_for_again_is_the_same_record(trained):
    before, weights = record_of(trained), (trained / "checkpoint.pt").read_bytes()
    assert main(["run", "protonet", "glyphs-5w1s", *TINY, "--train-ways", "6", "--out", str(trained)]) == 0
    after = record_of(trained)
    anew = ("provenance", "checksum")  # it may say when and where
    assert {k: v for k, v in after.items() if k not in anew} == {k: v for k, v in before.items() if k not in anew}
    assert (trained / "checkpoint.pt").read_bytes() == weights


def test_evaluate_under_another_protocol(trained, tmp_path, capsys, monkeypatch):
    publish = ["evaluate", str(trained), "--threads", "1", "--publish"]
    monkeypatch.setattr(sys, "argv", ["metabench", *publish])
    assert main([*publish, "--ways", "8", "--shots", "2", "--tasks", "5"]) == 0
    published = tmp_path / "results" / "records"
    [path] = published.iterdir()
    record, plain = json.loads(path.read_text()), record_of(trained)
    assert path.name == f"protonet_glyphs-8w2s_{record['recipe_digest']}_seed0.json"
    assert record["trained_recipe"] == plain["recipe"]
    assert record["recipe_digest"] == digest(record["recipe"], plain["recipe"]) != digest(record["recipe"])
    assert (record["protocol"]["ways"], record["protocol"]["shots"], record["test"]["tasks"]) == (8, 2, 5)
    assert record["protocol"]["train_ways"] == 6
    assert (record["curve"], record["selected_iteration"]) == (plain["curve"], plain["selected_iteration"])
    assert "protonet glyphs-8w2s (custom) seed 0" in capsys.readouterr().out
    assert main(publish) == 0
    again = (published / f"protonet_glyphs-5w1s_{plain['recipe_digest']}_seed0.json").read_text()
    assert json.loads(again)["per_task"] == plain["per_task"]
    [session] = json.loads(again)["provenance"]["trained_by"]
    assert session["command"] == plain["provenance"]["command"]
    assert session["commit"] == plain["provenance"]["commit"]


def test_fewer_test_tasks_are_not_the_schedule_s(tmp_path):
    """A row of 20 episodes must not pass for one of the paper's."""
    recipe = resolve("protonet", "glyphs-5w1s", "short")
    for changed, schedule in (
        ({}, "short"),
        ({"ways": 7}, "short"),
        ({"tasks": 20}, "custom"),
        ({"steps": 0}, "custom"),
    ):
        assert retested(recipe, Retest(**changed)).schedule == schedule
    with pytest.raises(RecipeError, match="--steps is -2; it must be at least 0, or -1 for the recipe's"):
        retested(recipe, Retest(steps=-2))


def test_publish_and_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    argv = ["run", "maml", "glyphs-5w1s", *TINY, "--out", "here", "--publish", "--tensorboard"]
    assert main(argv) == 0
    assert len(list((tmp_path / "results" / "records").glob("maml_glyphs-5w1s_*_seed0.json"))) == 1
    [file] = (tmp_path / "here" / "tensorboard").glob("events.out.tfevents.*")
    events = EventAccumulator(str(file))
    events.Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [1, 2, 3, 4]
    curve = record_of(tmp_path / "here")["curve"]
    assert [(e.step, e.value) for e in events.Scalars("val/score")] == [
        (point["iteration"], pytest.approx(point["mean"])) for point in curve
    ]


def test_a_run_that_diverges_says_so_and_ends_in_1(capsys):
    assert main(["run", "maml", "glyphs-5w1s", *TINY, "--inner-lr", "1e30", "--out", "off"]) == 1
    assert "diverged: the loss is nan" in capsys.readouterr().out
    assert record_of(Path("off"))["status"].startswith("diverged")
    assert main(["evaluate", "off", "--threads", "1"]) == 2
    assert "it diverged" in capsys.readouterr().err


def test_tasks_whose_outputs_are_not_finite_give_no_number(capsys):
    """A NaN's argmax is class 0: 20 % of five, where in truth nothing was answered."""
    argv = ["run", "maml", "glyphs-5w1s", *TINY, "--iterations", "0", "--norm", "running", "--inner-lr", "20"]
    assert main([*argv, "--test-steps", "20", "--out", "off"]) == 1
    record = record_of(Path("off"))
    assert re.fullmatch(r"diverged: outputs of \d of 6 tasks are not finite, .* updates, at test", record["status"])
    assert (record["test"]["mean"], record["per_task"]) == ([], [])
    assert record["status"] in " ".join(capsys.readouterr().out.split())


def test_nor_do_they_when_a_good_run_is_evaluated_for_longer(capsys):
    argv = ["run", "maml", "glyphs-5w1s", *TINY, "--iterations", "0", "--norm", "running", "--inner-lr", "20"]
    assert main([*argv, "--test-steps", "1", "--out", "on"]) == 0
    assert main(["evaluate", "on", "--steps", "20", "--threads", "1"]) == 1
    assert "diverged: outputs of " in capsys.readouterr().out


def test_dry_run_needs_no_data_and_writes_nothing(tmp_path, capsys):
    assert main(["run", "maml", "omniglot-5w1s", "--dry-run", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"inner_lr +│ 0\.4 +│ Inner learning rate α; Meta-SGD's initial one", out)
    assert re.search(r"learned parameters +│ 112,261 ", out)
    assert re.search(r"training iteration +│ 32 tasks × \d+ MFLOP = [\d.]+ GFLOP", out)
    assert re.search(r"memory of second order +│ [\d.]+ MiB a task \(first order would keep [\d.]+ MiB\)", out)
    assert re.search(r"time here +│ about [\d.]+ (minutes|hours|days) ", out)
    assert "absent: see `metabench data list`" in out
    assert list(tmp_path.iterdir()) == []


def test_python_m_bench(tmp_path):
    def bench(*argv):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-m", "metabench", *argv], capture_output=True, text=True, cwd=tmp_path, env=environment
        )

    done = bench("run", "anil", "glyphs-3w2s", *TINY)
    assert (done.returncode, done.stderr) == (0, "")
    [folder] = (tmp_path / "runs").glob("anil_glyphs-3w2s_custom-*")
    record = record_of(folder / "seed0")
    assert folder.name.endswith(record["recipe_digest"])  # a recipe of one's own has a folder of its own
    assert f"record: {folder.relative_to(tmp_path) / 'seed0' / 'record.json'}" in done.stdout
    assert record["provenance"]["command"] == "metabench run anil glyphs-3w2s " + " ".join(TINY)
    assert f"{100 * record['test']['mean'][-1]:.2f} ± " in done.stdout


RUN = ["run", "maml", "glyphs-5w1s"]
BAD = {
    "a verb": (["lits"], "no verb 'lits'; did you mean 'list'?"),
    "no names": (["run"], "run needs an algorithm and a benchmark first"),
    "one name": (["run", "maml"], "run needs an algorithm and a benchmark first"),
    "an algorithm": (["run", "mmal", "glyphs-5w1s"], "no algorithm 'mmal'; did you mean 'maml'?"),
    "a benchmark": (["run", "maml", "glyfs-5w1s"], "no benchmark 'glyfs-5w1s'; did you mean 'glyphs-5w1s'?"),
    "a schedule": ([*RUN, "--schedule", "shrt"], "no schedule 'shrt'; did you mean 'short'?"),
    "a flag": ([*RUN, "--itrations", "3"], "--iterations"),
    "no number": ([*RUN, "--ways", "five"], "Error parsing --ways: invalid literal for int() with base 10: 'five'"),
    "a negative number": ([*RUN, "--iterations=-3"], "iterations is -3; it must be at least 0"),
    "negative threads": ([*RUN, "--threads", "-1"], "--threads is -1; it must be at least 0"),
    "a negative chunk": ([*RUN, "--chunk", "-1"], "--chunk is -1; it must be at least 0"),
    "a negative clamp": ([*RUN, "--clip=-1"], "clip is -1.0; it must be at least 0"),
    "smoothing of 1": ([*RUN, "--smoothing", "1"], "smoothing is 1.0; it must be at least 0 and below 1"),
    "too many ways": (
        [*RUN, "--ways", "300", "--train-ways", "300"], "episodes of 300 ways need as many classes, and the split has"),
    "too many shots": (
        [*RUN, "--shots", "50"], "class alphabet008/glyph00 of the val split has 20 images, but an episode takes 55"),
    "ways unlike in training": (
        [*RUN, "--train-ways", "20"], "the head is learned for 20 ways and cannot answer for 5"),
    "a split scheme": ([*RUN, "--split", "vinyals"], "glyphs has no split 'vinyals'. Known: alphabets."),
    "Lake's runs of glyphs": ([*RUN, "--lake-runs"], "Lake's runs are of Omniglot with 20 ways and 1 shot"),
    "Lake's runs of 5 ways": (
        ["run", "protonet", "omniglot-lake-5w1s"], "Lake's runs are of Omniglot with 20 ways and 1 shot"),
    "data that are not there": (["run", "maml", "mini-imagenet-5w1s", "--threads", "1"], "not found under"),
    "a file for a folder": ([*RUN, "--out", "file"], "cannot use run folder file: File exists; choose another"),
    "an empty folder": (["evaluate", "."], "holds no checkpoint.pt; give the --out of a finished"),
    "a folder that is not there": (["evaluate", "nowhere"], "nowhere does not exist; give the --out of a finished"),
    "a damaged checkpoint": (["evaluate", "damaged"], "checkpoint.pt is not a readable checkpoint"),
    "nothing to evaluate": (["evaluate"], "Missing from"),
    "no verb of data": (["data"], "list, download, import, verify, preview"),
    "a data set": (["data", "verify", "omniglott"], "There is no data set 'omniglott'. Did you mean 'omniglot'?"),
    "absent data": (["data", "verify", "omniglot"], "omniglot: its images not found under"),
    "an import of nothing": (["data", "import", "omniglot", "nowhere"], "nowhere does not exist"),
    "an import of the embedded": (["data", "import", "glyphs", "."], "glyphs takes no files"),
    "a download of the embedded": (["data", "download", "glyphs"], "glyphs needs no download"),
    "an episode without classes": (["data", "preview", "glyphs", "--ways", "0"], "--ways is 0; it must be at least 1"),
    "a picture of no known kind": (["data", "preview", "glyphs", "--out", "a.bmpp"], "a.bmpp cannot be written"),
    "another head's penalty": (
        ["run", "metaoptnet", "glyphs-5w1s", "--head", "ridge"], "--head ridge needs a --penalty of its own"),
    "a head in control": (["run", "metaoptnet", "navigation", "--head", "svm"], "in control it is always ridge"),
    "no update for a head": (
        ["run", "protonet", "glyphs-5w1s", "--inner-steps", "0"], "the head is made from the support: give at least 1"),
    "a curvature between": (
        ["run", "maml", "navigation", "--curvature", "0.7"], "curvature is 0.7; every n-th transition is taken"),
    "more threads than cores": ([*RUN, "--threads", "5000"], "--threads is 5000; there are"),
    "a negative seed": ([*RUN, "--seed=-1"], "--seed is -1; it must be at least 0 and below 2^63"),
    "a seed beyond": ([*RUN, "--seed", str(2**63)], "it must be at least 0 and below 2^63"),
    "saves without end": ([*RUN, "--save-every", "nan"], "--save-every is nan; it must be at least 0 seconds"),
    "more updates than a record holds": ([*RUN, "--test-steps", "100"], "test_steps is 100; it must be at least 0 and"),
    "a rate of nan": ([*RUN, "--lr-factors", "0", "nan"], "iterations must rise, factors be positive"),
    "rates in disorder": ([*RUN, "--lr-factors", "5", "0.1", "1", "0.5"], "iterations must rise, factors be positive"),
    "a variant undone": (
        ["run", "maml-noconv", "glyphs-5w1s", "--backbone", "conv4"], "maml-noconv means backbone = mlp; run maml for"),
    "a baseline undone": (
        ["run", "untrained", "navigation", "--iterations", "3"], "untrained means iterations = 0; run maml for"),
    "capitals": (["run", "MAML", "glyphs-5w1s"], "no algorithm 'MAML'; did you mean 'maml'?"),
    "a folder for a log": ([*RUN, "--out", "odd", "--threads", "1"], "cannot read odd/log.jsonl: Is a directory"),
    "a checkpoint of no run": (["evaluate", "half"], "checkpoint.pt is no checkpoint of a run: it has no data"),
    "more than list takes": (["list", "all"], "Unrecognized options: all"),
}  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_a_message_and_exit_status_2(argv, message, tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "checkpoint.pt").write_text("not a checkpoint")
    (tmp_path / "odd" / "log.jsonl").mkdir(parents=True)
    checkpoint.save(tmp_path / "half" / "checkpoint.pt", {"recipe": "abc"})
    assert main(argv) == 2
    output = capsys.readouterr()
    text = " ".join((output.out + output.err).split())
    assert message in text or re.search(message, text), text
    assert not (tmp_path / "results").exists()


def test_out_of_memory_names_the_remedy(monkeypatch, capsys):
    def full(arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")

    monkeypatch.setattr("metabench.bench.cli.run.run", full)
    assert main(RUN) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert told == "metabench: CUDA out of memory; carry fewer tasks at once with --chunk, e.g. --chunk 1"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_where_there_is_none(capsys):
    assert main([*RUN, "--device", "cuda"]) == 2
    assert "--device cuda: this machine has no usable CUDA GPU; use --device cpu" in capsys.readouterr().err


def test_another_recipe_in_the_folder_names_what_differs(trained, capsys):
    assert main(["run", "protonet", "glyphs-5w1s", *TINY, "--train-ways", "7", "--out", str(trained)]) == 2
    assert "another recipe or seed (train_ways 6, not 7); choose another folder" in capsys.readouterr().err


def test_a_head_learned_for_five_ways_is_not_tested_on_eight(tmp_path, capsys):
    assert main(["run", "maml", "glyphs-5w1s", *TINY, "--iterations", "1", "--out", "m"]) == 0
    assert main(["evaluate", "m", "--ways", "8", "--threads", "1"]) == 2
    assert "the head is learned for 5 ways and cannot answer for 8" in capsys.readouterr().err


DATA = ("list", "download", "import", "verify", "preview")
HELP = [[], *([verb] for verb in VERBS), RUN, *(["data", verb] for verb in DATA)]


@pytest.mark.parametrize("argv", HELP, ids=" ".join)
def test_help(argv, capsys):
    assert main([*argv, "--help"]) == 0
    output = capsys.readouterr()
    assert "metabench " + " ".join(argv) in output.out
    assert output.err == ""


def test_help_of_a_recipe_shows_its_own_defaults(capsys):
    assert main(["run", "protonet", "omniglot-20w1s", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(r"--train-ways INT Classes of a training episode[^()]*\(default: 60\)", out)


def test_list_names_everything(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in ("maml-noconv", "meta-sgd", "omniglot-within-20w5s", "omniglot-lake-20w1s", "quick-draw-5w1s"):
        assert name in out
    assert "omniglot-lake-5w1s" not in out
    assert re.search(r"anil +│ a few gradient steps on the head +│ Raghu, .* ICLR 2020", out)
    assert re.search(r"glyphs +│ yes +│ +350 │ +7,000 │ alphabets", out)
    assert "mini-imagenet is not there; get it with: metabench data import mini-imagenet PATH" in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"metabench \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_data_verbs_on_the_embedded_data(tmp_path, capsys):
    assert main(["data", "verify", "glyphs"]) == 0
    assert "glyphs: 350 classes, 7,000 images, all readable" in capsys.readouterr().out
    flags = ["--out", "episode.png", "--ways", "4", "--shots", "2", "--episode", "3", "--rotations"]
    assert main(["data", "preview", "glyphs", *flags]) == 0
    assert (tmp_path / "episode.png").read_bytes().startswith(b"\x89PNG")
    assert "episode.png" in capsys.readouterr().out


def test_import_then_list(tmp_path, capsys):
    import numpy as np

    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("cat", "dog", "bee"):
        np.save(folder / f"{name}.npy", np.zeros((25, 784), np.uint8))
    assert main(["data", "import", "quick-draw", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "quick-draw: 75 images read; imported" in out
    assert main(["data", "import", "quick-draw", str(folder)]) == 0
    assert "there already, and the same:" in capsys.readouterr().out
    assert main(["data", "list"]) == 0
    assert re.search(r"quick-draw +│ yes +│ +3 │ +75 │", capsys.readouterr().out)


def test_a_learner_that_changed_since_is_told_apart_from_a_damaged_file(trained, tmp_path, monkeypatch, capsys):
    """While one writes an algorithm, its old runs no longer fit it."""
    monkeypatch.setattr(
        "metabench.bench.worlds.few_shot_build.make_body", lambda recipe, channels, size: MLP(channels, size, (7,))
    )
    assert main(["evaluate", str(trained), "--threads", "1"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "checkpoint.pt does not fit the learner as it is now" in told
    others = {name: kind for name, kind in LEARNERS.items() if name != "protonet"}
    monkeypatch.setattr("metabench.bench.recipes.recipe.LEARNERS", others)
    assert main(["evaluate", str(trained), "--threads", "1"]) == 2
    assert "no algorithm 'protonet'" in capsys.readouterr().err


def test_a_data_set_may_have_digits_in_its_name(monkeypatch):
    monkeypatch.setitem(DATASETS, "toy100", DATASETS["glyphs"])
    assert resolve("maml", "toy100-5w1s").dataset == "toy100"
    with pytest.raises(RecipeError, match="'Toy-5w1s' is no name: at most 64 lower-case letters, digits and dashes"):
        dataclasses.replace(resolve("maml", "toy100-5w1s"), benchmark="Toy-5w1s").check()


def test_a_stream_without_our_signs_does_not_end_a_run(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "metabench", "run", "protonet", "glyphs-5w1s", *TINY], cwd=tmp_path, env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "?" in done.stdout
