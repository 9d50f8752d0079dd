"""The same work done by learn2learn, the way its own examples do it: the reference for gradients and for speed.

Arnold et al., "learn2learn: A Library for Meta-Learning Research", arXiv 2008.12284 (2020), release 0.2.0: an
optional dependency (group "peers") that only benchmarks and tests import. Each function returns ∂ Σ over tasks
of the query loss / ∂θ in the order of our learner's `parameters()`, to be compared number by number.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from metabench.algorithms import ANIL, MAML
from metabench.algorithms.learner import Batch, Learner
from metabench.vision.data.source import Dataset
from metabench.vision.models.backbones import Conv4

Gradient = Callable[[Batch, Batch], list[Tensor]]
"""Support and query of T tasks -> the meta-gradient."""

LearningRule = MAML | ANIL


class PeerMissing(RuntimeError):
    """learn2learn is not installed. The message says how to install it."""


def learn2learn() -> Any:
    """The package, imported without what its old dependencies print.

    Raises:
        PeerMissing: if it is not installed.
    """
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            import learn2learn as package
    except ImportError as error:
        raise PeerMissing(
            f"learn2learn cannot be imported ({error}); install it with: uv sync --group peers"
        ) from error
    return package


def conv4(body: Conv4) -> nn.Module:
    """learn2learn's conv4 with our body's weights: images (N, C, H, W) -> features (N, D)."""
    l2l = learn2learn()
    width, channels = body.weights[0].shape[:2]
    base = l2l.vision.models.cnn4.ConvBase(hidden=width, channels=channels, max_pool=body.pool)
    for i, block in enumerate(base):
        norm = body.norms[i]
        theirs = [block.conv.weight, block.conv.bias, block.normalize.weight, block.normalize.bias]
        for target, ours in zip(theirs, (body.weights[i], body.biases[i], norm.weight, norm.bias), strict=True):
            target.data = ours.detach().clone()
    tail = nn.Flatten() if body.pool else nn.Sequential(l2l.nn.Lambda(_spatial_mean), nn.Flatten())
    return nn.Sequential(base, tail)


def _spatial_mean(x: Tensor) -> Tensor:
    return x.mean(dim=[2, 3])


def _head(learner: Learner) -> nn.Linear:
    head = nn.Linear(learner.network.width, learner.network.head.out_features)
    head.weight.data = learner.network.head.weight.detach().clone()
    head.bias.data = learner.network.head.bias.detach().clone()
    return head


def _tasks(support: Batch, query: Batch) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    return zip(support.x, support.y, query.x, query.y, strict=True)


def _in_our_order(features: nn.Module, head: nn.Module | None = None) -> list[Tensor]:
    """Gradients of conv4 and the head as our learner lists them: weights, biases, then scale and shift by layer."""
    blocks: Any = features[0]  # type: ignore[index]
    parameters = [b.conv.weight for b in blocks] + [b.conv.bias for b in blocks]
    parameters += [p for b in blocks for p in (b.normalize.weight, b.normalize.bias)]
    parameters += [] if head is None else list(head.parameters())
    return [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]


def maml(learner: MAML, steps: int) -> Gradient:
    """Its MAML wrapper: clone, adapt on the support, backpropagate the query loss; one task after another.

    Args:
        learner: a MAML over conv4; its weights and inner learning rate are taken.
        steps: inner updates.
    """
    features, head = conv4(learner.network.body), _head(learner)  # type: ignore[arg-type]
    model = nn.Sequential(features, head).to(learner.network.head.weight)
    wrapped = learn2learn().algorithms.MAML(
        model, lr=learner.settings.inner_lr, first_order=learner.settings.first_order
    )

    def gradient(support: Batch, query: Batch) -> list[Tensor]:
        wrapped.zero_grad()
        for x, y, query_x, query_y in _tasks(support, query):
            clone = wrapped.clone()
            for _ in range(steps):
                clone.adapt(F.cross_entropy(clone(x), y))
            F.cross_entropy(clone(query_x), query_y).backward()
        return _in_our_order(features, head)

    return gradient


def anil(learner: ANIL, steps: int) -> Gradient:
    """Its ANIL: features once for a task, then MAML on the head alone.

    Its examples embed support and query in one batch; here they are two, as batch norm must see for equal gradients.
    """
    features = conv4(learner.network.body).to(learner.network.head.weight)  # type: ignore[arg-type]
    head = learn2learn().algorithms.MAML(_head(learner).to(learner.network.head.weight), lr=learner.settings.inner_lr)

    def gradient(support: Batch, query: Batch) -> list[Tensor]:
        features.zero_grad()
        head.zero_grad()
        for x, y, query_x, query_y in _tasks(support, query):
            clone, z = head.clone(), features(x)
            for _ in range(steps):
                clone.adapt(F.cross_entropy(clone(z), y))
            F.cross_entropy(clone(features(query_x)), query_y).backward()
        return _in_our_order(features, head)

    return gradient


def protonet(learner: Learner) -> Gradient:
    """Its prototypical classifier on conv4, as its Lightning module uses it; the head's gradient is zero."""
    features = conv4(learner.network.body).to(learner.network.head.weight)  # type: ignore[arg-type]
    classifier = learn2learn().nn.PrototypicalClassifier()

    def gradient(support: Batch, query: Batch) -> list[Tensor]:
        features.zero_grad()
        for x, y, query_x, query_y in _tasks(support, query):
            classifier.fit_(features(x), y)
            F.cross_entropy(classifier(features(query_x)), query_y).backward()
        return [*_in_our_order(features), *(torch.zeros_like(p) for p in learner.network.head.parameters())]

    return gradient


class _Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """One split as torchvision would give it: PIL images held in memory, made tensors when asked for."""

    def __init__(self, data: Dataset, split: str) -> None:
        starts = data.images.starts
        self.items = [
            (Image.fromarray(data.images.images[i, 0]), label)
            for label, c in enumerate(data.splits[split])
            for i in range(starts[c], starts[c + 1])
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.items[index]
        return torch.from_numpy(np.asarray(image, np.float32) / 255).unsqueeze(0), label


def sampler(data: Dataset, split: str, ways: int, images: int) -> Callable[[], Tensor]:
    """Its fused Taskset with class rotations, as its Omniglot benchmark builds it: each call draws one episode.

    Args:
        data: single-channel images. They are decoded and resized beforehand, which its own benchmark does each time.
        images: support and query together.

    Returns:
        A function that gives the images of one episode, (ways · images, 1, H, W).
    """
    l2l = learn2learn()
    dataset = l2l.data.MetaDataset(_Pictures(data, split))
    transforms = [
        l2l.data.transforms.FusedNWaysKShots(dataset, n=ways, k=images),
        l2l.data.transforms.LoadData(dataset),
        l2l.data.transforms.RemapLabels(dataset),
        l2l.data.transforms.ConsecutiveLabels(dataset),
        l2l.vision.transforms.RandomClassRotation(dataset, [0.0, 90.0, 180.0, 270.0]),
    ]
    taskset = l2l.data.Taskset(dataset, task_transforms=transforms, num_tasks=-1)

    def draw() -> Tensor:
        pictures: Tensor = taskset.sample()[0]
        return pictures

    return draw


def largest_difference(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> float:
    """max |a − b| / max |b| over all entries of two gradients."""
    a, b = (torch.cat([g.detach().flatten().double() for g in side]) for side in (ours, theirs))
    return float((a - b).abs().max() / b.abs().max())


def svm_dual(z: Tensor, y: Tensor, ways: int, penalty: float) -> Tensor:
    """α (N, K) of Crammer and Singer's dual for one episode by qpth, as MetaOptNet trains with it (15 iterations).

    Amos & Kolter, "OptNet", ICML 2017: NK variables, NK inequalities and N equalities for a general solver.

    Args:
        z: features (N, D). y: labels (N,). penalty: C.

    Raises:
        PeerMissing: if qpth is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its docstrings hold invalid escapes
            from qpth.qp import QPFunction
    except ImportError as error:
        raise PeerMissing(f"qpth cannot be imported ({error}); install it with: uv sync --group peers") from error
    count = len(z) * ways
    labels = F.one_hot(y, ways).to(z.dtype).view(1, count)
    hessian = torch.kron(z @ z.mT + torch.eye(len(z), dtype=z.dtype), torch.eye(ways, dtype=z.dtype))
    sums = torch.kron(torch.eye(len(z), dtype=z.dtype), torch.ones(1, ways, dtype=z.dtype))
    identity, zero = torch.eye(count, dtype=z.dtype), torch.zeros(1, len(z), dtype=z.dtype)
    solver = QPFunction(verbose=False, maxIter=15)
    alpha: Tensor = solver(hessian, -labels, identity, penalty * labels, sums, zero)
    return alpha.view(len(z), ways)
