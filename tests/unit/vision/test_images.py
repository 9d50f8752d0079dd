"""Reading folders and zips, decoding, the cache, and every way in which the data can be bad."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabench.vision.data import cache as cache_module
from metabench.vision.data.archive import choose, identity, walk
from metabench.vision.data.cache import Item, cached, content_digest, key_of
from metabench.vision.data.source import (
    ClassImages,
    DataError,
    Dataset,
    cache_root,
    class_indices,
    data_root,
    notes_of,
    seeded_order,
    suggest,
)

SHAPE = (1, 4, 4)


def png(array: np.ndarray, mode: str | None = None, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(np.asarray(array, np.uint8))
    (image.convert(mode) if mode else image).save(buffer, format)
    return buffer.getvalue()


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def items(count: int = 3) -> list[Item]:
    def reader(i: int) -> Callable[[], bytes]:
        return lambda: bytes(range(i, i + 16))

    return [Item(f"class{i}", f"{j}", f"place {i}/{j}", reader(10 * i + j)) for i in range(count) for j in range(2)]


def raw(data: bytes, place: str) -> np.ndarray:
    return np.frombuffer(data, np.uint8).reshape(SHAPE)


def build(folder: Path, todo: Callable[[], list[Item]] = items, name: str = "toy") -> ClassImages:
    return cached(name, "key", todo, raw, shape=SHAPE, cache=folder)


def never() -> list[Item]:
    raise AssertionError("decoded again")


# ---- roots and splits


def test_roots_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path / "d"))
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "c"))
    assert (data_root(), cache_root()) == (tmp_path / "d", tmp_path / "c")
    monkeypatch.delenv("METABENCH_DATA")
    monkeypatch.delenv("METABENCH_CACHE")
    assert data_root() == Path.home() / ".cache/metabench/data"
    assert cache_root() == Path.home() / ".cache/metabench/decoded"


@pytest.mark.parametrize("variable", ["METABENCH_DATA", "METABENCH_CACHE"])
def test_a_root_in_a_home_that_is_not_there(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "~nosuch/x")
    with pytest.raises(DataError, match=r"^~nosuch/x: there is no home folder for ~nosuch\. Give the full path\.$"):
        data_root() if variable == "METABENCH_DATA" else cache_root()


def toy(splits: dict[str, list[int]]) -> Dataset:
    images = ClassImages(np.zeros((9, 1, 2, 2), np.uint8), np.array([0, 2, 5, 9]), ("a", "b", "c"), "")
    return Dataset("toy", images, {k: np.array(v) for k, v in splits.items()}, split_version="v")


def test_a_class_in_two_splits_is_named() -> None:
    with pytest.raises(
        DataError, match=r"toy: class b is in two splits, train and test\. A test class seen in training"
    ):
        toy({"train": [0, 1], "val": [2], "test": [1]})


def test_a_class_with_too_few_images_is_named() -> None:
    data = toy({"train": [0, 1], "val": [], "test": [2]})
    data.require("test", 4)
    with pytest.raises(
        DataError, match=r"toy: class a of the train split has 2 images, but an episode takes 3 of each"
    ):
        data.require("train", 3)


def test_more_ways_than_classes() -> None:
    with pytest.raises(DataError, match=r"toy: 3 ways asked for, but its train split has 2 classes\. Use fewer ways"):
        toy({"train": [0, 1]}).require("train", 1, classes=3)


def test_counts_and_notes() -> None:
    data = toy({"train": [0, 1], "test": [2]})
    assert data.images.counts.tolist() == [2, 3, 4]
    assert notes_of(data.images, data.splits) == "train: 2 classes x 2-3 images; test: 1 classes x 4 images"


def test_class_indices_name_the_first_class_that_is_absent() -> None:
    assert class_indices(["a", "b", "c"], {"train": ["c", "a"]}, "toy")["train"].tolist() == [0, 2]
    with pytest.raises(DataError, match=r"toy: val lacks 2 of 3 classes, the first x. Import the missing files"):
        class_indices(["a"], {"val": ["a", "x", "y"]}, "toy")


def test_seeded_order_is_pinned_and_ignores_the_order_given() -> None:
    names = [f"c{i}" for i in range(6)]
    assert seeded_order(names, 0) == seeded_order(names[::-1], 0)
    assert seeded_order(names, 0) == sorted(names, key=lambda n: hashlib.sha256(f"0/{n}".encode()).hexdigest())
    assert len({tuple(seeded_order(names, seed)) for seed in range(5)}) == 5


def test_the_nearest_name_is_suggested() -> None:
    assert suggest("vinals", ("random", "vinyals")) == "Did you mean 'vinyals'? Known: random, vinyals."
    assert suggest("zzz", ("random",)) == "Known: random."


# ---- folders and zips


def test_a_folder_and_a_zip_are_walked_alike(tmp_path: Path) -> None:
    picture = png(np.zeros((4, 4)))
    names = ["set/a/1.png", "set/a/2.PNG", "set/b/1.jpg", "set/readme.txt", "set/a/.hidden.png", "__MACOSX/a/1.png"]
    for name in names[:-1]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(picture)
    archive = zipped(tmp_path / "set.zip", dict.fromkeys(names, picture))
    found = []
    for container in (tmp_path / "set", archive):
        with walk([container]) as members:
            found.append([(m.parts, m.size, m.read()) for m in sorted(members) if m.is_image])
    assert found[0] == found[1]
    assert [parts for parts, *_ in found[0]] == [("set", "a", "1.png"), ("set", "a", "2.PNG"), ("set", "b", "1.jpg")]


def test_two_copies_of_an_image_are_one_unless_they_differ(tmp_path: Path) -> None:
    one = zipped(tmp_path / "one.zip", {"a/1.png": b"x"})
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"x")
    other = zipped(tmp_path / "other.zip", {"a/1.png": b"y"})
    with walk([one, tmp_path / "a", other]) as (first, copy, different):
        chosen = {("a", "1.png"): first}
        choose(chosen, ("a", "1.png"), copy)
        assert chosen == {("a", "1.png"): first}
        with pytest.raises(
            DataError, match=r"other.zip: a/1.png and .*one.zip: a/1.png are two different images of one"
        ):
            choose(chosen, ("a", "1.png"), different)


@pytest.mark.parametrize("name", ["/etc/a.png", "../a.png", "a/../../b.png", "C:/a.png", "..\\a.png", "\\a.png"])
def test_path_escape_is_refused(tmp_path: Path, name: str) -> None:
    archive = zipped(tmp_path / "evil.zip", {"a/ok.png": b"", name: b""})
    with (
        pytest.raises(DataError, match=r"evil.zip: member .* is a path that leads out of the archive\. Refused"),
        walk([archive]),
    ):
        pass


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("a/link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with (
        pytest.raises(DataError, match=r"member 'a/link.png' is a link or a device\. Refused"),
        walk([tmp_path / "evil.zip"]),
    ):
        pass


def test_a_linked_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "loop").symlink_to(tmp_path)
    with (
        pytest.raises(DataError, match=r"set/loop is a link to another folder, and links are not followed"),
        walk([tmp_path / "set"]),
    ):
        pass


def test_a_dangling_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"a.png cannot be read: No such file"), walk([tmp_path]):
        pass


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set" / "locked").mkdir(parents=True)
    scandir = os.scandir

    def refuse(path: str | Path) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with (
        pytest.raises(DataError, match=r"set/locked cannot be read: Permission denied\. Check its permissions"),
        walk([tmp_path / "set"]),
    ):
        pass


def test_a_file_changed_behind_its_time_has_another_stamp(tmp_path: Path) -> None:
    file = tmp_path / "set" / "1.png"
    file.parent.mkdir()
    file.write_bytes(b"x")
    with walk([file.parent]) as (before,):
        pass
    status, first = file.stat(), identity(file)
    while file.stat().st_ctime_ns == status.st_ctime_ns:  # the clock of a file system ticks every few milliseconds
        file.write_bytes(b"y")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.stat().st_mtime_ns == status.st_mtime_ns
    with walk([file.parent]) as (after,):
        assert after.stamp != before.stamp
    assert first == (before.size, before.stamp) != identity(file)


def test_a_truncated_zip(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "whole.zip", {f"a/{i}.png": os.urandom(100) for i in range(5)}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:-60])
    with (
        pytest.raises(DataError, match=r"cut.zip is not a whole zip \(.*\): it may be cut short\. Copy or download it"),
        walk([tmp_path / "cut.zip"]),
    ):
        pass


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    content = os.urandom(200)
    archive = zipped(tmp_path / "bad.zip", {"a/1.png": content})
    archive.write_bytes(archive.read_bytes().replace(content, content[::-1]))
    with (
        walk([archive]) as (member,),
        pytest.raises(DataError, match=r"bad.zip: a/1.png cannot be read \(Bad CRC-32.*The zip is damaged"),
    ):
        member.read()


def test_a_member_that_unpacks_to_gigabytes_is_not_read(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "bomb.zip", {"a/1.png": bytes(65 * 2**20)}, zipfile.ZIP_DEFLATED)
    with (
        walk([archive]) as (member,),
        pytest.raises(DataError, match=r"a/1.png claims 65 MiB, more than any image here \(limit 64 MiB\)"),
    ):
        member.read()


# ---- the cache


def test_cache_layout_order_and_digest(tmp_path: Path) -> None:
    built = build(tmp_path, lambda: items()[::-1])
    assert isinstance(built.images, np.memmap)
    assert built.images.shape == (6, *SHAPE)
    assert built.names == ("class0", "class1", "class2")
    assert built.starts.tolist() == [0, 2, 4, 6]
    assert built.images[:, 0, 0, 0].tolist() == [0, 1, 10, 11, 20, 21]
    assert built.digest == content_digest((item.class_name, item.image_name, item.read()) for item in items())
    again = build(tmp_path, never)
    assert np.array_equal(again.images, built.images)
    assert again.digest == built.digest
    assert [p.name for p in tmp_path.iterdir()] == ["toy-key"]


def test_key_depends_on_every_fact() -> None:
    assert key_of(28, ["a"]) == key_of(28, ["a"])
    assert len({key_of(28, ["a"]), key_of(84, ["a"]), key_of(28, ["b"]), key_of(28, ["a", "b"])}) == 4


def test_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    todo = [item._replace(class_name=name, image_name=name) for item in items(1)[:1]]
    built = build(tmp_path, lambda: todo)
    assert built.names == build(tmp_path, never).names == (name,)
    assert built.digest == content_digest([(name, name, todo[0].read())])
    content = b"caf\xe9/caf\xe9\0" + hashlib.sha256(todo[0].read()).digest()
    assert built.digest == hashlib.sha256(content).hexdigest()
    assert sorted(seeded_order([name, "tea"], 0)) == [name, "tea"]


def truncate(entry: Path) -> None:
    data = (entry / "images.npy").read_bytes()
    (entry / "images.npy").write_bytes(data[:-1])


def flip(entry: Path) -> None:
    data = bytearray((entry / "images.npy").read_bytes())
    data[-1] ^= 1
    (entry / "images.npy").write_bytes(bytes(data))


def edit(entry: Path) -> None:
    sealed = json.loads((entry / "index.json").read_text())
    sealed["index"]["starts"][1] = 1
    (entry / "index.json").write_text(json.dumps(sealed))


def empty(entry: Path) -> None:
    for file in entry.iterdir():
        file.unlink()


@pytest.mark.parametrize("damage", [truncate, flip, edit, empty, lambda e: (e / "index.json").write_text("[1]")])
def test_a_damaged_entry_is_built_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    expected = np.array(build(tmp_path).images)
    damage(tmp_path / "toy-key")
    assert np.array_equal(build(tmp_path).images, expected)
    assert np.array_equal(build(tmp_path, never).images, expected)
    assert [p.name for p in tmp_path.iterdir()] == ["toy-key"]


def test_an_image_that_fails_leaves_no_entry(tmp_path: Path) -> None:
    def bad() -> bytes:
        raise DataError("place 1/0 is damaged")

    with pytest.raises(DataError, match="place 1/0 is damaged"):
        build(tmp_path, lambda: [*items(), Item("class1", "0", "place 1/0", bad)])
    assert list(tmp_path.iterdir()) == []


def test_wrong_pixels_and_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"place 0/0: uint8 pixels \(16,\), expected uint8 \(1, 4, 4\)"):
        cached("toy", "k", items, lambda d, p: np.frombuffer(d, np.uint8), shape=SHAPE, cache=tmp_path)
    with pytest.raises(DataError, match="toy: its files hold no images of any class"):
        build(tmp_path, list)


def test_a_full_disk_and_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DataError, match=r"file cannot be written \(.*\); 0 MB are needed\. Set METABENCH_CACHE to another"
    ):
        build(tmp_path / "file")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.os, "fsync", full)
    with pytest.raises(DataError, match=r"cache is full; 0 MB are needed\. Set METABENCH_CACHE to another folder"):
        build(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_folders_left_by_a_killed_process_are_swept(tmp_path: Path) -> None:
    old = [f".{verb}-old" for verb in ("building", "verify", "import", "download")]
    for name, age in (*((name, 2 * 24 * 3600) for name in old), (".building-new", 60)):
        (tmp_path / name).mkdir()
        then = os.stat(tmp_path).st_mtime - age
        os.utime(tmp_path / name, (then, then))
    build(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".building-new", "toy-key"]


BUILDER = """
import sys, numpy as np
from pathlib import Path
from metabench.vision.data.cache import Item, cached
pairs = [(i, j) for i in range(3) for j in range(2)]
items = [Item(f"class{i}", f"{j}", "", lambda k=10 * i + j: bytes(range(k, k + 16))) for i, j in pairs]
raw = lambda data, place: np.frombuffer(data, np.uint8).reshape(1, 4, 4)
print("ready", flush=True)
sys.stdin.readline()
built = [cached("toy", str(i), lambda: items, raw, shape=(1, 4, 4), cache=Path(sys.argv[1])) for i in range(60)]
print({(b.digest, bytes(b.images).hex()) for b in built})
"""


def test_processes_that_build_at_once_agree(tmp_path: Path) -> None:
    # Half of the entries are damaged to begin with, so that replacing is raced as well as creating.
    for i in range(0, 60, 2):
        cached("toy", str(i), items, raw, shape=SHAPE, cache=tmp_path / "shared")
        flip(tmp_path / "shared" / f"toy-{i}")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", BUILDER, str(tmp_path / "shared")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, env=environment, **pipes) for _ in range(3)]
    assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 3
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    outputs = [worker.communicate(timeout=60) for worker in workers]
    expected = build(tmp_path / "alone")
    assert outputs == [(f"{ {(expected.digest, expected.images.tobytes().hex())} }\n", "")] * 3
    assert len(list((tmp_path / "shared").iterdir())) == 60
