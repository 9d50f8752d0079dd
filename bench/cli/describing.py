"""What a learner is, in the words of its own file."""

from __future__ import annotations

import inspect
import re

from metabench.algorithms import Learner


def rule_of(kind: type[Learner]) -> str:
    """What a learner does, as the first line of its module says it, or of its own docstring."""
    for text in (inspect.getmodule(kind).__doc__, kind.__doc__):
        line = (text or "").strip().partition("\n")[0]
        title, colon, rule = line.partition(": ")
        if colon and title.replace("-", "").lower() == kind.__name__.lower():
            return rule.rstrip(".")
    return line.rstrip(".")


def paper_of(kind: type[Learner]) -> str:
    """The paper that a learner's module cites: its second paragraph, up to the year."""
    paragraphs = (inspect.getmodule(kind).__doc__ or "").split("\n\n")
    found = re.match(r".*?\b(19|20)\d\d\b\)?", " ".join(paragraphs[1].split())) if len(paragraphs) > 1 else None
    return found[0] if found else ""
