"""`metabench run --seeds`: single runs one after another, and a line over them."""

import json
import signal
from pathlib import Path

import pytest

from metabench.bench.cli.main import main
from metabench.bench.cli.run import over_seeds
from metabench.bench.stopping import Interrupted

RUN = ["run", "protonet", "glyphs-5w1s"]
TINY = [
    *("--schedule", "short", "--iterations", "4", "--val-every", "2", "--val-tasks", "4", "--test-tasks", "6"),
    *("--width", "4", "--train-ways", "6", "--threads", "1"),
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A working directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a single run."""
    folder = tmp_path_factory.mktemp("runs") / "single"
    assert main([*RUN, *TINY, "--out", str(folder)]) == 0
    return folder


def record_of(folder: Path):
    return json.loads((folder / "record.json").read_text())


def test_several_seeds_are_single_runs_and_a_line_over_them(trained, tmp_path, capsys):
    argv = [*RUN, *TINY, "--out", "both", "--seeds"]
    assert main([*argv, "1", "0"]) == 0
    records = [record_of(tmp_path / "both" / f"seed{seed}") for seed in (0, 1)]
    assert [record["seed"] for record in records] == [0, 1]
    assert records[0]["per_task"] == record_of(trained)["per_task"] != records[1]["per_task"]
    a, b = (100 * sum(record["per_task"]) / len(record["per_task"]) for record in records)
    half = 12.706205 * abs(a - b) / 2  # t of one degree of freedom; s / √2 of two values is half of their distance
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == (
        f"protonet glyphs-5w1s (custom): accuracy, % {(a + b) / 2:.2f} ± {half:.2f} (95 %, Student's t) over 2 seeds, "
        "after 1 update"
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--seeds", "1", "1"], "--seeds names a seed twice: 1 1"),
        (["--seed", "3", "--seeds", "1", "2"], "--seed 3 and --seeds exclude each other; give --seeds alone"),
        (["--seeds", "0", "-1"], "--seed is -1; it must be at least 0 and below 2^63"),
    ],
)
def test_seeds_that_clash_are_refused_before_anything_runs(flags, said, tmp_path, capsys):
    assert main([*RUN, *flags]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()


def test_a_line_over_seeds_names_those_that_diverged(trained):
    good, bad = record_of(trained), {**record_of(trained), "seed": 4, "status": "diverged: the loss is nan"}
    mean = 100 * sum(good["per_task"]) / len(good["per_task"])
    assert over_seeds([good, bad]) == (
        f"protonet glyphs-5w1s (custom): accuracy, % {mean:.2f} over 1 seed, after 1 update; seed 4 diverged"
    )
    assert over_seeds([bad, bad]).endswith("no seed of 2 was completed; seeds 4, 4 diverged")


def test_a_signal_ends_the_seeds_that_are_left(monkeypatch, capsys):
    """The third seed is not begun, and what is said is of the second."""
    begun = []

    def interrupted(recipe, options, machine):
        begun.append((options.seed, str(options.folder(recipe))))
        if options.seed == 1:
            raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr("metabench.bench.cli.run.execute", interrupted)
    assert main([*RUN, "--out", "all", "--seeds", "0", "1", "2"]) == 143
    assert begun == [(0, "all/seed0"), (1, "all/seed1")]
    assert capsys.readouterr().err == "\nstopped before anything was saved; the same command starts the run\n"
