"""Scores after 0 … K updates do not depend on how the tasks are shared, and each norm mode does as it says."""

import dataclasses
import threading

import numpy as np
import pytest
import torch

from metabench.algorithms import Diverged, Workers, adapt
from metabench.algorithms.suite import scores_by_update
from metabench.bench.distributed import Processes
from metabench.bench.training.evaluate import evaluate
from metabench.bench.worlds import build, resolve
from metabench.vision import DATASETS
from metabench.vision.data.glyphs import Glyphs
from metabench.vision.suite import FewShot

ALGORITHMS = ("maml", "anil", "meta-sgd", "protonet", "metaoptnet")


def made(tmp_path, algorithm="protonet", **fields):
    plain = resolve(algorithm, "glyphs-5w1s")
    rate = {"inner_lr": 0.4} if hasattr(plain, "inner_lr") else {}
    small = {"width": 4, "queries": 3, "train_shots": 1, "backbone": "conv4"}
    recipe = dataclasses.replace(plain, **rate, **small, **fields)
    nowhere = tmp_path / "nowhere"
    return build(recipe, 0, root=nowhere, cache=nowhere, processes=Processes("cpu"), workers=Workers(1))


@pytest.fixture(autouse=True)
def _few_glyphs(monkeypatch):
    monkeypatch.setitem(DATASETS, "glyphs", Glyphs(alphabets=(1, 1, 1), drawings=6))


def scores(built, count=9, updates=2, at_once=100, threads=1, processes=None, progress=lambda done: None):
    return evaluate(
        built.suite,
        built.learner,
        "test",
        count,
        updates,
        workers=Workers(threads),
        processes=processes or Processes("cpu"),
        at_once=at_once,
        progress=progress,
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_at_a_time_all_at_once_and_on_threads_score_alike(tmp_path, algorithm):
    built = made(tmp_path, algorithm)
    whole = scores(built)
    assert whole.shape == (9, 3)
    assert len(set(whole[:, -1].tolist())) >= 3
    for at_once, threads in ((1, 1), (4, 1), (5, 2), (100, 2)):
        np.testing.assert_array_equal(scores(built, at_once=at_once, threads=threads), whole)
    by_hand = [
        scores_by_update(built.suite, built.suite.tasks([i], "test"), built.learner.eval(), 2)[0] for i in range(9)
    ]
    np.testing.assert_array_equal(torch.stack(by_hand), whole)


class Threads:
    """`Processes` that are threads of this one, so that a test needs no sockets."""

    def __init__(self, world: int) -> None:
        self.world, self.parts, self.barrier = world, [None] * world, threading.Barrier(world)

    def rank(self, rank: int) -> Processes:
        one = Processes("cpu")
        one.world, one.rank = self.world, rank
        return one

    def all_gather(self, parts, share):
        self.parts[int(threading.current_thread().name)] = share
        self.barrier.wait()
        parts[:] = self.parts


@pytest.mark.parametrize(("count", "world"), [(9, 2), (2, 3), (1, 2)])
def test_shared_over_processes_each_task_is_scored_once_and_the_order_kept(tmp_path, monkeypatch, count, world):
    group = Threads(world)
    monkeypatch.setattr("metabench.bench.distributed.dist.all_gather_object", group.all_gather)
    built = [made(tmp_path) for _ in range(world)]
    whole, drawn, results = scores(built[0], count), [], [None] * world

    def act(rank: int) -> None:
        tasks = built[rank].suite.tasks
        built[rank].suite.tasks = lambda indices, split: (drawn.extend(indices), tasks(indices, split))[1]
        results[rank] = scores(built[rank], count, at_once=2, processes=group.rank(rank))

    threads = [threading.Thread(target=act, args=(r,), name=str(r)) for r in range(world)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert sorted(drawn) == list(range(count))
    for result in results:
        np.testing.assert_array_equal(result, whole)


def test_evaluation_leaves_the_learner_as_it_was_and_tells_its_progress(tmp_path):
    built, done = made(tmp_path, norm="running"), []
    built.learner.train()
    before = {k: v.clone() for k, v in built.learner.state_dict().items()}
    scores(built, at_once=4, progress=done.append)
    assert done == [4, 8, 9]
    assert built.learner.training
    assert all(torch.equal(v, before[k]) for k, v in built.learner.state_dict().items())
    assert all(p.grad is None for p in built.learner.parameters())


def test_tasks_whose_outputs_are_not_finite_have_diverged(tmp_path):
    built, support = made(tmp_path), FewShot.support

    def spoiled(suite, tasks, learner, fast, update):
        batch = support(suite, tasks, learner, fast, update)
        return batch if update < 1 else batch._replace(x=batch.x.where(batch.x.mean((1, 2, 3, 4), True) < level, nan))

    means = sorted(float(built.suite.tasks([i], "test").support.x.mean()) for i in range(9))
    level, nan = means[6], torch.nan
    built.suite.support = spoiled.__get__(built.suite)
    built.learner.train()
    with pytest.raises(Diverged, match="outputs of 3 of 9 tasks are not finite, the first after 2 updates"):
        scores(built)
    assert built.learner.training
    assert scores(built, updates=1).shape == (9, 2)


def test_a_task_is_scored_on_queries_that_it_has_not_seen(tmp_path):
    built = made(tmp_path)
    tasks = built.suite.tasks(range(9), "test")
    swapped = dataclasses.replace(tasks, query=tasks.support)
    learner = built.learner.eval()
    assert scores_by_update(built.suite, swapped, learner, 1)[:, 1].tolist() == [1.0] * 9
    assert scores_by_update(built.suite, tasks, learner, 1)[:, 1].mean() < 0.95


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("norm", "alone"), [("transductive", False), ("running", True), ("support", True)])
def test_a_query_is_classified_apart_from_the_others_unless_transductive(tmp_path, algorithm, norm, alone):
    built = made(tmp_path, algorithm, norm=norm)
    learner = built.learner.double().eval()
    for name, buffer in learner.network.named_buffers():  # as if it had been trained
        buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else 0))
    tasks = built.suite.tasks([0], "test")
    support, query = (b._replace(x=b.x.double(), w=b.w.double()) for b in (tasks.support, tasks.query))
    with torch.no_grad():
        fast = adapt(learner, [support, support])
        together = learner.predict(fast, query.x)
        one_by_one = torch.cat([learner.predict(fast, query.x[:, i : i + 1]) for i in range(query.x.shape[1])], 1)
    difference = float((together - one_by_one).abs().max())
    assert difference < 1e-10 if alone else difference > 1e-3


def test_the_three_norms_give_three_predictions(tmp_path):
    outputs = {}
    for norm in ("transductive", "running", "support"):
        built = made(tmp_path, norm=norm)
        learner, tasks = built.learner.eval(), built.suite.tasks([0], "test")
        with torch.no_grad():
            outputs[norm] = learner.predict(adapt(learner, [tasks.support]), tasks.query.x)
    for a, b in (("transductive", "running"), ("running", "support"), ("support", "transductive")):
        assert float((outputs[a] - outputs[b]).abs().max()) > 1e-2
