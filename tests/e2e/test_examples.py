"""The examples run, and stay as short as they claim."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.examples import EXAMPLES, example


def test_the_loop_on_digits_learns(capsys: pytest.CaptureFixture[str]) -> None:
    accuracy = example("mnist_loop").main(100)
    assert accuracy > 0.6, "three ways, so chance is a third"
    assert capsys.readouterr().out.startswith("step 50: ")


def test_the_loop_on_digits_is_at_most_fifteen_lines() -> None:
    tree = ast.parse((EXAMPLES / "mnist_loop.py").read_text(encoding="utf-8"))
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    data = next(node for node in main.body if isinstance(node, ast.Assign))
    loop = next(node for node in main.body if isinstance(node, ast.For))
    assert loop.end_lineno is not None
    assert loop.end_lineno - data.lineno + 1 <= 15


def test_maml_in_forty_lines_learns(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = example("maml_in_forty_lines").main(100)
    assert before < 0.4 < 0.6 < after, "five ways, so chance is a fifth"
    assert capsys.readouterr().out == (f"accuracy on 50 test tasks: {before:.1%} before training, {after:.1%} after\n")


def test_maml_in_forty_lines_is_forty_lines() -> None:
    """Of code: without docstrings and blank lines."""
    tree = ast.parse((EXAMPLES / "maml_in_forty_lines.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node):
            del node.body[0]
    assert len(ast.unparse(tree).split()) > 100
    assert len([line for line in ast.unparse(tree).splitlines() if line]) <= 40


def test_the_policy_is_better_after_its_update(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = example("policy_before_and_after").main(10)
    assert after > before + 10
    assert capsys.readouterr().out.startswith("mean return on 20 goals: -")


def test_arrays_of_ones_own_are_learned(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = example("own_dataset").main(40)
    assert after > before + 0.1
    assert capsys.readouterr().out.startswith("accuracy on 50 tasks of unseen classes: ")


def test_the_python_of_the_readme_runs() -> None:
    """As printed, but for the number of its steps."""
    (code,) = re.findall(r"```python\n(.*?)```", (EXAMPLES.parent / "README.md").read_text("utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(code.replace("range(150)", "range(2)"), names)
    assert names["step"] == 1
    assert names["logits"].shape == (4, 25, 5)  # type: ignore[attr-defined]
