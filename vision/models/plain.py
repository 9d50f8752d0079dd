"""Bodies from plain torch modules: torchvision's ResNet-18, and a class of one's own by reference."""

from __future__ import annotations

import inspect

from torch import nn

from metabench.algorithms.references import load

OFFERED = ("channels", "size", "width")
"""What a class of one's own may ask its constructor for."""


def resnet18(channels: int) -> nn.Module:
    """torchvision's, with random weights: images (N, channels, H, W) -> (N, 512).

    He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, Table 1, without its classifier.
    """
    from torchvision import models  # type: ignore[import-untyped]  # seconds, and for this body only

    module: nn.Module = models.resnet18()
    if channels != 3:
        module.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(module.conv1.weight, mode="fan_out", nonlinearity="relu")
    module.fc = nn.Identity()
    return module


def own(reference: str, channels: int, size: int, width: int) -> nn.Module:
    """A module of one's own: images (N, channels, size, size) -> features (N, ...).

    Args:
        reference: "module:my_package.Net", a class. It is called with those of channels, size and width that its
            constructor names. Nothing but a module's class is called: a reference may come from a checkpoint.

    Raises:
        CannotLoad: it leads to nothing. ValueError: it leads to no module's class, or that cannot be made so.
    """
    kind = load(reference)
    if not (inspect.isclass(kind) and issubclass(kind, nn.Module)):
        raise ValueError("it is no class derived from torch.nn.Module")
    given = dict(zip(OFFERED, (channels, size, width), strict=True))
    asked = {name: given[name] for name in inspect.signature(kind).parameters if name in given}
    for p in inspect.signature(kind).parameters.values():
        if p.name not in asked and p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise ValueError(f"its constructor asks for {p.name!r}; it may ask for {', '.join(OFFERED)}")
    try:
        made: nn.Module = kind(**asked)
    except Exception as error:
        call = ", ".join(f"{name}={value}" for name, value in asked.items())
        raise ValueError(f"{kind.__name__}({call}) fails: {' '.join(f'{error!r}'.split()):.300}") from error
    return made
