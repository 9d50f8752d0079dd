"""Omniglot: 1623 handwritten characters of 50 alphabets, each drawn once by 20 people.

Lake, Salakhutdinov, Tenenbaum, "Human-level concept learning through probabilistic program induction",
Science 350 (2015); https://github.com/brendenlake/omniglot. "Omniglot" names four benchmarks, told apart by the split:

    random            MAML's: characters shuffled, 1100 to train, 100 to validate, 423 to test
    vinyals           the files that ProtoNet uses: 1028 / 172 / 423 characters, mixed across alphabets
    vinyals-trainval  the same files, the validation characters trained on too: 1200 / 0 / 423. ProtoNet's published
                      models; for how long they train was chosen on "vinyals"
    within-alphabet   the same files, but an episode's characters share an alphabet (error 2.3 to 3.8 times as high)
    lake              trained on the background alphabets (5 of the 30 validate), tested on the 20 evaluation alphabets;
                      the published challenge is 20 fixed runs, see `vision.data.lake`

The source pictures are 105 x 105 and have 1 bit. They are resized to 28 x 28 with Lanczos on grey levels, as
learn2learn's script does (torchmeta's resizes bilinearly). MAML's own script asks for Lanczos too, but on the 1-bit
picture, where Pillow takes the nearest pixel instead: ``Omniglot(resample="nearest")`` gives those pixels.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from metabench.vision.data.archive import Inspected, Member, choose, is_archive, readable, walk
from metabench.vision.data.cache import Item, cached, key_of, workspace
from metabench.vision.data.decode import decode
from metabench.vision.data.lake import OFFICIAL, Runs, find_runs, is_runs, lake_runs, read_runs
from metabench.vision.data.source import (
    SPLITS,
    ClassImages,
    DataError,
    Dataset,
    check_scheme,
    class_indices,
    missing,
    notes_of,
    seeded_order,
    split_table,
)

__all__ = ["OMNIGLOT", "Omniglot", "Runs", "lake_runs", "vinyals"]

PARTS = ("images_background", "images_evaluation")
PLACES = ("omniglot-py", "python")
"""Folders in which torchvision, and the repository of the data set, keep the parts."""
ADVICE = (
    "`metabench data download omniglot` fetches it; or get images_background.zip and images_evaluation.zip from "
    "https://github.com/brendenlake/omniglot (folder python), then `metabench data import omniglot PATH`."
)


@dataclass(frozen=True)
class Omniglot:
    """The source of Omniglot; its fields are what makes one rendering of it differ from another."""

    name: str = "omniglot"
    splits: tuple[str, ...] = ("random", "vinyals", "vinyals-trainval", "within-alphabet", "lake")
    channels: int = 1
    size: int = 28
    licence: str = "MIT, Brenden Lake 2015"
    folder: str = "omniglot"
    resample: str = "lanczos"
    """How a 105 x 105 picture becomes size x size: "lanczos" on grey levels, or "nearest" (see the module)."""
    invert: bool = True
    """Its pictures are dark strokes on paper."""
    drawings: int = 20
    """Images that every character must have."""
    characters: tuple[int, int] = (964, 659)
    """Characters of the background and of the evaluation set; any other number is an incomplete copy."""
    advice: str = ADVICE
    downloads: bool = True
    known: tuple[tuple[str, str], ...] = (
        (
            "85c05935000d22f185d3b43f54def30ef890b87d1d9fcc9f178e1d310ea1e8a1",
            "the official 32,460 images of 1623 characters",
        ),
    )
    """Digests of content that was checked, and what it is."""

    @readable()
    def find(self, folder: Path) -> list[Path]:
        """The archives and class folders with Omniglot's images in a folder, or in one of `PLACES` in it."""
        found = []
        for place in (folder, *(folder / name for name in PLACES)):
            files = sorted(place.iterdir()) if place.is_dir() else []
            archives = [p for p in files if is_archive(p) and not is_runs(p)]
            # torchvision leaves the zip beside the folder that it extracted: one of them is enough.
            packed = {p.name.lower().partition(".")[0] for p in archives}
            found += archives + [place / p for p in PARTS if (place / p).is_dir() and p not in packed]
        return found

    def locate(self, root: Path) -> list[Path]:
        """The same, under the data root."""
        return self.find(root / self.folder)

    def download(self, root: Path) -> None:
        """Fetch both zips through torchvision, which checks their md5."""
        from torchvision.datasets import Omniglot as Remote  # type: ignore[import-untyped]

        target = root / self.folder
        try:
            with workspace(target, ".download-") as temporary:
                for background in (True, False):
                    Remote(temporary, background=background, download=True)
                for part in PARTS:
                    shutil.move(temporary / "omniglot-py" / f"{part}.zip", target / f"{part}.zip")
        except (OSError, RuntimeError) as error:
            raise DataError(f"omniglot could not be downloaded into {target} ({error}). {ADVICE}") from error

    def accepts(self, path: Path) -> bool:
        """Whether a file or folder of this name can be imported."""
        return (path.name in PARTS and path.is_dir()) or is_archive(path)

    def pieces(self, folder: Path) -> list[Path]:
        """What of a folder is worth importing: the images, and Lake's runs."""
        runs = find_runs(folder)
        return self.find(folder) + ([runs] if runs else [])

    def inspect(self, pieces: Sequence[Path], there: Path) -> Inspected:
        """Read and decode every image in these files and folders."""
        images, left_out = Counter[Path](), list[Member]()
        for path in pieces:
            if is_runs(path):
                images[path] = 2 * read_runs(path)[0].labels.size
        with walk([path for path in pieces if not is_runs(path)]) as members:
            for member in members:
                if self.classify(member) is not None:
                    decode(member.read(), member.place, channels=1, size=self.size)
                    images[member.container] += 1
                else:
                    left_out.append(member)
        return Inspected({path: images[path] for path in pieces if images[path]}, left_out)

    def remark(self, piece: Path) -> str:
        """What a file beside the images is: Lake's runs, the official ones or others; "" for any other file."""
        if not is_runs(piece):
            return ""
        return (
            f"{piece.name}: {'the official 20 runs' if read_runs(piece)[1] == OFFICIAL else 'not the official 20 runs'}"
        )

    def census(self, root: Path) -> tuple[int, int] | None:
        """(classes, images) found, without decoding any."""
        with walk(self.locate(root)) as members:
            names = {(place[1], m.parts[-1]) for m in members if (place := self.classify(m)) is not None}
        return len({character for character, _ in names}), len(names)

    def classify(self, member: Member) -> tuple[str, str] | None:
        """(part, "Alphabet/character") of an image of either part, whatever folders lie above; None for other files."""
        for part in PARTS:
            if part in member.parts[:-3] and member.is_image:
                return part, "/".join(member.parts[-3:-1])
        return None

    def load(self, root: Path, split: str, *, cache: Path, seed: int = 0) -> Dataset:
        """All 1623 characters, split by the named scheme; `groups` are the alphabets.

        Args:
            seed: draws the characters of "random", and which background alphabets validate in "lake".
        """
        check_scheme(self, split)
        containers = self.locate(root)
        if not containers:
            raise missing(self.name, root, "its images", ADVICE)
        with walk(containers) as members:
            parts: dict[str, str] = {}
            chosen: dict[tuple[str, str], Member] = {}
            for member in members:
                if (place := self.classify(member)) is not None:
                    part, character = place
                    parts[character] = part
                    choose(chosen, (character, member.parts[-1]), member)
            self._check(parts, chosen, root)
            images = self._decoded(chosen, cache)
        alphabets = sorted({_alphabet(name) for name in images.names})
        groups = np.array([alphabets.index(_alphabet(name)) for name in images.names], dtype=np.int64)
        version, members_of = self._split(split, parts, seed)
        indices = class_indices(images.names, members_of, f"{self.name}/{split}")
        return Dataset(
            self.name,
            images,
            indices,
            groups=groups,
            split_version=version,
            notes=notes_of(images, indices),
            resampling=self.resample,
        )

    def _check(self, parts: Mapping[str, str], chosen: Mapping[tuple[str, str], Member], root: Path) -> None:
        """Counts of characters and drawings, before anything is decoded."""
        for part, expected in zip(PARTS, self.characters, strict=True):
            count = sum(p == part for p in parts.values())
            if count == 0:
                raise missing(self.name, root, part, ADVICE)
            if count != expected:
                raise DataError(
                    f"omniglot: {part} has {count} characters, the official one {expected}. The copy is not whole. "
                    f"{ADVICE}"
                )
        for character, count in sorted(Counter(character for character, _ in chosen).items()):
            if count != self.drawings:
                where = next(m for (c, _), m in chosen.items() if c == character).container
                raise DataError(
                    f"omniglot: class {character} in {where} has {count} images, expected {self.drawings}. {ADVICE}"
                )

    def _decoded(self, chosen: Mapping[tuple[str, str], Member], cache: Path) -> ClassImages:
        facts = sorted((*name, member.size, member.stamp) for name, member in chosen.items())
        return cached(
            self.name,
            key_of(self.size, self.resample, facts),
            lambda: [Item(*name, member.place, member.read) for name, member in chosen.items()],
            partial(decode, channels=1, size=self.size, resample=self.resample, invert=self.invert),
            shape=(1, self.size, self.size),
            cache=cache,
        )

    def _split(self, split: str, parts: Mapping[str, str], seed: int) -> tuple[str, dict[str, Sequence[str]]]:
        """(split version, split -> characters)."""
        if split == "random":
            order = seeded_order(parts, seed)
            held_out = len(order) - 423
            return f"random-1200-423/seed{seed}", dict(
                zip(SPLITS, (order[: held_out - 100], order[held_out - 100 : held_out], order[held_out:]), strict=True)
            )
        if split == "lake":
            background = [c for c, part in parts.items() if part == PARTS[0]]
            validate = set(seeded_order({_alphabet(c) for c in background}, seed)[:5])
            return f"lake-background-evaluation/seed{seed}", {
                "train": [c for c in background if _alphabet(c) not in validate],
                "val": [c for c in background if _alphabet(c) in validate],
                "test": [c for c, part in parts.items() if part == PARTS[1]],
            }
        members = vinyals()
        if split == "vinyals-trainval":
            return split, {"train": [*members["train"], *members["val"]], "val": [], "test": members["test"]}
        return "vinyals" if split == "vinyals" else "vinyals-within-alphabet", members


def vinyals() -> dict[str, Sequence[str]]:
    """Split -> characters of Vinyals' files, stored as ranges: "train Gurmukhi 01-41"."""
    members: dict[str, Sequence[str]] = {}
    for split, alphabet, span in split_table("omniglot_vinyals.txt"):
        first, last = (int(end) for end in span.split("-"))
        members[split] = [*members.get(split, ()), *(f"{alphabet}/character{i:02d}" for i in range(first, last + 1))]
    return members


def _alphabet(character: str) -> str:
    return character.split("/")[0]


OMNIGLOT = Omniglot()
