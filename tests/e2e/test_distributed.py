"""Two processes that talk through gloo do what one does."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from metabench.algorithms import Diverged, Workers
from metabench.algorithms.suite import collect
from metabench.bench.distributed import Processes
from metabench.bench.training.checkpoint import locked
from metabench.bench.training.evaluate import evaluate
from metabench.bench.worlds import build, resolve

SMALL = ["--device", "cpu", "--width", 4, "--queries", 2, "--train-queries", 2]
TINY = [*SMALL, "--val-every", 5, "--val-tasks", 5, "--test-tasks", 7]
MAML = ["run", "maml", "glyphs-5w1s", *TINY, "--iterations", 10, "--threads", 1]
PROTONET = ["run", "protonet", "glyphs-5w1s", *TINY, "--iterations", 10, "--threads", 1, "--train-ways", 5]
FIELDS = {
    "maml": {"meta_batch": 3, "inner_steps": 2, "outer_lr": 0.01},
    "protonet": {"meta_batch": 3, "train_ways": 5, "outer_lr": 1.0},
}


def two_steps(algorithm: str, out: str, planted: str = "") -> None:
    """Two outer steps and an evaluation in float64 as one of the processes; writes what came of it.

    Seven tasks to score and three to learn from: the second process has one less of either. With `planted` its
    first support holds a NaN.
    """
    small = {"width": 4, "queries": 2, "train_queries": 2, "optimizer": "sgd"}  # Adam would magnify rounding
    recipe = dataclasses.replace(resolve(algorithm, "glyphs-5w1s"), **small, **FIELDS[algorithm])
    processes, workers = Processes("cpu"), Workers(1)
    nowhere = Path(out).parent / "nowhere"
    built = build(recipe, 0, root=nowhere, cache=nowhere, processes=processes, workers=workers)
    learner = built.learner.double()

    def tasks(indices, split):
        drawn = drawn_in_float(indices, split)
        return dataclasses.replace(drawn, support=wide(drawn.support), query=wide(drawn.query))

    def wide(batch):
        return batch._replace(x=batch.x.double(), w=batch.w.double())

    drawn_in_float, built.suite.tasks = built.suite.tasks, tasks
    learner.train()
    said = []
    for step in range(2):
        mine = processes.shard(range(3 * step, 3 * step + 3))
        supports, query = collect(built.suite, tasks(mine, "train"), learner, recipe.inner_steps)
        if planted and processes.rank == 1:
            supports[0].x[0, 0] = torch.nan
        with contextlib.suppress(Diverged):
            said.append(built.outer.step(learner, supports, query))
    scores = evaluate(built.suite, learner, "test", 7, 2, workers=workers, processes=processes, at_once=2)
    state = {
        "said": said,
        "rows": len(processes.shard(range(7))),
        "scores": torch.from_numpy(scores),
        "gradients": [None if p.grad is None else p.grad for p in learner.parameters()],
        "learner": learner.state_dict(),
    }
    torch.save(state, f"{out}.{processes.rank}")
    processes.close()


def outcome(path: Path, rank: int = 0) -> dict:
    return torch.load(f"{path}.{rank}", weights_only=True)


def run_as(warm, world: int, *argv) -> None:
    """Run `two_steps` as so many processes."""
    for fork in warm.start_ranks(world, *argv, call=(__file__, "two_steps")):
        assert fork.wait() == 0, fork.output


@pytest.mark.parametrize("algorithm", ["maml", "protonet"])
def test_the_meta_gradient_of_two_processes_is_that_of_one(warm, tmp_path, algorithm):
    run_as(warm, 1, algorithm, tmp_path / "one")
    run_as(warm, 2, algorithm, tmp_path / "two")
    one, first, second = outcome(tmp_path / "one"), outcome(tmp_path / "two"), outcome(tmp_path / "two", 1)
    assert (one["rows"], first["rows"], second["rows"]) == (7, 4, 3)
    assert sum(float(g.abs().sum()) for g in one["gradients"]) > 1
    for other in (first, second):
        for a, b in zip(one["gradients"], other["gradients"], strict=True):
            torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-10)
        for name, value in one["learner"].items():  # the running statistics are among them
            torch.testing.assert_close(other["learner"][name], value, rtol=1e-10, atol=1e-10)
        for a, b in zip(one["said"], other["said"], strict=True):
            assert b == pytest.approx(a, abs=1e-12)
        assert torch.equal(other["scores"], one["scores"])
    assert one["said"][0]["loss"] != one["said"][1]["loss"]
    if algorithm == "protonet":
        assert not torch.allclose(one["learner"]["network.body.norms.0.var"], torch.ones(4).double(), atol=0.01)
        assert len(set(one["scores"][:, -1].tolist())) > 3


def test_a_loss_that_diverges_in_one_process_stops_both_alike(warm, tmp_path):
    run_as(warm, 2, "maml", tmp_path / "two", "planted")
    for rank in (0, 1):
        result = outcome(tmp_path / "two", rank)
        assert result["said"] == []
        assert all(bool(v.isfinite().all()) for v in result["learner"].values())
    one, other = outcome(tmp_path / "two")["learner"], outcome(tmp_path / "two", 1)["learner"]
    assert all(torch.equal(v, other[n]) for n, v in one.items())


def record_of(folder: Path) -> dict:
    return json.loads((folder / "record.json").read_text())


def losses(folder: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "loss" in line] == list(range(1, 11))
    return {line["iteration"]: line["loss"] for line in lines if "loss" in line}


def torchrun(warm, *argv) -> subprocess.CompletedProcess[str]:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [sys.executable, *launch, *map(str, argv)], env=warm.environment(), capture_output=True, text=True, timeout=240
    )


LEAVING = """
import os, sys
from pathlib import Path
import torch
from metabench.bench.distributed import Processes
def gloo():
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    return sum("gloo" in name for name in names)
processes = Processes("cpu")
import torch.distributed.nn  # as torch.compile does, in the middle of a run
processes.sum(torch.ones(1))
before = gloo()
processes.close()
Path(f"{sys.argv[1]}.{processes.rank}").write_text(f"{before > 0} {gloo()}")
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="lists threads as Linux does")
def test_no_thread_of_the_group_is_left_when_it_is_closed(warm, tmp_path):
    """One that is left may want the interpreter while it ends, and then aborts a run that was done."""
    script = tmp_path / "leaving.py"
    script.write_text(LEAVING)
    done = torchrun(warm, script, tmp_path / "threads")
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"threads.{rank}").read_text() for rank in (0, 1)] == ["True 0", "True 0"]


def test_torchrun_gives_the_record_of_one_process_written_once(warm, tmp_path):
    argv = [*PROTONET, "--meta-batch", 3, "--val-every", 10]  # one validation: two that tie could be told by rounding
    status, output = warm.run(*argv, "--out", tmp_path / "one")
    assert status == 0, output
    done = torchrun(warm, "-m", "metabench", *argv, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("updates") == 1
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == ["checkpoint.pt", "lock", "log.jsonl", "record.json"]
    one, two = record_of(tmp_path / "one"), record_of(tmp_path / "two")
    assert (one["provenance"]["processes"], two["provenance"]["processes"]) == (1, 2)
    assert two["provenance"]["command"].startswith("torchrun --nproc-per-node=2 -m metabench run protonet glyphs-5w1s")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-3)
    assert one["selected_iteration"] == two["selected_iteration"]
    assert one["test"]["tasks"] == two["test"]["tasks"] == 7
    assert len(set(one["per_task"])) >= 3
    # A query whose two best logits are equal to rounding may fall on either side.
    np.testing.assert_allclose(two["per_task"], one["per_task"], atol=0.1001)
    np.testing.assert_allclose(two["test"]["mean"], one["test"]["mean"], atol=0.03)


def test_a_dry_run_of_several_processes_is_printed_once(warm):
    done = torchrun(warm, "-m", "metabench", "run", "maml", "navigation", "--dry-run", "--rollouts", 2, "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("maml navigation, recipe") == done.stdout.count("time here") == 1


def test_a_meta_batch_smaller_than_the_processes_is_refused(warm, tmp_path):
    for fork in warm.start_ranks(2, *MAML, "--meta-batch", 1, "--out", tmp_path / "run"):
        assert fork.wait() == 2
        assert (
            "maml glyphs-5w1s: a meta-batch of 1 cannot be shared by 2 processes; start fewer, or raise --meta-batch"
            in fork.output
        )
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_one_process_that_fails_does_not_leave_the_other_waiting(warm, tmp_path):
    """The first process is refused the run folder while the second waits for it."""
    with locked(tmp_path / "run"):
        first, second = warm.start_ranks(2, *MAML, "--meta-batch", 2, "--out", tmp_path / "run")
        warm.until(lambda: not first.alive and not second.alive, seconds=60)
    assert first.wait() == 2
    assert f"run folder {tmp_path / 'run'} is in use by process {os.getpid()}" in first.output
    assert second.wait() == 1


def test_a_signal_to_one_of_two_processes_stops_both_at_one_iteration(warm, tmp_path):
    folder = tmp_path / "run"
    argv = [*MAML, "--meta-batch", 2, "--iterations", 400, "--save-every", 0, "--out", folder]
    first, second = warm.start_ranks(2, *argv)
    warm.until(lambda: (folder / "log.jsonl").exists() and len((folder / "log.jsonl").read_text()) > 100)
    second.kill(signal.SIGTERM)
    assert (first.wait(), second.wait()) == (143, 143)
    at = torch.load(folder / "checkpoint.pt", weights_only=True)["state"]["iteration"]
    assert 0 < at < 400
    assert f"stopped at iteration {at} of 400, which is saved; the same command goes on there" in first.output
    assert second.output == ""


def test_a_run_of_two_processes_is_resumed_exactly(warm, tmp_path):
    argv = [*MAML, "--meta-batch", 2, "--out"]
    for fork in warm.start_ranks(2, *argv, tmp_path / "calm"):
        assert fork.wait() == 0, fork.output
    harried = tmp_path / "harried"
    ranks = warm.start_ranks(2, *argv, harried, "--save-every", 0)
    warm.until(lambda: (harried / "log.jsonl").exists() and len((harried / "log.jsonl").read_text()) > 100)
    for fork in ranks:
        fork.kill()
        fork.wait()
    for fork in warm.start_ranks(2, *argv, harried):
        assert fork.wait() == 0, fork.output
    assert (tmp_path / "calm" / "log.jsonl").read_text() == (harried / "log.jsonl").read_text()
    calm, disturbed = record_of(tmp_path / "calm"), record_of(harried)
    assert calm.pop("provenance") != disturbed.pop("provenance")
    assert calm.pop("checksum") != disturbed.pop("checksum")
    assert calm == disturbed
