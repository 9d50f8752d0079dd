"""What was trained is used: predictions for pictures, an export, weights to start from, tests on other data sets."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import metabench
from metabench.algorithms.suite import scores_by_update
from metabench.bench.cli.main import main
from metabench.bench.recipes.recipe import digest, from_fields
from metabench.bench.records.check import read_record
from metabench.bench.records.schema import sealed
from metabench.bench.training.trained import trained_in
from metabench.bench.worlds.built import TEST_SEED
from metabench.bench.worlds.few_shot_build import make_learner
from metabench.vision import DATASETS
from metabench.vision.data.glyphs import GLYPHS
from metabench.vision.episodes import Episodes, Shape
from metabench.vision.suite import FewShot

TINY = [
    *("--schedule", "short", "--iterations", "4", "--val-every", "2", "--val-tasks", "4", "--test-tasks", "6"),
    *("--width", "4", "--threads", "1"),
]
WAYS, SHOTS, QUERIES = 5, 2, 3


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs: ProtoNet, MetaOptNet, MAML with a head of five ways, and classifiers of all training classes."""
    folder = tmp_path_factory.mktemp("runs")
    for name, flags in (
        ("protonet", ["--train-ways", "6"]),
        ("metaoptnet", []),
        ("maml", ["--meta-batch", "2"]),
        ("simpleshot", []),
        ("baseline-pp", ["--fit-epochs", "2"]),
    ):
        assert main(["run", name, "glyphs-5w1s", *TINY, *flags, "--out", str(folder / name)]) == 0
    return folder


@pytest.fixture(scope="module")
def exported(runs: Path) -> Path:
    """An export of the ProtoNet run."""
    assert main(["export", str(runs / "protonet"), "--out", str(runs / "exported")]) == 0
    return runs / "exported"


@pytest.fixture(scope="module")
def episode(tmp_path_factory: pytest.TempPathFactory):
    """A test episode of glyphs, as tensors and as folders of PNGs: (folder, support, query)."""
    folder = tmp_path_factory.mktemp("episode")
    data = GLYPHS.load(folder, "alphabets", cache=folder)
    support, query = Episodes(data, "test", Shape(WAYS, SHOTS, QUERIES), seed=TEST_SEED).draw([3])
    for part, batch in (("support", support), ("query", query)):
        for i, (x, y) in enumerate(zip(batch.x[0], batch.y[0].tolist())):
            (folder / part / f"class{y}").mkdir(parents=True, exist_ok=True)
            picture = (x[0] * 255).round().to(torch.uint8).numpy()
            Image.fromarray(picture).save(folder / part / f"class{y}" / f"{i:02d}.png")
    return folder, support, query


def predicted(capsys: pytest.CaptureFixture[str], *argv: object) -> dict:
    assert main(["predict", *map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", ["protonet", "metaoptnet", "maml", "simpleshot"])
def test_answers_are_those_of_the_evaluation_on_the_same_episode(runs, episode, name, capsys):
    folder, support, query = episode
    trained = trained_in(runs / name)
    learner = make_learner(trained.recipe, 0, 1, 28, trained.classes).eval()
    learner.load_state_dict(trained.weights)
    fast = learner.begin()
    for _ in range(trained.recipe.test_steps):
        fast = learner.update(fast, learner.encode(support))
    expected = learner.answer(fast, learner.encode(query)).softmax(-1)[0]
    found = predicted(capsys, runs / name, "--support", folder / "support", "--query", folder / "query")
    rows = [[q["probabilities"][f"class{k}"] for k in range(WAYS)] for q in found["queries"]]
    assert torch.allclose(torch.tensor(rows), expected, atol=1e-6)
    assert expected.std() > 1e-5, "they differ by more than that from one another"
    assert [q["query"] for q in found["queries"][:2]] == ["class0/00.png", "class0/01.png"]
    assert [q["label"] for q in found["queries"]] == [f"class{k}" for k in expected.argmax(1).tolist()]
    assert [q["true"] for q in found["queries"]] == [f"class{k}" for k in query.y[0].tolist()]

    class One:
        seed = 0

        def draw(self, episodes, device="cpu"):
            return support, query

    suite = FewShot({"test": One()}, torch.device("cpu"))
    scores = scores_by_update(suite, suite.tasks([3], "test"), learner, trained.recipe.test_steps)
    assert found["accuracy"] == pytest.approx(scores[0, -1].item(), abs=1e-6)
    assert found["classes"] == {f"class{k}": SHOTS for k in range(WAYS)}
    norm = "transductive" if name == "maml" else "running"
    assert (found["updates"], found["norm"], found["left_out"]) == (trained.recipe.test_steps, norm, [])


def test_the_table_the_accuracy_and_the_sheet(runs, episode, capsys):
    folder, *_ = episode
    argv = ["predict", str(runs / "maml"), "--support", str(folder / "support"), "--query", str(folder / "query")]
    assert main([*argv, "--sheet", "out/sheet.png"]) == 0
    out = capsys.readouterr().out
    assert f"maml glyphs-5w1s, 3 updates on {folder / 'support'}" in out
    assert re.search(r"class0/00.png +│ class\d +│ class0 +│ class\d 0\.\d{3}, class\d 0\.\d{3}, ", out)
    assert "pictures were brought to 28 x 28 grey, as they are" in out
    assert "batch norm is transductive: each answer depends on the other queries it came with" in out
    assert re.search(r"accuracy: \d+\.\d\d % \(\d+ of 15\)", out)
    assert Path("out/sheet.png").read_bytes().startswith(b"\x89PNG")
    with Image.open("out/sheet.png") as picture:
        assert picture.width > 300


def test_loose_files_have_no_accuracy_and_other_folders_no_truth(runs, episode, tmp_path, capsys):
    folder, *_ = episode
    files = sorted((folder / "query").rglob("*.png"))[:2]
    argv = [runs / "protonet", "--support", folder / "support", "--query"]
    found = predicted(capsys, *argv, *files)
    assert ([q["query"] for q in found["queries"]], found["accuracy"]) == ([str(f) for f in files], None)
    shutil.copytree(folder / "query", tmp_path / "mixed")
    (tmp_path / "mixed" / "class0").rename(tmp_path / "mixed" / "strangers")
    found = predicted(capsys, *argv, tmp_path / "mixed")
    assert sum("true" in q for q in found["queries"]) == 12
    assert len(found["queries"]) == 15


def test_any_number_of_classes_and_of_shots_where_the_head_is_made_from_them(runs, episode, tmp_path, capsys):
    folder, *_ = episode
    shutil.copytree(folder / "support", tmp_path / "few")
    for k in (3, 4):
        shutil.rmtree(tmp_path / "few" / f"class{k}")
    next((tmp_path / "few" / "class1").iterdir()).unlink()
    argv = ["--support", tmp_path / "few", "--query", folder / "query"]
    for name in ("protonet", "metaoptnet", "baseline-pp"):
        found = predicted(capsys, runs / name, *argv)
        assert found["classes"] == {"class0": 2, "class1": 1, "class2": 2}
        assert all(sum(q["probabilities"].values()) == pytest.approx(1, abs=1e-6) for q in found["queries"])
    assert main(["predict", str(runs / "maml"), *map(str, argv)]) == 2
    assert "the head is learned for 5 ways and cannot answer for 3" in capsys.readouterr().err


BAD = {
    "no folder": ("nowhere", "nowhere is no folder. Give one with a sub-folder of pictures for each class."),
    "a loose picture": ("loose", "loose: a.png is in no class's folder. Put it into a sub-folder named as its class."),
    "an empty class": ("empty", "empty/none holds no picture that can be read."),
    "one class": ("one", "one has 1 class folders; to tell classes apart takes 2 at least."),
    "a broken picture": ("broken", "1 pictures cannot be read. .* a/broken.png is not a readable picture"),
}


@pytest.mark.parametrize(("name", "message"), BAD.values(), ids=BAD)
def test_a_support_that_cannot_be_used_is_refused(name, message, runs, tmp_path, capsys):
    for place in ("loose/a.png", "empty/a/1.png", "one/a/1.png", "broken/a/1.png", "broken/b/1.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9)).save(tmp_path / place)
    (tmp_path / "empty/none").mkdir()
    (tmp_path / "broken/a/broken.png").write_bytes(b"no picture")
    argv = ["predict", str(runs / "protonet"), "--support", name, "--query", "one"]
    assert main(argv) == 2
    assert re.search(message, " ".join(capsys.readouterr().err.split()))
    if name == "broken":
        assert main([*argv, "--unreadable", "skip"]) == 0
        assert "left out: a/broken.png is not a readable picture" in capsys.readouterr().out


def test_what_cannot_be_asked_is_refused(runs, episode, tmp_path, capsys):
    folder, *_ = episode
    support = ["--support", str(folder / "support")]
    for argv, message in (
        ([str(runs / "protonet"), *support, "--query", "absent.png"], "absent.png cannot be read: No such file"),
        ([str(runs / "protonet"), *support, "--query", "."], ".: there are no pictures to answer for"),
        (["absent", *support, "--query", "."], "absent does not exist; give the --out of a finished `metabench run`"),
        ([str(folder), *support, "--query", "."], "holds no checkpoint.pt; give the --out of a finished"),
        ([str(runs / "protonet"), *support, "--query", str(folder), "--steps", "0"], "give at least 1"),
    ):
        assert main(["predict", *argv]) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_outputs_that_are_not_finite_are_no_answer(episode, capsys):
    folder, *_ = episode
    flags = ["--iterations", "0", "--norm", "running", "--inner-lr", "20", "--test-steps", "1"]
    assert main(["run", "maml", "glyphs-5w1s", *TINY, *flags, "--out", "hot"]) == 0
    argv = ["predict", "hot", "--support", str(folder / "support"), "--query", str(folder / "query"), "--steps", "20"]
    assert main(argv) == 1
    assert re.search(
        r"diverged: outputs of \d+ of 15 queries are not finite after 20 updates; try fewer --steps",
        capsys.readouterr().err,
    )


def test_a_policy_answers_for_no_pictures(tmp_path, capsys):
    tiny = [
        "--iterations",
        "1",
        "--meta-batch",
        "2",
        "--rollouts",
        "2",
        "--val-tasks",
        "2",
        "--test-tasks",
        "2",
        "--hidden",
        "4",
        "--threads",
        "1",
    ]
    assert main(["run", "maml", "navigation", *tiny, "--out", "policy"]) == 0
    assert main(["predict", "policy", "--support", ".", "--query", "."]) == 2
    assert "maml navigation: a policy answers for no pictures; see it act with `metabench render`" in (
        capsys.readouterr().err
    )
    assert main(["export", "policy", "--out", "given"]) == 0
    assert main(["evaluate", "given", "--threads", "1"]) == 0
    assert "| data licence | none: simulated |" in Path("given/card.md").read_text()


# ----- export


def test_an_export_says_what_it_is_and_evaluates_as_its_run(runs, exported, tmp_path, monkeypatch):
    assert sorted(p.name for p in exported.iterdir()) == ["card.json", "card.md", "weights.safetensors"]
    card = json.loads((exported / "card.json").read_text())
    record = json.loads((runs / "protonet" / "record.json").read_text())
    assert (card["record"], card["licence"]) == (record, "MIT, part of metabench")
    assert card["form"] == {"channels": 1, "size": 28, "resample": "lanczos", "invert": False}
    text = (exported / "card.md").read_text()
    mean, ci95 = (100 * record["test"][field][1] for field in ("mean", "ci95"))
    assert f"| score | accuracy, % {mean:.2f} ± {ci95:.2f}, 95 % over 6 test tasks |" in text
    assert f"| weights | {card['weights']} |" in text
    assert "| norm | running |" in text
    monkeypatch.setattr("sys.argv", ["metabench", "evaluate", "it"])
    assert main(["evaluate", str(exported), "--threads", "1", "--publish"]) == 0
    [path] = (tmp_path / "results" / "records").iterdir()
    found = read_record(path)
    same = ("per_task", "recipe_digest", "protocol", "curve", "selected_iteration", "seed")
    assert {k: found[k] for k in same} == {k: record[k] for k in same}
    assert found["provenance"]["trained_by"][0]["command"] == record["provenance"]["command"]
    assert main(["export", str(runs / "protonet"), "--out", "again"]) == 0
    assert Path("again/weights.safetensors").read_bytes() == (exported / "weights.safetensors").read_bytes()


def test_an_export_answers_as_its_run(runs, exported, episode, capsys):
    folder, *_ = episode
    argv = ["--support", folder / "support", "--query", folder / "query"]
    assert predicted(capsys, exported, *argv) == predicted(capsys, runs / "protonet", *argv)


def test_what_was_changed_in_an_export_is_found(runs, exported, tmp_path, capsys):
    def spoiled(name: str, change) -> str:
        folder = tmp_path / name
        shutil.copytree(exported, folder)
        change(folder)
        assert main(["evaluate", str(folder)]) == 2
        return capsys.readouterr().err

    def edit(folder: Path) -> None:
        path = folder / "card.json"
        path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))

    other = (runs / "metaoptnet", tmp_path / "other")
    assert main(["export", str(other[0]), "--out", str(other[1])]) == 0
    capsys.readouterr()
    assert "card.json was changed since it was written" in spoiled("edited", edit)
    assert "weights.safetensors is damaged" in spoiled(
        "cut", lambda f: (f / "weights.safetensors").write_bytes(b"short")
    )
    assert "weights.safetensors holds other weights than card.json says; export the run again" in spoiled(
        "swapped", lambda f: shutil.copy(other[1] / "weights.safetensors", f)
    )
    assert "cannot read" in spoiled("gone", lambda f: (f / "weights.safetensors").unlink())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("form", {"channels": 1, "size": 10**9}, "no picture can be brought to the form {'channels': 1, 'size': 10+}"),
        (
            "form",
            {"channels": 1, "colour": 3},
            "card.json .*unexpected keyword argument 'colour'; export",
        ),
        ("record", {"schema": 2, "kind": "other"}, "card.json holds no record of a finished run; export the run again"),
        ("record", [], "card.json .*; export the run again"),
        ("schema", 9, "card.json is of kind 'learner', schema 9; this reads learner, 1"),
    ],
)
def test_a_card_that_somebody_made_up_is_refused(field, value, message, exported, tmp_path, capsys):
    shutil.copytree(exported, tmp_path / "made-up")
    path = tmp_path / "made-up" / "card.json"
    path.write_text(json.dumps(sealed(json.loads(path.read_text()) | {field: value})))
    assert main(["evaluate", "made-up"]) == 2
    assert re.search(message, " ".join(capsys.readouterr().err.split()))


def test_only_a_finished_run_with_its_record_is_exported(runs, exported, tmp_path, capsys):
    shutil.copytree(runs / "protonet", tmp_path / "bare")
    (tmp_path / "bare" / "record.json").unlink()
    for run, out, message in (
        ("bare", "x", "record.json is not a plain file; the same `metabench run` writes it anew"),
        (runs / "protonet", runs / "maml", f"{runs / 'maml'} is a run folder; give --out another one"),
        (exported, "x", f"{exported} is an export already; copy it"),
    ):
        assert main(["export", str(run), "--out", str(out)]) == 2
        assert message in capsys.readouterr().err
    assert not Path("x").exists()


# ----- weights to start from


def test_training_starts_from_weights_and_the_record_says_from_which(exported, tmp_path, capsys):
    argv = ["run", "maml", "glyphs-5w1s", *TINY, "--meta-batch", "2", "--weights", str(exported)]
    assert main([*argv, "--iterations", "0", "--out", "zero"]) == 0
    start, given = trained_in(Path("zero")).weights, trained_in(exported).weights
    assert all(torch.equal(start[name], given[name]) for name in given)
    assert main([*argv, "--out", "on"]) == 0
    record = json.loads(Path("on/record.json").read_text())
    weights = json.loads((exported / "card.json").read_text())["weights"]
    assert (record["recipe"]["weights"], record["recipe"]["schedule"]) == (weights, "custom")
    assert record["protocol"]["initial_weights"] == weights
    assert record["recipe_digest"] != digest(record["recipe"] | {"weights": ""})
    assert from_fields(record["recipe"]).digest() == record["recipe_digest"]
    before = Path("on/checkpoint.pt").read_bytes()
    assert main([*argv, "--out", "on"]) == 0, "the same command goes on, here at the end"
    assert Path("on/checkpoint.pt").read_bytes() == before
    capsys.readouterr()
    assert main([*argv[:-2], "--out", "on"]) == 2
    assert f"another recipe or seed (weights '{weights}', not '')" in capsys.readouterr().err


def test_weights_that_do_not_fit_are_refused(runs, exported, capsys):
    for row, flags, message in (
        ("maml glyphs-5w1s", ["--width", "8"], "has width 4, this recipe 8; give --width 4"),
        ("maml glyphs-5w1s", ["--backbone", "conv4"], "has backbone conv4-strided, this recipe conv4; give --backbone"),
        ("maml glyphs-3w1s", [], "does not fit (network.head.weight is 5 x 4, here 3 x 4; network.head.bias is 5"),
        ("meta-sgd glyphs-5w1s", [], "does not fit (rates.0 is missing; rates.1 is missing; rates.10 is missing; and"),
        ("maml navigation", [], "is of few-shot images, not control"),
    ):
        fit = [] if "navigation" in row else TINY
        assert main(["run", *row.split(), *fit, *flags, "--weights", str(exported), "--out", "x"]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("x/checkpoint.pt").exists()


# ----- other data sets


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    """An imported data set of colour pictures, 20 x 20, of bars."""
    draw = np.random.default_rng(0)
    for c in range(12):
        (tmp_path / "bars" / f"bar{c:02d}").mkdir(parents=True)
        for i in range(8):
            ink = (draw.random((20, 20, 3)) < 0.1) * 255
            ink[:, c : c + 3, i % 3] = 255
            Image.fromarray(ink.astype(np.uint8)).save(tmp_path / "bars" / f"bar{c:02d}" / f"{i}.png")
    shares = ["--shares", "34", "33", "33"]
    assert main(["data", "import", "bars", "bars", "--size", "20", *shares]) == 0
    return "bars"


def test_a_learner_is_tested_on_another_data_set(runs, pictures, tmp_path, capsys):
    argv = ["evaluate", str(runs / "protonet"), "--threads", "1", "--benchmark", "bars-3w2s"]
    assert main([*argv, "--queries", "4", "--publish"]) == 0
    out = capsys.readouterr().out
    assert "trained on glyphs, tested on bars" in out
    assert "its images: 20 x 20 colour brought to 28 x 28 grey" in out
    [path] = (tmp_path / "results" / "records").iterdir()
    record, plain = read_record(path), json.loads((runs / "protonet" / "record.json").read_text())
    assert path.name == f"protonet_glyphs-to-bars-3w2s_{record['recipe_digest']}_seed0.json"
    protocol = record["protocol"]
    assert (protocol["dataset"], protocol["trained_on"]) == ("bars", "glyphs")
    assert (protocol["ways"], protocol["shots"], protocol["queries"], protocol["train_ways"]) == (3, 2, 4, 6)
    assert (protocol["image_size"], protocol["images"]) == (28, "20 x 20 colour brought to 28 x 28 grey")
    assert record["recipe_digest"] == digest(record["recipe"], plain["recipe"])
    assert record["trained_recipe"] == plain["recipe"]
    assert len(set(record["per_task"])) > 1
    shutil.copy(Path(__file__).resolve().parents[2] / "results" / "published.yaml", tmp_path / "results")
    assert main(["report"]) == 0
    page = (tmp_path / "results" / "leaderboard.md").read_text()
    assert "| protonet | glyphs-to-bars-3w2s |" in page
    assert "**no published number**" in page


def test_a_classifier_keeps_its_head_of_the_training_classes(runs, pictures, capsys):
    for name in ("simpleshot", "baseline-pp"):
        argv = ["evaluate", str(runs / name), "--threads", "1", "--benchmark", "bars-3w1s", "--queries", "4"]
        assert main(argv) == 0
        assert f"{name} glyphs-to-bars-3w1s" in capsys.readouterr().out


def test_an_export_is_tested_where_the_data_of_its_training_are_not_known(exported, pictures, monkeypatch, capsys):
    monkeypatch.delitem(DATASETS.registered, "glyphs")
    assert main(["evaluate", str(exported), "--threads", "1", "--benchmark", "bars-3w1s", "--queries", "4"]) == 0
    assert "trained on glyphs, tested on bars" in capsys.readouterr().out
    assert main(["evaluate", str(exported), "--threads", "1"]) == 2
    assert "no data set 'glyphs'" in capsys.readouterr().err


def test_a_test_elsewhere_that_cannot_be_is_refused(runs, pictures, capsys):
    for name, flags, message in (
        ("maml", ["--benchmark", "bars-3w1s"], "the head is learned for 5 ways and cannot answer for 3"),
        ("maml", ["--benchmark", "bras-5w1s"], "no benchmark 'bras-5w1s'; did you mean 'bars-5w1s'?"),
        ("maml", ["--benchmark", "bars-5w1s"], "bars test: episodes of 5 ways need as many classes"),
    ):
        assert main(["evaluate", str(runs / name), "--threads", "1", "--queries", "3", *flags]) == 2
        assert message in " ".join(capsys.readouterr().err.split())


# ----- Python


def test_python_trains_and_uses(episode, tmp_path, capsys):
    folder, support, query = episode
    tiny = {"iterations": 2, "val_every": 2, "val_tasks": 4, "test_tasks": 6, "width": 4, "threads": 1}
    record = metabench.run("protonet", "glyphs-5w1s", schedule="short", **tiny, out="run", lr_factors=[[1, 0.5]])
    assert (record["status"], record["recipe"]["lr_factors"]) == ("complete", ((1, 0.5),))
    assert record["provenance"]["command"] == (
        "metabench run protonet glyphs-5w1s --schedule short --iterations 2 --val-every 2 --val-tasks 4 "
        "--test-tasks 6 --width 4 --threads 1 --out run --lr-factors 1 0.5"
    )
    learner = metabench.load("run")
    by_folder = learner.adapt(folder / "support").predict(folder / "query")
    assert by_folder.accuracy == by_folder.right / 15
    names = [f"class{k}" for k in support.y[0].tolist()]
    by_tensor = learner.adapt(support.x[0], names).predict(query.x[0])
    assert by_tensor.classes == by_folder.classes == tuple(f"class{k}" for k in range(WAYS))
    assert torch.equal(by_tensor.probabilities, by_folder.probabilities)
    files = sorted((folder / "support").rglob("*.png"))
    opened = [Image.open(path) for path in files]
    by_pictures = learner.adapt(opened, [path.parent.name for path in files])
    assert torch.equal(
        by_pictures.predict(sorted((folder / "query").rglob("*.png"))).probabilities, by_folder.probabilities
    )
    assert by_pictures.predict((query.x[0] * 255).round().to(torch.uint8)).labels == by_folder.labels
    numbers = learner.adapt(support.x[0], support.y[0]).predict(query.x[0])
    assert numbers.labels == by_folder.probabilities.argmax(1).tolist()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"iteration": 3}, "no field 'iteration'; did you mean 'iterations'?"),
        ({"dataset": "omniglot"}, "no field 'dataset'"),
        ({"iterations": "3"}, "iterations is '3'; give int"),
        ({"norm": "batch"}, "norm is 'batch'; choose one of transductive, running, support"),
        ({"lr_factors": [[1]]}, r"lr_factors is \[1\]; give 2 values each"),
        ({"iterations": -1}, "iterations is -1; it must be at least 0"),
    ],
)
def test_python_names_what_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        metabench.run("maml", "glyphs-5w1s", **fields)


def test_python_names_images_that_cannot_be(runs, episode):
    _, support, query = episode
    from metabench.vision.data.source import DataError

    learner = metabench.load(runs / "protonet")
    for act, message in (
        (lambda: learner.adapt(support.x[0]), "a support of Tensor needs labels, one for each image"),
        (lambda: learner.adapt(support.x[0], [0, 1]), "the support has 10 images and 2 labels"),
        (lambda: learner.adapt(support.x[0][:2], [0, 0]), "the support has 1 classes; to tell classes apart takes 2"),
        (lambda: learner.adapt(support.x[0][..., :9], range(10)), r"give uint8 of any size, or finite floating-point"),
        (lambda: learner.adapt(object(), [1]), "a object holds no images"),
        (
            lambda: learner.adapt(support.x[0], support.y[0]).predict([]),
            "there are no queries|holds no images|are torch",
        ),
        (lambda: learner.adapt(support.x[0], support.y[0]).predict(query.x[0] * torch.nan), "finite floating-point"),
    ):
        with pytest.raises(DataError, match=message):
            act()
