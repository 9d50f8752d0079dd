"""A sweep: where jobs stand by their folders, the loop with an engine that is scripted, what is shown of it."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from metabench.bench.sweep import engine as engine_module
from metabench.bench.sweep import sweep as sweep_module
from metabench.bench.sweep.engine import OUTPUT, Local, command, last_line
from metabench.bench.sweep.job import Job, Standing, publish, standing
from metabench.bench.sweep.sweep import Run, Stopped, Sweep
from metabench.bench.sweep.table import Lines, LiveTable, summary, table
from metabench.bench.training.record import write_record
from metabench.bench.worlds import resolve
from tests.support.synthetic import record


def job(folder: Path, seed: int = 0) -> Job:
    recipe = resolve("maml", "omniglot-5w1s", "short")
    row = ("maml", "omniglot-5w1s", "--schedule", "short")
    return Job(row, recipe, seed, folder / f"seed{seed}")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def finished(one: Job, **fields: object) -> None:
    """What a run leaves behind."""
    content = record("maml", "omniglot-5w1s", "short", seed=one.seed, mean=0.98, spread=0.02, **fields)
    write_record(one.folder / "record.json", content)


LOG = """{"iteration": 400, "loss": 0.3}
{"iteration": 400, "val": 0.9512, "val_ci95": 0.005}
{"iteration": 401, "loss": 0.2}
{"iteration": 402, "lo"""


# ---- where a job stands


def test_a_job_stands_where_its_folder_says(tmp_path: Path) -> None:
    one = job(tmp_path)
    assert standing(one, None) == Standing("to do")
    write(one.folder / "log.jsonl", LOG)
    assert standing(one, None) == Standing("to do"), "without a checkpoint it starts anew"
    write(one.folder / "checkpoint.pt", "")
    assert standing(one, None) == Standing("stopped", 401, "95.12 ± 0.50")
    with open(one.folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert standing(one, None) == Standing("running", 401, "95.12 ± 0.50")
    assert standing(one, None).word == "stopped"
    finished(one)
    assert standing(one, None) == Standing("complete", 4000, "test 98.00 ± 0.16")


def test_a_diverged_run_is_over(tmp_path: Path) -> None:
    one = job(tmp_path)
    finished(one, diverged=True)
    found = standing(one, None)
    assert found == Standing("diverged", reason="loss is nan at iteration 7")
    assert found.over


@pytest.mark.parametrize("content", ["", "[1]", '{"schema": 1}', '{"schema": 1, "kind": "speed"}'])
def test_what_is_no_record_of_the_job_does_not_end_it(tmp_path: Path, content: str) -> None:
    one = job(tmp_path)
    write(one.folder / "record.json", content)
    assert standing(one, None) == Standing("to do")


def test_a_record_of_another_recipe_or_seed_does_not_end_it(tmp_path: Path) -> None:
    one, other = job(tmp_path), job(tmp_path, seed=1)
    finished(one, iterations=3999)
    write_record(other.folder / "record.json", record("maml", "omniglot-5w1s", "short", seed=0))
    assert standing(one, None) == standing(other, None) == Standing("to do")


def test_a_filed_record_ends_a_job_wherever_it_was_run(tmp_path: Path) -> None:
    one, elsewhere, records = job(tmp_path), job(tmp_path / "elsewhere"), tmp_path / "records"
    finished(elsewhere)
    assert standing(one, records) == Standing("to do")
    publish(elsewhere, records)
    assert [path.name for path in records.iterdir()] == [one.file]
    assert one.file == f"maml_omniglot-5w1s_{one.recipe.digest()}_seed0.json"
    assert standing(one, records).word == "complete"
    assert standing(one, None) == Standing("to do"), "records are not asked where none are filed"


def test_what_is_filed_stays(tmp_path: Path) -> None:
    one, records = job(tmp_path), tmp_path / "records"
    finished(one)
    publish(one, records)
    before = (records / one.file).read_bytes()
    assert before == (one.folder / "record.json").read_bytes()
    write_record(one.folder / "record.json", record("maml", "omniglot-5w1s", "short", mean=0.5))
    publish(one, records)
    assert (records / one.file).read_bytes() == before


# ---- the loop


class Scripted:
    """An engine whose jobs end when and as a test says."""

    def __init__(self, at_once: int, ends: Callable[[Job], int | None]) -> None:
        self.at_once, self.ends = at_once, ends
        self.submitted: list[int] = []
        self.stopped: list[tuple[int, bool]] = []
        self.most = self.now = 0

    def submit(self, one: Job) -> ScriptedHandle:
        self.submitted.append(one.seed)
        self.now += 1
        self.most = max(self.most, self.now)
        one.folder.mkdir(parents=True, exist_ok=True)
        return ScriptedHandle(self, one)


class ScriptedHandle:
    def __init__(self, engine: Scripted, one: Job) -> None:
        self.engine, self.job = engine, one
        self.status: int | None = None

    def poll(self) -> int | None:
        if self.status is None:
            self.status = self.engine.ends(self.job)
        self.engine.now -= self.status is not None
        return self.status

    def stop(self, *, at_once: bool = False) -> None:
        self.engine.stopped.append((self.job.seed, at_once))
        if at_once or self.job.seed != 7:  # seed 7 is deaf
            self.status = -9 if at_once else 143


class Watch:
    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def show(self, runs: Sequence[Run]) -> None:
        self.seen.append([run.standing.word for run in runs])


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "TICK", 0.001)
    monkeypatch.setattr(sweep_module, "LOOK", 0.0)


def runs_of(folder: Path, seeds: Sequence[int]) -> list[Run]:
    jobs = [job(folder, seed) for seed in seeds]
    return [Run(one, standing(one, folder / "records")) for one in jobs]


def swept(folder: Path, seeds: Sequence[int], engine: Scripted, **options: object) -> list[Run]:
    runs = runs_of(folder, seeds)
    Sweep(runs, engine, Watch(), records=folder / "records", **options).run()
    return runs


def test_jobs_run_in_order_so_many_at_once_and_are_filed(tmp_path: Path) -> None:
    turns = dict.fromkeys(range(5), 3)

    def ends(one: Job) -> int | None:
        turns[one.seed] -= 1
        if turns[one.seed]:
            return None
        finished(one)
        return 0

    engine = Scripted(2, ends)
    runs = swept(tmp_path, range(5), engine)
    assert (engine.submitted, engine.most) == ([0, 1, 2, 3, 4], 2)
    assert [run.standing.word for run in runs] == ["complete"] * 5
    assert sorted(p.name for p in (tmp_path / "records").iterdir()) == sorted(run.job.file for run in runs)
    again = Scripted(2, ends)
    swept(tmp_path, range(5), again)
    assert again.submitted == []


def test_a_failed_and_a_diverged_run_are_marked_and_the_rest_goes_on(tmp_path: Path) -> None:
    def ends(one: Job) -> int | None:
        if one.seed == 0:
            write(one.folder / OUTPUT, "progress\nmetabench: images not found\n\n")
            return 2
        if one.seed == 1:
            return -9
        finished(one, diverged=one.seed == 2)
        return int(one.seed == 2)

    engine = Scripted(1, ends)
    runs = swept(tmp_path, range(4), engine)
    assert engine.submitted == [0, 1, 2, 3]
    assert [run.standing[::3] for run in runs] == [
        ("failed", "exit status 2: metabench: images not found"),
        ("failed", "killed by SIGKILL"),
        ("diverged", "loss is nan at iteration 7"),
        ("complete", ""),
    ]
    assert sorted(p.name for p in (tmp_path / "records").iterdir()) == sorted(run.job.file for run in runs[2:])
    again = Scripted(1, ends)
    swept(tmp_path, range(4), again)
    assert again.submitted == [0, 1], "what failed is tried again by the next call"


def test_a_job_that_cannot_be_started_is_marked(tmp_path: Path) -> None:
    class Full(Scripted):
        def submit(self, one: Job) -> ScriptedHandle:
            raise OSError(28, os.strerror(28))

    runs = swept(tmp_path, [0, 1], Full(1, lambda one: 0))
    assert [run.standing.reason for run in runs] == ["[Errno 28] No space left on device"] * 2


def test_a_job_that_another_process_ends_as_its_turn_comes_is_filed(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, [0])
    assert runs[0].standing.word == "to do"
    finished(runs[0].job)
    engine = Scripted(1, lambda one: 0)
    Sweep(runs, engine, Watch(), records=tmp_path / "records").run()
    assert engine.submitted == []
    assert [p.name for p in (tmp_path / "records").iterdir()] == [runs[0].job.file]


def test_a_job_that_another_process_runs_is_waited_for(tmp_path: Path) -> None:
    held = job(tmp_path, 0)
    held.folder.mkdir(parents=True)
    lock = os.open(held.folder / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)

    def let_go() -> None:
        finished(held)
        os.close(lock)

    def ends(one: Job) -> int | None:
        finished(one)
        threading.Timer(0.05, let_go).start()
        return 0

    engine = Scripted(2, ends)
    runs = swept(tmp_path, [0, 1], engine)
    assert engine.submitted == [1]
    assert [run.standing.word for run in runs] == ["complete", "complete"]
    assert len(list((tmp_path / "records").iterdir())) == 2


def test_the_budget_stops_the_jobs_and_leaves_the_rest(tmp_path: Path) -> None:
    def ends(one: Job) -> int | None:
        write(one.folder / "checkpoint.pt", "")
        return None

    engine = Scripted(2, ends)
    runs = swept(tmp_path, range(3), engine, seconds=0.05)
    assert engine.submitted == [0, 1]
    assert sorted(engine.stopped) == [(0, False), (1, False)]
    assert [run.standing.word for run in runs] == ["stopped", "stopped", "to do"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_jobs(tmp_path: Path, number: int) -> None:
    before = signal.getsignal(number)
    engine = Scripted(1, lambda one: os.kill(os.getpid(), number))
    with pytest.raises(Stopped) as caught:
        swept(tmp_path, range(2), engine)
    assert caught.value.number == number
    assert engine.stopped[0] == (0, False)
    assert signal.getsignal(number) is before


def test_a_second_signal_or_too_long_a_wait_ends_the_deaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kills = iter([signal.SIGTERM, signal.SIGINT])
    engine = Scripted(1, lambda one: os.kill(os.getpid(), n) if (n := next(kills, None)) else None)
    with pytest.raises(Stopped, match="stopped by SIGTERM"):
        swept(tmp_path, [7], engine)
    assert engine.stopped == [(7, False), (7, True)]
    monkeypatch.setattr(sweep_module, "GRACE", 0.02)
    engine = Scripted(1, lambda one: None)
    started = time.monotonic()
    swept(tmp_path, [7], engine, seconds=0.01)
    assert engine.stopped == [(7, False), (7, True)]
    assert 0.03 <= time.monotonic() - started < 5


# ---- the engine of this machine


def printing(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Jobs run this Python instead."""
    monkeypatch.setattr(engine_module, "command", lambda one, threads: [sys.executable, "-c", code])


def wait(handle: engine_module.Handle) -> int:
    while (status := handle.poll()) is None:
        time.sleep(0.005)
    return status


def test_a_job_is_told_its_seed_folder_and_threads_and_its_own_threads_win(tmp_path: Path) -> None:
    one = job(tmp_path, 3)
    assert command(one, 4) == [
        sys.executable, "-m", "metabench", "run", "maml", "omniglot-5w1s", "--threads", "4", "--schedule", "short",
        "--seed", "3", "--out", str(one.folder),
    ]  # fmt: skip


def test_jobs_share_cores_and_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printing(monkeypatch, "import os; print(os.environ['OMP_NUM_THREADS'], os.environ.get('CUDA_VISIBLE_DEVICES'))")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    local = Local(3, 7, ["4", "GPU-5"])
    handles = [local.submit(job(tmp_path, seed)) for seed in range(3)]
    assert [wait(handle) for handle in handles] == [0, 0, 0]
    assert [last_line(tmp_path / f"seed{seed}") for seed in range(3)] == ["2 4", "2 GPU-5", "2 4"]
    wait(local.submit(job(tmp_path, 3)))
    assert last_line(tmp_path / "seed3") == "2 4"
    one = Local(4, 2)
    wait(one.submit(job(tmp_path, 4)))
    assert last_line(tmp_path / "seed4") == "1 None"


def test_a_process_is_stopped_by_signal_and_not_by_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printing(monkeypatch, "import os, time; print(os.getsid(0) == os.getpid(), flush=True); time.sleep(60)")
    local = Local(2, 2)
    first, second = local.submit(job(tmp_path, 0)), local.submit(job(tmp_path, 1))
    while last_line(tmp_path / "seed0") != "True":
        time.sleep(0.005)
    first.stop()
    second.stop(at_once=True)
    assert (wait(first), wait(second)) == (-15, -9)


def test_no_job_prints_nothing(tmp_path: Path) -> None:
    assert last_line(tmp_path) == ""


# ---- what is shown


def shown(tmp_path: Path) -> list[Run]:
    runs = runs_of(tmp_path, range(5))
    words = [
        Standing("to do"), Standing("complete", 4000, "test 97.33 ± 0.68"), Standing("running", 1000, "90.00 ± 1.00"),
        Standing("failed", reason="exit status 2: [no] disk"), Standing("stopped", 2000, "95.00 ± 1.00"),
    ]  # fmt: skip
    for run, word in zip(runs, words, strict=True):
        run.standing, run.estimate = word, 7200.0
    runs[2].handle = ScriptedHandle(Scripted(1, lambda one: None), runs[2].job)
    runs[2].began, runs[2].reached = (100.0, 400), (160.0, 1000)
    return runs


def test_time_left_is_by_the_own_pace_or_by_the_estimate(tmp_path: Path) -> None:
    runs = shown(tmp_path)
    assert [run.left for run in runs] == [7200.0, 0.0, 300.0, 0.0, 3600.0]
    runs[2].reached = runs[2].began
    assert runs[2].left == 5400.0, "without a pace of its own"
    runs[0].estimate = None
    assert runs[0].left is None


def test_the_table_says_where_each_run_stands(tmp_path: Path) -> None:
    runs = shown(tmp_path)
    text = "1 running, 1 failed, 1 stopped, 1 to do, 1 complete"
    assert summary(runs, 1) == f"{text}; about 3.1 hours left, 1 at once"
    assert summary(runs, 8) == f"{text}; about 2.0 hours left, 8 at once", "no less than the longest"
    runs[4].estimate = None
    assert summary(runs, 1) == text
    console = Console(width=140)
    with console.capture() as capture:
        console.print(table(runs, ""))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capture.get().splitlines() if "│" in line]
    assert rows == [
        ["maml omniglot-5w1s short seed 0", "to do", "", "", "about 2.0 hours"],
        ["maml omniglot-5w1s short seed 1", "complete", "4000/4000", "test 97.33 ± 0.68", ""],
        ["maml omniglot-5w1s short seed 2", "running", "1000/4000", "90.00 ± 1.00", "about 5.0 minutes"],
        ["maml omniglot-5w1s short seed 3", "failed: exit status 2: [no] disk", "", "", ""],
        ["maml omniglot-5w1s short seed 4", "stopped", "2000/4000", "95.00 ± 1.00", ""],
    ]


def test_a_terminal_too_low_shows_what_runs_first(tmp_path: Path) -> None:
    console = Console(width=120, height=8, force_terminal=True, record=True)
    with console.capture() as capture, LiveTable(console, 1) as live:
        live.show(shown(tmp_path))
    text = capture.get()
    assert "seed 2" in text
    assert "seed 3" in text
    assert not any(f"seed {n}" in text for n in (0, 1, 4))


def test_a_log_gets_a_line_when_something_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = runs_of(tmp_path, [0, 1])
    console = Console(width=60, record=True)
    with console.capture() as capture, Lines(console) as lines:
        lines.show(runs)
        runs[0].standing = Standing("running")
        lines.show(runs)
        lines.show(runs)
        runs[0].standing = Standing("running", 500, "91.00 ± 1.00")
        lines.show(runs)
        monkeypatch.setattr("metabench.bench.sweep.table.REMIND", 0.0)
        lines.show(runs)
        lines.show(runs)
        runs[0].standing = Standing("diverged", reason="the loss is nan")
        lines.show(runs)
    said = [line.split("  ")[1:] for line in capture.get().splitlines()]
    assert said == [
        ["maml omniglot-5w1s short seed 0", "running"],
        ["maml omniglot-5w1s short seed 0", "running", "500/4000", "91.00 ± 1.00"],
        ["maml omniglot-5w1s short seed 0", "diverged: the loss is nan"],
    ]
