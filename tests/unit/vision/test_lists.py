"""Lists of pictures: which row means which picture, and lists that contradict themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from metabench.vision.data.archive import Member
from metabench.vision.data.lists import Lists, Row, kind_of, parse_classes, read_list
from metabench.vision.data.source import DataError


def member(path: str) -> Member:
    return Member(Path("set.zip"), tuple(path.split("/")), 1, "", bytes)


def lists(*rows: tuple[str, str], split: str = "") -> Lists:
    return Lists(Row(tuple(name.split("/")), split, label, f"line {i}") for i, (name, label) in enumerate(rows))


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("listed", "there", "same"),
    [
        ("x.jpg", "x.jpg", True),
        ("x.jpg", "mini/images/x.jpg", True),
        ("images/x.jpg", "images/x.jpg", True),
        ("images/x.jpg", "mini/images/x.jpg", True),
        ("data/mini/images/x.jpg", "images/x.jpg", True),
        ("a/x.jpg", "b/x.jpg", False),
        ("a/x.jpg", "a/y.jpg", False),
        ("data/a/x.jpg", "b/x.jpg", False),
        ("ax.jpg", "x.jpg", False),
    ],
)
def test_a_row_means_the_picture_whose_path_ends_alike(listed: str, there: str, same: bool) -> None:
    found = lists((listed, "cat")).find(member(there))
    assert (found.label if found else None) == ("cat" if same else None)
    assert len(lists((listed, "cat")).missing([member(there)])) == (0 if same else 1)


def test_pictures_of_one_name_in_several_folders_are_told_apart() -> None:
    found = lists(*((f"class{i}/0001.jpg", f"c{i}") for i in range(500)))
    labels = [row.label for i in range(500) if (row := found.find(member(f"set/class{i}/0001.jpg")))]
    assert labels == [f"c{i}" for i in range(500)]
    assert [row.label for row in found.missing([member("class7/0001.jpg")])] == [f"c{i}" for i in range(500) if i != 7]


@pytest.mark.parametrize(
    "name", ["./images/x.jpg", "images\\x.jpg", "/images/x.jpg", "../images/x.jpg", "images//x.jpg", " images/x.jpg "]
)
def test_paths_are_read_as_people_write_them(name: str, tmp_path: Path) -> None:
    (row,) = read_list(written(tmp_path / "l.csv", f"filename,label\n{name},cat\n"))
    assert row == (("images", "x.jpg"), "", "cat", "l.csv, line 2")


@pytest.mark.parametrize("header", ["filename,label", "File, Class", "label,path", "n,image,label", ",filename,label"])
def test_columns_are_found_by_name_and_others_ignored(header: str, tmp_path: Path) -> None:
    order = [column.strip().lower() for column in header.split(",")]
    cells = ["x.jpg" if c in ("filename", "file", "path", "image") else "cat" if c else "7" for c in order]
    (row,) = read_list(written(tmp_path / "l.csv", f"\ufeff{header}\n{','.join(cells)}\n"))
    assert (row.parts, row.label) == (("x.jpg",), "cat")


def test_a_split_comes_from_its_column_or_from_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "l.csv", "file,label,split\na.jpg,cat,train\nb.jpg,dog,\n")
    assert [row.split for row in read_list(path)] == ["train", ""]
    assert [row.split for row in read_list(path, "val")] == ["val", "val"]


@pytest.mark.parametrize("row", ["a.jpg", "a.jpg,", ",cat", ".,cat", "a, b.jpg,cat", '""'])
def test_a_row_that_is_not_a_file_and_a_label_is_named(row: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"l.csv, line 3: expected the columns filename,label\. Correct the list"):
        read_list(written(tmp_path / "l.csv", f"filename,label\nx.jpg,cat\n{row}\n"))


def test_one_picture_under_two_labels_is_refused_and_said_twice_is_not() -> None:
    assert len(lists(("a.jpg", "cat"), ("a.jpg", "cat"))) == 1
    with pytest.raises(
        DataError, match=r"^a.jpg is dog \(line 1\), and cat \(line 0\): one picture, two labels\. Correct the list"
    ):
        lists(("a.jpg", "cat"), ("a.jpg", "dog"))
    # The same picture named by two paths.
    with pytest.raises(DataError, match=r"^set.zip: images/a.jpg is .*: one picture, two labels"):
        lists(("a.jpg", "cat"), ("images/a.jpg", "dog")).find(member("images/a.jpg"))


def test_one_class_or_one_picture_in_two_splits_is_refused() -> None:
    rows = [Row(("a.jpg",), "train", "cat", "train.csv, line 2"), Row(("b.jpg",), "test", "cat", "test.csv, line 2")]
    with pytest.raises(DataError, match=r"^the lists: class cat is in two splits, train and test"):
        Lists(rows)
    # What the second list says was once taken for all that there is to say.
    same = [rows[0], rows[1]._replace(parts=("a.jpg",))]
    with pytest.raises(
        DataError, match=r"a.jpg is cat of test \(test.csv, line 2\), and cat of train \(train.csv, line 2\)"
    ):
        Lists(same)


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("file,label", "files"), ("FILE_NAME,Category,split", "files"), ("label,split", "classes"),
        ("split,class", "classes"), ("label,n", ""), ("", ""), ("file,split", ""),
    ],
)  # fmt: skip
def test_the_first_line_says_what_a_list_is_of(header: str, kind: str) -> None:
    assert kind_of(f"{header}\n1,2\n".encode()) == kind


def test_a_list_of_classes_needs_their_splits(tmp_path: Path) -> None:
    assert [(row.label, row.split) for row in parse_classes(b"class,split\ncat,train\ndog,val\n", "c.csv")] == [
        ("cat", "train"),
        ("dog", "val"),
    ]
    with pytest.raises(DataError, match=r"c.csv, line 3: expected the columns label,split\. Correct the list"):
        parse_classes(b"class,split\ncat,train\ndog,\n", "c.csv")
