"""What `--dry-run` says in words: units, plurals, and data that cannot be read. `test_cost.py` has the numbers."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path

import pytest

from bench.recipes.few_shot import resolve
from bench.recipes.recipe import FewShotRecipe
from bench.training.dry_run import bytes_text, cost_rows, tasks_text
from bench.training.run import Machine


def test_units_and_plurals() -> None:
    sizes = (3 * 2**20, 1023 * 2**20, 192101 * 2**20)
    assert [bytes_text(n) for n in sizes] == ["3.0 MiB", "1023.0 MiB", "187.6 GiB"]
    assert [tasks_text(n) for n in (1, 2)] == ["1 task", "2 tasks"]


def test_one_task_and_data_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    recipe = resolve("protonet", "omniglot-5w1s")
    assert isinstance(recipe, FewShotRecipe)
    recipe = dataclasses.replace(recipe, width=4, train_ways=5, train_queries=2, meta_batch=1)
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path))
    monkeypatch.setattr(Path, "is_dir", refuse)
    rows = dict(cost_rows(recipe, Machine(device="cpu", threads=1)))
    unreadable = f"{tmp_path}/omniglot cannot be read: Permission denied. Check its permissions."
    assert rows["data"] == f"damaged: {unreadable}"
    assert rows["training iteration"].startswith("1 task × ")
