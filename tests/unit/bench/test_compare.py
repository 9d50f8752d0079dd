"""Two sets of records side by side: pairing, differences by hand, what differs, and what cannot be compared."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabench.bench.cli.main import main
from metabench.bench.compare.command import compare_command, compared, differences
from metabench.bench.compare.records import CompareError, load, match
from metabench.bench.compare.table import direction
from metabench.bench.records.statistics import mean_interval
from metabench.bench.training.record import write_record
from tests.support import synthetic


def scored(scores: list[float], seed: int = 0, **fields: Any) -> dict[str, Any]:
    """A record with these scores."""
    made = synthetic.record(seed=seed, **{"test_tasks": len(scores), **fields})
    mean = float(np.mean(scores))
    made["per_task"] = scores
    made["test"] |= {"mean": [0.2, mean], "ci95": [0.01, mean_interval(scores).ci95], "tasks": len(scores)}
    return made


def files(folder: Path, *records: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, record in enumerate(records):
        write_record(folder / f"{i}.json", record)
    return folder


def test_by_hand_task_by_task() -> None:
    a, b = synthetic.row(scored([0.5, 0.6, 0.7, 0.8])), synthetic.row(scored([0.6, 0.7, 0.8, 1.0]))
    c = compared(a, b)
    assert c.paired and c.seeds == ((0,), (0,))
    assert c.means == pytest.approx((65.0, 77.5))
    assert c.difference == pytest.approx(12.5)
    assert c.over_tasks == pytest.approx(3.182446 * 5 / 2)  # s of 10, 10, 10, 20; far narrower than either side's
    assert c.over_seeds is None
    assert c.improvement is not None
    # B's 0.6 beats 0.5 and ties 0.6: 1.5; 0.7 so 2.5, 0.8 so 3.5; 1.0 beats 4. Of 16.
    assert float(c.improvement.value) == pytest.approx((1.5 + 2.5 + 3.5 + 4) / 16)
    assert direction(c) == "higher"


def test_by_hand_seed_by_seed_on_the_seeds_of_both() -> None:
    a = synthetic.row(*(scored([m, m + 0.1], seed=s) for s, m in enumerate((0.1, 0.2, 0.3))))
    b = synthetic.row(*(scored([m, m + 0.1], seed=s) for s, m in enumerate((0.2, 0.4))))
    c = compared(a, b)
    assert c.seeds == ((0, 1), (0, 1))
    assert c.difference == pytest.approx(15.0)
    assert c.over_seeds == pytest.approx(12.706205 * np.std([10, 20], ddof=1) / math.sqrt(2))
    assert direction(c) == "not shown to differ"


def test_no_common_seed_uses_all_and_gives_no_interval_over_seeds() -> None:
    a = synthetic.row(*(scored([0.1, 0.3], seed=s) for s in (0, 1)))
    b = synthetic.row(*(scored([0.5, 0.7], seed=s) for s in (5, 6, 7)))
    c = compared(a, b)
    assert c.seeds == ((0, 1), (5, 6, 7)) and c.over_seeds is None
    assert c.difference == pytest.approx(40.0) and c.paired


def test_other_test_tasks_are_not_paired() -> None:
    a, b = scored([0.5, 0.6, 0.7]), scored([0.6, 0.7, 0.8], protocol={"data_digest": "1" * 64})
    c = compared(synthetic.row(a), synthetic.row(b))
    assert not c.paired
    half = 4.302653 * 10 / math.sqrt(3)
    assert c.over_tasks == pytest.approx(math.hypot(half, half))
    assert compared(synthetic.row(a), synthetic.row(scored([0.6, 0.7, 0.8]))).over_tasks == pytest.approx(0, abs=1e-9)


def test_a_side_that_diverged_has_no_numbers() -> None:
    c = compared(synthetic.row(scored([0.5, 0.6])), synthetic.row(synthetic.record(diverged=True, test_tasks=2)))
    assert (c.means, c.difference, c.improvement) == (None, None, None)
    assert direction(c) == "not shown to differ"


def test_what_differs_is_named_with_both_values() -> None:
    a, b = scored([0.5, 0.6]), scored([0.5, 0.6], inner_lr=0.2)
    b["provenance"] = {**b["provenance"], "commit": "f" * 40, "packages": {"torch": "2.16.0", "numpy": "2.4"}}
    found = differences(a, b)
    assert found["recipe.inner_lr"] == (0.4, 0.2)
    assert found["commit"] == (a["provenance"]["commit"], "f" * 40)
    assert found["torch"] == ("2.15.0", "2.16.0")
    assert found["numpy"] == (None, "2.4")
    assert set(found) == {"recipe.inner_lr", "commit", "torch", "numpy"}
    assert differences(a, a) == {}


def test_recipes_of_one_name_are_matched_by_digest_then_by_elimination(tmp_path: Path) -> None:
    one, other, third = (scored([0.5, 0.6], inner_lr=lr) for lr in (0.1, 0.2, 0.3))
    a, b = load(files(tmp_path / "a", one, other)), load(files(tmp_path / "b", third, one))
    pairs, alone = match(a, b)
    rates = [(x.first["recipe"]["inner_lr"], y.first["recipe"]["inner_lr"]) for x, y in pairs]
    assert rates == [(0.1, 0.1), (0.2, 0.3)] and alone == []
    pairs, alone = match(load(files(tmp_path / "c", one, other, third)), load(files(tmp_path / "d", one)))
    assert len(pairs) == 1 and len(alone) == 2


def test_run_folders_and_single_files_are_read(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_record(tmp_path / "runs" / f"seed{seed}" / "record.json", scored([0.5, 0.6], seed=seed))
    assert [len(rows[0].records) for rows in load(tmp_path / "runs").rows.values()] == [2]
    single = load(tmp_path / "runs" / "seed1" / "record.json")
    assert [rows[0].first["seed"] for rows in single.rows.values()] == [1]


def test_swapped_sides_swap_the_answer() -> None:
    a, b = synthetic.row(scored([0.5, 0.6, 0.9])), synthetic.row(scored([0.6, 0.6, 0.8]))
    there, back = compared(a, b), compared(b, a)
    assert there.difference is not None and back.difference is not None
    assert there.difference == pytest.approx(-back.difference) and there.over_tasks == pytest.approx(back.over_tasks)
    assert float(there.improvement.value) == pytest.approx(1 - float(back.improvement.value))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not readable JSON"),
        ("[]", "has no schema"),
        ('{"schema": 1, "kind": "result"}', "has schema 1, this version reads 2"),
        ('{"schema": 2, "kind": "result"}', "was changed since it was written"),
        ('{"schema": 2, "kind": "other"}', "no result among its files"),
    ],
)
def test_no_usable_record_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(CompareError, match=re.escape(message)):
        load(tmp_path)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = files(tmp_path / "a", scored([0.5, 0.6, 0.7]), scored([0.5, 0.6], algorithm="anil"))
    b = files(tmp_path / "b", scored([0.6, 0.7, 0.9]), scored([0.6, 0.7, 0.8], seed=1))
    out = tmp_path / "difference.json"
    assert compare_command([str(a), str(b), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "maml omniglot-5w1s" in printed and "not compared: anil omniglot-5w1s" in printed
    content = json.loads(out.read_text())
    [row] = content["rows"]
    assert row["difference"] == pytest.approx(13.3333, abs=1e-3) and row["seeds"] == [[0], [0]]
    assert row["probability_of_improvement"] == content["probability_of_improvement"]
    assert content["kind"] == "comparison" and content["refused"] == []


@pytest.mark.parametrize("width", ["80", "132"])
def test_a_name_is_never_cut_off(
    width: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    one = scored([0.5, 0.6, 0.7], algorithm="metaoptnet-rr", benchmark="mini-imagenet-5w1s")
    assert compare_command([str(files(tmp_path / "a", one)), str(files(tmp_path / "b", one))]) == 0
    printed = capsys.readouterr().out
    cells = [line.split("│")[1].strip() for line in printed.splitlines() if line.startswith("│")]
    assert "".join("".join(cells).split()) == "metaoptnet-rrmini-imagenet-5w1spaper"
    assert "…" not in printed and "paired" in printed
    assert "over seeds" not in printed, "no row has more than one seed"


def test_the_interval_over_seeds_is_shown_where_a_row_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    several = [scored([m, m + 0.1], seed=s) for s, m in enumerate((0.1, 0.2))]
    a, b = files(tmp_path / "a", *several), files(tmp_path / "b", *several)
    assert compare_command([str(a), str(b)]) == 0
    printed = capsys.readouterr().out
    assert "over seeds" in printed and "│     ± 0.00 │" in printed


def test_command_names_what_it_cannot_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = scored([0.5, 0.6])
    a, b = files(tmp_path / "a", good, good), files(tmp_path / "b", good)
    (b / "cut.json").write_text(json.dumps(good)[:100])
    hostile = scored([0.5, 0.6], seed=3)
    hostile["status"] = "\x1b[31m[red]"
    write_record(b / "hostile.json", hostile)
    assert compare_command([str(a), str(b)]) == 1
    said = capsys.readouterr().err
    assert "1.json is a second record of seed 0 of its row" in said
    assert "cut.json is not readable JSON" in said and "hostile.json status is" in said and "\x1b" not in said


def test_nothing_in_common_and_no_such_path_are_wrong_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = files(tmp_path / "a", scored([0.5, 0.6])), files(tmp_path / "b", scored([0.5, 0.6], algorithm="anil"))
    assert main(["compare", str(a), str(b)]) == 2
    assert "nothing in common" in capsys.readouterr().err
    assert main(["compare", str(a), str(tmp_path / "none")]) == 2
    assert "there is no such file or folder" in capsys.readouterr().err


def filed(results: Path) -> Path:
    """Records of two algorithms on two benchmarks, one of them with two recipes, and of one that only MAML has."""
    made = [
        *(scored([m, m + 0.1], seed=s) for s, m in enumerate((0.1, 0.2))),
        *(scored([m, m + 0.1], seed=s, algorithm="anil") for s, m in enumerate((0.2, 0.4))),
        scored([0.9, 0.9], algorithm="anil", inner_lr=0.7, protocol={"data_digest": "1" * 64}),
        scored([0.5, 0.6], benchmark="omniglot-20w1s"),
        scored([0.4, 0.4], benchmark="omniglot-20w1s", algorithm="anil", schedule="short"),
        scored([0.5, 0.6], benchmark="omniglot-5w5s"),
    ]
    files(results / "records", *made)
    return results


def test_two_algorithms_are_compared_on_every_benchmark_that_both_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    filed(tmp_path / "results")
    assert compare_command(["maml", "anil", "--out", "found.json"]) == 0
    content = json.loads(Path("found.json").read_text())
    assert (content["a"], content["b"]) == ("maml", "anil")
    rows = {row["row"]: row for row in content["rows"]}
    assert list(rows) == ["omniglot-20w1s paper | short", "omniglot-5w1s paper"]
    assert rows["omniglot-5w1s paper"]["difference"] == pytest.approx(15.0), "the recipe on the same test tasks"
    over_seeds = 12.706205 * np.std([10, 20], ddof=1) / math.sqrt(2)
    assert rows["omniglot-5w1s paper"]["ci95_over_seeds"] == pytest.approx(over_seeds)
    assert rows["omniglot-20w1s paper | short"]["difference"] == pytest.approx(-15.0)
    printed = capsys.readouterr().out
    assert "A maml, B anil" in printed
    assert printed.count("not compared: anil omniglot-5w1s") == printed.count("not compared: maml omniglot-5w5s") == 1


def test_a_benchmark_narrows_the_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--results", str(filed(tmp_path / "results")), "--out", str(tmp_path / "x.json")]
    assert main(["compare", "maml", "anil", "--benchmark", "omniglot-20w1s", *where]) == 0
    assert [row["row"] for row in json.loads((tmp_path / "x.json").read_text())["rows"]] == [
        "omniglot-20w1s paper | short"
    ]
    assert main(["compare", "maml", "anil", "--benchmark", "omniglot-5w5s", *where]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "anil: no record of benchmark 'omniglot-5w5s'; did you mean 'omniglot-5w1s'?" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["malm", "anil"], "malm: there is no such file or folder, and no algorithm 'malm'; did you mean 'maml'?"),
        (["maml", "here"], "maml is an algorithm and here a path; compare two algorithms, or two paths"),
        (["anil", "oracle"], "anil is an algorithm, and a path here too; write algorithm:anil for the one, ./anil for"),
        (["algorithm:anli", "maml"], "no algorithm 'anli'; did you mean 'anil'?"),
        (["maml", "oracle"], "has no record of oracle; make one with: metabench run oracle BENCHMARK --publish"),
    ],
    ids=["neither", "one of each", "both", "marked", "no record"],
)
def test_a_word_that_is_not_clear_is_refused(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    filed(tmp_path / "results")
    for folder in ("here", "anil"):
        (tmp_path / folder).mkdir()
    assert main(["compare", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_mark_says_that_a_word_is_an_algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    filed(tmp_path / "results")
    (tmp_path / "anil").mkdir()
    assert compare_command(["maml", "algorithm:anil"]) == 0
