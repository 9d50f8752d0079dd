"""A finished run as a folder that can be given away."""

from __future__ import annotations

from pathlib import Path

from metabench.bench.recipes.recipe import FewShotRecipe
from metabench.bench.records.check import BadRecord, read_record
from metabench.bench.training import export
from metabench.bench.training.checkpoint import RunFolderError
from metabench.bench.training.trained import trained_in
from metabench.vision import DATASETS


def export_run(run: Path, out: Path, version: str) -> str:
    """Write the learner of a finished run and its card; the digest of its weights.

    Args:
        out: a folder, made if need be; a run folder is refused.
        version: of metabench.

    Raises:
        RunFolderError: no finished run with a record of its test.
    """
    if (out / "checkpoint.pt").exists():
        raise RunFolderError(f"{out} is a run folder; give --out another one")
    trained = trained_in(run)
    if (run / export.CARD).exists():
        raise RunFolderError(f"{run} is an export already; copy it")
    try:
        record = read_record(run / "record.json", filed=False)
    except BadRecord as error:
        why = f"{run / 'record.json'} {error}; the same `metabench run` writes it anew"
        raise RunFolderError(why) from error
    if (record["recipe_digest"], record["seed"]) != (trained.recipe.digest(), trained.seed):
        raise RunFolderError(f"{run / 'record.json'} is of another recipe or seed; the same `metabench run` mends that")
    if record["status"] != "complete":
        raise RunFolderError(f"{run} {record['status']}; there is nothing to export")
    recipe = trained.recipe
    licence = DATASETS[recipe.dataset].licence if isinstance(recipe, FewShotRecipe) else ""
    return export.write(out, export.Card(record, trained.weights, trained.form, licence), version)
