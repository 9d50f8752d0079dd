"""The site: every page is reached, every link leads somewhere, tables are those of the code, examples compile."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from metabench.bench.cli.verbs import VERBS
from metabench.bench.flags import flags_of

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if "generated" not in p.parts)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")
SNIPPET = re.compile(r'^--8<-- "([^":]+)(?::(\w+))?"$', re.MULTILINE)


def prose(text: str) -> str:
    """The text without its blocks of code."""
    return FENCE.sub("", text)


def broken(text: str, folder: Path) -> list[str]:
    """Relative links and snippets in a page of this folder that lead to no file."""
    links = [link for link in LINK.findall(prose(text)) if "://" not in link]
    files = [name for name, _ in SNIPPET.findall(text)]
    return [link for link in links if not (folder / link).exists()] + [f for f in files if not (ROOT / f).exists()]


def in_nav(entry: object) -> list[str]:
    """The pages that an entry of the navigation names."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in in_nav(part)]  # type: ignore[attr-defined]


def exported(package: str) -> list[str]:
    """`__all__` of a package, read from its source."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    (names,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    return list(names)


def blocks(path: Path) -> list[str]:
    """The blocks of Python in a page, snippets in their place."""
    found = [code for language, code in FENCE.findall(path.read_text(encoding="utf-8")) if language == "python"]
    return [SNIPPET.sub(lambda m: (ROOT / m[1]).read_text(encoding="utf-8"), code) for code in found]


def test_every_page_is_in_the_navigation_once() -> None:
    nav = in_nav(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert sorted(nav) == [str(page.relative_to(DOCS)) for page in PAGES]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    assert broken(page.read_text(encoding="utf-8"), page.parent) == []


def test_a_broken_link_is_found() -> None:
    text = '[a](nowhere.md)\n[b](index.md#top)\n```\n[c](code.md)\n```\n--8<-- "examples/none.py"\n'
    assert broken(text, DOCS) == ["nowhere.md", "examples/none.py"]


@pytest.mark.parametrize("package", ["metabench", "algorithms", "vision", "envs"])
def test_every_public_name_is_in_the_reference(package: str) -> None:
    reference = "\n".join(p.read_text(encoding="utf-8") for p in (DOCS / "reference").glob("*.md"))
    assert [name for name in exported(package) if not re.search(rf"\b{name}\b", reference)] == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_blocks_of_python_compile(page: Path) -> None:
    for code in blocks(page):
        compile(code, str(page), "exec")


def test_the_python_of_the_first_page_is_the_readmes_and_at_most_fifteen_lines() -> None:
    """`tests/e2e/test_examples.py` runs it."""
    (code,) = blocks(ROOT / "README.md")
    assert '--8<-- "README.md:python"' in (DOCS / "index.md").read_text(encoding="utf-8")
    assert len([line for line in code.splitlines() if line]) <= 15


def test_the_tables_are_those_of_the_code(tmp_path: Path) -> None:
    """In a process of its own: other tests enter algorithms and verbs of theirs."""
    subprocess.run([sys.executable, DOCS / "generate.py", tmp_path], check=True, cwd=ROOT, capture_output=True)
    made, committed = (
        {p.name: p.read_text(encoding="utf-8") for p in f.iterdir()} for f in (tmp_path, DOCS / "generated")
    )
    assert made == committed, "run `python docs/generate.py`"


def test_every_flag_of_every_verb_is_in_the_reference() -> None:
    """Those of a part that several verbs share too, such as what `evaluate` changes of a protocol."""
    page = (DOCS / "generated" / "flags.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    for verb in VERBS.values():
        flags = {flag for kind in verb.commands() for flag in flags_of(kind) if not flag.startswith("--no-")}
        assert flags <= set(re.findall(r"^\| `(--[\w-]+)`", sections[verb.name], re.MULTILINE))
