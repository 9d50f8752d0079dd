"""Task distributions of control, behind the same interface as few-shot images.

    from metabench.envs import ENVIRONMENTS, Simulator

    spec = ENVIRONMENTS["cheetah-vel"]
    simulator = Simulator(spec, spec.tasks.sample(20, seed=0), rollouts=20)

To add an environment, write its `Spec` in a file and name it in `ENVIRONMENTS`, or name one of Gymnasium's there as it
is: ``OwnEnvironment(MyEnv)``. Importing this package registers every
environment with Gymnasium: ``gymnasium.make("metabench/CheetahVel-v0")``.
"""

import math
import re
from typing import Any

# isort: off
import metabench.envs.opengl  # noqa: F401 - before anything else imports MuJoCo

# isort: on
from metabench.envs.environment import Environment, Step
from metabench.envs.navigation import CORNERS, Navigation
from metabench.envs.own import OwnEnvironment
from metabench.envs.registration import MetaEnv, MetaVectorEnv, gymnasium_id, register_all
from metabench.envs.robots.ant import WHOLE, AntDirection, AntForwardBackward, AntGoal, AntVelocity
from metabench.envs.robots.half_cheetah import CheetahDirection, CheetahVelocity
from metabench.envs.robots.humanoid import HumanoidDirection
from metabench.envs.robots.locomotion import Noise
from metabench.envs.robots.random_parameters import HopperParameters, WalkerParameters
from metabench.envs.simulator import Simulator
from metabench.envs.spec import Spec
from metabench.envs.tasks import Distribution, TaskError, Tasks, split
from metabench.envs.variables import Arc, Choice, Uniform

__all__ = [
    "ENVIRONMENTS",
    "Distribution",
    "Environment",
    "MetaEnv",
    "MetaVectorEnv",
    "OwnEnvironment",
    "Simulator",
    "Spec",
    "Step",
    "TaskError",
    "Tasks",
    "family",
    "gymnasium_id",
    "split",
]

_RLLAB: dict[str, Any] = {
    "horizon": 200,
    "frame_skip": 1,
    "com_velocity": True,
    "start_position": Noise("normal", 0.01),
    "start_velocity": Noise("normal", 0.1),
}
_RLLAB_CHEETAH: dict[str, Any] = _RLLAB | {"observes": ("joints", "com")}
_RLLAB_ANT: dict[str, Any] = _RLLAB | {"rllab": True, "observes": (*WHOLE[:-1], "com")}
_HALF_CIRCLE = Arc("goal", 1.0, 0.0, math.pi)

ENVIRONMENTS: dict[str, Environment] = {
    "navigation": Navigation(),
    "navigation-maml": Navigation(action_scale=1.0),
    "navigation-promp": Navigation(goals=Uniform("goal", -2.0, 2.0, 2), ends_at="origin"),
    "navigation-corner": Navigation(
        goals=Choice("goal", CORNERS), spread=0.2, speed=0.2, action_scale=0.2, reward_kind="corner", ends_at=None
    ),
    "navigation-pearl": Navigation(
        horizon=20, goals=Uniform("goal", -1.0, 1.0, 2), spread=1.0, action_scale=1.0, ends_at=None
    ),
    "navigation-half-circle": Navigation(
        horizon=20, goals=_HALF_CIRCLE, action_scale=1.0, reward_kind="sparse", ends_at=None
    ),
    "navigation-varibad": Navigation(goals=_HALF_CIRCLE, action_scale=1.0, reward_kind="sparse", ends_at=None),
    "cheetah-dir": CheetahDirection(horizon=100, action_scale=10),
    "cheetah-dir-2019": CheetahDirection(horizon=200),
    "cheetah-dir-maml": CheetahDirection(**_RLLAB_CHEETAH),
    "cheetah-dir-maml-damped": CheetahDirection(**_RLLAB_CHEETAH, joint_damping=1.5),
    "cheetah-dir-promp": CheetahDirection(horizon=100, action_scale=10, observes=("joints",)),
    "cheetah-dir-pearl": CheetahDirection(horizon=200),
    "cheetah-vel": CheetahVelocity(horizon=100, action_scale=10),
    "cheetah-vel-2019": CheetahVelocity(horizon=200),
    "cheetah-vel-maml": CheetahVelocity(**_RLLAB_CHEETAH),
    "cheetah-vel-promp": CheetahVelocity(horizon=200, action_scale=10, observes=("joints",), fastest=3.0),
    "cheetah-vel-pearl": CheetahVelocity(horizon=200, fastest=3.0),
    "ant-vel": AntVelocity(horizon=100, action_scale=10),
    "ant-vel-maml": AntVelocity(**_RLLAB_ANT),
    "ant-forward-backward": AntForwardBackward(horizon=100, action_scale=10),
    "ant-forward-backward-maml": AntForwardBackward(**_RLLAB_ANT),
    "ant-forward-backward-promp": AntForwardBackward(
        horizon=200, action_scale=10, observes=("joints", "contacts"), control_cost=0.5, bonus=1.0, height=(0.0, 1.0)
    ),
    "ant-dir": AntDirection(
        horizon=200, action_scale=10, observes=("joints", "contacts"), control_cost=0.5, bonus=1.0, height=(0.0, 1.0)
    ),
    "ant-dir-pearl": AntDirection(horizon=200, observes=("joints",), control_cost=0.5, bonus=1.0),
    "ant-goal": AntGoal(horizon=100, action_scale=10),
    "ant-goal-maml": AntGoal(**_RLLAB_ANT),
    "ant-goal-promp": AntGoal(
        horizon=200,
        action_scale=10,
        observes=("place", "joints", "contacts"),
        disc=True,
        offset=0.0,
        control_cost=0.1,
        bonus=0.0,
        height=None,
    ),
    "humanoid-dir": HumanoidDirection(),
    "walker-params": WalkerParameters(),
    "hopper-params": HopperParameters(),
}
"""Name -> environment variant. Names end in the line of code they follow where that is not the default."""


def family(name: str) -> str:
    """The benchmark that a variant is a form of: "cheetah-vel" for "cheetah-vel-2019" and "cheetah-vel-promp"."""
    return re.sub(r"(-(2019|maml|promp|pearl|varibad|corner|half-circle))+$", "", name)


register_all({name: spec for name, spec in ENVIRONMENTS.items() if isinstance(spec, Spec)})
