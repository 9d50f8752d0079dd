"""What a record's file is called and how it is sealed. Schema 2.

Schema 1 had 1.96 standard errors for every 95 % interval, a digest of all fields of the recipe, and no checksum.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

SCHEMA = 2


def file_name(record: Mapping[str, Any]) -> str:
    """Where a result is filed: its row, recipe and seed, in characters that every file system takes."""
    row = (record["algorithm"], record["benchmark"], record["recipe_digest"])
    return re.sub(r"[^\w+-]", "-", "_".join(row)) + f"_seed{record['seed']}.json"


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record as JSON can hold it (no NaN), with the checksum of its content."""
    content = _without_nan({k: v for k, v in record.items() if k != "checksum"})
    return {**content, "checksum": checksum(content)}


def checksum(record: Mapping[str, Any]) -> str:
    """SHA-256 of everything else in the record, as JSON with sorted keys."""
    content = {k: v for k, v in record.items() if k != "checksum"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
