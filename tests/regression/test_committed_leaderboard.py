"""The committed leaderboard is what the committed records give."""

from pathlib import Path

from metabench.bench.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_pages_are_not_stale(capsys):
    status = main(["report", "--results", str(ROOT / "results"), "--check"])
    assert (status, capsys.readouterr().err) == (0, "")
