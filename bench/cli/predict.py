"""The verb `predict`: a trained few-shot learner adapts to a folder of classes and answers for other pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from rich.table import Table

from metabench.algorithms import Batch, Diverged
from metabench.bench.cli.use_arguments import parse_predict
from metabench.bench.figures.preview import preview
from metabench.bench.terminal import complain, say, table_console
from metabench.bench.use.few_shot import Adapted, Predictions, load
from metabench.vision.data.source import DataError

FIRST = 5
"""Classes of a query that the table shows, the most probable first."""


def predict(arguments: list[str]) -> int:
    """metabench predict RUN --support FOLDER --query FILES."""
    command = parse_predict(arguments)
    if command.device == "cuda" and not torch.cuda.is_available():
        return complain("--device cuda: this machine has no usable CUDA GPU; use --device cpu")
    if not command.query:
        raise DataError("--query names no picture; give files or a folder")
    skip = command.unreadable == "skip"
    invert = None if command.invert == "auto" else command.invert == "yes"
    learner = load(command.folder, command.device)
    adapted = learner.adapt(command.support, steps=command.steps, skip=skip, invert=invert)
    try:
        found = adapted.predict(list(command.query), skip=skip)
    except Diverged as error:
        complain(f"diverged: {error}; try fewer --steps")
        return 1
    title = f"{learner.recipe.name}, {adapted.updates} update{'s' * (adapted.updates != 1)} on {command.support}"
    if command.json:
        print(json.dumps(as_json(adapted, found), indent=1))
    else:
        show(title, adapted, found)
    if command.sheet is not None:
        sheet(title, adapted, found, command.sheet)
        if not command.json:
            say(f"sheet: {command.sheet}")
    return 0


def as_json(adapted: Adapted, found: Predictions) -> dict[str, Any]:
    """All that there is to say, in order."""
    counts = torch.bincount(adapted.support.y[0], minlength=len(adapted.classes)).tolist()
    answers = zip(found.names, found.labels, found.probabilities.tolist(), found.truth, strict=True)
    return {
        "classes": dict(zip(adapted.classes, counts, strict=True)),
        "updates": adapted.updates,
        "images": str(adapted.form),
        "inverted": adapted.form.invert,
        "norm": adapted.learner.norm,
        "queries": [
            {
                "query": name,
                "label": label,
                "probabilities": dict(zip(found.classes, row, strict=True)),
                **({} if true is None else {"true": true}),
            }
            for name, label, row, true in answers
        ],
        "accuracy": found.accuracy,
        "left_out": [*adapted.left_out, *found.left_out],
    }


def show(title: str, adapted: Adapted, found: Predictions) -> None:
    """Print a row for each query, what was left out, and the accuracy where classes are known."""
    console = table_console()
    table = Table(title=escape(title), title_justify="left", min_width=min(len(title), console.width))
    for column in ("query", "label", *(["true"] if found.told else []), "probabilities"):
        table.add_column(column, overflow="fold")
    for name, label, row, true in zip(found.names, found.labels, found.probabilities, found.truth, strict=True):
        best = row.topk(min(FIRST, len(row)))
        words = [f"{found.classes[i]} {p:.3f}" for p, i in zip(*map(list, best), strict=True)]
        more = ["…"] if len(row) > FIRST else []
        cells = [name, str(label), *([true or "–"] if found.told else []), ", ".join(words + more)]
        table.add_row(*map(escape, cells))
    console.print(table)
    how = "inverted: dark strokes are made bright" if adapted.form.invert else "as they are"
    say(f"pictures were brought to {adapted.form}, {how}", console)
    if adapted.together:
        say(f"batch norm is {adapted.learner.norm}: each answer depends on the other queries it came with", console)
    for line in (*adapted.left_out, *found.left_out):
        say(f"left out: {line}", console)
    if found.accuracy is not None:
        say(f"accuracy: {100 * found.accuracy:.2f} % ({found.right} of {found.told})", console)


def sheet(title: str, adapted: Adapted, found: Predictions, path: Path) -> None:
    """Draw a row for each class: its support left, the queries that are answered so right, each with its probability.

    An answer that is known to be wrong has a × before it.
    """
    order = found.probabilities.amax(1).argsort(descending=True, stable=True).tolist()
    y = found.probabilities.argmax(1)[order]
    wrong = [true is not None and true != label for label, true in zip(found.labels, found.truth, strict=True)]
    captions = [f"{'× ' * wrong[i]}{found.probabilities[i].max():.2f}" for i in order]
    query = Batch(found.images[order].unsqueeze(0), y.unsqueeze(0), torch.ones(1, len(y)), len(found.classes))
    preview(adapted.support, query, path, title=title, names=[str(c) for c in found.classes], captions=captions)
