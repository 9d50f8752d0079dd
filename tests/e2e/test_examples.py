"""The examples run, and stay as short as they claim."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_the_loop_on_digits_learns(capsys: pytest.CaptureFixture[str]) -> None:
    accuracy = runpy.run_path(str(EXAMPLES / "mnist_loop.py"))["main"](100)
    assert accuracy > 0.6, "three ways, so chance is a third"
    assert capsys.readouterr().out.startswith("step 50: ")


def test_the_loop_on_digits_is_at_most_fifteen_lines() -> None:
    tree = ast.parse((EXAMPLES / "mnist_loop.py").read_text(encoding="utf-8"))
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    data = next(node for node in main.body if isinstance(node, ast.Assign))
    loop = next(node for node in main.body if isinstance(node, ast.For))
    assert loop.end_lineno is not None
    assert loop.end_lineno - data.lineno + 1 <= 15
