"""`metabench sweep` on the command line: which runs are meant, what they cost, what is wrong; nothing is trained."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import metabench.bench.cli.sweep as cli
from metabench.bench.cli.main import main
from metabench.bench.recipes.recipe import Recipe, RecipeError
from metabench.bench.sweep.job import Standing
from metabench.bench.sweep.sweep import Run
from metabench.bench.training.checkpoint import locked
from metabench.bench.worlds import WORLDS, Place, World
from tests.support.synthetic import record, write

PUBLISHED = Path(__file__).parents[2] / "results" / "published.yaml"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that a sweep would do, in their order; they are taken for complete."""
    runs: list[Run] = []

    class Noted:
        def __init__(self, given: Sequence[Run], *_: object, **__: object) -> None:
            runs.extend(given)

        def run(self) -> None:
            for run in runs:
                run.standing = Standing("complete")

    monkeypatch.setattr(cli, "Sweep", Noted)
    return runs


def sweep(*argv: str) -> int:
    return main(["sweep", *argv])


def folders(runs: Sequence[Run]) -> list[str]:
    return [str(run.job.folder) for run in runs]


def test_names_seeds_and_flags(asked: list[Run]) -> None:
    assert sweep("maml:omniglot-5w1s", "anil:navigation", "--seeds", "0", "2", "--schedule", "short", "--out", "x") == 0
    assert folders(asked) == [
        "x/maml_omniglot-5w1s_short/seed0", "x/maml_omniglot-5w1s_short/seed2",
        "x/anil_navigation_short/seed0", "x/anil_navigation_short/seed2",
    ]  # fmt: skip
    assert asked[0].job.arguments == ("maml", "omniglot-5w1s", "--schedule", "short")
    assert asked[1].job.recipe.iterations == 4000
    assert asked[0].estimate is None, "nothing is estimated where nothing is sorted or shown"


def test_a_file_has_a_run_a_line_and_its_own_flags_win(asked: list[Run]) -> None:
    Path("rows.txt").write_text(
        "# one's own\n\nmaml omniglot-5w1s --schedule paper --seeds 4 5  # by the paper\n"
        "protonet omniglot-5w1s --outer-lr 0.002\n"
    )
    assert sweep("rows.txt", "protonet:omniglot-5w5s", "--schedule", "short", "--precision", "bf16") == 0
    assert folders(asked)[:2] == ["runs/maml_omniglot-5w1s_paper/seed4", "runs/maml_omniglot-5w1s_paper/seed5"]
    assert [run.job.recipe.schedule for run in asked] == ["paper", "paper", "custom", "short"]
    assert [run.job.recipe.iterations for run in asked] == [60_000, 60_000, 6000, 6000]
    assert all("bf16" in run.job.arguments for run in asked)


def test_what_is_named_twice_runs_once(asked: list[Run]) -> None:
    Path("rows.txt").write_text("maml omniglot-5w1s\nmaml omniglot-5w1s --seeds 0 1\n")
    assert sweep("maml:omniglot-5w1s", "rows.txt") == 0
    assert folders(asked) == ["runs/maml_omniglot-5w1s_paper/seed0", "runs/maml_omniglot-5w1s_paper/seed1"]


COSTS = {"protonet": 3.0, "maml": 7200.0, "anil": 60.0}


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs by algorithm; the rest cannot be estimated."""

    def seconds(world: World, recipe: Recipe, place: Place) -> float:
        assert place.workers.threads == 1
        if recipe.algorithm not in COSTS:
            raise RecipeError("no")
        return COSTS[recipe.algorithm] + recipe.iterations / 1e6

    for world in WORLDS:
        monkeypatch.setattr(type(world), "seconds", seconds)
    monkeypatch.setattr(cli.os, "sched_getaffinity", lambda pid: {0, 1})
    Path("results").mkdir()
    shutil.copy(PUBLISHED, "results/published.yaml")


def rows_of(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "│" in line]


@pytest.mark.usefixtures("priced")
def test_paper_lists_what_is_published_and_not_reproduced_cheapest_first(capsys: pytest.CaptureFixture[str]) -> None:
    settles = record("protonet", "omniglot-5w1s", mean=0.988, spread=0.001)
    misses = record("protonet", "omniglot-5w5s", "short", mean=0.99, spread=0.001)
    write(Path("results"), settles, misses)
    assert sweep("paper", "--dry-run", "--device", "cpu") == 0
    names = [row[0] for row in rows_of(capsys.readouterr().out)]
    assert "protonet omniglot-5w1s paper seed 0" not in names
    assert "protonet omniglot-5w5s paper seed 0" in names
    assert "maml quick-draw-10w10s paper seed 0" in names
    assert not any("walker" in name or "ant-goal" in name for name in names), "curves only"
    order = [name.split()[0] for name in names]
    known = [name for name in order if name in COSTS]
    assert known == sorted(known, key=COSTS.__getitem__)
    assert len(known) > 25
    assert order[: len(known)] == known, "what has no estimate comes last"
    assert {"maml-fo", "meta-sgd", "metaoptnet"} <= set(order[len(known) :])


@pytest.mark.usefixtures("priced")
def test_a_dry_run_says_what_is_done_and_what_the_rest_takes(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("results"), record("protonet", "omniglot-5w5s", "short", mean=0.99, spread=0.001))
    argv = ["protonet:omniglot-5w5s", "maml:omniglot-5w1s", "--schedule", "short", "--device", "cpu", "--dry-run"]
    assert sweep(*argv, "--seeds", "0", "1") == 0
    output = capsys.readouterr().out
    assert "3 to do, 1 complete; about 2.0 hours left, 2 at once" in output
    assert rows_of(output) == [
        ["protonet omniglot-5w5s short seed 0", "complete", "6000/6000", "test 99.00 ± 0.01", ""],
        ["protonet omniglot-5w5s short seed 1", "to do", "", "", "about 3 seconds"],
        ["maml omniglot-5w1s short seed 0", "to do", "", "", "about 2.0 hours"],
        ["maml omniglot-5w1s short seed 1", "to do", "", "", "about 2.0 hours"],
    ]
    assert not Path("runs").exists()


def test_a_cost_is_estimated_here(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["protonet:glyphs-5w1s", "maml:navigation", "--dry-run", "--device", "cpu", "--jobs", "1", "--threads", "1"]
    Path("rows.txt").write_text(
        "protonet glyphs-5w1s --width 4 --train-ways 5 --iterations 10 --val-tasks 2 --test-tasks 2\n"
        "maml navigation --meta-batch 2 --rollouts 2 --iterations 2 --val-tasks 2 --test-tasks 2\n"
    )
    assert sweep("rows.txt", *argv[2:]) == 0
    assert all(row[4].startswith("about ") for row in rows_of(capsys.readouterr().out))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "sweep needs rows first\n\nusage: metabench sweep paper | FILE | ALGORITHM:BENCHMARK ... "),
        (["--jobs", "2"], "sweep needs rows first"),
        (["papers"], "'papers' is neither paper nor a file nor a row such as maml:omniglot-5w1s\n"),
        (["mmal:omniglot-5w1s"], "no algorithm 'mmal'; did you mean 'maml'?"),
        (["maml:omniglot-5w1s", "--jobs", "-1"], "--jobs is -1 and --hours 0; both must be at least 0\n"),
        (["maml:omniglot-5w1s", "--hours", "nan"], "--jobs is 0 and --hours nan; both must be at least 0\n"),
        (["maml:omniglot-5w1s", "--seeds"], "--seeds names none; give --seeds 0, for example\n"),
        (["maml:omniglot-5w1s", "--seeds", "-1"], "--seed is -1; it must be at least 0 and below 2^63\n"),
        (["maml:omniglot-5w1s", "--seed", "1"], "maml omniglot-5w1s: --seed is for the whole sweep; --seeds names "),
        (["rows.txt"], "rows.txt, line 2: no benchmark 'omniglott-5w1s'; did you mean 'omniglot-5w1s'?"),
        (["one.txt"], "one.txt, line 1: expected ALGORITHM BENCHMARK and flags, as `metabench run` takes them\n"),
        (["quote.txt"], "quote.txt, line 1: No closing quotation\n"),
        (["flag.txt"], "flag.txt, line 1: maml omniglot-5w1s --widht 3: its flags cannot be read\n"),
        (["out.txt"], "out.txt, line 1: maml omniglot-5w1s: --out is for the whole sweep; --seeds names seeds\n"),
        (["binary.txt"], "binary.txt cannot be read: 'utf-8' codec"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("rows.txt").write_text("# two\nmaml omniglott-5w1s\n")
    Path("one.txt").write_text("maml --schedule short\n")
    Path("quote.txt").write_text("maml 'omniglot\n")
    Path("flag.txt").write_text("maml omniglot-5w1s --widht 3\n")
    Path("out.txt").write_text("maml omniglot-5w1s --out x\n")
    Path("binary.txt").write_bytes(b"\xff\xfe")
    assert sweep(*argv) == 2
    error = capsys.readouterr().err
    assert f"metabench: {message}" in error
    assert not Path("runs").exists()


def test_two_sweeps_do_not_share_a_folder(asked: list[Run], capsys: pytest.CaptureFixture[str]) -> None:
    with locked(Path("runs")):
        assert sweep("maml:omniglot-5w1s") == 2
    assert "sweep folder runs is in use by process " in capsys.readouterr().err
    assert asked == []


def test_the_exit_status_tells_of_failures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def ended(word: str) -> int:
        class Ended:
            def __init__(self, given: Sequence[Run], *_: object, **__: object) -> None:
                self.runs = given

            def run(self) -> None:
                self.runs[0].standing = Standing(word)  # type: ignore[arg-type]

        monkeypatch.setattr(cli, "Sweep", Ended)
        return sweep("maml:omniglot-5w1s")

    assert [ended(word) for word in ("complete", "stopped", "failed", "diverged")] == [0, 0, 1, 1]
    assert capsys.readouterr().out.count("the same command goes on where these stand") == 2
