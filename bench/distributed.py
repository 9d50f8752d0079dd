"""Several processes as one: each takes its share of the tasks, and sums are over all of them.

Started by ``torchrun --nproc-per-node=N -m metabench run …``; without torchrun there is one process.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from metabench.algorithms.outer.gradient import Diverged
from metabench.bench.recipes.recipe import RecipeError

Item = TypeVar("Item")


class Processes:
    """This process among `world`.

    Args:
        device: "cpu" or "cuda"; a CUDA process uses the GPU of its local rank.
    """

    def __init__(self, device: str) -> None:
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.device = torch.device(device)
        if device == "cuda":
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            if self.device.index >= torch.cuda.device_count():
                raise RecipeError(
                    f"process {self.device.index} of this machine has no GPU of its own: there are "
                    f"{torch.cuda.device_count()}; start at most as many with --nproc-per-node"
                )
            torch.cuda.set_device(self.device)
        if self.world > 1 and not dist.is_initialized():
            # Its functions take the group of the moment of import as a default. Imported later (torch.compile does it)
            # they hold the group past `close`, and its threads may then abort the interpreter as it ends.
            importlib.import_module("torch.distributed.nn")
            dist.init_process_group("nccl" if device == "cuda" else "gloo")

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def shard(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's share: every world-th item from its rank on."""
        return items[self.rank :: self.world]

    def sum(self, tensor: Tensor) -> None:
        """Sum over all processes, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)

    def largest(self, number: int) -> int:
        """The largest over all processes."""
        if self.world == 1:
            return number
        tensor = torch.tensor(number, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def gather(self, share: list[Item]) -> list[Item]:
        """Undo of `shard`, on every process: all items in their order."""
        if self.world == 1:
            return share
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, share)
        whole: list[Any] = [None] * sum(len(p) for p in parts)
        for rank, part in enumerate(parts):
            whole[rank :: self.world] = part
        return whole

    def together(self, act: Callable[[], Item]) -> Item:
        """What act gives; Diverged on every process where it is raised on any."""
        results: list[Item] = []
        error = ""
        try:
            results.append(act())
        except Diverged as diverged:
            error = str(diverged)
        if errors := [e for e in self.gather([error]) if e]:
            raise Diverged(errors[0])
        return results[0]

    def close(self) -> None:
        """Leave the group."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()
