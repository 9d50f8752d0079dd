"""Classifier: a body trained to tell all training classes apart, whose head is made anew from a support.

To such a learner training is one task that asks about every class at once and shows nothing beforehand: K is the number
of training classes, the query is a mini-batch with their labels, and there is no update, so that the loss is that of
φ₀ = θ. It goes through the same loop, outer step and checkpoint as an episode does. At test the rule replaces the head.
"""

from __future__ import annotations

from dataclasses import dataclass

from metabench.algorithms.learner import Learner, LearnerSettings


@dataclass(frozen=True)
class ClassifierSettings(LearnerSettings):
    """Settings of learners that are trained on batches of all training classes, and not on episodes."""

    batch: int = 16
    """Images of a training batch, drawn from all training classes."""

    def problem(self) -> str | None:
        """A batch without images."""
        return self.not_positive("batch")


class Classifier(Learner):
    """The head of `begin` has a row for each training class; a rule puts one for each class of the support there.

    Before any update it answers with a training class, so that its score after 0 updates means nothing.
    """

    Settings = ClassifierSettings
    settings: ClassifierSettings
    reads = "features"
    any_ways = True
    needs_labels = True
