"""`metabench sweep` as a process: killed at random moments, with runs that fail, and on the published numbers."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Fork, Warm
from tests.e2e.harried import record_of

FORKS = str(Path(__file__).with_name("forks.py"))

IMAGES = "--width 4 --queries 2 --train-queries 2 --train-ways 5 --val-every 10 --val-tasks 4 --test-tasks 6"
CONTROL = "--rollouts 2 --meta-batch 2 --val-every 5 --val-tasks 2 --test-tasks 3 --test-steps 1"
ROWS = f"""# images and control, tiny
maml glyphs-5w1s {IMAGES} --meta-batch 4 --iterations 30
protonet glyphs-5w1s {IMAGES} --iterations 40 --seeds 0 1
maml navigation {CONTROL} --iterations 15 --seeds 3   # a seed of its own
anil navigation {CONTROL} --iterations 15
"""
FLAGS = ("--device", "cpu", "--jobs", "2", "--save-every", "0.02")


def start(warm: Warm, folder: Path, *argv: object) -> Fork:
    folder.mkdir(exist_ok=True)
    (folder / "rows.txt").write_text(ROWS)
    return warm.start(folder, *argv, call=(FORKS, "sweep"))


def sweep(warm: Warm, folder: Path, *argv: object) -> tuple[int, str]:
    fork = start(warm, folder, *argv)
    return fork.wait(), fork.output


def records(folder: Path) -> dict[str, dict]:
    """File name -> what does not depend on how a run came about."""
    own = ("provenance", "checksum")
    return {
        path.name: {k: v for k, v in json.loads(path.read_text()).items() if k not in own}
        for path in sorted((folder / "results" / "records").glob("*.json"))
    }


def logs(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.glob("runs/*/*/log.jsonl")}


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def strike(fork: Fork, how: str) -> None:
    """End a sweep; by SIGKILL its jobs get no time of theirs either where that is said."""
    jobs = children(fork.pid)
    fork.kill(signal.SIGTERM if how == "SIGTERM" else signal.SIGKILL)
    for pid in jobs if how == "SIGKILL of all" else []:
        with contextlib.suppress(ProcessLookupError):  # it died with the sweep
            os.kill(pid, signal.SIGKILL)
    # SIGTERM ends it as any process while it reads its arguments, before there are runs to stop
    assert fork.wait() in ((143, -15) if how == "SIGTERM" else (-9,)), fork.output
    # A job that is a fork, and no program of its own, has its sweep's lock until it is gone.
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in jobs) and time.monotonic() < until:
        time.sleep(0.01)


def test_a_sweep_killed_twenty_times_ends_in_the_records_of_an_undisturbed_one(warm: Warm, tmp_path: Path) -> None:
    calm, random_ = tmp_path / "calm", random.Random(20)
    status, output = sweep(warm, calm, "rows.txt", *FLAGS)
    assert status == 0, output
    assert len(records(calm)) == 5
    hows = ["SIGTERM"] * 7 + ["SIGKILL"] * 7 + ["SIGKILL of all"] * 6
    random_.shuffle(hows)
    harried = [tmp_path / "harried0"]
    while hows:
        fork = start(warm, harried[-1], "rows.txt", *FLAGS)
        goal, patience = sum(map(len, logs(harried[-1]).values())) + random_.choice([0, 1, 200, 500]), 60.0
        while fork.alive and patience > 0 and sum(map(len, logs(harried[-1]).values())) < goal:
            time.sleep(0.02)
            patience -= 0.02
        time.sleep(random_.uniform(0, 0.3))
        if fork.alive:
            strike(fork, hows.pop())
        else:  # it ended before it was struck: the rest of the blows is for another
            assert fork.wait() == 0, fork.output
            harried.append(tmp_path / f"harried{len(harried)}")
    for folder in harried:
        status, output = sweep(warm, folder, "rows.txt", *FLAGS)
        assert status == 0, output
        assert records(folder) == records(calm)
        assert logs(folder) == logs(calm)


@pytest.mark.slow
def test_processes_of_a_sweep_that_dies_stop_and_the_next_one_goes_on(warm: Warm, tmp_path: Path) -> None:
    """Without forks: each job is a `python -m metabench run` of its own."""
    row = ["navigation", *CONTROL.split(), "--iterations", 60, "--device", "cpu"]
    status, output = warm.run("run", "maml", *row, "--threads", 1, "--out", tmp_path / "calm")
    assert status == 0, output
    argv = ["sweep", "maml:navigation", *row[1:], "--save-every", 0, "--threads", 1, "--out", tmp_path, "--no-publish"]
    fork = warm.start(*argv)
    warm.until(lambda: any(tmp_path.glob("*/seed0/checkpoint.pt")), 300)
    [folder] = tmp_path.glob("*/seed0")
    job = int((folder / "lock").read_text())
    assert job in children(fork.pid)
    strike(fork, "SIGKILL")
    warm.until(lambda: not Path(f"/proc/{job}").exists())
    assert not (folder / "record.json").exists()
    status, output = warm.run(*argv)
    assert status == 0, output
    first, second = record_of(folder), record_of(tmp_path / "calm")
    assert first["provenance"]["command"].startswith("metabench run maml navigation --threads 1 --rollouts 2 ")
    own = ("provenance", "checksum")
    assert {k: v for k, v in first.items() if k not in own} == {k: v for k, v in second.items() if k not in own}
