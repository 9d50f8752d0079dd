"""The tables of the site that are made from code: `python docs/generate.py` writes them anew.

They go under docs/generated/, or into a folder that it is given.

They are committed, so that a build of the site imports nothing of metabench; `tests/unit/test_docs.py` holds them
against the code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from metabench.bench.cli.verbs import VERBS, usage
from metabench.bench.flags import flag_fields, flag_of, flags_of
from metabench.bench.leaderboard.protocol import FIELDS, NOTED, TASK
from metabench.bench.recipes.recipe import ControlRecipe, FewShotRecipe
from metabench.bench.training.dry_run import meanings
from metabench.bench.training.options import Machine, Options


def pages() -> dict[str, str]:
    """File under docs/generated/ -> its text."""
    return {
        **{f"protocol_{metric}.md": protocol(metric) for metric in FIELDS},
        "usage.txt": usage() + "\n",
        "flags.md": flags(),
    }


def protocol(metric: str) -> str:
    """The fields of a metric's protocol: their type, and what a difference in them does."""
    rows = []
    for field, kind in FIELDS[metric].items():
        weight = "decisive where batch norm is transductive, else noted" if field == "queries" else "decisive"
        weight = "noted" if field in NOTED else weight
        rows.append(f"| `{field}` | {kind.__name__} | {weight} | {'yes' if field in TASK else ''} |")
    return "\n".join(
        ["| field | type | a difference is | part of the test task |", "| --- | --- | --- | --- |", *rows, ""]
    )


def flags() -> str:
    """Every verb with its flags: those of its commands, and of `run` what its recipes share."""
    parts = []
    for verb in VERBS.values():
        call = f"metabench {verb.name} {verb.arguments}".rstrip()
        parts += [f"## {verb.name}", "", f"`{call}`: {verb.help}.", ""]
        kinds = [Options, Machine] if verb.name == "run" else verb.commands()
        for kind in kinds:
            parts += table(kind, title=len(kinds) > 1)
    parts += [
        "## Fields of a recipe",
        "",
        "Each is a flag of `metabench run`, and its default is the recipe's own.",
        "",
    ]
    for world in (FewShotRecipe, ControlRecipe):
        parts += table(world, title=True)
    return "\n".join(parts).rstrip() + "\n"


def table(kind: type, *, title: bool) -> Iterator[str]:
    """The flags of a dataclass with their meanings; nothing where it has none."""
    rows = [
        f"| {cell(', '.join([f'`{flag}`', *values]))} | {cell(meaning)} |" for flag, values, meaning in explained(kind)
    ]
    if title:
        yield from (f"**{kind.__name__}**: {sentence(summary(kind))}", "")
    if rows:
        yield from ("| flag | meaning |", "| --- | --- |", *rows, "")


def explained(kind: type) -> Iterator[tuple[str, list[str], str]]:
    """(flag, the words that may follow it, its meaning); what turns a flag off is not told."""
    told = {flag_of(name): meanings(owner)[name] for name, (_, owner) in flag_fields(kind).items()}
    for flag, values in flags_of(kind).items():
        if flag in told:
            yield flag, values, told[flag]


def summary(kind: type) -> str:
    """The first sentence of a class's docstring."""
    return re.split(r"(?<=\.)\s", " ".join((kind.__doc__ or "").split()))[0]


def sentence(text: str) -> str:
    """The text with a capital at its start and a full stop at its end."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


def cell(text: str) -> str:
    """Text that a table's cell can hold."""
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "generated"
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
