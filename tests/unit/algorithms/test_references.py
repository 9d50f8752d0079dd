"""Things of the user's own by name: found, and refused by name."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from metabench.algorithms.references import CannotLoad, is_reference, load


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with modules of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    (tmp_path / "mine_things.py").write_text("class Thing:\n    pass\n")
    (tmp_path / "mine_broken.py").write_text("import json\n1 / 0\n")
    (tmp_path / "mine_needy.py").write_text("import absent_library\n")
    package = tmp_path / "mine_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("def make():\n    return 3\n")
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_reference_leads_to_what_it_names() -> None:
    assert load("module:mine_things.Thing").__name__ == "Thing"
    assert load("module:mine_package.inner.make")() == 3
    assert load("module:mine_package.inner:make")() == 3
    assert load("module:json.dumps")([1]) == "[1]"
    assert is_reference("module:json.dumps")
    assert not is_reference("resnet18")


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("module:Thing", "'module:Thing' is no reference; write module:my_package.MyThing"),
        ("module:", "'module:' is no reference"),
        ("module:../mine_things.Thing", "is no reference"),
        ("module:mine_thing.Thing", "there is no module mine_thing, neither in "),
        ("module:mine_package.outer.make", "there is no module mine_package.outer, neither in "),
        ("module:mine_things.Thin", "mine_things has no Thin; did you mean Thing?"),
        ("module:mine_things.zzz", "mine_things has no zzz"),
        ("module:mine_broken.Thing", "importing mine_broken fails: ZeroDivisionError: division by zero"),
        ("module:mine_needy.Thing", "importing mine_needy fails: No module named 'absent_library'"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_one_that_leads_to_nothing_says_where_it_ends(reference: str, told: str) -> None:
    with pytest.raises(CannotLoad, match=re.escape(told)):
        load(reference)
