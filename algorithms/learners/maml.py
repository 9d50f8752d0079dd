"""MAML: a few gradient steps on everything.

Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017:
φ_{k+1} = φ_k − α ∇ L(φ_k; support), with φ_0 = θ, differentiated through exactly (or, in the paper's
"first order" rows, as if the inner gradients did not depend on θ).
"""

from __future__ import annotations

from algorithms.learner import Batch, Learner, gradient_step, per_task
from algorithms.network import Network, Params


class MAML(Learner):
    """Gradient descent on every parameter of the network.

    Args:
        inner_lr: α.
        first_order: drop the second derivatives from the meta-gradient (FOMAML).
    """

    def __init__(
        self, network: Network, *, inner_lr: float, first_order: bool = False, norm: str = "transductive"
    ) -> None:
        super().__init__(network, norm=norm)
        self.inner_lr = inner_lr
        self.first_order = first_order

    def adapted(self) -> list[str]:
        """Names of the parameters that an update changes: all that are not frozen."""
        return [name for name, p in self.network.named_parameters() if p.requires_grad]

    def rule(self, fast: Params, support: Batch) -> Params:
        """One step of gradient descent on the support loss."""
        names = self.adapted()
        fast = per_task(fast, names, support.x.shape[0])
        grads = gradient_step(self, fast, names, support, exact=not self.first_order)
        return fast | {n: fast[n] - self.inner_lr * g for n, g in zip(names, grads, strict=True)}
