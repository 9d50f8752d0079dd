"""Control in real processes: killed and resumed bit for bit, and shared by two that agree with one."""

import dataclasses
import json
import random

import pytest
import torch

from metabench.algorithms import Workers
from metabench.algorithms.suite import collect
from metabench.bench.distributed import Processes
from metabench.bench.training.evaluate import evaluate
from metabench.bench.worlds import build, resolve
from tests.e2e.harried import assert_same_run, harry, record_of

TINY = ["--meta-batch", 2, "--rollouts", 2, "--hidden", 8, 8, "--val-every", 5, "--val-tasks", 2, "--test-tasks", 2]
RUNS = {
    "trpo": ["run", "maml", "navigation", *TINY, "--iterations", 20, "--threads", 1],
    "ppo-2-threads": ["run", "maml-promp", "navigation", *TINY, "--iterations", 20, "--threads", 2],
}


@pytest.mark.parametrize("argv", RUNS.values(), ids=RUNS)
def test_a_run_killed_at_random_moments_ends_as_the_undisturbed_one(warm, tmp_path, argv):
    calm, harried = tmp_path / "calm", tmp_path / "harried"
    assert warm.run(*argv, "--out", calm)[0] == 0
    pace = record_of(calm)["provenance"]["train_seconds"] / 20
    harry(warm, argv, harried, (0, 3, 9, 14), random.Random(1), pace)
    assert_same_run(calm, harried)
    lines = [json.loads(line) for line in (harried / "log.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "return" in line] == list(range(1, 21))


def two_steps(algorithm: str, out: str, planted: str = "") -> None:
    """Two outer steps on three tasks and an evaluation of five, in float64, as one of the processes.

    With `planted` the second process's first policy is not a number.
    """
    small = {"meta_batch": 3, "rollouts": 3, "hidden": (8, 8), "inner_steps": 2, "test_steps": 1, "activation": "tanh"}
    recipe = dataclasses.replace(resolve(algorithm, "navigation"), **small)
    processes, workers = Processes("cpu"), Workers(1)
    built = build(recipe, 0, root="nowhere", cache="nowhere", processes=processes, workers=workers)
    learner, suite = built.learner.double(), built.suite
    batch = suite._batch
    suite._batch = lambda rolled: batch(rolled)._replace(**exact(batch(rolled)))
    learner.train()
    said = []
    for step in range(2):
        tasks = suite.tasks(processes.shard(range(3 * step, 3 * step + 3)), "train")
        if planted and processes.rank == 1:
            learner.network.head.bias.data[0] = torch.nan
        try:
            collected = processes.together(lambda tasks=tasks: collect(suite, tasks, learner, recipe.inner_steps))
        except RuntimeError as error:
            said.append(f"{type(error).__name__}: {error}")
            continue
        said.append(built.outer.step(learner, *collected))
    scores = None
    if not planted:
        scores = torch.from_numpy(
            evaluate(suite, learner, "test", 5, 1, workers=workers, processes=processes, at_once=2)
        )
    torch.save({"said": said, "scores": scores, "learner": learner.state_dict()}, f"{out}.{processes.rank}")
    processes.close()


def exact(batch) -> dict:
    return {k: v.double() for k, v in batch._asdict().items() if isinstance(v, torch.Tensor)}


def outcomes(warm, world, *argv):
    for fork in warm.start_ranks(world, *argv, call=(__file__, "two_steps")):
        assert fork.wait() == 0, fork.output
    return [torch.load(f"{argv[1]}.{rank}", weights_only=True) for rank in range(world)]


@pytest.mark.parametrize("algorithm", ["maml", "maml-promp"])
def test_two_processes_take_the_steps_of_one(warm, tmp_path, algorithm):
    [one] = outcomes(warm, 1, algorithm, tmp_path / "one")
    first, second = outcomes(warm, 2, algorithm, tmp_path / "two")
    for other in (first, second):
        for a, b in zip(one["said"], other["said"], strict=True):
            assert b == pytest.approx(a, rel=1e-4, abs=1e-6)
        for name, value in one["learner"].items():
            torch.testing.assert_close(other["learner"][name], value, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(other["scores"], one["scores"], rtol=1e-5, atol=1e-4)
    assert all(torch.equal(v, second["learner"][n]) for n, v in first["learner"].items())
    assert one["scores"].shape == (5, 2)
    assert one["said"][0] != one["said"][1]


def test_a_policy_that_diverges_in_one_process_stops_both_alike(warm, tmp_path):
    first, second = outcomes(warm, 2, "maml", tmp_path / "two", "planted")
    assert first["said"] == second["said"] == ["Diverged: a policy's actions are not finite"] * 2
