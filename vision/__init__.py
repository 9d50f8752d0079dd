"""Few-shot images: data sets, episodes, bodies. It knows the core and neither robots nor the harness."""

from vision.data.glyphs import GLYPHS
from vision.data.mini_imagenet import MINI_IMAGENET
from vision.data.omniglot import OMNIGLOT
from vision.data.quick_draw import QUICK_DRAW
from vision.data.registry import Registry

DATASETS = Registry((OMNIGLOT, MINI_IMAGENET, QUICK_DRAW, GLYPHS))
"""Every data set the CLI knows, by name, imported ones included. A new one is one file and one line here."""
