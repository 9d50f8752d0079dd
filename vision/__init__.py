"""Few-shot images: data sets, episodes, bodies. It knows the core and neither robots nor the harness."""

from vision.data.glyphs import GLYPHS
from vision.data.mini_imagenet import MINI_IMAGENET
from vision.data.omniglot import OMNIGLOT
from vision.data.quick_draw import QUICK_DRAW
from vision.data.source import Source

DATASETS: dict[str, Source] = {s.name: s for s in (OMNIGLOT, MINI_IMAGENET, QUICK_DRAW, GLYPHS)}
"""Every data set the CLI knows, by name. A new one is one file and one line here."""
