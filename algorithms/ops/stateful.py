"""What makes a module more than a function of its parameters and its input, found by kind and by trial."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.lazy import LazyModuleMixin

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def refuse_stateful(module: nn.Module, treated: tuple[type[nn.Module], ...] = ()) -> None:
    """Raise ValueError for a layer of torch's with hidden state or draws, and for parameters that torch cannot see.

    Args:
        treated: types, and not what is derived from them, that the caller replaces.
    """
    for name, layer in module.named_modules():
        why = "" if type(layer) in treated else _state_of(layer)
        if why:
            raise ValueError(f"{_named(name, layer)} {why}")


def _state_of(layer: nn.Module) -> str:
    """Why a layer is no function of its parameters and its input; empty where nothing is known against it."""
    if isinstance(layer, LazyModuleMixin):
        return "is lazy: pass a batch through the module first"
    if isinstance(layer, torch.jit.ScriptModule):
        return "is compiled by TorchScript, which takes no parameters from outside: give the module itself"
    if isinstance(layer, nn.SyncBatchNorm):
        return "mixes the statistics of all processes, and with them those of tasks"
    if isinstance(layer, _BatchNorm):
        return "normalises by statistics of its own, which no protocol names"
    if isinstance(layer, _InstanceNorm) and layer.track_running_stats:
        return "keeps running statistics, which no protocol names"
    if isinstance(layer, _DropoutNd) and layer.p > 0:
        return "draws from the global generators"
    for key, value in vars(layer).items():
        if key not in ("_parameters", "_buffers", "_modules") and _holds_parameters(value):
            return f"holds parameters in {key!r}, where they cannot be replaced: register them, and read them there"
    return ""


def _holds_parameters(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_parameters, value.values()))
    if isinstance(value, (list, tuple, set)):
        return any(map(_holds_parameters, value))
    if isinstance(value, nn.Module):
        return any(True for _ in value.parameters())
    return isinstance(value, Tensor) and value.requires_grad


@contextlib.contextmanager
def watched(module: nn.Module) -> Iterator[None]:
    """Within, a forward pass of the module raises ValueError where a layer changes more than its output."""
    before: dict[nn.Module, list[object]] = {}
    handles: list[Any] = []

    def remember(layer: nn.Module, _: object) -> None:
        before[layer] = _state(layer)

    for name, layer in module.named_modules():

        def compare(layer: nn.Module, *_: object, name: str = name) -> None:
            for what, was, now in zip(_WATCHED, before[layer], _state(layer), strict=True):
                if was != now:
                    raise ValueError(f"{_named(name, layer)} {what}")

        handles += [layer.register_forward_pre_hook(remember), layer.register_forward_hook(compare)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


_WATCHED = (
    "changes a buffer while it runs, which is a state between tasks",
    "changes an attribute while it runs, which is a state between tasks",
    "draws from the global generators",
)


def _state(layer: nn.Module) -> list[object]:
    """What `_WATCHED` names, in its order."""
    buffers = [(key, id(b), b._version) for key, b in layer._buffers.items() if b is not None]
    numbers = {key: v for key, v in vars(layer).items() if isinstance(v, (int, float, str)) or v is None}
    _, words, place, *_ = np.random.get_state()
    draws = (torch.get_rng_state().numpy().tobytes(), random.getstate(), str(list(words)), place)
    return [buffers, numbers, draws]


def _named(name: str, layer: nn.Module) -> str:
    return f"{type(layer).__name__} {name}".strip()
