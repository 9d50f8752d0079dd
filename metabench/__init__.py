"""metabench: one meta-learner core, measured on few-shot images and on locomotion tasks.

    import metabench

    record = metabench.run("protonet", "omniglot-5w1s", schedule="short", out="run")     train, test, write a record
    metabench.load("run").adapt("support").predict("query").labels                       use what was trained
    metabench.Dataset.of("pictures").episodes(ways=5, shots=1, queries=5)                tasks of any pictures
    metabench.learners["maml"]                                                           the algorithms, by name

The folders beside this one are its packages (they are linked here), so that they are installed under one name and a
user's own folder called `envs` or `bench` stands in nobody's way.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metabench.algorithms import LEARNERS as learners  # noqa: N811
    from metabench.bench.use.few_shot import load
    from metabench.bench.use.train import run
    from metabench.vision.data.source import Dataset

__all__ = ["Dataset", "learners", "load", "run"]

_HOMES = {
    "Dataset": ("metabench.vision.data.source", "Dataset"),
    "learners": ("metabench.algorithms", "LEARNERS"),
    "load": ("metabench.bench.use.few_shot", "load"),
    "run": ("metabench.bench.use.train", "run"),
}
"""Name -> its module and its name there. Imported when asked for: torch takes seconds."""


def __getattr__(name: str) -> Any:
    """What the package is asked for by name; AttributeError for anything else."""
    if name not in _HOMES:
        raise AttributeError(f"metabench has no {name!r}; it has {', '.join(__all__)}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    """The names that `__getattr__` knows, and the module's own."""
    return sorted({*globals(), *__all__})
