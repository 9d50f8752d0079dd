"""Everything public has a docstring: modules, classes, functions, methods, and overrides too, which say what differs.

The linter asks for less: it leaves out what overrides a method, where a class says so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.unit.test_architecture import sources

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(body: list[ast.stmt], inside: str = "") -> Iterator[tuple[str, Definition]]:
    """(dotted name, definition) of public functions and classes, and of what is public in those classes.

    Special methods are the language's, and say nothing that their name does not; what is defined inside a function, or
    in a class whose name starts with an underscore, is nobody else's.
    """
    for node in body:
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from public(node.body, inside)
        if not isinstance(node, Definition) or node.name.startswith("_"):
            continue
        yield f"{inside}{node.name}", node
        if isinstance(node, ast.ClassDef):
            yield from public(node.body, f"{inside}{node.name}.")


def undocumented(tree: ast.Module) -> list[str]:
    """Names of what has no docstring, or an empty one."""
    bare = [name for name, node in public(tree.body) if not (ast.get_docstring(node) or "").strip()]
    return bare if ast.get_docstring(tree) else ["module", *bare]


def test_everything_public_has_a_docstring() -> None:
    assert {path: bare for path, tree in sources().items() if (bare := undocumented(tree))} == {}


@pytest.mark.parametrize(
    ("source", "bare"),
    [
        ("x = 1", ["module"]),
        ("'''Doc.'''\ndef f(): pass", ["f"]),
        ("'''Doc.'''\ndef f():\n    ''' '''", ["f"]),
        ("'''Doc.'''\nasync def f():\n    '''Doc.'''\n    def g(): pass", []),
        ("'''Doc.'''\nclass A(B):\n    '''Doc.'''\n    def f(self): pass\n    def _g(self): pass", ["A.f"]),
        ("'''Doc.'''\nclass A:\n    '''Doc.'''\n    def __len__(self): pass\n    class B: pass", ["A.B"]),
        ("'''Doc.'''\nclass _A:\n    def f(self): pass", []),
        ("'''Doc.'''\nif x:\n    def f(): pass", ["f"]),
    ],
)
def test_what_is_bare_is_found(source: str, bare: list[str]) -> None:
    assert undocumented(ast.parse(source)) == bare
