"""What is measured in each world, and in which unit it is shown."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """A score: `name` in records and protocols, `scale` from a record's unit to the shown one, and that unit."""

    name: str
    scale: float
    unit: str
    """What stands after a number: "%", or nothing after a return."""

    def shown(self, mean: float, ci95: float, digits: int = 2) -> str:
        """ "98.52 ± 0.21" of a mean and half-width in a record's unit."""
        return f"{self.scale * mean:.{digits}f} ± {self.scale * ci95:.{digits}f}"

    @property
    def title(self) -> str:
        """ "accuracy, %" or "return"."""
        return f"{self.name}, {self.unit}" if self.unit else self.name


ACCURACY = Metric("accuracy", 100.0, "%")
RETURN = Metric("return", 1.0, "")
METRICS = {metric.name: metric for metric in (ACCURACY, RETURN)}
"""Every metric by name."""
