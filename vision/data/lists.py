"""Lists of pictures: CSV files that say which class, and perhaps which split, each picture is of.

A list names a picture by as much of its path as its writer liked: ``x.jpg``, ``images/x.jpg``, ``/data/images/x.jpg``.
A row means a picture where the shorter of the two paths is the end of the longer.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from metabench.vision.data.archive import Member, read_file
from metabench.vision.data.source import DataError, check_disjoint

FILE_COLUMNS = ("filename", "file", "path", "image", "file_name", "filepath", "image_path")
LABEL_COLUMNS = ("label", "class", "class_name", "category")
SPLIT_COLUMNS = ("split",)
ADVICE = "Correct the list, or get it again."


class Row(NamedTuple):
    """What a list says of one picture."""

    parts: tuple[str, ...]
    """Its path as far as the list gives it, without leading "/", "." and ".."."""
    split: str
    """The split of its class; "" where the list does not say."""
    label: str
    place: str
    """The list and line, for a message."""


class Lists:
    """Rows of one or several lists, found by the path of a picture.

    Raises:
        DataError: a picture under two labels or in two splits, a class in two splits.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows: dict[tuple[str, ...], Row] = {}
        self._longer: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            other = self._rows.setdefault(row.parts, row)
            _check_agree(row, other, "/".join(row.parts))
            if other is row:
                for start in range(1, len(row.parts)):
                    self._longer.setdefault(row.parts[start:], []).append(row)
        splits: dict[str, set[str]] = {}
        for row in self._rows.values():
            if row.split:
                splits.setdefault(row.split, set()).add(row.label)
        check_disjoint(splits, "the lists")

    def matches(self, member: Member) -> list[Row]:
        """The rows that mean this picture."""
        path = tuple(map(composed, member.parts))
        ends = (path[start:] for start in range(len(path)))
        return [self._rows[end] for end in ends if end in self._rows] + self._longer.get(path, [])

    def find(self, member: Member) -> Row | None:
        """What the lists say of this picture; None where they do not know it. DataError where they say two things."""
        found = self.matches(member)
        for other in found[1:]:
            _check_agree(other, found[0], member.place)
        return found[0] if found else None

    def missing(self, members: Iterable[Member]) -> list[Row]:
        """The rows that mean none of these pictures, in the order of the lists."""
        there = {row for member in members for row in self.matches(member)}
        return [row for row in self._rows.values() if row not in there]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())


def composed(name: str) -> str:
    """A name with its accents as single characters: some systems write "é" as two, and others as one."""
    return unicodedata.normalize("NFC", name)


def _check_agree(row: Row, other: Row, what: str) -> None:
    if (row.split, row.label) != (other.split, other.label):
        raise DataError(
            f"{what} is {_says(row)} ({row.place}), and {_says(other)} ({other.place}): one picture, two labels. "
            f"{ADVICE}"
        )


def _says(row: Row) -> str:
    return f"{row.label} of {row.split}" if row.split else row.label


def read_list(path: Path, split: str = "") -> list[Row]:
    """The rows of a CSV with a column for the file, one for its label and perhaps one for the split.

    Args:
        split: of every row, where the file as a whole is of one split.

    Raises:
        DataError: another header, no row, a row cut short, a stray quotation mark.
    """
    return parse_list(read_file(path), path, split)


def parse_list(data: bytes, place: str | Path, split: str = "") -> list[Row]:
    """The same, of the bytes of a CSV that is at that place."""
    rows = _rows(data, place, "filename,label", split)
    for row in rows:
        if not row.parts:
            raise DataError(f"{row.place}: expected the columns filename,label. {ADVICE}")
    return rows


def parse_classes(data: bytes, place: str | Path) -> list[Row]:
    """The rows of a CSV with a column for labels and one for their splits, and none for files; DataError as above."""
    rows = _rows(data, place, "label,split", "")
    for row in rows:
        if not row.split:
            raise DataError(f"{row.place}: expected the columns label,split. {ADVICE}")
    return rows


def _rows(data: bytes, place: str | Path, columns: str, split: str) -> list[Row]:
    # Strict: otherwise a quotation mark that nobody closes takes all lines after it for one name.
    reader = csv.DictReader(io.StringIO(_text(data)), strict=True)
    rows = list[Row]()
    try:
        file, label, own = (_column(reader.fieldnames or (), n) for n in (FILE_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS))
        for given in reader:
            line = f"{str(place).rpartition('/')[2]}, line {reader.line_num}"
            name = composed(_cell(given, label))
            # DictReader keeps what is beyond the header under None: a name with a comma and no quotation marks.
            if not name or None in given:
                raise DataError(f"{line}: expected the columns {columns}. {ADVICE}")
            rows.append(Row(_parts(_cell(given, file)), split or _cell(given, own), name, line))
    except csv.Error as error:
        raise DataError(f"{place}: a stray quotation mark after line {reader.line_num} ({error}). {ADVICE}") from error
    if not rows:
        raise DataError(f"{place} names no image: expected rows of {columns}. {ADVICE}")
    return rows


def kind_of(data: bytes) -> str:
    """What a CSV is a list of, by its first line: "files", "classes" and their splits, or "" for neither."""
    with suppress(csv.Error):
        header = next(csv.reader(io.StringIO(_text(data[:4096]))), [])
        file, label, split = (
            _column(header, names) is not None for names in (FILE_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS)
        )
        return "files" if file and label else "classes" if label and split else ""
    return ""


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig", errors="surrogateescape")


def _column(header: Sequence[str], names: Sequence[str]) -> str | None:
    """The first column of the header that is called so, in any case."""
    return next((column for name in names for column in header if column.strip().lower() == name), None)


def _cell(row: Mapping[str, str | None], column: str | None) -> str:
    return ((row.get(column) if column is not None else None) or "").strip()


def _parts(name: str) -> tuple[str, ...]:
    """A path as a list gives it, of any system, from where it no longer climbs."""
    parts = [composed(part) for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    while ".." in parts:
        parts = parts[parts.index("..") + 1 :]
    return tuple(parts)
