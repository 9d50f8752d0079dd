"""What `metabench check` found, as a table, as JUnit XML and as Markdown for a pull request's page."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from metabench.bench.training.checkpoint import write_atomic

STYLES = {"same": "green", "no worse": "green", "regression": "bold red", "broken": "bold magenta"}
"""Verdict -> its colour in the table."""


@dataclass(frozen=True)
class Finding:
    """One row: what it was, what it is, and the verdict."""

    name: str
    verdict: str
    """One of `STYLES`."""
    was: str
    now: str
    evidence: str
    """Why the verdict is what it is."""
    seconds: float


def status(findings: Sequence[Finding]) -> int:
    """Exit status: 2 where a row could not be measured, else 1 where one regressed, else 0."""
    verdicts = {f.verdict for f in findings}
    return 2 if "broken" in verdicts else 1 if "regression" in verdicts else 0


def headline(findings: Sequence[Finding]) -> str:
    """ "24 rows: 22 good, 2 regressed, 0 broken; 71 s"."""
    count = {word: sum(f.verdict == word for f in findings) for word in STYLES}
    good = count["same"] + count["no worse"]
    seconds = sum(f.seconds for f in findings)
    parts = (f"{good} good", f"{count['regression']} regressed", f"{count['broken']} broken")
    return f"{len(findings)} rows: {', '.join(parts)}; {seconds:.0f} s"


def table(findings: Sequence[Finding]) -> Table:
    """The findings as a table for a terminal."""
    shown = Table(title=headline(findings), title_justify="left")
    for column in ("row", "baseline", "now", "verdict", "evidence"):
        shown.add_column(column, overflow="fold")
    for f in findings:
        shown.add_row(f.name, f.was, f.now, f"[{STYLES[f.verdict]}]{f.verdict}", _plain(f.evidence))
    return shown


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def junit(findings: Sequence[Finding]) -> bytes:
    """JUnit XML: a test case a row; a regression is a failure, a row that could not be measured an error."""
    count = {word: str(sum(f.verdict == word for f in findings)) for word in STYLES}
    totals = {
        "name": "metabench check",
        "tests": str(len(findings)),
        "failures": count["regression"],
        "errors": count["broken"],
        "time": f"{sum(f.seconds for f in findings):.3f}",
    }
    suite = ElementTree.Element("testsuite", totals)
    for f in findings:
        kind, _, name = f.name.partition(" ")
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": f"metabench.check.{kind}", "name": name, "time": f"{f.seconds:.3f}"}
        )
        if f.verdict in ("regression", "broken"):
            tag = "failure" if f.verdict == "regression" else "error"
            said = ElementTree.SubElement(case, tag, {"message": _xml(f.evidence)})
            said.text = _xml(f"was {f.was}\nnow {f.now}")
    root = ElementTree.Element("testsuites")
    root.append(suite)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _xml(text: str) -> str:
    """The text without the control characters that XML cannot hold."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def markdown(findings: Sequence[Finding]) -> str:
    """The findings for the summary page of a CI run: what is not good first."""
    bad = [f for f in findings if STYLES[f.verdict] != "green"]
    lines = [f"### metabench check: {headline(findings)}", ""]
    for title, some in (("", bad), ("all rows", findings)):
        if not some:
            continue
        body = ["| row | baseline | now | verdict | evidence |", "|---|---|---|---|---|"]
        body += [f"| {' | '.join(map(_cell, (f.name, f.was, f.now, f.verdict, f.evidence)))} |" for f in some]
        folded = [f"<details><summary>{title}</summary>", "", *body, "", "</details>"] if title else body
        lines += [*folded, ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    for character, written in (("&", "&amp;"), ("<", "&lt;"), ("|", r"\|"), ("\n", " ")):
        text = text.replace(character, written)
    return text


def write_junit(path: Path, findings: Sequence[Finding]) -> None:
    """Write the XML, atomically."""
    write_atomic(path, junit(findings))
