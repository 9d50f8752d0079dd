"""The meta-learner core. It knows neither images nor robots. Start reading at `algorithms.learner`."""

from algorithms.foreign import FromModule
from algorithms.learner import Batch, Learner, LearnerSettings, adapt, finite
from algorithms.learners.anil import ANIL
from algorithms.learners.maml import MAML
from algorithms.learners.meta_sgd import MetaSGD
from algorithms.learners.metaoptnet import MetaOptNet
from algorithms.learners.protonet import ProtoNet
from algorithms.likelihood import Categorical, Gaussian, Likelihood
from algorithms.meta_gradient import Workers, meta_gradient
from algorithms.network import Network, Params, forward_pass
from algorithms.ops.compiled import CannotCompile
from algorithms.outer.gradient import Diverged, GradientOuter, Outer, cross_entropy
from algorithms.outer.proximal import ProximalOuter
from algorithms.outer.trust_region import TrustRegionOuter

LEARNERS: dict[str, type[Learner]] = {
    "maml": MAML,
    "anil": ANIL,
    "meta-sgd": MetaSGD,
    "protonet": ProtoNet,
    "metaoptnet": MetaOptNet,
}
"""Every learner the CLI knows, by name. A new algorithm is one file and one line here."""

__all__ = [
    "ANIL",
    "LEARNERS",
    "MAML",
    "Batch",
    "CannotCompile",
    "Categorical",
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
    "TrustRegionOuter",
    "Workers",
    "adapt",
    "cross_entropy",
    "finite",
    "forward_pass",
    "meta_gradient",
]
