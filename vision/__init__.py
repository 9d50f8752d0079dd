"""Few-shot images: data sets, episodes, bodies. It knows the core and neither robots nor the harness.

`DATASETS` is imported when it is first asked for: the help of a command needs the flags of an import, and not torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metabench.vision.datasets import DATASETS

__all__ = ["DATASETS"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from metabench.vision.datasets import DATASETS

    return DATASETS
