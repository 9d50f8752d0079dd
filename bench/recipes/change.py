"""What a test may change of a trained run's recipe; importing it takes no torch, so that help is there at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Retest:
    """What `evaluate` changes of a trained run's protocol."""

    benchmark: str = ""
    """Few-shot images: test on another data set's episodes, e.g. quick-draw-5w1s, its images brought to the size and
    channels of the learner's; the recipe's if not given."""
    ways: int = 0
    """Classes of a test episode; 0 for the recipe's."""
    shots: int = 0
    """Support images a class; 0 for the recipe's."""
    queries: int = 0
    """Query images a class; 0 for the recipe's, and with other ways or shots for what that benchmark has."""
    environment: str = ""
    """Control: test in this variant, whose policy sees and does the same; the recipe's if not given."""
    tasks: int = 0
    """Test episodes; 0 for the recipe's."""
    steps: int = -1
    """Updates on a support; -1 for the recipe's."""
