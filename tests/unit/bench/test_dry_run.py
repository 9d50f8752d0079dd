"""What `--dry-run` says in words: units, plurals, and data that cannot be read. `test_cost.py` has the numbers."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path

import pytest

from metabench.bench.cli.main import main
from metabench.bench.distributed import Processes
from metabench.bench.recipes.recipe import FewShotRecipe
from metabench.bench.text import bytes_text, tasks_text
from metabench.bench.training.options import Machine
from metabench.bench.worlds import resolve
from metabench.bench.worlds.few_shot_cost import cost_rows
from metabench.vision import DATASETS
from metabench.vision.data.glyphs import Glyphs
from metabench.vision.data.source import Dataset


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
    rows = dict(cost_rows(recipe, Machine(device="cpu", threads=1).place(Processes("cpu"))))
    unreadable = f"{tmp_path}/omniglot cannot be read: Permission denied. Check its permissions."
    assert rows["data"] == f"damaged: {unreadable}"
    assert rows["training iteration"].startswith("1 task × ")


@dataclasses.dataclass(frozen=True)
class Tiny(Glyphs):
    """Glyphs cut to 12 pixels."""

    name: str = "tiny"
    size: int = 12
    alphabets: tuple[int, int, int] = (1, 1, 1)

    def load(self, root: Path, split: str, *, cache: Path, seed: int = 0) -> Dataset:
        data = super().load(root, split, cache=cache, seed=seed)
        return dataclasses.replace(
            data, images=dataclasses.replace(data.images, images=data.images.images[..., :12, :12])
        )


@pytest.mark.parametrize("backbone", ["conv4", "resnet12"])
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_images_too_small_for_a_backbone_end_in_one_line(
    backbone: str,
    dry: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(DATASETS, "tiny", Tiny())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    assert main(["run", "protonet", "tiny-5w1s", "--backbone", backbone, "--threads", "1", *dry]) == 2
    assert capsys.readouterr().err == (
        f"metabench: {backbone} halves its images 4 times and needs 16 x 16 pixels at least; these are 12 x 12. Use "
        "--backbone conv4-strided or mlp, or larger images.\n"
    )
