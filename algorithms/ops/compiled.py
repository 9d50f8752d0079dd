"""One chunk's meta-gradient as a single compiled graph.

The whole of adapt → predict → loss → gradient, inner derivatives included, is traced once into a flat graph of
tensor operations (`make_fx` sees through autograd), which torch.compile then fuses: normalise, ReLU and pooling
become one loop over memory, and no Python is left between operations. Shapes are part of the trace.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from metabench.algorithms.learner import Batch, Learner

Chunk = Callable[[Learner, Sequence[Batch], Batch], list[Tensor]]
"""(learner, supports, query) -> flat outputs, starting with the gradients."""


class CannotCompile(RuntimeError):
    """The chunk is no fixed graph of tensor operations."""


class CompiledChunk:
    """A drop-in for `chunk` that compiles it for each set of shapes it meets.

    Args:
        chunk: a pure function of the parameters, the supports and the query that returns tensors. It must not
            branch on their values or draw random numbers.
    """

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self._lock = threading.Lock()
        self._graphs: dict[object, Callable[..., list[Tensor]]] = {}

    def __call__(self, learner: Learner, supports: Sequence[Batch], query: Batch) -> list[Tensor]:
        """As `chunk`; the first call with new shapes compiles, which takes from half a minute up."""
        distinct = list({id(s): s for s in supports}.values())
        order = [next(i for i, d in enumerate(distinct) if d is s) for s in supports]
        ways = [b.ways for b in (*distinct, query)]
        tensors = [t for b in (*distinct, query) for t in (b.x, b.y, b.w)]
        parameters = {name: p.detach() for name, p in learner.named_parameters()}
        learned = tuple(learner.learned())
        key = (tuple(order), tuple(ways), tuple(t.shape for t in tensors), learner.training, learned)
        with self._lock, torch.no_grad():
            if key not in self._graphs:
                self._graphs[key] = self._compile(learner, order, ways, parameters, tensors)
        with torch.no_grad():
            out = self._graphs[key](parameters, tensors)
            # A replayed CUDA graph writes where it wrote before, and the next chunk may come before this one is read.
            return out if query.x.device.type == "cpu" else [t.clone() for t in out]

    def _compile(
        self, learner: Learner, order: list[int], ways: list[int], parameters: dict[str, Tensor], tensors: list[Tensor]
    ) -> Callable[..., list[Tensor]]:
        learned = learner.learned()
        traced = _Traced(learner, self.chunk, order, ways)

        def flat(parameters: dict[str, Tensor], tensors: list[Tensor]) -> list[Tensor]:
            with torch.enable_grad():
                leaves = {f"learner.{k}": v.detach().requires_grad_(k in learned) for k, v in parameters.items()}
                out: list[Tensor] = functional_call(traced, leaves, (tensors,))
                return out

        try:
            graph = make_fx(flat)(parameters, tensors)
        except RuntimeError as error:
            if "tracing tensor" not in str(error):
                raise
            name = type(learner).__name__
            raise CannotCompile(f"{name} branches on values, which a graph cannot: {error}") from error
        graph.graph.eliminate_dead_code()
        graph.recompile()
        on_cpu = tensors[0].device.type == "cpu"
        options: dict[str, Any] = {"cpp_wrapper": True} if on_cpu else {"triton.cudagraphs": True}
        compiled: Callable[..., list[Tensor]] = torch.compile(graph, fullgraph=True, dynamic=False, options=options)
        compiled(parameters, tensors)
        return compiled


class _Traced(nn.Module):
    """The chunk with the learner's parameters swapped for the graph's inputs."""

    def __init__(self, learner: Learner, chunk: Chunk, order: list[int], ways: list[int]) -> None:
        super().__init__()
        self.learner = learner
        self.chunk, self.order, self.ways = chunk, order, ways

    def forward(self, tensors: list[Tensor]) -> list[Tensor]:
        """The chunk's flat outputs."""
        thirds = zip(tensors[::3], tensors[1::3], tensors[2::3], self.ways, strict=True)
        batches = [Batch(x, y, w, ways) for x, y, w, ways in thirds]
        return self.chunk(self.learner, [batches[i] for i in self.order], batches[-1])
