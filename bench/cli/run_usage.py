"""What `metabench run` takes where no recipe is named yet: help that waits for no import of torch."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from metabench.bench.cli.names import names_at_hand


def help_of_run(arguments: Sequence[str]) -> None:
    """Print the usage and leave, unless the words name a recipe, whose flags are then the help."""
    own = any(word.startswith("--environment") for word in arguments)
    if len([word for word in arguments[:2] if not word.startswith("-")]) + own < 2:
        print(usage())
        raise SystemExit(0)


def usage() -> str:
    """What `run` takes, with the names there are; where they are not at hand, how to see them."""
    known = names_at_hand()
    lines = [
        _wrapped(f"  {what:{21}}", of)
        for world in (known.worlds if known else ())
        for what, of in ((f"{world.title}:", world.algorithms), ("  benchmarks:", world.benchmarks))
    ]
    return "\n".join([
        "usage: metabench run ALGORITHM BENCHMARK [--schedule short] [--seed N] [--dry-run] [...]\n",
        *(lines or ["  `metabench list` shows the algorithms and benchmarks that there are."]),
        "\n`metabench run maml omniglot-5w1s --help` shows every flag of that recipe.",
        "`metabench run maml --environment module:my_package.MyEnv` trains in an environment of your own.",
    ])  # fmt: skip


def _wrapped(title: str, names: Iterable[str]) -> str:
    """Names separated by commas, in lines of 100 characters under their title."""
    text = ", ".join(names)
    indent = " " * len(title)
    return textwrap.fill(text, 100, initial_indent=title, subsequent_indent=indent, break_on_hyphens=False)
