"""The loop: what is saved when, what a resumed run does, and what stops one."""

import dataclasses
import functools
import json
import os

import numpy as np
import pytest
import torch

from metabench.algorithms import Diverged, Workers
from metabench.bench.distributed import Processes
from metabench.bench.recipes.recipe import RecipeError
from metabench.bench.stopping import status
from metabench.bench.training import checkpoint
from metabench.bench.training.checkpoint import RunFolderError
from metabench.bench.training.progress import Progress
from metabench.bench.training.trainer import State, Stopped, Trainer
from metabench.bench.worlds import build, resolve
from metabench.bench.worlds import few_shot_build as build_module
from metabench.vision import DATASETS
from metabench.vision.data.glyphs import Glyphs
from metabench.vision.models.backbones import ResNet12

RECIPE = dataclasses.replace(
    resolve("protonet", "glyphs-5w1s"),
    width=4, train_ways=5, queries=2, train_queries=2, iterations=6, val_every=3, val_tasks=4, test_tasks=4,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _few_glyphs(monkeypatch):
    monkeypatch.setitem(DATASETS, "glyphs", Glyphs(alphabets=(1, 1, 1), drawings=6))


def trainer(folder, recipe=RECIPE, seed=0, **options) -> Trainer:
    processes, workers = Processes("cpu"), Workers(1)
    built = build(recipe, seed, root=folder, cache=folder, processes=processes, workers=workers)
    folder.mkdir(exist_ok=True)
    return Trainer(recipe, seed, built, folder, workers=workers, processes=processes, **options)


def train(one: Trainer) -> State:
    with Progress("test", quiet=True) as progress:
        return one.run(progress)


def stopped_after(one: Trainer, iterations: int) -> None:
    """Train, and stop as a kill does: before the step after this many."""
    step = one.built.outer.step

    def die_then(*arguments):
        if one.state.iteration == iterations:
            raise KeyboardInterrupt
        return step(*arguments)

    one.built.outer.step = die_then
    with pytest.raises(KeyboardInterrupt):
        train(one)


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("augment", ["metaoptnet", "strong"])
def test_random_layers_and_augmented_images_are_the_same_after_a_resume(tmp_path, monkeypatch, augment):
    def small_resnet(recipe, channels, size):
        return ResNet12(channels, size, (3, 3, 3, 3), keep=0.7)

    monkeypatch.setattr(build_module, "make_body", small_resnet)
    recipe = dataclasses.replace(RECIPE, backbone="resnet12", augment=augment, meta_batch=2, optimizer="sgd")
    calm, resumed = trainer(tmp_path / "calm", recipe), trainer(tmp_path / "resumed", recipe)
    train(calm)
    stopped_after(trainer(tmp_path / "resumed", recipe, save_every=0), 4)
    train(resumed)
    for name, value in calm.built.learner.state_dict().items():
        assert torch.equal(resumed.built.learner.state_dict()[name], value), name
    assert lines(tmp_path / "calm") == lines(tmp_path / "resumed")

    other = trainer(tmp_path / "other", recipe)
    other.built.outer.seed += 1  # other DropBlock masks, and nothing else
    train(other)
    losses = [[line["loss"] for line in lines(tmp_path / name) if "loss" in line] for name in ("calm", "other")]
    assert all(a != b for a, b in zip(*losses, strict=True))


def test_a_checkpoint_follows_each_validation_and_each_interval(tmp_path, monkeypatch):
    at = []
    monkeypatch.setattr(checkpoint, "save", lambda path, state: at.append(state["state"]["iteration"]))
    train(trainer(tmp_path / "rarely", dataclasses.replace(RECIPE, val_every=4)))
    assert at == [4, 6]
    at.clear()
    train(trainer(tmp_path / "often", dataclasses.replace(RECIPE, val_every=4), save_every=-1))
    assert at == [1, 2, 3, 4, 5, 6]


NOTHING_TO_VALIDATE = dataclasses.replace(RECIPE, val_tasks=0)


@pytest.fixture
def no_validation_classes(monkeypatch):
    """Glyphs with all but the test alphabet in training."""

    class TrainsOnAll(Glyphs):
        def load(self, root, split, *, cache, seed=0):
            data = super().load(root, split, cache=cache, seed=seed)
            data.splits["train"] = np.concatenate([data.splits["train"], data.splits["val"]])
            data.splits["val"] = data.splits["val"][:0]
            return data

    monkeypatch.setitem(DATASETS, "glyphs", TrainsOnAll(alphabets=(1, 1, 1), drawings=6))


def test_without_validation_the_last_iterate_is_kept(tmp_path, no_validation_classes):
    one = trainer(tmp_path / "calm", NOTHING_TO_VALIDATE)
    state = train(one)
    assert (state.iteration, state.best_iteration, state.curve) == (6, 6, [])
    assert one.built.protocol["selection"] == "last"
    assert all("val" not in line for line in lines(tmp_path / "calm"))
    learner = one.built.learner.state_dict()
    assert all(torch.equal(state.best_learner[name], value) for name, value in learner.items())

    stopped_after(trainer(tmp_path / "resumed", NOTHING_TO_VALIDATE, save_every=-1), 4)
    resumed = trainer(tmp_path / "resumed", NOTHING_TO_VALIDATE)
    train(resumed)
    resumed.load_best()
    assert all(torch.equal(resumed.built.learner.state_dict()[name], value) for name, value in learner.items())


def test_nothing_to_validate_on_is_said_before_training(tmp_path, no_validation_classes):
    with pytest.raises(RecipeError) as caught:
        trainer(tmp_path)
    assert str(caught.value) == (
        "protonet glyphs-5w1s: split alphabets of glyphs has no classes to validate on; give --val-tasks 0 and the "
        "--iterations chosen beforehand, and the last iterate is tested"
    )


def test_the_best_learner_on_validation_is_kept(tmp_path, monkeypatch):
    means = iter([0.3, 0.5, 0.5])
    monkeypatch.setattr("metabench.bench.training.trainer.mean_interval", lambda scores: (next(means), 0.1, 4))
    one = trainer(tmp_path, dataclasses.replace(RECIPE, val_every=2))
    snapshots = []
    keep = one.validate

    def validate(progress):
        snapshots.append({k: v.clone() for k, v in one.built.learner.state_dict().items()})
        keep(progress)

    one.validate = validate
    state = train(one)
    assert (state.best, state.best_iteration) == (0.5, 4)
    assert [p["mean"] for p in state.curve] == [0.3, 0.5, 0.5]
    one.load_best()
    for name, value in one.built.learner.state_dict().items():
        assert torch.equal(value, snapshots[1][name])
    assert any(not torch.equal(v, snapshots[2][k]) for k, v in one.built.learner.state_dict().items())


def test_a_run_of_no_iterations_tests_the_initial_learner(tmp_path):
    one = trainer(tmp_path, dataclasses.replace(RECIPE, iterations=0))
    before = {k: v.clone() for k, v in one.built.learner.state_dict().items()}
    assert train(one).iteration == 0
    one.load_best()
    assert all(torch.equal(v, before[k]) for k, v in one.built.learner.state_dict().items())


def test_another_recipe_or_seed_is_named_by_the_field(tmp_path):
    train(trainer(tmp_path))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    wider = dataclasses.replace(RECIPE, width=5, outer_lr=0.5)
    with pytest.raises(RunFolderError) as caught:
        train(trainer(tmp_path, wider))
    assert str(caught.value) == (
        f"{tmp_path} holds a run of another recipe or seed (outer_lr 0.001, not 0.5, width 4, not 5); "
        "choose another folder with --out"
    )
    with pytest.raises(RunFolderError, match=r"another recipe or seed \(seed 0, not 3\); choose another"):
        train(trainer(tmp_path, seed=3))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_other_data_in_the_same_place_is_refused(tmp_path, monkeypatch):
    """Fewer drawings, or other classes, would be other splits: training classes could be tested."""
    train(trainer(tmp_path))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    monkeypatch.setitem(DATASETS, "glyphs", Glyphs(alphabets=(1, 1, 1), drawings=7))
    with pytest.raises(RunFolderError) as caught:
        train(trainer(tmp_path))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path} was trained on other data (split ")
    assert message.endswith("); put that back, or choose another folder with --out")
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_every_way_in_which_a_run_was_started_is_kept(tmp_path):
    """So that no record of weights trained in two ways names the last one alone."""
    facts = [{"precision": p, "commit": "abc", "dirty": False} for p in ("bf16", "bf16", "fp32")]
    for stop, fact in zip((2, 4), facts):
        one = trainer(tmp_path)
        one.run = functools.partial(one.run, facts=fact)
        stopped_after(one, stop)
    last = trainer(tmp_path)
    with Progress("test", quiet=True) as progress:
        assert last.run(progress, facts[2]).sessions == [facts[0], facts[2]]
        untrained = trainer(tmp_path).run(progress, {"precision": "tf32"})
        assert untrained.sessions == [facts[0], facts[2]]


def test_processes_that_do_not_share_the_folder_are_told(tmp_path):
    one = trainer(tmp_path)
    one.processes.gather = lambda share: [*share, 40]
    with pytest.raises(RunFolderError) as caught:
        train(one)
    assert str(caught.value) == f"run folder {tmp_path} must be on a disk that all processes share"


def test_a_meta_batch_that_cannot_be_shared_is_refused(tmp_path):
    one = trainer(tmp_path)
    one.processes.world = 2
    with pytest.raises(RecipeError) as caught:
        train(one)
    assert str(caught.value) == (
        "protonet glyphs-5w1s: a meta-batch of 1 cannot be shared by 2 processes; start fewer, or raise --meta-batch"
    )


@pytest.mark.parametrize(
    "tail",
    ['{"iteration": 4, "loss": 9}\n', '{"iteration": 4, "lo', "\0\0\0\n", "7\n", '{"iteration": 3, "val": 1}'],
    ids=["later", "cut", "zeros", "other", "no-newline"],
)
def test_lines_beyond_the_checkpoint_are_dropped_and_written_again(tmp_path, tail):
    train(trainer(tmp_path / "calm"))
    stopped_after(trainer(tmp_path / "run"), 3)
    with open(tmp_path / "run" / "log.jsonl", "a") as log:
        log.write(tail)
    train(trainer(tmp_path / "run"))
    assert (tmp_path / "run" / "log.jsonl").read_text() == (tmp_path / "calm" / "log.jsonl").read_text()
    assert [line["iteration"] for line in lines(tmp_path / "calm")] == [1, 2, 3, 3, 4, 5, 6, 6]


@pytest.mark.parametrize(
    ("spoil", "reached"),
    [
        (lambda text: "", 0),
        (lambda text: "".join(text.splitlines(keepends=True)[:2]), 2),
        (lambda text: text.replace('"iteration": 2', '"iteration": 5'), 1),
        (lambda text: text.replace('"iteration": 2', '"iteration"; 2'), 1),
    ],
    ids=["emptied", "cut", "gap", "flipped"],
)
def test_a_log_that_lost_lines_is_noticed(tmp_path, spoil, reached):
    stopped_after(trainer(tmp_path, save_every=-1), 4)
    log = tmp_path / "log.jsonl"
    whole = log.read_text()
    log.write_text(spoil(whole))
    with pytest.raises(RunFolderError) as caught:
        train(trainer(tmp_path))
    assert str(caught.value) == (
        f"{log} goes to iteration {reached} and the checkpoint to 4: it was cut short or damaged; restore it from a "
        "copy, or remove it to go on without its lines"
    )
    assert log.read_text() == spoil(whole)
    log.unlink()
    train(trainer(tmp_path))
    assert [line["iteration"] for line in lines(tmp_path)] == [5, 6, 6]
    assert train(trainer(tmp_path)).iteration == 6


def same_run(one, other) -> None:
    """Two folders hold the same weights, curve and log."""
    a, b = (checkpoint.load(folder / "checkpoint.pt") for folder in (one, other))
    for part in ("learner", "outer"):
        assert repr(a[part]) == repr(b[part])
    assert a["fields"] == b["fields"]
    assert {**a["state"], "seconds": 0, "best_learner": 0} == {**b["state"], "seconds": 0, "best_learner": 0}
    assert repr(a["state"]["best_learner"]) == repr(b["state"]["best_learner"])
    assert (one / "log.jsonl").read_text() == (other / "log.jsonl").read_text()


@pytest.mark.parametrize("reached", [3, 6], ids=["on-the-way", "finished"])
def test_a_run_asked_for_more_iterations_ends_as_one_that_was_from_the_start(tmp_path, reached):
    longer = dataclasses.replace(RECIPE, iterations=9)
    train(trainer(tmp_path / "fresh", longer))
    stopped_after(trainer(tmp_path / "run", save_every=-1), reached) if reached < 6 else train(
        trainer(tmp_path / "run")
    )
    assert train(trainer(tmp_path / "run", longer)).iteration == 9
    same_run(tmp_path / "fresh", tmp_path / "run")
    with pytest.raises(RunFolderError) as caught:
        train(trainer(tmp_path / "run"))
    assert str(caught.value) == (
        f"{tmp_path / 'run'} stands at iteration 9, beyond the 6 asked for; choose another --out"
    )


def test_fewer_iterations_than_planned_are_no_other_run(tmp_path):
    shorter = dataclasses.replace(RECIPE, iterations=3)
    train(trainer(tmp_path / "fresh", shorter))
    stopped_after(trainer(tmp_path / "run", save_every=-1), 2)
    train(trainer(tmp_path / "run", shorter))
    same_run(tmp_path / "fresh", tmp_path / "run")


def test_a_run_that_was_validated_out_of_turn_does_not_go_on(tmp_path):
    train(trainer(tmp_path, dataclasses.replace(RECIPE, iterations=5)))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(RunFolderError) as caught:
        train(trainer(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path} was validated at its end, iteration 5, and not only every 3: a run of 6 would not have been, so "
        "this one cannot go on to there; train anew with another --out"
    )
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(("after", "number"), [(0, 2), (1, 15), (3, 2), (6, 15)])
def test_a_run_that_is_asked_to_stop_saves_and_goes_on_as_if_it_had_not(tmp_path, after, number):
    train(trainer(tmp_path / "calm"))
    one = trainer(tmp_path / "run", save_every=1e9)
    with Progress("test", quiet=True) as progress, pytest.raises(Stopped) as stopped:
        one.run(progress, asked=lambda: number * (one.state.iteration == after))
    assert (stopped.value.iteration, stopped.value.iterations, stopped.value.number) == (after, 6, number)
    assert status(stopped.value) == 128 + number
    assert one.checkpoint_path.exists() == (after > 0)
    if after:
        assert checkpoint.load(one.checkpoint_path)["state"]["iteration"] == after
    train(trainer(tmp_path / "run"))
    same_run(tmp_path / "calm", tmp_path / "run")


def test_a_log_without_a_checkpoint_is_of_a_run_that_saved_nothing(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"iteration": 1, "loss": 9.0}\n')
    train(trainer(tmp_path))
    assert [line["iteration"] for line in lines(tmp_path)] == [1, 2, 3, 3, 4, 5, 6, 6]
    assert lines(tmp_path)[0]["loss"] != 9.0


def test_a_log_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("metabench.bench.training.run_log.os.fsync", full)
    with pytest.raises(RunFolderError) as caught:
        train(trainer(tmp_path))
    assert str(caught.value) == (
        f"cannot write {tmp_path / 'log.jsonl'}: No space left on device; the last checkpoint is intact"
    )


def diverges_at(one: Trainer, iteration: int) -> Trainer:
    step = one.built.outer.step

    def outer_step(*arguments):
        if one.state.iteration == iteration:
            raise Diverged("the loss is nan")
        return step(*arguments)

    one.built.outer.step = outer_step
    return one


@pytest.mark.parametrize(("at", "kept"), [(0, 0), (2, 2), (5, 3)], ids=["at-once", "before-a-checkpoint", "after-one"])
def test_a_run_that_diverges_keeps_what_was_good_and_does_not_go_on(tmp_path, at, kept):
    one = diverges_at(trainer(tmp_path / "run"), at)
    assert train(one).diverged == "the loss is nan"
    saved = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    assert (saved["state"]["iteration"], saved["state"]["diverged"]) == (kept, "the loss is nan")
    calm = trainer(tmp_path / "calm")
    if kept:
        stopped_after(diverges_at(trainer(tmp_path / "calm", save_every=-1), -1), kept)
        calm.resume()
    for name, value in calm.built.learner.state_dict().items():
        assert torch.equal(saved["learner"][name], value)
    assert len([line for line in lines(tmp_path / "run") if "loss" in line]) == at

    again = trainer(tmp_path / "run")
    again.built.outer.step = None  # it is not called
    assert train(again).diverged == "the loss is nan"
    assert len([line for line in lines(tmp_path / "run") if "loss" in line]) == at


def test_validation_tasks_whose_outputs_are_not_finite_end_the_run(tmp_path):
    one = trainer(tmp_path)
    draw = one.built.suite.tasks

    def one_spoiled(indices, split):
        tasks = draw(indices, split)
        if split == "val" and one.state.iteration == 6:
            tasks.query.x[1] = torch.nan
        return tasks

    one.built.suite.tasks = one_spoiled
    told = "outputs of 1 of 4 tasks are not finite, the first after 0 updates, at validation"
    assert train(one).diverged == told
    saved = checkpoint.load(tmp_path / "checkpoint.pt")
    assert (saved["state"]["iteration"], saved["state"]["diverged"]) == (3, told)
    assert [point["iteration"] for point in one.state.curve] == [3]
