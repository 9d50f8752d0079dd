"""Runs that are killed, stopped or starved, and go on: real processes of the real command line."""

import contextlib
import json
import random
import signal
import subprocess

import pytest

from tests.e2e.harried import assert_same_run, checkpoint_of, harry, logged, record_of

SMALL = ["--device", "cpu", "--width", 4, "--queries", 2]
TINY = [*SMALL, "--val-every", 10, "--val-tasks", 4, "--test-tasks", 6]
MAML = ["run", "maml", "glyphs-5w1s", *TINY, "--train-queries", 2, "--meta-batch", 4, "--iterations", 50]
PROTONET = ["run", "protonet", "glyphs-5w1s", *TINY, "--train-queries", 2, "--train-ways", 5, "--iterations", 50]


BASELINE = ["run", "baseline-pp", "glyphs-5w1s", *TINY, "--batch", 7, "--iterations", 50]
SIMPLESHOT = ["run", "simpleshot", *BASELINE[2:]]


@pytest.fixture(scope="module")
def calm(warm, tmp_path_factory):
    """An undisturbed run of `MAML` on one thread."""
    folder = tmp_path_factory.mktemp("calm") / "run"
    status, output = warm.run(*MAML, "--threads", 1, "--out", folder)
    assert status == 0, output
    return folder


def started(warm, folder, *, iterations: int):
    """The same run in another folder, at or beyond an iteration that it has saved."""
    fork = warm.start(*MAML, "--threads", 1, "--out", folder, "--save-every", 0)
    warm.until(lambda: logged(folder) >= iterations + 1)
    assert fork.alive
    return fork


def finish(warm, folder):
    status, output = warm.run(*MAML, "--threads", 1, "--out", folder)
    assert status == 0, output


@pytest.mark.parametrize(
    ("argv", "kills"),
    [
        ([*MAML, "--threads", 1], 10),
        ([*MAML, "--threads", 2], 4),
        ([*PROTONET, "--threads", 1], 4),
        ([*BASELINE, "--threads", 1], 3),
        ([*SIMPLESHOT, "--threads", 1], 3),
    ],
    ids=["maml", "maml-2-threads", "protonet-running-statistics", "baseline-batches", "simpleshot-centre"],
)
def test_a_run_killed_at_random_moments_ends_as_the_undisturbed_one(warm, tmp_path, argv, kills):
    calm, harried, random_ = tmp_path / "calm", tmp_path / "harried", random.Random(kills)
    assert warm.run(*argv, "--out", calm)[0] == 0
    moments = [0, *sorted(random_.sample(range(1, 46), kills - 1))]
    harry(warm, argv, harried, moments, random_, record_of(calm)["provenance"]["train_seconds"] / 50)
    assert_same_run(calm, harried)
    lines = [json.loads(line) for line in (harried / "log.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "loss" in line] == list(range(1, 51))
    assert [line["iteration"] for line in lines if "val" in line] == [10, 20, 30, 40, 50]
    assert sorted(p.name for p in harried.iterdir()) == ["checkpoint.pt", "lock", "log.jsonl", "record.json"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_run_says_where_it_stands_and_the_run_goes_on(warm, calm, tmp_path, number):
    """Checkpoints are an hour apart: what is there was saved because of the signal."""
    folder = tmp_path / "run"
    fork = warm.start(*MAML, "--threads", 1, "--out", folder, "--save-every", 3600)
    warm.until(lambda: logged(folder) >= 10)  # the first validation's
    fork.kill(number)
    assert fork.wait() == 128 + number
    at = checkpoint_of(folder)["state"]["iteration"]
    assert 10 <= at < 50
    assert logged(folder) == at
    assert f"stopped at iteration {at} of 50, which is saved; the same command goes on there" in fork.output
    assert "Traceback" not in fork.output
    finish(warm, folder)
    assert_same_run(calm, folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_anything_is_saved_says_so(warm, calm, tmp_path, number):
    folder = tmp_path / "run"
    fork = warm.start(*MAML, "--threads", 1, "--out", folder)
    warm.until(lambda: (folder / "lock").exists())
    fork.kill(number)
    assert fork.wait() == 128 + number
    saved = (folder / "checkpoint.pt").exists()  # where the first iteration was faster than the signal
    assert ("which is saved" in fork.output) == saved
    assert ("; the same command starts the run" in fork.output) == (not saved)
    finish(warm, folder)
    assert_same_run(calm, folder)


def test_a_second_process_is_refused_and_the_first_undisturbed(warm, calm, tmp_path):
    folder = tmp_path / "run"
    first = started(warm, folder, iterations=1)
    status, output = warm.run(*MAML, "--threads", 1, "--out", folder)
    assert status == 2
    assert f"run folder {folder} is in use by process {first.pid}; wait, or choose another with --out" in output
    assert first.wait() == 0
    assert_same_run(calm, folder)


def test_a_checkpoint_too_large_to_write_leaves_the_one_before(warm, calm, tmp_path):
    """The kernel refuses the bytes beyond the limit half-way through the write, as a full disk does."""
    folder = tmp_path / "run"
    fork = started(warm, folder, iterations=12)
    fork.kill()
    fork.wait()
    before = (folder / "checkpoint.pt").read_bytes()
    status, output = warm.run(*MAML, "--threads", 1, "--out", folder, largest=len(before) // 2)
    assert status == 2
    assert f"cannot write {folder / 'checkpoint.pt'}: File too large; what was there before is untouched" in output
    assert "then run the same command again" in output
    assert (folder / "checkpoint.pt").read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == ["checkpoint.pt", "lock", "log.jsonl"]
    finish(warm, folder)
    assert_same_run(calm, folder)


def test_a_full_disk_loses_nothing(warm, calm, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, text=True)
    if mount.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {mount.stderr.strip()}")
    try:
        folder = disk / "run"
        fork = started(warm, folder, iterations=5)
        with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        assert fork.wait() == 2
        assert ": No space left on device; " in fork.output
        assert f"cannot write {folder}/" in fork.output
        assert 5 <= checkpoint_of(folder)["state"]["iteration"] < 50
        (disk / "filler").unlink()
        finish(warm, folder)
        assert_same_run(calm, folder)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_folder_that_cannot_be_made_is_named(warm, tmp_path):
    (tmp_path / "file").write_text("in the way")
    status, output = warm.run(*MAML, "--out", tmp_path / "file" / "run")
    assert status == 2
    assert f"cannot use run folder {tmp_path / 'file' / 'run'}: Not a directory; choose another with --out" in output


def test_a_diverged_run_stops_is_marked_and_keeps_its_last_good_checkpoint(warm, calm, tmp_path):
    folder = tmp_path / "run"
    argv = [*MAML, "--threads", 1, "--lr-factors", 12, 1e30, "--out", folder]
    status, output = warm.run(*argv)
    assert status == 1, output
    record, saved = record_of(folder), checkpoint_of(folder)
    assert record["status"].startswith("diverged: the loss is ")
    assert "at outer step 13" in record["status"]
    assert f"{record['status']}; the last good checkpoint is kept" in output
    assert (record["test"]["mean"], record["per_task"]) == ([], [])
    # The first 12 iterations are the calm run's, and so is what was kept of them.
    assert logged(folder) == 13
    assert (saved["state"]["iteration"], saved["state"]["best_iteration"]) == (10, 10)
    assert all(bool(t.isfinite().all()) for t in saved["learner"].values())
    assert record["curve"] == record_of(calm)["curve"][:1]

    bytes_before = (folder / "checkpoint.pt").read_bytes()
    again, words = warm.run(*argv)
    assert again == 1
    assert record["status"] in words
    assert (folder / "checkpoint.pt").read_bytes() == bytes_before
    assert logged(folder) == 13
    own = ("provenance", "checksum")
    assert {k: v for k, v in record_of(folder).items() if k not in own} == {
        k: v for k, v in record.items() if k not in own
    }
    refused, why = warm.run("evaluate", folder)
    assert refused == 2
    assert f"{folder} stands at iteration 10 of 50; it diverged: the loss is " in why
