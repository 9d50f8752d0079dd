"""`--precision auto`: what shows that a learner bears bfloat16, and where it is then taken."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from metabench.bench.records.check import read_record
from metabench.bench.training import precision as module
from metabench.bench.training.options import Machine
from metabench.bench.training.precision import BEARS_BF16, automatic, has_bf16, shown
from metabench.bench.worlds import learner_of, resolve
from tests.support.synthetic import record

RECORDS = Path(__file__).parents[3] / "results" / "precision"


def pairs(change: float = 0.0, seeds: int = 3, benchmark: str = "omniglot-5w1s", **fields: Any) -> list[dict[str, Any]]:
    """Records of a row with 600 tasks that spread by 0.05 (an interval of ± 0.40 %), changed so much in bfloat16."""
    made = []
    for seed in range(seeds):
        for precision, mean in (("fp32", 0.9), ("bf16", 0.9 + change)):
            one = record(
                "maml", benchmark, seed=seed, mean=mean, spread=0.05, **(fields if precision == "bf16" else {})
            )
            one["provenance"]["precision"] = precision
            made.append(one)
    return made


OTHER = pairs(benchmark="omniglot-5w5s")


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([*pairs(), *OTHER], ""),
        ([*pairs(-0.0039), *OTHER], ""),
        ([*pairs(-0.0042), *OTHER], "maml omniglot-5w1s: -0.42 in bfloat16, beyond ± 0.40"),
        ([*pairs(0.02), *OTHER], "maml omniglot-5w1s: +2.00 in bfloat16, beyond ± 0.40"),
        (OTHER, "1 rows, 2 are needed"),
        ([], "0 rows, 2 are needed"),
        ([*pairs(seeds=2), *OTHER], "maml omniglot-5w1s: 2 seeds in both precisions, 3 are needed"),
        ([*pairs()[::2], *OTHER], "maml omniglot-5w1s: 0 seeds in both precisions, 3 are needed"),
        ([*pairs(iterations=9), *OTHER], "maml omniglot-5w1s: the recipes differ"),
    ],
)
def test_what_shows_that_a_learner_bears_it(records: list[dict[str, Any]], why: str) -> None:
    assert shown(records) == why


def test_every_learner_in_the_table_was_shown_to_bear_it() -> None:
    records = [read_record(path, filed=False) for path in sorted(RECORDS.glob("*.json"))]
    of = {pair: [r for r in records if (learner_of(r["algorithm"]), r["metric"]) == pair] for pair in BEARS_BF16}
    assert {pair: shown(some) for pair, some in of.items()} == dict.fromkeys(BEARS_BF16, "")


X86 = "processor : 0\nflags\t\t: fpu avx2 avx512f avx512_vnni{}\nbugs : none\n"


@pytest.mark.parametrize(
    ("text", "has"),
    [
        (X86.format(" avx512_bf16"), True), (X86.format(" amx_bf16 amx_tile"), True), (X86.format(""), False),
        ("Features\t: fp asimd bf16\n", True), ("Features\t: fp asimd\n", False), ("bugs : bf16\n", False),
    ],
)  # fmt: skip
def test_a_cpu_says_what_it_multiplies(tmp_path: Path, text: str, has: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert has_bf16("cpu", tmp_path / "cpuinfo") is has
    assert has_bf16("cpu", tmp_path / "absent") is False


def test_a_gpu_that_emulates_it_does_not_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert has_bf16("cuda") is False


def test_auto_takes_it_where_hardware_and_learner_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEARS_BF16", frozenset({("maml", "accuracy")}))
    monkeypatch.setattr(module, "has_bf16", lambda device: device == "cpu")
    assert automatic("maml", "accuracy", "cpu") == "bf16"
    assert automatic("maml", "accuracy", "cuda") == "fp32"
    assert automatic("maml", "return", "cpu") == automatic("anil", "accuracy", "cpu") == "fp32"
    auto = Machine(device="cpu", precision="auto", chunk=3)
    rows = [("maml", "omniglot-5w1s"), ("maml-fo", "omniglot-5w1s"), ("anil", "omniglot-5w1s"), ("maml", "navigation")]
    settled = [auto.settled(resolve(*row)) for row in rows]
    assert [one.precision for one in settled] == ["bf16", "bf16", "fp32", "fp32"]
    assert settled[0] == dataclasses.replace(auto, precision="bf16")
    assert settled[0].workers().autocast is torch.bfloat16
    assert Machine(precision="tf32").settled(resolve(*rows[0])).precision == "tf32"
