"""The recipe: everything that decides a result. A run is a recipe and a seed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

import tyro

from metabench.algorithms import LEARNERS, ClassifierSettings, LearnerSettings
from metabench.algorithms.references import REFERENCE
from metabench.bench.recipes.variants import CONTROL, FEW_SHOT, Fields, settings_of
from metabench.bench.text import unknown

LAKE_RUNS = 20
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")  # of algorithms and benchmarks
BACKBONES = ("conv4", "conv4-strided", "mlp", "resnet12", "resnet18")
MOST_UPDATES = 100  # that a record holds, none included
BATCHES = ("train_ways", "train_shots", "train_queries", "inner_steps")
"""Fields that are 0 where training is on batches (`algorithms.learners.classifier`): what only episodes have."""


__all__ = [
    "ControlRecipe",
    "FewShotRecipe",
    "Fields",
    "Recipe",
    "RecipeError",
    "digest",
    "from_fields",
    "put_together",
    "typed",
    "unknown",
]
R = TypeVar("R", bound="Recipe")


class RecipeError(ValueError):
    """A recipe that does not exist or cannot work; the message says what to change."""


@dataclass(frozen=True)
class Recipe:
    """What the recipes of both worlds and of all learners have in common.

    A recipe's type is its world's, joined with its learner's settings (`typed`): their fields are its own.
    """

    algorithm: tyro.conf.Suppress[str] = "maml"
    """Name in `algorithms.LEARNERS`, or a variant's."""
    benchmark: tyro.conf.Suppress[str] = "glyphs-5w1s"
    """Name under which the result is filed."""
    schedule: str = "paper"
    """"paper", or "short": fewer iterations, for a CPU; a run whose flags change its recipe is filed as "custom"."""

    weights: tyro.conf.Suppress[str] = ""
    """SHA-256 of the exported weights that training starts from (`--weights`); empty where they are drawn."""

    inner_steps: int = 1
    """Updates of a task while training."""
    test_steps: int = 1
    """Updates of a task at validation and test."""

    meta_batch: int = 4
    """Training tasks an iteration, over all processes."""
    iterations: int = 60_000
    """Outer steps."""
    outer_lr: float = 1e-3
    """Outer learning rate."""

    val_every: int = 500
    """Iterations between validations; the best on validation is what is tested."""
    val_tasks: int = 200
    """Validation tasks, the same each time; 0 to validate nothing and test the last iterate."""
    test_tasks: int = 600
    """Test tasks, the same for every algorithm and seed."""

    @property
    def name(self) -> str:
        """What the CLI calls it, e.g. "maml omniglot-5w1s"."""
        return f"{self.algorithm} {self.benchmark}"

    @property
    def tests(self) -> int:
        """Number of test tasks."""
        return self.test_tasks

    @property
    def judged(self) -> int:
        """After how many updates a learner is validated and compared with a published number."""
        return self.test_steps

    def digest(self, trained: Recipe | None = None) -> str:
        """`digest` of its fields, and of what the learner was trained under where it is tested under something else."""
        return digest(dataclasses.asdict(self), None if trained is None else dataclasses.asdict(trained))

    def at_least(self, bounds: Mapping[str, float]) -> None:
        """Raise RecipeError for a field below its bound."""
        for field, bound in bounds.items():
            if not getattr(self, field) >= bound:
                raise RecipeError(f"{self.name}: {field} is {getattr(self, field)}; it must be at least {bound}")

    def positive(self, *fields: str) -> None:
        """Raise RecipeError for a field that is no positive number."""
        for field in fields:
            value = getattr(self, field)
            if not (math.isfinite(value) and value > 0):
                raise RecipeError(f"{self.name}: {field} is {value}; it must be a positive number")

    def below(self, limits: Mapping[str, float]) -> None:
        """Raise RecipeError for a field that is negative, or not below its limit."""
        for field, limit in limits.items():
            value = getattr(self, field)
            if not 0 <= value < limit:
                below = "" if limit == math.inf else f" and below {limit:g}"
                raise RecipeError(f"{self.name}: {field} is {value}; it must be at least 0{below}")

    def check(self) -> Self:
        """The recipe itself, if its numbers can work; raises RecipeError naming the field."""
        self.at_least({"inner_steps": 0, "test_steps": 0, "meta_batch": 1, "iterations": 0})
        self.at_least({"val_every": 1, "val_tasks": 0, "test_tasks": 2})
        self.below({"test_steps": MOST_UPDATES})
        for name in (self.algorithm, self.benchmark):
            if not NAME.fullmatch(name):
                raise RecipeError(f"{name!r} is no name: at most 64 lower-case letters, digits and dashes")
        self.positive("outer_lr")
        if isinstance(self, LearnerSettings) and (problem := self.problem()):
            raise RecipeError(f"{self.name}: {problem}")
        return self


@dataclass(frozen=True)
class FewShotRecipe(Recipe):
    """Everything that decides the result of a few-shot run, except the seed."""

    dataset: tyro.conf.Suppress[str] = "glyphs"
    """Name in `vision.DATASETS`."""
    trained_on: tyro.conf.Suppress[str] = ""
    """The data set that a learner was trained on which is tested on another one; empty where it is the same."""
    split: str = ""
    """The data set's split scheme; empty for its first."""
    within_group: tuple[str, ...] = ()
    """Splits in which the classes of an episode come from one group (Omniglot: one alphabet)."""
    rotations: tuple[str, ...] = ()
    """Splits in which a class turned by 90°, 180° and 270° counts as three more classes."""
    ways: int = 5
    """Classes of a validation or test episode."""
    shots: int = 1
    """Support images a class, at validation and test."""
    queries: int = 15
    """Query images a class, at validation and test."""
    train_ways: int = 5
    """Classes of a training episode; 0 where training is on batches of all training classes."""
    train_shots: int = 1
    """Support images a class while training; 0 where training is on batches."""
    train_queries: int = 15
    """Query images a class while training; 0 where training is on batches."""
    resample: Literal["lanczos", "nearest"] = "lanczos"
    """How pictures are brought to size: by Lanczos' filter, or (Omniglot) by the nearest pixel, which is what Pillow
    does to 1-bit pictures and so what MAML's and ProtoNet's code trains on."""
    lake_runs: bool = False
    """Test on Lake's 20 fixed runs instead of drawn episodes (Omniglot)."""
    augment: Literal["none", "metaoptnet", "simpleshot", "closer-look", "strong"] = "none"
    """How training images are altered: not at all; as MetaOptNet's (crop, jitter, flip); as SimpleShot's (crop of any
    size, flip) or Baseline's (the same with jitter); or by all of these and rotation, perspective, blur and erasing
    (`vision.augment`)."""

    backbone: str = "conv4"
    """Body: conv4 (halves by max-pooling), conv4-strided (by stride 2), mlp, resnet12, torchvision's resnet18, or a
    torch.nn.Module of one's own, e.g. module:my_package.Net."""
    width: int = 64
    """Filters a layer of conv4; of a module of one's own, if its constructor asks for it."""
    norm: Literal["transductive", "running", "support"] = "transductive"
    """Whose statistics batch normalisation uses at evaluation."""

    optimizer: Literal["adam", "sgd"] = "adam"
    """Outer optimiser; sgd has Nesterov momentum 0.9."""
    lr_factors: tuple[tuple[int, float], ...] = ()
    """(iteration, factor): from that iteration on the outer rate is outer_lr × factor."""
    weight_decay: float = 0.0
    """L2 penalty of the outer optimiser."""
    clip: float = 0.0
    """Clamp each element of the meta-gradient to ± this; 0 for no clamp."""
    smoothing: float = 0.0
    """Label smoothing of the query loss."""

    @property
    def tests(self) -> int:
        """Number of test episodes."""
        return LAKE_RUNS if self.lake_runs else self.test_tasks

    def check(self) -> Self:
        """The recipe itself, if its numbers can work; raises RecipeError naming the field."""
        self.at_least({"ways": 2, "shots": 1, "queries": 1, "width": 1})
        if isinstance(self, ClassifierSettings):
            self._check_batches()
        else:
            self.at_least({"train_ways": 2, "train_shots": 1, "train_queries": 1})
        super().check()
        self.below({"weight_decay": math.inf, "clip": math.inf, "smoothing": 1.0})
        if self.backbone not in BACKBONES and not REFERENCE.fullmatch(str(self.backbone)):
            known = f"{', '.join(BACKBONES)}, or a class of your own as module:my_package.Net"
            raise RecipeError(f"{self.name}: backbone is {self.backbone!r}; choose one of {known}")
        if self.lake_runs and (self.dataset, self.ways, self.shots) != ("omniglot", 20, 1):
            raise RecipeError(f"{self.name}: Lake's runs are of Omniglot with 20 ways and 1 shot: omniglot-lake-20w1s")
        starts, factors = ([pair[i] for pair in self.lr_factors] for i in (0, 1))
        if starts != sorted(set(starts)) or not all(math.isfinite(f) and f > 0 for f in factors):
            raise RecipeError(f"{self.name}: lr_factors {self.lr_factors}: iterations must rise, factors be positive")
        for field in ("rotations", "within_group"):
            unknown = set(getattr(self, field)) - {"train", "val", "test"}
            if unknown:
                raise RecipeError(f"{self.name}: {field} names {sorted(unknown)}; choose among train, val, test")
        return self

    def _check_batches(self) -> None:
        """Raise RecipeError for a field of training episodes, or for a test that would ask about training classes."""
        for field in BATCHES:
            if getattr(self, field) != 0:
                raise RecipeError(
                    f"{self.name}: {field} is {getattr(self, field)}; training is on batches of all training classes, "
                    "without episodes or updates: leave it at 0 (--batch is the number of images)"
                )
        if "train" in self.within_group:
            raise RecipeError(f"{self.name}: within_group names train; a batch is of all training classes")
        if self.test_steps < 1:
            raise RecipeError(f"{self.name}: test_steps is 0, but the head is made from the support: give at least 1")


@dataclass(frozen=True)
class ControlRecipe(Recipe):
    """Everything that decides the result of a control run, except the seed."""

    environment: tyro.conf.Suppress[str] = "navigation"
    """Where it is trained, a name in `envs.ENVIRONMENTS` (`benchmark` is where it is tested), or for an environment of
    one's own what makes it, "module:my_package.MyEnv"."""
    rollouts: int = 20
    """Episodes of each task before each update while training."""
    test_rollouts: int = 0
    """The same at validation and test, and for a score; 0 for as many as while training."""
    later_rate: float = 1.0
    """At validation and test: factor of the inner rate in every update but the first."""
    hidden: tuple[int, ...] = (100, 100)
    """Widths of the policy's layers."""
    activation: Literal["relu", "tanh"] = "relu"
    """Nonlinearity of the policy's layers."""
    discount: float = 0.99
    """γ of returns and advantages; scores are undiscounted."""
    trace: float = 1.0
    """λ of the advantage estimates."""
    sees_task: bool = False
    """The task is part of the observation (the oracle)."""

    outer: Literal["trpo", "ppo"] = "trpo"
    """Outer step: a trust region on the adapted policy, or ProMP's clipped objective by Adam."""
    max_kl: float = 0.01
    """Trust region: mean KL divergence between the adapted policies before and after a step, in nats, summed over the
    dimensions of an action."""
    curvature: float = 1.0
    """Trust region: share of the transitions that Fisher-vector products are taken over."""

    @property
    def tested_rollouts(self) -> int:
        """Episodes of each task at validation and test."""
        return self.test_rollouts or self.rollouts

    @property
    def judged(self) -> int:
        """After as many updates as it was trained for."""
        return min(self.inner_steps, self.test_steps)

    def check(self) -> Self:
        """The recipe itself, if its numbers can work; raises RecipeError naming the field."""
        super().check()
        self.at_least({"rollouts": 1, "test_rollouts": 0})
        if not (NAME.fullmatch(self.environment) or REFERENCE.fullmatch(self.environment)):
            raise RecipeError(f"{self.environment!r} is no environment: give a name, or module:my_package.MyEnv")
        self.positive("max_kl", "curvature", "discount", "later_rate")
        for field in ("discount", "trace", "curvature"):
            if not 0 <= getattr(self, field) <= 1:
                raise RecipeError(f"{self.name}: {field} is {getattr(self, field)}; it must be between 0 and 1")
        if abs(1 / self.curvature - round(1 / self.curvature)) > 1e-6:
            raise RecipeError(
                f"{self.name}: curvature is {self.curvature}; every n-th transition is taken: give 1, 0.5, 0.25, 0.2 …"
            )
        if not self.hidden or min(self.hidden) < 1:
            raise RecipeError(f"{self.name}: hidden is {self.hidden}; each layer needs at least one unit")
        return self


def digest(fields: Mapping[str, Any], trained: Mapping[str, Any] | None = None) -> str:
    """Twelve hexadecimal digits that change with any field that decides a result.

    A field at its class's default does not count. So a new field whose default is what was done before changes no
    digest, and a default is never changed. Nor does `schedule` count: a name for a recipe decides nothing.

    Args:
        fields: as `dataclasses.asdict` or a record's JSON has them.
        trained: those of the recipe that the learner was trained under, where it is tested under these.
    """
    parts = [_deciding(fields)] if trained is None else [_deciding(fields), _deciding(trained)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


AUGMENTED = {False: "none", True: "metaoptnet"}
"""How `augment` was written when there was one augmentation -> its name."""


def augmentation(fields: Mapping[str, Any]) -> str:
    """The name of the augmentation in a recipe's fields, however old they are."""
    value = fields.get("augment", False)
    return str(AUGMENTED.get(value, value))


def _deciding(fields: Mapping[str, Any]) -> Fields:
    """The fields that count for a digest."""
    plain, given = (json.loads(json.dumps(f)) for f in (dataclasses.asdict(kind_of(fields)()), fields))
    for side in (plain, given):
        if "augment" in side:  # as it was written first, so that no digest changes
            side["augment"] = {name: old for old, name in AUGMENTED.items()}.get(side["augment"], side["augment"])
    idle = _settings_of_others(fields) | {"schedule"}
    return {k: v for k, v in given.items() if k not in idle and (k not in plain or v != plain[k])}


_TYPES: dict[tuple[type, type], type] = {}


def typed(world: type[R], settings: type[LearnerSettings]) -> type[R]:
    """The recipes of a world for learners with these settings: a dataclass that has the fields of both."""
    if (world, settings) not in _TYPES:
        joined = type(world.__name__, (world, settings), {"__doc__": world.__doc__, "__module__": world.__module__})
        _TYPES[world, settings] = dataclass(frozen=True)(joined)
    return _TYPES[world, settings]


def put_together(world: type[R], fields: Fields) -> R:
    """The recipe of a world with these fields; raises RecipeError.

    Tables of a benchmark's fields hold a rate, say, for every learner that has one: a setting that the algorithm's
    learner has not is left out.
    """
    variants = FEW_SHOT if world is FewShotRecipe else CONTROL
    kind = typed(world, settings_of(fields["algorithm"], variants))
    idle = _every_setting() - {f.name for f in dataclasses.fields(kind)}
    return kind(**{k: v for k, v in fields.items() if k not in idle}).check()


def _every_setting() -> set[str]:
    return {f.name for learner in LEARNERS.values() for f in dataclasses.fields(learner.Settings)}


def kind_of(fields: Mapping[str, Any]) -> type[Recipe]:
    """The type of the recipe that these are fields of."""
    algorithm = str(fields.get("algorithm", Recipe.algorithm))
    if "environment" in fields:
        return typed(ControlRecipe, settings_of(algorithm, CONTROL))
    return typed(FewShotRecipe, settings_of(algorithm, FEW_SHOT))


def _settings_of_others(fields: Mapping[str, Any]) -> set[str]:
    """Settings that other learners have and this one not: recipes of older versions held all, to no effect."""
    return _every_setting() - {f.name for f in dataclasses.fields(kind_of(fields))}


def from_fields(fields: Mapping[str, Any]) -> Recipe:
    """The recipe that `dataclasses.asdict` gave these fields, of either world, through JSON or not; RecipeError."""
    variants = CONTROL if "environment" in fields else FEW_SHOT
    algorithm = str(fields.get("algorithm", Recipe.algorithm))
    if variants.get(algorithm, (algorithm, {}))[0] not in LEARNERS:
        raise RecipeError(unknown("algorithm", algorithm, LEARNERS))
    if strange := foreign(fields):
        raise RecipeError(f"a recipe has no field {strange!r}; this one is of another version")
    idle = _settings_of_others(fields)
    if "augment" in fields:
        fields = {**fields, "augment": augmentation(fields)}
    return kind_of(fields)(**{k: _tuples(v) for k, v in fields.items() if k not in idle}).check()


def _tuples(value: Any) -> Any:
    """Lists, which JSON makes of tuples, as tuples again."""
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


def foreign(fields: Mapping[str, Any]) -> str:
    """The first of the fields that no recipe of this version has; empty where there is none."""
    known = {f.name for f in dataclasses.fields(kind_of(fields))} | _settings_of_others(fields)
    return min(fields.keys() - known, default="")
