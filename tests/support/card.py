"""A make-believe accelerator: tensors that live apart from the CPU's, computed by it.

A tensor on the card is one of the device "meta" to torch, and holds its values. An operation that meets tensors of both
devices fails as on a GPU, a transfer is a transfer, and NumPy cannot read the card. What a GPU computes is not shown by
it; that everything is where it has to be is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed.tensor  # imported later, it would meet the card's Generator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from metabench.bench.training import checkpoint
from metabench.bench.training import run as bench_run
from metabench.bench.training.options import Machine

DEVICE = torch.device("meta")
aten = torch.ops.aten
TRANSFERS = {aten.copy_.default, aten._to_copy.default}
TAKES_CPU_INDICES = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


class OnCard(torch.Tensor):
    """A tensor on the card."""

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnCard:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
            requires_grad=held.requires_grad,
        )

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()

    def new_tensor(self, data: Any) -> OnCard:
        return OnCard(self.held.new_tensor(data))


class _Card(TorchDispatchMode):
    """Sees to the operations that are given a device and no tensor of it."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = _run(func, args, kwargs or {})
        self.operations += any(isinstance(t, OnCard) for t in tree_flatten(out)[0])
        return out


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    flat, spec = tree_flatten((args, kwargs))
    cards = [a for a in flat if isinstance(a, OnCard)]
    others = [a for a in flat if isinstance(a, torch.Tensor) and not isinstance(a, OnCard) and a.ndim]
    lenient = func in TRANSFERS or (func in TAKES_CPU_INDICES and isinstance(args[0], OnCard))
    if cards and others and not lenient:
        raise RuntimeError(f"{func}: {len(cards)} tensors are on the card and {len(others)} on the CPU")
    args, kwargs = tree_unflatten([a.held if isinstance(a, OnCard) else a for a in flat], spec)
    to = kwargs.get("device")
    if to is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    out = func(*args, **kwargs)
    own = {id(card.held): card for card in cards}
    if not (own if to is None else torch.device(to) == DEVICE) or (func is aten.copy_.default and id(out) not in own):
        return out

    def wrapped(t: Any) -> Any:
        return own[id(t)] if id(t) in own else OnCard(t) if isinstance(t, torch.Tensor) else t

    return tree_map(wrapped, out)


class _Generator(torch.Generator):
    """The card's random numbers are the CPU's."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        return super().__new__(cls)


@contextlib.contextmanager
def in_use(patch: pytest.MonkeyPatch) -> Iterator[_Card]:
    """Within, `bench.training.run.execute` finds one accelerator, and uses it."""

    class Processes(bench_run.Processes):
        def __init__(self, device: str) -> None:
            super().__init__("cpu")
            self.device = DEVICE

    save, autocast = checkpoint.save, torch.is_autocast_enabled
    patch.setattr(bench_run, "Processes", Processes)
    patch.setattr(Machine, "where", lambda self: "cuda")
    patch.setattr(torch, "Generator", _Generator)
    patch.setattr(torch, "is_autocast_enabled", lambda device: device != DEVICE.type and autocast(device))
    # A checkpoint is read to the CPU, from wherever its tensors were.
    patch.setattr(checkpoint, "save", lambda path, state: save(path, tree_map(_read, state)))
    with _Card() as card:
        yield card


def _read(value: Any) -> Any:
    return value.cpu() if isinstance(value, torch.Tensor) else value
