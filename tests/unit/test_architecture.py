"""The house rules: imports point one way, files and functions are short, public names have docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "algorithms": {"algorithms"},
    "vision": {"algorithms", "vision"},
    "envs": {"algorithms", "envs"},
    "bench": {"algorithms", "vision", "envs", "bench"},
}
FILE, FUNCTION = 400, 50
SOURCES = sorted(p for package in MAY_IMPORT for p in (ROOT / package).rglob("*.py"))
SOURCE = pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def imported(tree: ast.AST, package: str) -> set[str]:
    """Top-level packages that a file imports, wherever in it the import is; a relative import is of its own."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(package if node.level else str(node.module).split(".")[0])
    return found


def public(tree: ast.Module) -> Iterator[Definition]:
    """Public functions and classes of a module, and public methods of those classes."""
    bodies: list[list[ast.stmt]] = [tree.body]
    while bodies:
        for node in bodies.pop():
            if isinstance(node, Definition) and not node.name.startswith("_"):
                yield node
                if isinstance(node, ast.ClassDef):
                    bodies.append(node.body)


def forbidden(tree: ast.AST, package: str) -> set[str]:
    return imported(tree, package) & (MAY_IMPORT.keys() | {"tests"}) - MAY_IMPORT[package]


def long_functions(tree: ast.AST) -> list[str]:
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [n.name for n in nodes if (n.end_lineno or n.lineno) - n.lineno + 1 > FUNCTION]


def documented_methods(trees: Iterable[ast.Module]) -> set[str]:
    """Names of methods that have a docstring in some class: an override may leave its own to that one."""
    classes = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    return {m.name for c in classes for m in c.body if isinstance(m, Definition) and ast.get_docstring(m)}


def undocumented(tree: ast.Module, inherited: AbstractSet[str] = frozenset()) -> list[str]:
    """Public definitions without a docstring; in a class with bases, `inherited` names are taken to be overrides."""
    derived = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.bases]
    overrides = {id(m) for c in derived for m in c.body if isinstance(m, Definition) and m.name in inherited}
    bare = [n.name for n in public(tree) if not ast.get_docstring(n) and id(n) not in overrides]
    return bare if ast.get_docstring(tree) else ["module", *bare]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_there_are_sources_to_look_at() -> None:
    assert {p.relative_to(ROOT).parts[0] for p in SOURCES} == MAY_IMPORT.keys()
    assert len(SOURCES) > 30


@SOURCE
def test_imports_point_one_way(path: Path) -> None:
    assert forbidden(parse(path), path.relative_to(ROOT).parts[0]) == set()


@SOURCE
def test_a_file_is_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= FILE


@SOURCE
def test_a_function_fits_a_screen(path: Path) -> None:
    assert long_functions(parse(path)) == []


@SOURCE
def test_public_definitions_have_docstrings(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    inherited = documented_methods(parse(p) for p in SOURCES if p.relative_to(ROOT).parts[0] == package)
    assert undocumented(parse(path), inherited) == []


def test_the_core_knows_neither_images_nor_robots() -> None:
    outside = set().union(*(imported(parse(p), "algorithms") for p in SOURCES if p.parent.name == "algorithms"))
    assert outside.isdisjoint({"PIL", "torchvision", "gymnasium", "mujoco", "learn2learn", "qpth"})


def test_only_what_compares_knows_the_peers() -> None:
    """The engine runs without learn2learn: a file that imports it does so inside functions."""
    for path in SOURCES:
        top = [node for node in parse(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert imported(ast.Module(top, []), "bench").isdisjoint({"learn2learn", "qpth"}), path


def test_each_rule_finds_its_breach() -> None:
    assert forbidden(ast.parse("def f():\n    from vision.suite import FewShot"), "algorithms") == {"vision"}
    assert forbidden(ast.parse("import envs.tasks"), "vision") == {"envs"}
    assert forbidden(ast.parse("import bench.cli.main, numpy"), "envs") == {"bench"}
    assert forbidden(ast.parse("from . import x\nimport vision, envs, algorithms"), "bench") == set()
    assert long_functions(ast.parse("def f():\n" + "    x = 1\n" * 49)) == []
    assert long_functions(ast.parse("def f():\n" + "    x = 1\n" * 50)) == ["f"]
    source = '"""Doc."""\nclass A:\n    """Doc."""\n    def f(self): pass\n    def _g(self): pass\n'
    assert undocumented(ast.parse(source)) == ["f"]
    assert undocumented(ast.parse("def f():\n    '''Doc.'''")) == ["module"]
    assert documented_methods([ast.parse(source), ast.parse("class B:\n    def g(self):\n        'Doc.'")]) == {"g"}
    assert undocumented(ast.parse(source), {"f"}) == ["f"], "a class without bases overrides nothing"
    assert undocumented(ast.parse(source.replace("class A", "class A(B)")), {"f"}) == []
