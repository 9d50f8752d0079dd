"""Control through the command line: every learner trains, and no bad input ends in a traceback."""

import json
import math

import numpy as np
import pytest

from metabench.bench.cli.main import main
from metabench.bench.recipes.control import VARIANTS
from metabench.bench.records.check import read_record
from metabench.bench.worlds.control import CONTROL
from metabench.envs import ENVIRONMENTS

TINY = ["--schedule", "short", "--iterations", "2", "--meta-batch", "2", "--rollouts", "2", "--hidden", "8", "8"]
TINY += ["--val-every", "1", "--val-tasks", "2", "--test-tasks", "2", "--threads", "1"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A working directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished MAML run on navigation."""
    folder = tmp_path_factory.mktemp("runs") / "maml"
    assert main(["run", "maml", "navigation", *TINY, "--out", str(folder)]) == 0
    return folder


def record_of(folder):
    return json.loads((folder / "record.json").read_text())


def logged(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "return" in line], [line for line in lines if "val" in line]


def test_a_run_leaves_its_record(trained):
    record = record_of(trained)
    assert (record["algorithm"], record["benchmark"], record["status"]) == ("maml", "navigation", "complete")
    assert (record["metric"], record["judged_update"], record["recipe"]["schedule"]) == ("return", 1, "custom")
    protocol = record["protocol"]
    assert (protocol["environment"], protocol["variant"], protocol["horizon"]) == ("navigation", "navigation", 100)
    assert (protocol["rollouts"], protocol["updates"], protocol["action_scaling"]) == (2, 1, 0.1)
    assert (record["test"]["updates"], record["test"]["tasks"]) == ([0, 1, 2, 3], 2)
    assert record["test"]["mean"][1] == pytest.approx(np.mean(record["per_task"]), abs=1e-6)
    assert all(-100 * math.sqrt(2) * 12 < mean < 0 for mean in record["test"]["mean"])
    steps, validations = logged(trained)
    assert [line["iteration"] for line in steps] == [line["iteration"] for line in validations] == [1, 2]
    assert all({"return_before", "return", "surrogate", "kl"} <= line.keys() for line in steps)
    assert all(0 <= line["kl"] <= 0.01 for line in steps)


@pytest.mark.parametrize("algorithm", CONTROL.algorithms)
def test_every_algorithm_trains_and_adapts(algorithm, tmp_path, capsys):
    steps = "0" if algorithm == "oracle" else "1"
    argv = ["run", algorithm, "navigation", *TINY, "--test-steps", steps, "--out", "out"]
    argv += ["--iterations", "0"] if algorithm == "untrained" else []
    assert main(argv) == 0
    record = record_of(tmp_path / "out")
    assert (record["status"], record["algorithm"]) == ("complete", algorithm)
    assert len(record["test"]["mean"]) == int(steps) + 1
    assert all(map(math.isfinite, record["test"]["mean"]))
    if algorithm != "oracle":
        assert record["test"]["mean"][0] != record["test"]["mean"][1]
    assert record["judged_update"] == (0 if algorithm in ("oracle", "pretrained") else 1)
    shown = capsys.readouterr().out
    assert f"{algorithm} navigation (custom) seed 0" in shown
    assert "test return (95% of 2 tasks)" in shown
    assert "%" not in shown.replace("(95%", "")
    assert main(["evaluate", "out", "--threads", "1"]) == 0


def test_a_robot_with_several_updates(tmp_path):
    few = ["--iterations", "1", "--inner-steps", "2", "--test-steps", "2"]
    assert main(["run", "anil", "cheetah-dir", *TINY, *few, "--out", "out"]) == 0
    record = record_of(tmp_path / "out")
    assert (record["judged_update"], record["protocol"]["observations"], record["protocol"]["horizon"]) == (2, 20, 100)
    assert len(record["test"]["mean"]) == 3


def test_evaluate_gives_the_same_numbers_again_and_others_on_more_tasks(trained, tmp_path, capsys):
    assert main(["evaluate", str(trained), "--threads", "1", "--publish"]) == 0
    [path] = (tmp_path / "results" / "records").iterdir()
    again, before = json.loads(path.read_text()), record_of(trained)
    assert again["test"] == before["test"]
    assert again["per_task"] == before["per_task"]
    assert main(["evaluate", str(trained), "--threads", "1", "--tasks", "3", "--steps", "1", "--publish"]) == 0
    [other] = set((tmp_path / "results" / "records").iterdir()) - {path}
    more = json.loads(other.read_text())
    assert (more["test"]["tasks"], more["test"]["updates"]) == (3, [0, 1])
    assert more["per_task"][:2] == pytest.approx(before["per_task"], rel=1e-3), "the first tasks are the same ones"
    assert "maml navigation" in capsys.readouterr().out


def test_a_policy_is_tested_in_another_variant_of_its_environment(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("metabench.bench.training.run.RECORDS", tmp_path / "records")
    few = ["--iterations", "1", "--test-steps", "1"]
    assert main(["run", "maml", "navigation-half-circle", *TINY, *few, "--out", "out"]) == 0
    assert main(["evaluate", "out", "--threads", "1", "--environment", "navigation-varibad", "--publish"]) == 0
    [path] = (tmp_path / "records").iterdir()
    record = read_record(path)
    assert (record["benchmark"], record["recipe"]["environment"]) == ("navigation-varibad", "navigation-half-circle")
    protocol = record["protocol"]
    assert (protocol["variant"], protocol["horizon"]) == ("navigation-varibad", 100)
    assert (protocol["environment"], protocol["trained_in"]) == ("navigation", "navigation-half-circle")
    assert "trained_in" not in record_of(tmp_path / "out")["protocol"]
    capsys.readouterr()
    for name, told in (
        ("navigation-varibat", "no environment 'navigation-varibat'; did you mean 'navigation-varibad'?"),
        ("navigation", "cannot be tested in navigation; its tasks, observations and actions must be"),
        ("cheetah-vel", "cannot be tested in cheetah-vel"),
    ):
        assert main(["evaluate", "out", "--environment", name]) == 2
        assert told in capsys.readouterr().err


def test_a_finished_run_asked_for_again_is_the_same_record(trained):
    before, weights = record_of(trained), (trained / "checkpoint.pt").read_bytes()
    assert main(["run", "maml", "navigation", *TINY, "--out", str(trained)]) == 0
    after = record_of(trained)
    anew = ("provenance", "checksum")  # it may say when and where
    assert {k: v for k, v in after.items() if k not in anew} == {k: v for k, v in before.items() if k not in anew}
    assert (trained / "checkpoint.pt").read_bytes() == weights


def test_list_shows_every_environment_and_variant(capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    for name in (*ENVIRONMENTS, *VARIANTS):
        assert name in shown
    assert "U[0,2]" in shown


def test_a_dry_run_says_what_it_costs(capsys, tmp_path):
    assert main(["run", "maml", "navigation", *TINY, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "max_kl" in shown
    # 2 tasks × 2 updates' worth of rollouts × 2 episodes × 100 steps; 58 weights of 8 × 8, 18 of the head, 2 log-stds.
    assert "800 simulation steps" in shown
    assert f"{2 * 8 + 8 + 8 * 8 + 8 + 8 * 2 + 2 + 2}" in shown
    assert not list(tmp_path.iterdir())


def test_a_dry_run_says_that_the_policy_diverges(capsys):
    assert main(["run", "maml", "navigation", *TINY, "--dry-run", "--inner-lr", "1e38"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("metabench: maml navigation: the policy diverges at these settings: ")
    assert said.endswith("; try a lower --inner-lr\n") and said.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("run maml cheeta-vel", "no benchmark 'cheeta-vel'; did you mean 'cheetah-vel'?"),
        ("run mamml cheetah-vel", "no algorithm 'mamml'; did you mean 'maml'?"),
        ("run oracle omniglot-5w1s", "oracle is of control only; omniglot-5w1s has maml"),
        ("run maml-noconv navigation", "maml-noconv is of few-shot images only; navigation has"),
        ("run maml navigation --rollouts 0", "maml navigation: rollouts is 0; it must be at least 1"),
        ("run maml navigation --hidden 5 0", "maml navigation: hidden is (5, 0); each layer needs at least one unit"),
        ("run maml navigation --discount 1.5", "maml navigation: discount is 1.5; it must be between 0 and 1"),
        ("run maml navigation --max-kl 0", "maml navigation: max_kl is 0.0; it must be a positive number"),
        ("run maml navigation --curvature nan", "curvature is nan"),
        ("run maml navigation --meta-batch 0", "maml navigation: meta_batch is 0; it must be at least 1"),
        ("run maml navigation --test-tasks 1", "maml navigation: test_tasks is 1; it must be at least 2"),
        ("run maml navigation --threads -1", "--threads is -1; it must be at least 0"),
        ("run maml navigation --compile", "--compile is for few-shot images"),
    ],
)
def test_bad_input(argv, message, capsys):
    assert main(argv.split()) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_render_draws_with_all_cores(trained, tmp_path):
    assert main(["render", str(trained), "--threads", "0", "--out", "new/paths.png"]) == 0
    assert (tmp_path / "new" / "paths.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--out README.md/pic.png", "--out is README.md/pic.png; README.md cannot be made a folder: File exists"),
        ("--out README.md/a/pic.png", "README.md/a cannot be made a folder: Not a directory"),
        ("--threads -1", "--threads is -1; it must be at least 0"),
    ],
)
def test_render_says_what_it_cannot_use(flags, message, trained, tmp_path, capsys):
    (tmp_path / "README.md").write_text("")
    assert main(["render", str(trained), *flags.split()]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_flags_of_the_other_world_are_refused(trained, capsys):
    assert main(["run", "maml", "navigation", "--ways", "5"]) == 2
    assert "--ways" in capsys.readouterr().err
    for flag in ("--ways", "--shots"):
        assert main(["evaluate", str(trained), flag, "5"]) == 2
        assert (
            "--ways, --shots and --queries are of few-shot images; control takes --tasks, --steps"
            in capsys.readouterr().err
        )


def test_a_checkpoint_of_another_recipe_or_seed_is_refused(trained, capsys):
    before = (trained / "checkpoint.pt").read_bytes()
    for change, why in (
        (["anil", "navigation"], "algorithm 'maml', not 'anil'"),
        (["maml", "navigation-promp"], "environment 'navigation', not 'navigation-promp'"),
        (["maml", "navigation", "--discount", "0.9"], "discount 0.99, not 0.9"),
        (["maml", "navigation", "--seed", "3"], "seed 0, not 3"),
    ):
        assert main(["run", *change[:2], *TINY, *change[2:], "--out", str(trained)]) == 2
        said = capsys.readouterr().err
        assert f"{trained} holds a run of another recipe or seed" in said
        assert why in said
        assert "choose another folder with --out" in said
    assert (trained / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize("outer", [[], ["--outer", "ppo"]])
def test_a_policy_that_leaves_the_numbers_is_marked_diverged(outer, tmp_path, capsys):
    argv = ["run", "maml", "navigation", *TINY, *outer, "--inner-lr", "1e38", "--out", "out"]
    assert main(argv) == 1
    record = record_of(tmp_path / "out")
    assert record["status"].startswith("diverged: ")
    assert "try a lower --outer-lr or --inner-lr" in capsys.readouterr().out
