"""The restricted unpickler: every array that NumPy writes is read, and nothing else gets as far as being called."""

from __future__ import annotations

import collections
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabench.vision.data.pickles import read_cache
from metabench.vision.data.source import DataError

IMAGES = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    classes = collections.OrderedDict(a=[0], b=np.array([np.int64(1)]))
    (tmp_path / "c.pkl").write_bytes(pickle.dumps({"image_data": images, "class_dict": classes}, protocol))
    content = read_cache(tmp_path / "c.pkl")
    assert np.array_equal(content.images, images)
    assert content.classes == {"a": [0], "b": [1]}


def test_names_of_the_old_numpy_are_read(tmp_path: Path) -> None:
    content = pickle.dumps({"image_data": np.zeros((1, 2, 2, 3), np.uint8), "class_dict": {"a": [0]}}, 2)
    assert b"numpy._core" in content
    (tmp_path / "c.pkl").write_bytes(content.replace(b"numpy._core", b"numpy.core"))
    assert read_cache(tmp_path / "c.pkl").classes == {"a": [0]}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["u1", "i2", "<i4", ">i4", "<i8", ">u8"])
def test_every_order_and_kind_is_read(tmp_path: Path, kind: str, protocol: int) -> None:
    for images in (IMAGES, np.asfortranarray(IMAGES), IMAGES[::-1], IMAGES.transpose(0, 2, 1, 3)):
        classes = {"a": np.array([1, 0], kind), "b": [np.array([1], kind)[0]]}
        (tmp_path / "c.pkl").write_bytes(pickle.dumps({"image_data": images, "class_dict": classes}, protocol))
        content = read_cache(tmp_path / "c.pkl")
        assert np.array_equal(content.images, images)
        assert content.classes == {"a": [1, 0], "b": [1]}


def test_a_file_of_python_2_is_read(tmp_path: Path) -> None:
    # Its bytes and names are SHORT_BINSTRING, which no version of Python 3 writes.
    def text(data: bytes) -> bytes:
        return b"U" + bytes([len(data)]) + data

    kind = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNNJ"
    kind += b"\xff" * 4 + b"J" + b"\xff" * 4 + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01(K\x01K\x01K\x01K\x03t" + kind + b"\x89" + text(b"\x00\x80\xff") + b"tb"
    classes = b"}" + text(b"n01532829") + b"]K\x00as"
    content = b"\x80\x02}(" + text(b"image_data") + array + text(b"class_dict") + classes + b"u."
    (tmp_path / "c.pkl").write_bytes(content)
    cache = read_cache(tmp_path / "c.pkl")
    assert cache.images.tolist() == [[[[0, 128, 255]]]]
    assert cache.classes == {"n01532829": [0]}


class Runs:
    """Pickles to a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, r"(posix|nt)\.system"),
        (eval, r"(builtins|__builtin__)\.eval"),
        (getattr, r"(builtins|__builtin__)\.getattr"),
        (np.load, r"numpy\.load"),
        (np.ndarray.tofile, r"((builtins|__builtin__)\.getattr|numpy\.ndarray\.tofile)"),
    ],
)
def test_a_pickle_that_runs_code_does_not_run(tmp_path: Path, function: Callable[..., Any], name: str) -> None:
    mark = tmp_path / "ran"
    text = f"open({str(mark)!r}, 'w').close()" if function is eval else f"touch {mark}"
    for protocol in (0, 2, 4):
        path = tmp_path / "mini-imagenet-cache-train.pkl"
        path.write_bytes(pickle.dumps({"image_data": Runs(function, text), "class_dict": {}}, protocol))
        with pytest.raises(
            DataError, match=rf"cache-train.pkl is refused: it asks for {name}, .*nothing of it was run"
        ):
            read_cache(path)
    assert not mark.exists()


def test_the_trap_would_have_run_in_an_ordinary_unpickler(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    pickle.loads(pickle.dumps(Runs(os.system, f"touch {mark}")))
    assert mark.exists()


def test_only_the_harmless_codec_is_admitted(tmp_path: Path) -> None:
    import _codecs

    (tmp_path / "c.pkl").write_bytes(pickle.dumps(Runs(_codecs.encode, "x", "rot13")))
    with pytest.raises(DataError, match="is refused: it asks for the encoding 'rot13'"):
        read_cache(tmp_path / "c.pkl")


class Built:
    """Pickles to a call of `function`, followed by BUILD with a state."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], state: object) -> None:
        self.parts = function, arguments, state

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], object]:
        return self.parts


RECONSTRUCT: Any = IMAGES.__reduce__()[0]
SCALAR: Any = np.uint8(0).__reduce__()[0]
FROMBUFFER: Any = IMAGES.__reduce_ex__(5)[0]
# Bytes that are the address of no object: whoever takes them for one ends with a signal.
ADDRESS = b"AAAA\0\0\0\0"
NUMBER = np.dtype("u8")
FORGED = Built(np.dtype, ("V8", False, True), (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0))
# A field that lies far behind the number.
FORGED_NUMBER = Built(np.dtype, ("u8", False, True), (3, "|", None, ("a",), {"a": (NUMBER, 2**20)}, 8, 1, 0))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (Runs(list, Runs(np.ndarray, (1,), np.dtype("O"), ADDRESS)), "it asks for the dtype 'O8'"),
        (Runs(list, Runs(np.ndarray, (1,), NUMBER, ADDRESS)), "it calls numpy.ndarray"),
        (Runs(tuple, Runs(SCALAR, FORGED, ADDRESS)), "it asks for the dtype 'V8'"),
        (Runs(tuple, Runs(SCALAR, FORGED_NUMBER, ADDRESS)), "it asks for a dtype with fields or parts"),
        (Runs(list, Runs(FROMBUFFER, ADDRESS, FORGED_NUMBER, (1,), "C")), "it asks for a dtype with fields or parts"),
        (
            Built(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (1,), FORGED_NUMBER, False, ADDRESS)),
            "it asks for a dtype with fields or parts",
        ),
        (
            Built(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (1,), "O", False, [None])),
            "it asks for an array of something else than numbers",
        ),
        (Runs(bytearray, 2**50), r"it asks for (builtins|__builtin__)\.bytearray"),
        (Runs(RECONSTRUCT, list, (0,), b"b"), "it asks for an array of another class"),
        (Runs(SCALAR, NUMBER, b"AAAA"), "it asks for an array of more or fewer numbers than its 4 bytes"),
        (
            Runs(FROMBUFFER, ADDRESS, NUMBER, (2**61 + 1, 8), "C"),
            "it asks for an array of more or fewer numbers than its 8 bytes",
        ),
        (Runs(FROMBUFFER, ADDRESS, NUMBER, (-1, -1), "C"), "it asks for an array of no valid shape"),
    ],
)
def test_bytes_are_never_taken_for_objects(tmp_path: Path, attack: object, message: str, protocol: int) -> None:
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(attack, protocol))
    with pytest.raises(DataError, match=rf"c.pkl is refused: {message}, but only .*Do not open this file"):
        read_cache(tmp_path / "c.pkl")


@pytest.mark.parametrize("how", ["ndarray", "forged dtype"])
def test_an_attack_ends_with_the_error_and_not_with_a_signal(tmp_path: Path, how: str) -> None:
    made = Runs(np.ndarray, (1,), np.dtype("O"), ADDRESS) if how == "ndarray" else Runs(SCALAR, FORGED, ADDRESS)
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(Runs(tuple, made), 3))
    code = (
        "import sys, pathlib; from metabench.vision.data import pickles; pickles.read_cache(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "c.pkl")], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{DataError.__module__}.DataError" in done.stderr
    assert "c.pkl is refused: it asks for the dtype" in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "it has no image_data and class_dict"),
        ({"image_data": [1], "class_dict": {}}, "image_data is not an array of colour images"),
        ({"image_data": np.zeros((1, 2, 2, 3)), "class_dict": {}}, "image_data is not an array of colour images"),
        (
            {"image_data": np.zeros((1, 2, 2, 3), np.uint8), "class_dict": []},
            "class_dict is not a dictionary of class names",
        ),
        (
            {"image_data": np.zeros((1, 2, 2, 3), np.uint8), "class_dict": {"a": [1]}},
            "class a has positions that are not",
        ),
        (
            {"image_data": np.zeros((1, 2, 2, 3), np.uint8), "class_dict": {"a": [-1]}},
            "class a has positions that are not",
        ),
        (
            {"image_data": np.zeros((1, 2, 2, 3), np.uint8), "class_dict": {"a": np.zeros(1)}},
            "class a has positions that are not",
        ),
        (
            {"image_data": np.zeros((1, 2, 2, 3), np.uint8), "class_dict": {7: [0]}},
            "class_dict is not a dictionary of class names",
        ),
        (
            {"image_data": np.zeros((1, 2, 2, 3), np.uint8), "class_dict": {"a": "x"}},
            "class a has positions that are not",
        ),
    ],
)
def test_other_content_is_described(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=rf"c.pkl: {message}.*Expected a dictionary with image_data"):
        read_cache(tmp_path / "c.pkl")


@pytest.mark.parametrize("cut", [0, 1, 20, -1])
def test_a_damaged_pickle(tmp_path: Path, cut: int) -> None:
    whole = pickle.dumps({"image_data": np.zeros((1, 2, 2, 3), np.uint8), "class_dict": {"a": [0]}})
    (tmp_path / "c.pkl").write_bytes(whole[:cut])
    with pytest.raises(DataError, match=r"c.pkl is (not a readable pickle \(|refused: )"):
        read_cache(tmp_path / "c.pkl")
