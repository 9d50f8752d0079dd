"""A learner of one's own, with a setting of its own: one file and one line.

    python examples/own_learner.py --iterations 40 --sharpness 12        trains it, tests it, writes a record

In a checkout the file is `algorithms/learners/nearest_angle.py`, and the line is its entry in `LEARNERS` in
`algorithms/__init__.py`; every verb then knows it. Here the last lines enter it for this process alone.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from torch.nn.functional import normalize

from metabench.algorithms import LEARNERS, Batch, Learner, LearnerSettings, Params
from metabench.algorithms.learners.protonet import class_means
from metabench.bench.cli.main import main


@dataclass(frozen=True)
class Sharpness(LearnerSettings):
    """Settings of NearestAngle: each field is a flag of `run`, a field of the recipe and part of the record."""

    sharpness: float = 10.0
    """What the class means, brought to length 1, are multiplied with."""

    def problem(self) -> str | None:
        """A sharpness that is no positive number."""
        return self.not_positive("sharpness")


class NearestAngle(Learner):
    """The head's rows are the class means, brought to one length."""

    Settings = Sharpness
    settings: Sharpness
    reads = "features"  # the body stays as it is; `rule` sees its features
    any_ways = True  # the head is made from the support, so that training may have other ways than test
    needs_labels = True  # of which control has none

    def rule(self, fast: Params, support: Batch) -> Params:
        """Features and labels of the support -> the head, for T tasks at once."""
        means = self.settings.sharpness * normalize(class_means(support), dim=-1)  # (T, K, D): the task axis first
        return fast | {"head.weight": means, "head.bias": means.new_zeros(means.shape[:2])}


if __name__ == "__main__":
    LEARNERS["nearest-angle"] = NearestAngle
    sys.exit(main(["run", "nearest-angle", "glyphs-5w1s", *sys.argv[1:]]))
