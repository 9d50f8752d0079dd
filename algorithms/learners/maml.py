"""MAML: a few gradient steps on everything.

Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017:
φ_{k+1} = φ_k − α ∇ L(φ_k; support), with φ_0 = θ, differentiated through exactly (or, in the paper's
"first order" rows, as if the inner gradients did not depend on θ).
"""

from __future__ import annotations

from dataclasses import dataclass

from metabench.algorithms.learner import Batch, Learner, LearnerSettings, gradient_step, per_task
from metabench.algorithms.network import Params


@dataclass(frozen=True)
class GradientSettings(LearnerSettings):
    """Settings of learners that take gradient steps."""

    inner_lr: float = 0.01
    """Inner learning rate α; Meta-SGD's initial one."""
    first_order: bool = False
    """Drop second derivatives from the meta-gradient (FOMAML)."""

    def problem(self) -> str | None:
        """A rate that is no positive number."""
        return self.not_positive("inner_lr")


class MAML(Learner):
    """Gradient descent on every parameter of the network; its arguments are those of `Learner`."""

    Settings = GradientSettings
    settings: GradientSettings

    def adapted(self) -> list[str]:
        """Names of the parameters that an update changes: all that are not frozen."""
        return [name for name, p in self.network.named_parameters() if p.requires_grad]

    def rule(self, fast: Params, support: Batch) -> Params:
        """One step of gradient descent on the support loss."""
        names = self.adapted()
        fast = per_task(fast, names, support.x.shape[0])
        grads = gradient_step(self, fast, names, support, exact=not self.settings.first_order)
        return fast | {n: fast[n] - self.settings.inner_lr * g for n, g in zip(names, grads, strict=True)}
