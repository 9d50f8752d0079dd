"""Every data set the CLI knows, by name."""

from __future__ import annotations

from metabench.vision.data.glyphs import GLYPHS
from metabench.vision.data.mini_imagenet import MINI_IMAGENET
from metabench.vision.data.omniglot import OMNIGLOT
from metabench.vision.data.quick_draw import QUICK_DRAW
from metabench.vision.data.registry import Registry

DATASETS = Registry((OMNIGLOT, MINI_IMAGENET, QUICK_DRAW, GLYPHS))
"""Every data set the CLI knows, by name, imported ones included. A new one is one file and one line here."""
