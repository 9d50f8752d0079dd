"""One look for each algorithm on the whole page: a colour, a marker and a dash.

The colours of the five learners stay apart for a colour-blind reader too, and none is a verdict's. A variant has a
shade of its algorithm's colour, and a marker of its own.
"""

from __future__ import annotations

from typing import NamedTuple

from metabench.bench.worlds import learner_of


class Look(NamedTuple):
    """How an algorithm is drawn."""

    light: str
    """Colour on a light page, "#rrggbb"."""
    dark: str
    """Colour on a dark page."""
    marker: str
    """As matplotlib names it."""
    dash: str


OTHER = "other"
LOOKS = {
    "maml": Look("#1668c4", "#4d9bff", "o", "-"),
    "maml-fo": Look("#5c83b8", "#a9c8ee", "<", "--"),
    "maml-noconv": Look("#33547d", "#7f9dc2", ">", ":"),
    "maml-promp": Look("#2f7fd6", "#8cc4ff", "p", "-."),
    "anil": Look("#009dbd", "#5fe0ee", "s", "--"),
    "anil-promp": Look("#3d8ea6", "#a5e6f5", "H", ":"),
    "meta-sgd": Look("#5a189a", "#c9a7ff", "D", "-."),
    "protonet": Look("#c77700", "#ffb84d", "^", "-"),
    "metaoptnet": Look("#d6589f", "#ff6fb5", "v", "--"),
    "metaoptnet-rr": Look("#a3497f", "#ffbce3", "8", ":"),
    "baseline": Look("#857000", "#d9c04a", "P", ":"),
    "baseline-pp": Look("#5d5200", "#f0e08a", "X", "-."),
    "simpleshot": Look("#363b94", "#8f97ff", "h", ":"),
    "untrained": Look("#8a7d70", "#a89c90", "x", ":"),
    "nearest-neighbour": Look("#8a7d70", "#a89c90", "x", ":"),
    "pretrained": Look("#6b5344", "#c9a58a", "+", ":"),
    "oracle": Look("#1b1b1f", "#f0f0f2", "*", ":"),
    OTHER: Look("#4d7573", "#8fc1be", "d", "-"),
}
"""Algorithm -> its look; `OTHER` is that of any that is not named here."""

VERDICTS = {"good": ("#1a7f37", "#4ac26b"), "bad": ("#b3261e", "#ff8a80")}
"""What a verdict says of a published number -> its colour on a light and on a dark page. Others have the text's."""


def look_of(algorithm: str) -> str:
    """The name in `LOOKS` of an algorithm's look."""
    return next((name for name in (algorithm, learner_of(algorithm)) if name in LOOKS), OTHER)
