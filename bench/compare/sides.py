"""What the two words of `metabench compare` mean, and which rows of two algorithms belong together."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metabench.bench.compare.records import CompareError, Records, load, match, row_key
from metabench.bench.records.rows import Row
from metabench.bench.text import unknown
from metabench.bench.worlds import WORLDS

TASK_FIELDS = (
    "dataset", "split", "data_digest", "ways", "shots", "queries", "within_group_test", "rotations_test", "image_size",
    "episodes", "environment", "variant", "goals", "horizon", "rollouts", "test_tasks",
)  # fmt: skip
"""Fields of a protocol that decide which the test tasks are."""
MARK = "algorithm:"
"""Before a word, says that it is an algorithm and no path."""


def same_tasks(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two records are of the same test tasks."""
    return all(a["protocol"].get(field) == b["protocol"].get(field) for field in TASK_FIELDS)


def paired(
    a: str, b: str, results: Path, benchmarks: tuple[str, ...]
) -> tuple[Records, Records, list[tuple[Row, Row]], list[str]]:
    """(one side, the other, the pairs of rows to compare, the names of rows that stay alone).

    Args:
        a, b: two paths, or two algorithms.
        results: folder with records/, where those of algorithms are.
        benchmarks: those to compare on; none for all.

    Raises:
        CompareError: a word is neither, or both, or they are one of each; there are no records, or none in common.
    """
    kinds = [_is_algorithm(word) for word in (a, b)]
    if kinds[0] != kinds[1]:
        word, other = (a, b) if kinds[0] else (b, a)
        raise CompareError(f"{word} is an algorithm and {other} a path; compare two algorithms, or two paths")
    if kinds[0]:
        filed = load(results / "records")
        sides = [_of_algorithm(filed, word.removeprefix(MARK), results) for word in (a, b)]
    else:
        sides = [load(Path(word)) for word in (a, b)]
    left, right = (_on(side, benchmarks) for side in sides)
    pairs, alone = match_algorithms(left, right) if kinds[0] else match(left, right)
    if not pairs:
        raise CompareError(f"nothing in common: {left.name} has {_names(left)}; {right.name} has {_names(right)}")
    return left, right, pairs, alone


def _is_algorithm(word: str) -> bool:
    """Whether a word means an algorithm, else a path; raises CompareError where it means neither, or may mean both."""
    known = {name for world in WORLDS for name in world.algorithms}
    if word.startswith(MARK):
        if word.removeprefix(MARK) not in known:
            raise CompareError(unknown("algorithm", word.removeprefix(MARK), known))
        return True
    there = Path(word).exists()
    if word in known and there:
        raise CompareError(
            f"{word} is an algorithm, and a path here too; write {MARK}{word} for the one, ./{word} for the other"
        )
    if word not in known and not there:
        raise CompareError(f"{word}: there is no such file or folder, and {unknown('algorithm', word, known)}")
    return word in known


def _of_algorithm(filed: Records, algorithm: str, results: Path) -> Records:
    """The side of an algorithm."""
    rows = {key: rows for key, rows in filed.rows.items() if key[0] == algorithm}
    if not rows:
        raise CompareError(
            f"{results / 'records'} has no record of {algorithm}; make one with: "
            f"metabench run {algorithm} BENCHMARK --publish"
        )
    return Records(algorithm, rows, filed.refused)


def _on(side: Records, benchmarks: tuple[str, ...]) -> Records:
    """The side with its rows of some benchmarks alone; of all where none is named."""
    for name in benchmarks:
        if name not in {key[1] for key in side.rows}:
            raise CompareError(f"{side.name}: {unknown('record of benchmark', name, {key[1] for key in side.rows})}")
    rows = {key: rows for key, rows in side.rows.items() if not benchmarks or key[1] in benchmarks}
    return dataclasses.replace(side, rows=rows)


def match_algorithms(a: Records, b: Records) -> tuple[list[tuple[Row, Row]], list[str]]:
    """A pair of rows for each benchmark that both algorithms have, and the names of the rows that are in none.

    Of several recipes on a benchmark the pair is the one that can be compared best: on the same test tasks, under the
    same schedule, with the most seeds in common and the fewest recipe fields that differ.
    """
    pairs, alone = [], []
    left, right = (_by_benchmark(side) for side in (a, b))
    for benchmark in sorted(left.keys() | right.keys()):
        ours, theirs = left.get(benchmark, []), right.get(benchmark, [])
        best = min(itertools.product(ours, theirs), key=_unlike, default=None)
        if best is not None:
            pairs.append(best)
        alone += [_called(row) for row in (*ours, *theirs) if best is None or all(row is not one for one in best)]
    return pairs, alone


def _by_benchmark(side: Records) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for (_, benchmark, _), rows in side.rows.items():
        found.setdefault(benchmark, []).extend(rows)
    return found


def _unlike(pair: tuple[Row, Row]) -> tuple[Any, ...]:
    """Smaller for rows that can be compared better; the digests make it a total order."""
    a, b = pair
    schedules = a.first["recipe"]["schedule"], b.first["recipe"]["schedule"]
    common = {r["seed"] for r in a.complete} & {r["seed"] for r in b.complete}
    recipes = a.first["recipe"], b.first["recipe"]
    differing = sum(recipes[0].get(field) != recipes[1].get(field) for field in recipes[0].keys() | recipes[1].keys())
    return not same_tasks(a.first, b.first), schedules[0] != schedules[1], -len(common), differing, a.key, b.key


def _called(row: Row) -> str:
    return f"{' '.join(row_key(row.first))} (recipe {row.first['recipe_digest']})"


def _names(side: Records) -> str:
    """Its rows."""
    return ", ".join(" ".join(key) for key in side.rows)
