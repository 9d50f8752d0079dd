"""The house rules that no linter holds: files and functions are short, peers stay outside.

Which room may import which is import-linter's (`[tool.importlinter]` in pyproject.toml).
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("algorithms", "vision", "envs", "bench")
FILE, FUNCTION = 400, 50


@cache
def sources() -> dict[str, ast.Module]:
    """Every file of the four packages and of the folder that links them, parsed, by its path."""
    paths = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
    paths += sorted((ROOT / "metabench").glob("*.py"))
    return {str(p.relative_to(ROOT)): ast.parse(p.read_text(encoding="utf-8")) for p in paths}


def imported(tree: ast.AST) -> set[str]:
    """Top-level packages that a tree imports, wherever in it the import is."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    return found


def long_functions(tree: ast.AST) -> list[str]:
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [n.name for n in nodes if (n.end_lineno or n.lineno) - n.lineno + 1 > FUNCTION]


def test_there_are_sources_to_look_at() -> None:
    assert {path.split("/")[0] for path in sources()} == {*PACKAGES, "metabench"}
    assert len(sources()) > 100


def test_files_are_short() -> None:
    lines = {path: (ROOT / path).read_text(encoding="utf-8").count("\n") for path in sources()}
    assert {path: n for path, n in lines.items() if n > FILE} == {}


def test_functions_fit_a_screen() -> None:
    assert {path: found for path, tree in sources().items() if (found := long_functions(tree))} == {}


def test_the_core_knows_neither_images_nor_robots() -> None:
    outside = set().union(*(imported(tree) for path, tree in sources().items() if path.startswith("algorithms/")))
    assert outside.isdisjoint({"PIL", "torchvision", "gymnasium", "mujoco", "learn2learn", "qpth"})


def test_only_what_compares_knows_the_peers() -> None:
    """The engine runs without learn2learn: a file that imports it does so inside functions."""
    for path, tree in sources().items():
        top: list[ast.stmt] = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert imported(ast.Module(top, [])).isdisjoint({"learn2learn", "qpth"}), path


def test_each_rule_finds_its_breach() -> None:
    assert imported(ast.parse("def f():\n    from vision.suite import FewShot")) == {"vision"}
    assert long_functions(ast.parse("def f():\n" + "    x = 1\n" * 49)) == []
    assert long_functions(ast.parse("def f():\n" + "    x = 1\n" * 50)) == ["f"]
