"""Runs that are killed and started again, and must end as the undisturbed one."""

import json
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.e2e.conftest import Warm


def checkpoint_of(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def record_of(folder: Path) -> dict:
    return json.loads((folder / "record.json").read_text())


def logged(folder: Path) -> int:
    """Iterations in the log, which tell of an outer step; it is written just before each checkpoint."""
    log = folder / "log.jsonl"
    return sum('"val"' not in line for line in log.read_text().splitlines()) if log.exists() else 0


def leaves(value, path=""):
    """(path, leaf) of nested dictionaries and lists."""
    if isinstance(value, dict):
        for key in value:
            yield from leaves(value[key], f"{path}/{key}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from leaves(item, f"{path}/{i}")
    else:
        yield path, value


def assert_same_run(one: Path, other: Path) -> None:
    """Bit for bit, but for the times and places."""
    a, b = (
        {path: value for path, value in leaves(checkpoint_of(folder)) if not path.startswith("/state/sessions/")}
        for folder in (one, other)
    )
    assert a.pop("/state/seconds") > 0
    assert b.pop("/state/seconds") > 0
    assert a.keys() == b.keys()
    for path, value in a.items():
        same = torch.equal(value, b[path]) if isinstance(value, torch.Tensor) else value == b[path]
        assert same, f"{path}: {value} and {b[path]}"
    first, second = record_of(one), record_of(other)
    assert first.pop("provenance") != second.pop("provenance")
    assert first.pop("checksum") != second.pop("checksum")
    assert first == second
    assert (one / "log.jsonl").read_text() == (other / "log.jsonl").read_text()


def harry(
    warm: Warm, argv: Sequence[object], folder: Path, moments: Sequence[int], random_: random.Random, pace: float
) -> None:
    """Kill a run some time after each of these iterations, start it again, and let it end at last.

    Args:
        moments: iterations; 0 is somewhere in its start.
        pace: seconds of an iteration. Checkpoints are as often as one or two.
    """
    for at in moments:
        fork = warm.start(*argv, "--out", folder, "--save-every", random_.choice([0, 2 * pace]))
        if at == 0:
            time.sleep(random_.uniform(0, 0.5))
        else:
            warm.until(lambda at=at, fork=fork: logged(folder) >= at or not fork.alive, 300)
            time.sleep(random_.uniform(0, 2 * pace))
        assert fork.alive, f"finished before kill at {at}: {fork.output}"
        fork.kill()
        assert fork.wait() == -signal.SIGKILL
    status, output = warm.run(*argv, "--out", folder)
    assert status == 0, output
