"""MuJoCo for all tasks × rollouts at once: one thread pool, no subprocess, no copy of the state.

`mujoco.batch` keeps one row of state a simulation and gives live views of it, and of derived quantities such as
contact forces, which `mujoco.rollout` cannot return. Its results do not depend on the number of threads.

The robots are Gymnasium's own MJCF files (gymnasium/envs/mujoco/assets).
"""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
from mujoco import batch

from metabench.envs.spec import State
from metabench.envs.variables import Bools, Floats

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
STATE_FIELDS = ("qpos", "qvel")
SENSORS = {
    "cfrc_ext": (mujoco.mjtSensor.mjSENS_FRAMELINACC, mujoco.mjtStage.mjSTAGE_ACC),
    "qfrc_actuator": (None, mujoco.mjtStage.mjSTAGE_ACC),
    "subtree_linvel": (mujoco.mjtSensor.mjSENS_SUBTREELINVEL, mujoco.mjtStage.mjSTAGE_VEL),
    "cvel": (None, mujoco.mjtStage.mjSTAGE_VEL),
    "cinert": (None, mujoco.mjtStage.mjSTAGE_POS),
    "subtree_com": (None, mujoco.mjtStage.mjSTAGE_POS),
}
"""Derived field -> (the sensor that makes MuJoCo compute it, the stage of `mj_forward` after which it is current)."""
# The other warnings say that a model or its memory is unfit; these four say that a simulation blew up.
DIVERGED = [
    int(w)
    for w in (
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
        mujoco.mjtWarning.mjWARN_BADCTRL,
    )
]


@functools.cache
def load_model(file: str, fields: tuple[str, ...] = ()) -> mujoco.MjModel:
    """A robot of Gymnasium's, compiled once a process; treat it as read-only.

    Args:
        file: name of an MJCF file in Gymnasium's assets.
        fields: derived quantities that the simulation must keep current.
    """
    spec = mujoco.MjSpec.from_file(str(ASSETS / file))
    # Compiling `settotalmass` warns and writes MUJOCO_LOG.TXT into the working directory; this is what it does.
    mass, spec.compiler.settotalmass = spec.compiler.settotalmass, -1
    for field in fields:
        kind, _ = SENSORS.get(field, (None, None))
        if kind is not None:
            spec.add_sensor(name=field, type=kind, objtype=mujoco.mjtObj.mjOBJ_BODY, objname="torso")
    model = spec.compile()
    if mass > 0:
        mujoco.mj_setTotalmass(model, mass)
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


@functools.cache
def damped_model(file: str, fields: tuple[str, ...], factor: float) -> mujoco.MjModel:
    """A robot as of `load_model`, with that many times the damping of its joints; treat it as read-only."""
    model = load_model(file, fields)
    return scaled_models(model, {"dof_damping": np.full((1, model.nv), factor)})[0]


def scaled_models(model: mujoco.MjModel, multipliers: Mapping[str, Floats]) -> list[mujoco.MjModel]:
    """One model a task, its parameters multiplied and every constant that follows from them recomputed.

    Args:
        model: the nominal robot.
        multipliers: name of an MjModel field -> (T, *shape of the field).
    """
    scratch = mujoco.MjData(model)
    models = []
    for t in range(len(next(iter(multipliers.values())))):
        scaled = copy.copy(model)
        for name, values in multipliers.items():
            getattr(scaled, name)[:] = getattr(model, name) * values[t]
        mujoco.mj_setConst(scaled, scratch)
        models.append(scaled)
    return models


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Physics:
    """T × E copies of a robot (see `envs.spec.World`).

    Args:
        model: the robot, or one model a task.
        shape: (T, E).
        frame_skip: simulation steps a control step.
        fields: names of MjData fields to keep in `state`, beside qpos and qvel.
        threads: of the pool, the caller's included; 0 means one a core.
    """

    def __init__(
        self,
        model: mujoco.MjModel | Sequence[mujoco.MjModel],
        shape: tuple[int, int],
        frame_skip: int,
        fields: tuple[str, ...] = (),
        threads: int = 0,
    ) -> None:
        first = model if isinstance(model, mujoco.MjModel) else model[0]
        self.models, self.shape = model, shape
        self.frame_skip, self.fields = frame_skip, fields
        self.stage = max([int(SENSORS[f][1]) for f in fields], default=int(mujoco.mjtStage.mjSTAGE_NONE))
        self.batch = batch.Batch(first, shape[0] * shape[1], threads or cores())
        if not isinstance(model, mujoco.MjModel):
            self.batch.set_models([m for m in model for _ in range(shape[1])])
        self.state: State = {name: self._view(name) for name in (*STATE_FIELDS, *fields)}
        self._control = self._view("ctrl")
        low, high = first.actuator_ctrlrange.T
        self._half_range = (high - low) / 2
        self._middle = (high + low) / 2
        self._warnings = self.batch.warning[:, DIVERGED, 1].sum(1)

    def __reduce__(self) -> tuple[Any, ...]:
        made_of = (self.models, self.shape, self.frame_skip, self.fields, self.batch.nthread)
        return _restored, (*made_of, self.batch.state.copy())

    def _view(self, name: str) -> Floats:
        bound = self.batch.bind(name)
        view: Floats = bound.reshape(*self.shape, *bound.shape[1:])
        assert np.shares_memory(view, bound)
        return view

    def reset(self, mask: Bools, start: State) -> None:
        """Put the rollouts of mask (T, E) into the start states: qpos and qvel, (T, E, nq) and (T, E, nv)."""
        ids = mask.ravel()
        self.batch.reset(ids, stage=int(mujoco.mjtStage.mjSTAGE_NONE))
        for name in STATE_FIELDS:
            self.state[name][mask] = start[name][mask]
        self.batch.forward(ids, stage=self.stage)
        self._warnings = self.batch.warning[:, DIVERGED, 1].sum(1)

    def advance(self, control: Floats, running: Bools) -> Bools:
        """One control step of the rollouts in running (T, E) under control (T, E, A) in [−1, 1]; which diverged."""
        np.multiply(control, self._half_range, out=self._control)
        self._control += self._middle
        failed = np.zeros(len(self._warnings), bool)
        try:
            self.batch.step(None if running.all() else running.ravel(), nstep=self.frame_skip, stage=self.stage)
        except batch.SimulationError as error:
            failed[error.ids] = True
        # A simulation that blows up is silently reset to the model's defaults: its warning counter is the only trace.
        warnings = self.batch.warning[:, DIVERGED, 1].sum(1)
        failed |= warnings > self._warnings
        self._warnings = warnings
        return failed.reshape(self.shape)

    def snapshot(self, task: int, rollout: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """One simulation as a model and its data, to render it."""
        i = task * self.shape[1] + rollout
        model = self.batch.get_model(i)
        data = self.batch.get_data(i)
        mujoco.mj_forward(model, data)
        return model, data


def _restored(
    models: mujoco.MjModel | Sequence[mujoco.MjModel],
    shape: tuple[int, int],
    frame_skip: int,
    fields: tuple[str, ...],
    threads: int,
    rows: Floats,
) -> Physics:
    """A copy that goes on as the original does."""
    physics = Physics(models, shape, frame_skip, fields, threads)
    physics.batch.state[:] = rows
    physics.batch.forward(stage=physics.stage)
    physics.batch.state[:] = rows  # of which the last call changed where the solver starts
    return physics
