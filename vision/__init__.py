"""Few-shot images: data sets, episodes, bodies. It knows the core and neither robots nor the harness."""

from vision.glyphs import GLYPHS
from vision.images import Source
from vision.mini_imagenet import MINI_IMAGENET
from vision.omniglot import OMNIGLOT
from vision.quick_draw import QUICK_DRAW

DATASETS: dict[str, Source] = {s.name: s for s in (OMNIGLOT, MINI_IMAGENET, QUICK_DRAW, GLYPHS)}
"""Every data set the CLI knows, by name. A new one is one file and one line here."""
