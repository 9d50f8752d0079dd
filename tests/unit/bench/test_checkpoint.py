"""Checkpoints: whole or absent, read without running code, one process a folder; every failure names the path."""

import errno
import fcntl
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metabench.bench.training import checkpoint
from metabench.bench.training.checkpoint import RunFolderError, load, locked, save, write_atomic

STATE = {
    "learner": {"w": torch.arange(3.0)},
    "state": {"iteration": 7, "best": -float("inf"), "curve": [{"mean": 0.5}]},
}


def failing(number: int):
    def fail(*arguments, **keywords):
        raise OSError(number, os.strerror(number))

    return fail


def test_what_is_saved_is_loaded(tmp_path):
    save(tmp_path / "new" / "checkpoint.pt", STATE)
    got = load(tmp_path / "new" / "checkpoint.pt")
    assert got.pop("format") == checkpoint.FORMAT
    assert torch.equal(got["learner"]["w"], torch.tensor([0.0, 1.0, 2.0]))
    assert got["state"] == STATE["state"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize(
    ("function", "number", "words"),
    [
        ("fsync", errno.ENOSPC, "No space left on device"),
        ("replace", errno.EDQUOT, os.strerror(errno.EDQUOT)),
        ("fdopen", errno.EROFS, "Read-only file system"),
    ],
)
def test_a_failed_write_leaves_the_old_bytes_and_nothing_else(tmp_path, monkeypatch, function, number, words):
    path = tmp_path / "checkpoint.pt"
    save(path, STATE)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, function, failing(number))
        with pytest.raises(RunFolderError) as caught:
            save(path, {"learner": {}})
    assert str(caught.value) == (
        f"cannot write {path}: {words}; what was there before is untouched. "
        "Make room or choose another folder, then run the same command again"
    )
    assert path.read_bytes() == before
    assert load(path)["state"]["iteration"] == 7
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_folder_that_cannot_exist_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"cannot write .*file/record\.json: (File exists|Not a directory); what"):
        write_atomic(tmp_path / "file" / "record.json", b"")
    with pytest.raises(RunFolderError, match=r"cannot use run folder .*file/run: Not a directory; choose another with"):
        locked(tmp_path / "file" / "run").__enter__()


@pytest.mark.parametrize("kept", [0, 1, 100, -100])
def test_a_truncated_checkpoint_says_what_to_do(tmp_path, kept):
    path = tmp_path / "checkpoint.pt"
    save(path, STATE)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(RunFolderError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path} is not a readable checkpoint (")
    assert str(caught.value).endswith("); remove it to start over")


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, how):
    path, proof = tmp_path / "checkpoint.pt", tmp_path / "it-ran"
    payload = {"format": checkpoint.FORMAT, "learner": Hostile(proof)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(payload))
        pickle.loads(path.read_bytes())
    else:
        torch.save(payload, path)
        torch.load(path, weights_only=False)
    assert proof.exists()  # it would have
    proof.unlink()
    with pytest.raises(RunFolderError, match=r"is not a readable checkpoint \((Unpickling|BadZip)"):
        load(path)
    assert not proof.exists()


@pytest.mark.parametrize(("content", "found"), [({"format": 99}, "99"), ({"a": 1}, "None"), ([1], "'list'")])
def test_another_format_is_named(tmp_path, content, found):
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(RunFolderError) as caught:
        load(tmp_path / "checkpoint.pt")
    assert f"has checkpoint format {found}, this version reads 2 and 3; train again" in str(caught.value)


def test_a_flipped_byte_is_refused_wherever_it_is(tmp_path):
    """All of a small checkpoint, one after the other; among them are the bytes of its seal."""
    path = tmp_path / "checkpoint.pt"
    save(path, STATE)
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        with pytest.raises(RunFolderError, match=re.escape(str(path))):
            load(path)
    path.write_bytes(content)
    assert torch.equal(load(path)["learner"]["w"], torch.tensor([0.0, 1.0, 2.0]))


def test_a_damaged_checkpoint_is_told_what_it_is(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save(path, STATE)
    content = path.read_bytes()
    at = content.index(STATE["learner"]["w"].numpy().tobytes())
    message = f"{path} is damaged: its bytes are not those that were written; restore it from a copy, or remove it to"
    for damaged in (content[:at] + b"\0\0\1" + content[at + 3 :], content[:-64] + b"0" * 64, content[:-1]):
        path.write_bytes(damaged)
        with pytest.raises(RunFolderError, match=re.escape(message)):
            load(path)


def older(path, **state):
    """A checkpoint as the version before wrote it."""
    run = {"recipe": "0" * 12, "fields": {"val_tasks": 11}, "seed": 0, "data": {}, "learner": {}, "outer": {}}
    torch.save({"format": 2, **run, "state": {"curve": [{"mean": 0.5, "ci95": 0.196}]}, **state}, path)


def test_the_format_before_is_read_with_students_intervals(tmp_path):
    older(tmp_path / "checkpoint.pt")
    [point] = checkpoint.load_run(tmp_path / "checkpoint.pt")["state"]["curve"]
    assert point == {"mean": 0.5, "ci95": pytest.approx(0.2228139, abs=1e-7)}  # ten degrees of freedom


def test_the_format_before_is_checked_part_by_part(tmp_path):
    path = tmp_path / "checkpoint.pt"
    older(path, learner={"w": torch.arange(3.0)})
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(3.0).numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match="is damaged: its bytes are not those that were written"):
        load(path)


@pytest.mark.parametrize("spoilt", [{"fields": []}, {"fields": {}}, {"state": {"curve": [7]}}])
def test_a_checkpoint_of_the_format_before_that_is_none_of_a_run_says_so(tmp_path, spoilt):
    older(tmp_path / "checkpoint.pt", **spoilt)
    with pytest.raises(RunFolderError, match=r"checkpoint\.pt is no checkpoint of a run \("):
        checkpoint.load_run(tmp_path / "checkpoint.pt")


def test_a_checkpoint_that_cannot_be_opened_is_not_called_damaged(tmp_path):
    (tmp_path / "checkpoint.pt").mkdir()
    with pytest.raises(RunFolderError, match=r"cannot read .*checkpoint\.pt: Is a directory"):
        load(tmp_path / "checkpoint.pt")


HOLD = """
import fcntl, os, sys
lock = open(sys.argv[1], "a+")
fcntl.flock(lock, fcntl.LOCK_EX)
lock.truncate(0)
lock.write(str(os.getpid()))
lock.flush()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_held_by_another_process_is_refused_until_that_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError) as caught, locked(tmp_path):
            pass
        assert str(caught.value) == (
            f"run folder {tmp_path} is in use by process {other.pid}; wait, or choose another with --out"
        )
        other.kill()
    with locked(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_lock_ends_with_its_block_and_clears_what_a_killed_writer_left(tmp_path):
    (tmp_path / ".checkpoint.pt.x1y2.partial").write_bytes(b"half")
    (tmp_path / ".hidden").touch()
    for _ in range(2):
        with locked(tmp_path):
            assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "lock"]
            with pytest.raises(RunFolderError, match=f"in use by process {os.getpid()}"), locked(tmp_path):
                pass


def test_a_file_system_without_locks_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    with pytest.raises(RunFolderError) as caught, locked(tmp_path):
        pass
    assert str(caught.value).startswith(
        f"cannot lock run folder {tmp_path}: {os.strerror(errno.ENOLCK)}; choose another"
    )


def test_a_full_disk_does_not_keep_a_folder_from_being_held(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint.os, "write", failing(errno.ENOSPC))
    with locked(tmp_path), pytest.raises(RunFolderError, match="in use by process unknown"), locked(tmp_path):
        pass
