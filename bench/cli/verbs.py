"""The verbs of the command line, each one entry: usage, dispatch, help and completion are made from this table."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

from metabench.bench.flags import dataclasses_in


@dataclass(frozen=True)
class Verb:
    """One verb. What it names is imported when it is asked for: torch takes seconds."""

    name: str
    arguments: str
    """What follows it in a line of usage."""
    help: str
    """What it does, in one line."""
    acts: str
    """"module:function" of the words after the verb, which returns the exit status."""
    parses: str
    """"module:function" that reads the same words; it prints their help without importing torch."""

    def act(self, arguments: list[str]) -> int:
        """Do it; returns the exit status."""
        status: int = _load(self.acts)(arguments)
        return status

    def parse(self, arguments: list[str]) -> Any:
        """The command that the words say; SystemExit after --help or for words that cannot be read."""
        return _load(self.parses)(arguments)

    def commands(self) -> list[type]:
        """The dataclasses that `parse` reads: one, or one for each verb below this one, or none."""
        return dataclasses_in(get_type_hints(_load(self.parses)).get("return"))


def _load(name: str) -> Callable[[list[str]], Any]:
    module, _, function = name.partition(":")
    found: Callable[[list[str]], Any] = getattr(importlib.import_module(module), function)
    return found


_CLI, _SPEED = "metabench.bench.cli", "metabench.bench.speed"

VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "quickstart", "", "five learners in both worlds, two or three minutes",
            f"{_CLI}.quickstart:quickstart", f"{_CLI}.arguments:parse_quickstart",
        ),
        Verb(
            "list", "", "algorithms, benchmarks, data sets",
            f"{_CLI}.listing:list_all", f"{_CLI}.arguments:parse_list",
        ),
        Verb(
            "run", "ALGORITHM BENCHMARK [...]", "train, select on validation, test, write a record",
            f"{_CLI}.run:run", f"{_CLI}.run_usage:help_of_run",
        ),
        Verb(
            "sweep", "paper|FILE|ROW... [...]", "many runs as one job that can be stopped and goes on",
            f"{_CLI}.sweep:sweep", f"{_CLI}.arguments:parse_sweep",
        ),
        Verb(
            "evaluate", "RUN_FOLDER [...]", "test a trained run again, or under another protocol",
            f"{_CLI}.run:evaluate", f"{_CLI}.arguments:parse_evaluate",
        ),
        Verb(
            "predict", "RUN_FOLDER [...]", "what pictures of yours show, after a few labelled ones",
            f"{_CLI}.predict:predict", f"{_CLI}.use_arguments:parse_predict",
        ),
        Verb(
            "export", "RUN_FOLDER --out FOLDER", "a learner's weights (safetensors) and a card, to give away",
            f"{_CLI}.export:export", f"{_CLI}.use_arguments:parse_export",
        ),
        Verb(
            "render", "RUN_FOLDER [...]", "a film or a plot of a policy before and after its updates",
            f"{_CLI}.render:render", f"{_CLI}.arguments:parse_render",
        ),
        Verb(
            "data", "list|download|import|verify|preview", "data sets; `data import NAME FOLDER` makes one of pictures",
            f"{_CLI}.data:data", f"{_CLI}.data_arguments:parse_data",
        ),
        Verb(
            "bench", "vision|envs", "speed beside learn2learn, Gymnasium and this machine's limits",
            f"{_SPEED}.command:bench", f"{_SPEED}.arguments:parse_bench",
        ),
        Verb(
            "peers", "", "speed beside learn2learn alone, filed as a record",
            f"{_SPEED}.command:peers", f"{_SPEED}.arguments:parse_peers",
        ),
        Verb(
            "compare", "A B", "two algorithms, or two sets of records, side by side",
            "metabench.bench.compare.command:compare_command", "metabench.bench.compare.arguments:parse_compare",
        ),
        Verb(
            "completion", "bash|zsh|fish", "the script that completes these words in a shell",
            f"{_CLI}.completion:completion", f"{_CLI}.completion:parse_completion",
        ),
        Verb(
            "check", "", "regressions against results/baselines",
            "metabench.bench.gate.check:check", "metabench.bench.gate.arguments:parse_check",
        ),
        Verb(
            "report", "", "the leaderboard, from the records alone",
            "metabench.bench.leaderboard.report:report_command", "metabench.bench.leaderboard.arguments:parse_report",
        ),
    )
}  # fmt: skip
"""Name -> verb, in the order of the usage."""


def usage() -> str:
    """What `metabench --help` prints."""
    lines = {f"  metabench {verb.name} {verb.arguments}".rstrip(): verb.help for verb in VERBS.values()}
    width = max(map(len, lines))
    return "\n".join([
        "metabench: meta-learners on few-shot images and on locomotion, beside the published numbers\n",
        *(f"{line:{width}}   {help}" for line, help in lines.items()),
        "\nEvery verb takes --help; `metabench run maml omniglot-5w1s --help` shows that recipe's fields.",
    ])  # fmt: skip
