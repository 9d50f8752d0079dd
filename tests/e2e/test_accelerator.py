"""Whole runs whose tensors live on an accelerator: nothing is left on the CPU that has to be beside them.

The accelerator is make-believe (tests/support/card.py): it shows devices, not CUDA's arithmetic.
"""

import dataclasses
import json

import pytest
import torch

from metabench.bench.training.options import Machine, Options
from metabench.bench.training.run import execute, retest
from metabench.bench.training.trained import trained_in
from metabench.bench.training.trainer import Trainer
from metabench.bench.worlds import resolve
from metabench.vision import episodes
from tests.support import card

TINY = {"schedule": "custom", "iterations": 2, "meta_batch": 2, "val_every": 1, "val_tasks": 2, "test_tasks": 3}
ALL_AT_ONCE = Machine(threads=1, chunk=1000)
RUNS = [
    ("maml", "glyphs-5w1s", {}),
    ("maml", "glyphs-5w1s", {"first_order": True, "clip": 0.1}),
    ("maml", "glyphs-5w1s", {"norm": "support"}),
    ("maml-noconv", "glyphs-5w1s", {}),
    ("anil", "glyphs-5w1s", {"norm": "running"}),
    ("meta-sgd", "glyphs-5w1s", {}),
    ("protonet", "glyphs-5w1s", {"norm": "support"}),
    ("metaoptnet", "glyphs-5w1s", {"optimizer": "sgd", "weight_decay": 5e-4, "smoothing": 0.1}),
    ("metaoptnet-rr", "glyphs-5w1s", {"augment": "metaoptnet"}),
    ("protonet", "glyphs-5w1s", {"augment": "strong"}),
    ("metaoptnet", "glyphs-5w1s", {"backbone": "resnet12", "train_shots": 1, "train_queries": 1, "queries": 1}),
    ("baseline", "glyphs-5w1s", {"fit_epochs": 3}),
    ("baseline-pp", "glyphs-5w1s", {"fit_epochs": 3}),
    ("simpleshot", "glyphs-5w1s", {"augment": "metaoptnet"}),
    ("maml", "navigation", {"rollouts": 4}),
    ("maml-promp", "navigation", {"rollouts": 4}),
    ("anil", "cheetah-dir-2019", {"rollouts": 2}),
    ("meta-sgd", "navigation", {"rollouts": 4}),
    ("protonet", "navigation", {"rollouts": 4}),
    ("metaoptnet", "navigation", {"rollouts": 4}),
    ("oracle", "navigation", {"rollouts": 4}),
    ("pretrained", "navigation", {"rollouts": 4}),
]

# To torch the card is "meta", a device without values: it warns that copies to it are lost, which the card makes.
pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter:UserWarning")


def recipe(algorithm, name, fields):
    return dataclasses.replace(resolve(algorithm, name, "short"), **TINY | fields).check()


def logged(folder):
    """Every number of the log, line by line."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 4  # two iterations and their validations
    return [value for line in lines for value in line.values()]


@pytest.mark.parametrize(("algorithm", "name", "fields"), RUNS)
def test_a_run_on_an_accelerator_is_the_run_on_the_cpu(algorithm, name, fields, tmp_path, monkeypatch):
    wanted = execute(recipe(algorithm, name, fields), Options(out=tmp_path / "cpu"), ALL_AT_ONCE)
    with card.in_use(monkeypatch) as accelerator:
        found = execute(recipe(algorithm, name, fields), Options(out=tmp_path / "card"), ALL_AT_ONCE)
    assert accelerator.operations > 300
    assert logged(tmp_path / "card") == pytest.approx(logged(tmp_path / "cpu"), rel=1e-4, nan_ok=True)
    assert found["test"]["mean"] == pytest.approx(wanted["test"]["mean"], rel=1e-4)


def test_a_run_resumes_on_an_accelerator(tmp_path, monkeypatch):
    whole = execute(recipe("maml", "glyphs-5w1s", {}), Options(out=tmp_path / "cpu"), ALL_AT_ONCE)
    validate = Trainer.validate

    def stop_after_one(self, progress):
        validate(self, progress)
        self.save()
        raise KeyboardInterrupt

    with card.in_use(monkeypatch):
        with monkeypatch.context() as stopping:
            stopping.setattr(Trainer, "validate", stop_after_one)
            with pytest.raises(KeyboardInterrupt):
                execute(recipe("maml", "glyphs-5w1s", {}), Options(out=tmp_path / "card"), ALL_AT_ONCE)
        found = execute(recipe("maml", "glyphs-5w1s", {}), Options(out=tmp_path / "card"), ALL_AT_ONCE)
        more = recipe("maml", "glyphs-5w1s", {"test_tasks": 5})
        tested = retest(trained_in(tmp_path / "card"), more, ALL_AT_ONCE, False)
    assert logged(tmp_path / "card") == pytest.approx(logged(tmp_path / "cpu"), rel=1e-4, nan_ok=True)
    assert found["test"]["mean"] == pytest.approx(whole["test"]["mean"], rel=1e-4)
    assert len(tested["per_task"]) == 5


def test_a_tensor_left_on_the_cpu_is_found(tmp_path, monkeypatch):
    batch = episodes._batch
    monkeypatch.setattr(episodes, "_batch", lambda x: batch(x)._replace(y=batch(x).y.cpu()))
    with card.in_use(monkeypatch), pytest.raises(RuntimeError, match="tensors are on the card and 1 on the CPU"):
        execute(recipe("maml", "glyphs-5w1s", {}), Options(out=tmp_path / "card"), ALL_AT_ONCE)


def test_the_card_keeps_apart_what_a_gpu_keeps_apart(monkeypatch):
    with card.in_use(monkeypatch):
        here, there = torch.arange(4.0), torch.arange(4.0, device=card.DEVICE)
        assert (there[torch.tensor([1, 2])] * 2).cpu().tolist() == [2.0, 4.0]
        assert (there + torch.tensor(1.0)).sum().item() == 10.0
        view = there[2:]
        view += 1
        assert there.tolist() == [0.0, 1.0, 3.0, 4.0]
        for wrong in (lambda: here + there, lambda: here[there.long()], lambda: there.numpy()):
            with pytest.raises((RuntimeError, TypeError)):
                wrong()
