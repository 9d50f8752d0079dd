"""A trained learner as two files that anybody can read: its weights, and a card that says what they are.

``weights.safetensors`` holds the learner that validated best; ``card.json`` its record, the form of its images, the
licence of its data and the checksum of the weights; ``card.md`` the same for people. No code in them can run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from metabench.bench.records.check import BadRecord, check_record, read_json
from metabench.bench.records.metric import METRICS
from metabench.bench.records.schema import checksum, sealed
from metabench.bench.training.checkpoint import RunFolderError, write_atomic
from metabench.bench.worlds.command import command
from metabench.vision.data.form import Form, form_from

SCHEMA = 1
CARD, WEIGHTS, TEXT = "card.json", "weights.safetensors", "card.md"
LATER = ("trained_by", "train_seconds", "test_seconds", "peak_memory_mib")
"""What a record's provenance holds beside that of the session that tested it."""


@dataclass(frozen=True)
class Card:
    """An exported learner."""

    record: Mapping[str, Any]
    """Of the run that trained it."""
    weights: dict[str, Tensor]
    form: Form | None
    licence: str
    """Of the data that it was trained on; empty where they were simulated."""


def serialised(weights: Mapping[str, Tensor]) -> bytes:
    """The file of these weights: the same bytes for the same weights."""
    return safetensors.torch.save({name: weights[name].detach().cpu().clone() for name in sorted(weights)})


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values: which weights they are, whatever wrote their file."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write(folder: Path, card: Card, version: str) -> str:
    """Write the three files, the card last; the digest of the weights.

    Args:
        version: of metabench.
    """
    digest = weights_digest(card.weights)
    content = {
        "schema": SCHEMA,
        "kind": "learner",
        "metabench": version,
        "weights": digest,
        "form": None if card.form is None else dataclasses.asdict(card.form),
        "licence": card.licence,
        "record": dict(card.record),
    }
    write_atomic(folder / WEIGHTS, serialised(card.weights))
    write_atomic(folder / TEXT, text_of(card, digest, version).encode())
    write_atomic(folder / CARD, (json.dumps(sealed(content), indent=1, allow_nan=False) + "\n").encode())
    return digest


def read(folder: Path) -> Card:
    """An exported learner; RunFolderError where a file is absent, changed or of another version."""
    path = folder / CARD
    try:
        card = read_json(path)
        if (card["schema"], card.get("kind")) != (SCHEMA, "learner"):
            raise BadRecord(f"is of kind {card.get('kind')!r}, schema {card['schema']}; this reads learner, {SCHEMA}")
        if card.get("checksum") != checksum(card):
            raise BadRecord("was changed since it was written: its checksum is that of another content")
        check_record(card["record"])
        if card["record"]["kind"] != "result" or card["record"]["status"] != "complete":
            raise BadRecord("holds no record of a finished run")
        form = None if card["form"] is None else form_from(card["form"])
        found = Card(card["record"], _read_weights(folder / WEIGHTS), form, str(card["licence"]))
    except (BadRecord, LookupError, TypeError) as error:
        raise RunFolderError(f"{path} {error}; export the run again") from error
    if weights_digest(found.weights) != card["weights"]:
        raise RunFolderError(f"{folder / WEIGHTS} holds other weights than {CARD} says; export the run again")
    return found


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(path.read_bytes())
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror}; export the run again") from error
    except (SafetensorError, ValueError, LookupError) as error:
        raise RunFolderError(f"{path} is damaged ({error}); export the run again") from error


def state_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's state was at its end, as far as its record tells."""
    facts = record["provenance"]
    return {
        "iteration": record["recipe"]["iterations"],
        "seconds": facts["train_seconds"],
        "best_iteration": record["selected_iteration"],
        "curve": record["curve"],
        "sessions": [{k: v for k, v in facts.items() if k not in LATER}, *facts.get("trained_by", [])],
    }


def text_of(card: Card, digest: str, version: str) -> str:
    """card.md."""
    record = card.record
    facts, metric = record["provenance"], METRICS[record["metric"]]
    place = record["test"]["updates"].index(record["judged_update"])
    score = metric.shown(record["test"]["mean"][place], record["test"]["ci95"][place])
    rows = {
        "score": f"{metric.title} {score}, 95 % over {record['test']['tasks']} test tasks",
        "updates": record["judged_update"],
        "seed": record["seed"],
        "recipe": f"{record['recipe_digest']} ({record['recipe']['schedule']})",
        "made by": f"`{command(record)}`",
        "parameters": f"{sum(t.numel() for t in card.weights.values()):,}",
        "weights": digest,
        "images": card.form or "none",
        "data licence": card.licence or "none: simulated",
        "commit": facts["commit"] + (" with changes" if facts.get("dirty") else ""),
        "versions": ", ".join([f"metabench {version}", *(f"{k} {v}" for k, v in facts["packages"].items())]),
    }
    return "\n".join([
        f"# {record['algorithm']} on {record['benchmark']}\n",
        "A learner trained by metabench. What it can do is what its record, in `card.json`, says and no more.\n",
        *_table(rows),
        "\n## Protocol\n",
        *_table(record["protocol"]),
        "\n## Use\n",
        "```",
        "metabench evaluate FOLDER",
        *(["metabench predict FOLDER --support CLASS_FOLDERS --query PICTURES"] if card.form else []),
        "metabench run ALGORITHM BENCHMARK --weights FOLDER",
        "```\n",
    ])  # fmt: skip


def _table(rows: Mapping[str, Any]) -> list[str]:
    cells = ((name.replace("_", " "), str(value).replace("|", "\\|")) for name, value in rows.items())
    return ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in cells)]
