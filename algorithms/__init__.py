"""The meta-learner core. It knows neither images nor robots. Start reading at `algorithms.learner`."""

from algorithms.anil import ANIL
from algorithms.compiled import CannotCompile
from algorithms.learner import Batch, Learner, adapt
from algorithms.likelihood import Categorical, Gaussian, Likelihood
from algorithms.maml import MAML
from algorithms.meta_gradient import Workers, meta_gradient
from algorithms.meta_sgd import MetaSGD
from algorithms.metaoptnet import MetaOptNet
from algorithms.network import Network, Params, forward_pass
from algorithms.outer import Diverged, GradientOuter, Outer, cross_entropy
from algorithms.protonet import ProtoNet
from algorithms.proximal import ProximalOuter
from algorithms.trust_region import TrustRegionOuter

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
    "Gaussian",
    "GradientOuter",
    "Learner",
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
    "forward_pass",
    "meta_gradient",
]
