"""Import a user's own pictures under a name of the user's choice. Nothing here prints."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from metabench.bench.recipes.few_shot import BENCHMARKS
from metabench.bench.recipes.recipe import NAME
from metabench.vision import DATASETS
from metabench.vision.data.imported import Report, import_pictures
from metabench.vision.data.options import Options
from metabench.vision.data.source import DataError

LONGEST = 48
"""Letters of a name: a benchmark's, with ways and shots behind it, has 64."""
ALIKE = 0.9
"""How like a registered name (`difflib`) another is taken for a slip of the finger."""


def import_own(name: str, path: Path, root: Path, options: Options, *, skip: bool = False) -> Report:
    """Make a data set of a folder or archive of pictures; see `vision.data.imported.import_pictures`.

    Raises:
        DataError: a name that cannot be one, or is another data set's or nearly; and all that the import may raise.
    """
    check_name(name)
    return import_pictures(name, path, root, options, skip=skip)


def check_name(name: str) -> None:
    """Raise DataError where a data set of the user's cannot have this name."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise DataError(f"{name!r} is no name: at most {LONGEST} lower-case letters, digits and dashes")
    if re.search(r"-\d+w\d+s$", name):
        raise DataError(f"{name!r} ends like the name of a benchmark, such as omniglot-5w1s. Choose another name.")
    taken = [*DATASETS.registered, *BENCHMARKS]
    if near := difflib.get_close_matches(name, taken, 1, ALIKE):
        is_it = "is" if near[0] == name else "is nearly"
        raise DataError(
            f"{name!r} {is_it} the name of metabench's own {near[0]!r}. Choose another name for your pictures."
        )
