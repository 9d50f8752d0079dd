"""What a person sees while a run trains: a bar with accuracy, loss, tasks a second and the time left."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

from metabench.bench.recipes.recipe import RecipeError
from metabench.bench.text import clock


class Bar(RichProgress):
    """A bar, and below it numbers in as many lines as they need: on a line of their own they push nothing out."""

    numbers: Iterable[str] = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        """What is drawn."""
        yield self.make_tasks_table(self.tasks)
        yield Columns(self.numbers, padding=(0, 2))


class Progress:
    """A progress bar (a line now and then where there is no terminal), and TensorBoard on request.

    Args:
        title: what is running.
        quiet: show nothing, as on every process but the first.
        tensorboard: folder for event files, or None.
    """

    def __init__(self, title: str, *, quiet: bool = False, tensorboard: Path | None = None) -> None:
        self.console = Console(quiet=quiet)
        self.title = title
        self.validation = ""
        self.started, self.first, self.spoke = time.monotonic(), 0, time.monotonic()
        self.smooth: dict[str, float] = {}
        self.writer: Any = _tensorboard(tensorboard) if tensorboard is not None else None
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),  # it alone shrinks on a narrow terminal
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
        )
        self.bar = Bar(*columns, console=self.console, disable=not self.console.is_terminal, transient=True)
        self.task = self.bar.add_task(title, total=None)

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        if self.writer is not None:
            self.writer.close()

    def start(self, done: int, total: int) -> None:
        """Begin at iteration `done` of `total`."""
        self.started, self.first = time.monotonic(), done
        self.total = total
        self.bar.update(self.task, total=total, completed=done)

    def advance(self, iteration: int, metrics: dict[str, float], tasks: int) -> None:
        """One iteration is done: `tasks` tasks, with these metrics."""
        for name, value in metrics.items():
            self.smooth[name] = value if name not in self.smooth else 0.95 * self.smooth[name] + 0.05 * value
            if self.writer is not None:
                self.writer.add_scalar(f"train/{name}", value, iteration)
        pace = (iteration - self.first) / max(time.monotonic() - self.started, 1e-9)
        numbers = [f"{name} {value:.3f}" for name, value in self.smooth.items()]
        numbers += [f"{pace * tasks:.1f} tasks/s", *([self.validation] if self.validation else [])]
        self.bar.numbers = numbers
        self.bar.update(self.task, completed=iteration)
        if not self.console.is_terminal and time.monotonic() - self.spoke > 60:
            self.spoke = time.monotonic()
            left = clock((self.total - iteration) / pace)
            line = "  ".join([f"{self.title}: {iteration}/{self.total}", *numbers, f"{left} left"])
            self.console.print(line, highlight=False, soft_wrap=True)

    def validated(self, point: dict[str, float]) -> None:
        """A validation is done."""
        self.validation = f"val {point['mean']:.4f} ± {point['ci95']:.4f}"
        if self.writer is not None:
            self.writer.add_scalar("val/score", point["mean"], int(point["iteration"]))


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RecipeError("--tensorboard needs the tensorboard package: uv sync --extra tensorboard") from error
    return SummaryWriter(str(folder))
