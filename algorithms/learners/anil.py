"""ANIL: a few gradient steps on the head.

Raghu, Raghu, Bengio & Vinyals, "Rapid Learning or Feature Reuse?", ICLR 2020: MAML whose inner loop leaves
the body alone. Only the head changes, so the body embeds a support once for all steps.
"""

from __future__ import annotations

from metabench.algorithms.learners.maml import MAML


class ANIL(MAML):
    """Gradient descent on the head; the arguments are MAML's."""

    reads = "features"

    def adapted(self) -> list[str]:
        """The head's weight and bias, where they are not frozen."""
        return [name for name in super().adapted() if name.startswith("head.")]
