"""Anybody's pictures as classes and splits: which picture in a folder or an archive is of which class.

Three layouts are told apart by what is there, below folders that hold nothing but one folder:

    <class>/<picture>                       class folders, nested as deep as one likes: a class is its path
    {train,val,test}/<class>/<picture>      the same, split by the folders
    pictures anywhere, and a CSV            file,label[,split]; or train.csv, val.csv and test.csv of file,label

A CSV of label,split says of which split the classes of any layout are.

Where neither folders nor list say of which split a class is, a seed does. Where they say it of training and test
classes alone, a seed takes a fifth of the training classes to validate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from metabench.vision.data.archive import Member, choose, read_file
from metabench.vision.data.cache import Item
from metabench.vision.data.lists import Lists, Row, composed, kind_of, parse_classes, parse_list
from metabench.vision.data.options import Options
from metabench.vision.data.source import ALL, SPLITS, DataError, check_disjoint, full_path, seeded_order

NAMES = {
    **dict.fromkeys(("train", "training", "base"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "novel"), "test"),
}
"""What people call the splits, in lower case."""
FEWEST = 2
"""Classes of a split, at least: an episode has two ways."""


class Placed(NamedTuple):
    """A picture and where it belongs."""

    member: Member
    class_name: str
    image_name: str
    split: str
    """ "" where nothing says so."""


@dataclass(frozen=True)
class Survey:
    """What there is."""

    items: Sequence[Item]
    """The pictures, by class name and image name."""
    splits: Mapping[str, Sequence[str]]
    """"train", "val", "test" -> class names."""
    scheme: str
    """What split the classes: "folder", "file", "seed0"; "folder-val-seed0" where validation is drawn."""
    left_out: Sequence[Member]
    """Files that are no pictures of a class."""
    missing: Sequence[Row]
    """Rows of a list that mean no picture that is there."""
    notes: Sequence[str]
    """What is odd, but not wrong."""


def survey(members: Sequence[Member], options: Options, where: Path, *, seeded: bool = True) -> Survey:
    """Say of every picture of which class it is, and of every class in which split.

    Args:
        members: of one folder or archive; they are read later, by the items.
        where: the folder or archive, for messages.
        seeded: a seed splits the classes where nothing else does; else they are all of the split "all".

    Raises:
        DataError: no class; too few classes; a class in two splits; a list that contradicts itself.
    """
    members = [member for member in members if not member.is_hidden]
    pictures = [member for member in members if member.is_image]
    top = _top(pictures)
    csvs = _read_csvs(members, top, options, where)
    lists = csvs.files
    placed = _by_list(pictures, top, lists) if lists else _by_folder(pictures, top, options.split, csvs.classes)
    if options.split == "folder" and not any(picture.split for picture in placed):
        raise DataError(f"{where} has no folders train, val and test with class folders in them. Use --split seed.")
    chosen, homes, notes = _classes(placed, options.least)
    if not chosen:
        first = f"; {lists.missing(pictures)[0].place} is the first that means none" if lists and not placed else ""
        raise DataError(
            f"{where} has no pictures of any class: expected a folder of pictures for each class, or a CSV with the "
            f"columns file and label{first}."
        )
    by_file = lists is not None or csvs.classes is not None
    if seeded or (any(homes.values()) and {""} not in homes.values()):
        splits, scheme = _splits(homes, options, "file" if by_file else "folder", where)
    else:
        splits, scheme = {ALL: sorted(homes)}, ALL
    taken = {id(member) for member in (*chosen.values(), *csvs.read)}
    items = [Item(*name, member.place, member.read) for name, member in sorted(chosen.items())]
    left_out = [member for member in members if id(member) not in taken]
    return Survey(items, splits, scheme, left_out, lists.missing(pictures) if lists else (), notes)


def _top(pictures: Sequence[Member]) -> tuple[str, ...]:
    """The folder that all pictures are in, as near to them as can be without entering a folder of one split."""
    folders = [picture.parts[:-1] for picture in pictures]
    top: tuple[str, ...] = min(folders, default=())
    for folder in folders:
        same = next(
            (i for i, (a, b) in enumerate(zip(top, folder, strict=False)) if a != b), min(len(top), len(folder))
        )
        top = top[:same]
    return next((top[:i] for i, part in enumerate(top) if part.lower() in NAMES), top)


class CsvLists(NamedTuple):
    """What CSV files say."""

    files: Lists | None = None
    """The lists of pictures: their class, and perhaps its split."""
    classes: Mapping[str, str] | None = None
    """Class -> its split. Only those that are named belong to the data set."""
    read: Sequence[Member] = ()
    """The files among the members that say it."""


def _read_csvs(members: Sequence[Member], top: tuple[str, ...], options: Options, where: Path) -> CsvLists:
    """What the list that is named says, or those that lie with the pictures or above them."""
    if options.split == "folder":
        return CsvLists()
    if options.labels is not None:
        found = [(read_file(full_path(options.labels)), str(options.labels), "")]
        read: list[Member] = []
    else:
        read = [m for m in members if m.parts[-1].lower().endswith(".csv") and m.parts[:-1] == top[: len(m.parts) - 1]]
        read = [member for member in read if kind_of(member.read())]
        found = [(m.read(), m.place, NAMES.get(m.parts[-1].lower().removesuffix(".csv"), "")) for m in read]
    if len(found) > 1 and not all(split for *_, split in found):
        names = " and ".join(place for _, place, split in found if not split)
        raise DataError(f"{names}: which list is meant? Name it with --labels, or leave one there.")
    if not found:
        if options.split == "file":
            raise DataError(
                f"{where} has no list: a CSV with the columns file, label and split. Name one with --labels."
            )
        return CsvLists()
    if len(found) == 1 and kind_of(found[0][0]) == "classes":
        rows = parse_classes(*found[0][:2]) if options.split != "seed" else []
        check_disjoint(
            {split: [row.label for row in rows if _split_named(row) == split] for split in SPLITS}, found[0][1]
        )
        return CsvLists(classes={row.label: _split_named(row) for row in rows} or None, read=read)
    rows = [row for data, place, split in found for row in parse_list(data, place, split)]
    if options.split == "seed":
        rows = [row._replace(split="") for row in rows]
    return CsvLists(Lists(row._replace(split=_split_named(row)) for row in rows), read=read)


def _split_named(row: Row) -> str:
    if row.split and row.split.lower() not in NAMES:
        raise DataError(f"{row.place}: there is no split {row.split!r}. Use train, val or test.")
    return NAMES.get(row.split.lower(), "")


def _by_list(pictures: Sequence[Member], top: tuple[str, ...], lists: Lists) -> list[Placed]:
    rows = [(picture, lists.find(picture)) for picture in pictures]
    return [Placed(p, row.label, _name(p.parts[len(top) :]), row.split) for p, row in rows if row is not None]


def _name(path: Iterable[str]) -> str:
    return composed("/".join(path))


def _by_folder(
    pictures: Sequence[Member], top: tuple[str, ...], how: str, classes: Mapping[str, str] | None
) -> list[Placed]:
    """By class folders, which may lie in folders of splits; `classes` say of which split each is, if they are given."""
    paths = [(picture, picture.parts[len(top) :]) for picture in pictures]
    found = {NAMES[path[0].lower()] for _, path in paths if len(path) > 2 and path[0].lower() in NAMES}
    if not {"train"} < found:  # a folder called train or test alone is a class like any other
        placed = [Placed(p, _name(path[:-1]), _name(path[-1:]), "") for p, path in paths if len(path) > 1]
    else:
        inner = [(p, path) for p, path in paths if len(path) > 2 and path[0].lower() in NAMES]
        if how != "seed" and classes is None:
            return [Placed(p, _name(path[1:-1]), _name(path[-1:]), NAMES[path[0].lower()]) for p, path in inner]
        # These folders say nothing of classes then, but tell pictures of one name apart.
        placed = [Placed(p, _name(path[1:-1]), _name((path[0], path[-1])), "") for p, path in inner]
    if classes is None:
        return placed
    if absent := sorted(classes.keys() - {picture.class_name for picture in placed}):
        raise DataError(f"The list splits {len(absent)} classes that have no pictures, the first {absent[0]}.")
    return [p._replace(split=classes[p.class_name]) for p in placed if p.class_name in classes]


def _classes(
    placed: Iterable[Placed], least: int
) -> tuple[dict[tuple[str, str], Member], dict[str, set[str]], list[str]]:
    """(class, image) -> its file, class -> the splits it is said to be of, and which classes are too small."""
    chosen: dict[tuple[str, str], Member] = {}
    homes: dict[str, set[str]] = {}
    for member, class_name, image_name, split in placed:
        choose(chosen, (class_name, image_name), member)
        homes.setdefault(class_name, set()).add(split)
    counts = Counter(class_name for class_name, _ in chosen)
    small = sorted(name for name, count in counts.items() if count < least)
    chosen = {name: member for name, member in chosen.items() if counts[name[0]] >= least}
    homes = {name: splits for name, splits in homes.items() if counts[name] >= least}
    shown = ", ".join(small[:5]) + (", …" if len(small) > 5 else "")
    notes = [f"left out, with fewer than {least} pictures: {len(small):,} classes ({shown})"] if small else []
    return chosen, homes, notes


def _splits(homes: Mapping[str, set[str]], options: Options, by: str, where: Path) -> tuple[dict[str, list[str]], str]:
    """Split -> classes, and what they were split by."""
    said = {split: sorted(name for name, of in homes.items() if split in of) for split in ("", *SPLITS)}
    unsaid = said.pop("")
    if len(unsaid) == len(homes):
        splits, scheme = by_seed(unsaid, options.seed, options.shares, where), f"seed{options.seed}"
    elif unsaid:
        raise DataError(f"{where}: the list gives class {unsaid[0]} no split, and others one. Give all one, or none.")
    else:
        splits, scheme = said, by
    try:
        check_disjoint(splits, str(where))
    except DataError as error:
        raise DataError(f"{error} Or let a seed split the classes: --split seed.") from error
    if not splits["val"] and len(splits["train"]) >= 2 * FEWEST:
        drawn = seeded_order(splits["train"], options.seed)[: max(FEWEST, len(splits["train"]) // 5)]
        splits = splits | {"train": sorted(set(splits["train"]) - set(drawn)), "val": sorted(drawn)}
        scheme = f"{scheme}-val-seed{options.seed}"
    for split, names in splits.items():
        if len(names) < FEWEST:
            raise DataError(
                f"{where}: the {split} split has {len(names)} classes, and an episode takes {FEWEST} at least. Add "
                "classes, or let a seed split all of them: --split seed."
            )
    return splits, scheme


def by_seed(classes: Iterable[str], seed: int, shares: tuple[int, int, int], where: Path) -> dict[str, list[str]]:
    """Train, validate and test on these per cent of the classes, at least two each, drawn by the seed."""
    order = seeded_order(classes, seed)
    if len(order) < FEWEST * len(SPLITS):
        raise DataError(
            f"{where} has {len(order)} classes; training, validation and test take {FEWEST} at least each: "
            f"{FEWEST * len(SPLITS)} in all."
        )
    val, test = (max(FEWEST, round(len(order) * share / sum(shares))) for share in shares[1:])
    train = max(FEWEST, len(order) - val - test)
    val = min(val, len(order) - train - FEWEST)
    ends = (0, train, train + val, len(order))
    return {split: sorted(order[a:b]) for split, a, b in zip(SPLITS, ends[:-1], ends[1:], strict=True)}
