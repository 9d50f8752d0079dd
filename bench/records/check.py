"""Is a file a record that can be shown? A record is data from somewhere else: it may be cut short, of a later schema,
edited, or made to break the page that shows it. What fails a check is not used, and the error says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metabench.bench.recipes.recipe import MOST_UPDATES, NAME, digest, foreign
from metabench.bench.records.metric import METRICS
from metabench.bench.records.schema import SCHEMA, checksum, file_name
from metabench.bench.records.statistics import mean_interval

LARGEST = 32 * 2**20
"""Bytes of a record; a larger file is not read."""

MOST_POINTS, MOST_ROWS = 10_000, 200
"""Numbers of updates that are tested, points of a learning curve, workloads of a speed record: what a page can show."""


class BadRecord(ValueError):
    """Why a record is set aside."""


def read_record(path: Path, *, filed: bool = True) -> dict[str, Any]:
    """One record; of a kind other than "result" and "speed", only schema and kind are checked.

    Args:
        filed: a result must have the file name under which `--publish` files it.

    Raises:
        BadRecord: for the first thing that is wrong.
    """
    record = read_json(path)
    check_record(record, path.name if filed else None)
    return record


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file with a schema, of a size that a record has; BadRecord where it is none."""
    if path.is_symlink() or not path.is_file():
        raise BadRecord("is not a plain file")
    if path.stat().st_size > LARGEST:
        raise BadRecord(f"is larger than {LARGEST // 2**20} MiB")
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise BadRecord(f"is not readable JSON ({error})") from error
    if not isinstance(record, dict) or type(record.get("schema")) is not int:
        raise BadRecord("has no schema")
    return record


def check_record(record: Mapping[str, Any], file: str | None = None) -> None:
    """Raise BadRecord for the first thing that is wrong with a record; `file` is the name that it is filed under."""
    if record["schema"] != SCHEMA:
        raise BadRecord(f"has schema {_short(record['schema'])}, this version reads {SCHEMA}")
    if not isinstance(record.get("kind"), str):
        raise BadRecord("has no kind")
    if record["kind"] in ("result", "speed") and record.get("checksum") != checksum(record):
        raise BadRecord("was changed since it was written: its checksum is that of another content")
    if record["kind"] == "result":
        _check_names(record, file)
        _check_scores(record)
        _check_provenance(record)
        _check_curve(record)
    elif record["kind"] == "speed":
        check_speed(record)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _check_names(record: Mapping[str, Any], file: str | None) -> None:
    recipe, protocol = record.get("recipe"), record.get("protocol")
    if not isinstance(recipe, dict) or not isinstance(protocol, dict):
        raise BadRecord("lacks its recipe or its protocol")
    names = {field: record.get(field) for field in ("algorithm", "benchmark")} | {"schedule": recipe.get("schedule")}
    for field, value in names.items():
        if not (isinstance(value, str) and NAME.fullmatch(value)):
            raise BadRecord(f"{field} is {_short(value)}, no name")
        if recipe.get(field) != value:
            raise BadRecord(f"{field} is {value}, its recipe says {_short(recipe.get(field))}")
    if type(record.get("seed")) is not int or not 0 <= record["seed"] < 2**63:
        raise BadRecord(f"seed is {_short(record.get('seed'))}, expected a whole number of at least 0")
    _check_recipes(record)
    for field, value in protocol.items():
        if not isinstance(value, (str, int, float, bool)) or len(str(value)) > 1000:
            raise BadRecord(f"protocol.{_short(field)} is {_short(value)}, expected a text or a number")
    if file is not None and file != file_name(dict(record)):
        raise BadRecord(f"is filed under another name than {file_name(dict(record))}")


def _check_recipes(record: Mapping[str, Any]) -> None:
    """Its recipe, the one that its learner was trained under where that is another, and the digest of both."""
    recipe, trained = record["recipe"], record.get("trained_recipe")
    if trained is not None and not isinstance(trained, dict):
        raise BadRecord(f"trained_recipe is {_short(trained)}, expected the fields of a recipe")
    for fields in (recipe, trained or {}):
        if strange := foreign(fields):
            raise BadRecord(f"its recipe has a field {_short(strange)} that this version does not know")
    if record.get("recipe_digest") != digest(recipe, trained):
        raise BadRecord(
            f"recipe_digest is {_short(record.get('recipe_digest'))}, its recipe has {digest(recipe, trained)}"
        )


def _check_scores(record: Mapping[str, Any]) -> None:
    metric, status, test = record.get("metric"), record.get("status"), record.get("test")
    if metric not in METRICS:
        raise BadRecord(f"metric is {_short(metric)}, expected accuracy or return")
    if not isinstance(status, str) or not (status == "complete" or status.startswith("diverged")) or len(status) > 1000:
        raise BadRecord(f"status is {_short(status)}, expected complete or diverged")
    if not isinstance(test, dict) or not all(numbers(test.get(field)) for field in ("updates", "mean", "ci95")):
        raise BadRecord("test lacks finite numbers under updates, mean and ci95")
    per_task: Any = record.get("per_task")
    if not numbers(per_task):
        raise BadRecord("per_task holds something else than finite numbers")
    if status != "complete":
        return
    lengths = {len(test[field]) for field in ("updates", "mean", "ci95")}
    if len(lengths) != 1 or lengths == {0}:
        raise BadRecord("test has not one mean and one interval for each number of updates")
    counts = test["updates"]
    if len(counts) > MOST_UPDATES or any(type(k) is not int or k < 0 for k in counts) or counts != sorted(set(counts)):
        raise BadRecord(f"test.updates is {_short(counts)}, expected up to {MOST_UPDATES} rising whole numbers")
    planned = record["protocol"].get("test_tasks")
    if len(per_task) < 2 or not len(per_task) == test.get("tasks") == planned:
        raise BadRecord(f"it has {len(per_task)} scores, its protocol {_short(planned)} test tasks")
    if metric == "accuracy" and not 0 <= min(*test["mean"], *per_task) <= max(*test["mean"], *per_task) <= 1:
        raise BadRecord("an accuracy lies outside 0 … 1")
    judged = record.get("judged_update", counts[-1])
    if type(judged) is not int or judged not in counts:
        raise BadRecord(f"judged_update is {_short(judged)}, none of its test.updates {_short(counts)}")
    mean, ci95, tasks = mean_interval(per_task)
    place = counts.index(judged)
    if _apart(mean, test["mean"][place]) or _apart(ci95, test["ci95"][place]):
        raise BadRecord(f"its mean or interval is not that of its {tasks} tasks")


def _apart(computed: float, recorded: float) -> bool:
    """More than the six decimals allow to which the scores of tasks are rounded."""
    return abs(computed - recorded) > 1e-5 * max(1.0, abs(computed))


def _check_provenance(record: Mapping[str, Any]) -> None:
    provenance = record.get("provenance")
    if not isinstance(provenance, dict):
        raise BadRecord("lacks its provenance")
    _check_texts(provenance, ("command", "device", "commit", "precision"))
    for field in ("threads", "processes", "train_seconds", "test_seconds"):
        if not numbers([provenance.get(field)]) or provenance[field] < 0:
            raise BadRecord(f"provenance.{field} is {_short(provenance.get(field))}, expected a number of at least 0")
    packages = provenance.get("packages", {})
    if not isinstance(packages, dict) or len(packages) > 100 or not all(_brief(v) for p in packages.items() for v in p):
        raise BadRecord("provenance.packages holds something else than names with versions")
    for field in ("iterations", "meta_batch"):
        count = record["recipe"].get(field)
        if type(count) is not int or not 0 <= count < 2**31:
            raise BadRecord(f"its recipe has no number for {field}")


def _check_texts(provenance: Mapping[str, Any], fields: tuple[str, ...]) -> None:
    for field in fields:
        if not isinstance(provenance.get(field), str) or len(provenance[field]) > 10_000:
            raise BadRecord(f"provenance.{field} is {_short(provenance.get(field))}, expected a text")


def _check_curve(record: Mapping[str, Any]) -> None:
    """Its points are looked at one by one where they are drawn."""
    if isinstance(record.get("curve"), list) and len(record["curve"]) > MOST_POINTS:
        raise BadRecord(f"its curve has {len(record['curve'])} points, more than {MOST_POINTS}")


def check_speed(record: Mapping[str, Any]) -> None:
    """Raise BadRecord for the first thing that is wrong with a record of speed."""
    provenance, rows = record.get("provenance"), record.get("rows")
    if not isinstance(provenance, dict):
        raise BadRecord("lacks its provenance")
    _check_texts(provenance, ("command", "device", "commit"))
    if not numbers([provenance.get("threads")]):
        raise BadRecord(f"provenance.threads is {_short(provenance.get('threads'))}, expected a number")
    if not _brief(record.get("suite")):
        raise BadRecord(f"suite is {_short(record.get('suite'))}, expected a short text")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or len(rows) > MOST_ROWS:
        raise BadRecord(f"rows is {_short(rows)}, expected up to {MOST_ROWS} workloads")
    for row in rows:
        if not _brief(row.get("workload")) or not _brief(row.get("peer")):
            raise BadRecord(f"a row compares {_short(row.get('workload'))} with {_short(row.get('peer'))}, no names")
        ratio = row.get("ratio")
        values: Any = [ratio.get(field) for field in ("min", "median", "max")] if isinstance(ratio, dict) else None
        if not numbers(values) or not 0 < values[0] <= values[1] <= values[2]:
            raise BadRecord(f"the ratio of {row['workload']} is {_short(ratio)}, expected 0 < min <= median <= max")


def _brief(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200


def numbers(values: Any) -> bool:
    """A list of numbers, none so large that arithmetic on them overflows; JSON that was read holds no NaN."""
    if not isinstance(values, list) or not set(map(type, values)) <= {int, float}:
        return False
    return not values or (min(values) > -1e15 and max(values) < 1e15)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
