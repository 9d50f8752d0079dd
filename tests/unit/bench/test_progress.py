"""What is drawn while a run trains fits the terminal, and says how far it is."""

from __future__ import annotations

import re

import pytest
from rich.console import Console

from metabench.bench.text import clock
from metabench.bench.training.progress import Progress

VISION = {"loss": 1.434, "accuracy": 0.468}
CONTROL = {"return_before": -140.3, "return": -80.2, "surrogate": 0.123, "kl": 0.01, "tries": 1.0}


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize(
    ("title", "metrics"),
    [("metaoptnet-svm mini-imagenet-5w5s seed 0", VISION), ("maml cheetah-vel-2019 seed 0", CONTROL)],
)
def test_nothing_is_squeezed_out(width: int, title: str, metrics: dict[str, float]) -> None:
    progress = Progress(title, quiet=True)
    progress.start(0, 60000)
    for iteration in (1, 20000):
        progress.advance(iteration, metrics, tasks=1)
        progress.validated({"mean": -80.123, "ci95": 3.4567, "iteration": iteration})
    progress.advance(20001, metrics, tasks=1)
    console = Console(width=width)
    with console.capture() as capture:
        console.print(progress.bar.get_renderable())
    first, *rest = capture.get().splitlines()
    assert re.fullmatch(rf"{title} .*20001/60000 (\d:\d\d:\d\d|-:--:--)", first.rstrip())
    for number in (*(f"{name} {value:.3f}" for name, value in metrics.items()), " tasks/s", "val -80.1230 ± 3.4567"):
        assert sum(number in line for line in rest) == 1
    assert len(rest) <= (3 if width == 60 else 2)


def test_a_log_says_how_long_is_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """7 of 100 iterations take 70 s, so that the 7 that are left take as long; lines are a minute apart."""
    now = 0.0
    monkeypatch.setattr("metabench.bench.training.progress.time.monotonic", lambda: now)
    progress = Progress("maml glyphs-5w1s seed 0")
    progress.start(86, 100)
    for iteration in range(87, 94):
        now += 10
        progress.advance(iteration, {"loss": 0.5}, tasks=2)
    [line] = capsys.readouterr().out.splitlines()
    assert line == "maml glyphs-5w1s seed 0: 93/100  loss 0.500  0.2 tasks/s  1:10 left"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(41.2, "0:41"), (59.6, "1:00"), (3723, "1:02:03"), (90_000, "25:00:00")]
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
