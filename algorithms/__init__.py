"""The meta-learner core. It knows neither images nor robots. Start reading at `algorithms.learner`."""

from metabench.algorithms.foreign import FromModule
from metabench.algorithms.learner import Batch, Learner, LearnerSettings, adapt, finite
from metabench.algorithms.learners.anil import ANIL
from metabench.algorithms.learners.baseline import Baseline, BaselinePP
from metabench.algorithms.learners.classifier import Classifier, ClassifierSettings
from metabench.algorithms.learners.maml import MAML
from metabench.algorithms.learners.meta_sgd import MetaSGD
from metabench.algorithms.learners.metaoptnet import MetaOptNet
from metabench.algorithms.learners.protonet import ProtoNet
from metabench.algorithms.learners.simpleshot import SimpleShot
from metabench.algorithms.likelihood import Categorical, Gaussian, Likelihood
from metabench.algorithms.meta_gradient import Workers, meta_gradient
from metabench.algorithms.network import Network, Params, forward_pass
from metabench.algorithms.ops.compiled import CannotCompile
from metabench.algorithms.outer.gradient import Diverged, GradientOuter, Outer, cross_entropy
from metabench.algorithms.outer.proximal import ProximalOuter
from metabench.algorithms.outer.trust_region import TrustRegionOuter

LEARNERS: dict[str, type[Learner]] = {
    "maml": MAML,
    "anil": ANIL,
    "meta-sgd": MetaSGD,
    "protonet": ProtoNet,
    "metaoptnet": MetaOptNet,
    "baseline": Baseline,
    "baseline-pp": BaselinePP,
    "simpleshot": SimpleShot,
}
"""Every learner the CLI knows, by name. A new algorithm is one file and one line here."""

__all__ = [
    "ANIL",
    "LEARNERS",
    "MAML",
    "Baseline",
    "BaselinePP",
    "Batch",
    "CannotCompile",
    "Categorical",
    "Classifier",
    "ClassifierSettings",
    "Diverged",
    "FromModule",
    "Gaussian",
    "GradientOuter",
    "Learner",
    "LearnerSettings",
    "Likelihood",
    "MetaOptNet",
    "MetaSGD",
    "Network",
    "Outer",
    "Params",
    "ProtoNet",
    "ProximalOuter",
    "SimpleShot",
    "TrustRegionOuter",
    "Workers",
    "adapt",
    "cross_entropy",
    "finite",
    "forward_pass",
    "meta_gradient",
]
