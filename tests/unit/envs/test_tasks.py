"""Task distributions: what is drawn, what is refused, and JSON that comes back bit for bit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from metabench.envs import ENVIRONMENTS, TaskError, split
from metabench.envs.tasks import Distribution
from metabench.envs.variables import Arc, Choice, Disc, Multiplier, Sign, Uniform

VELOCITY = Distribution((Uniform("velocity", 0.0, 2.0),))
HEADING = Distribution((Arc("direction"),))
SIGN = Distribution((Sign("direction"),))


def test_a_task_depends_on_the_seed_and_its_index_alone() -> None:
    many = VELOCITY.sample(10, seed=3)["velocity"]
    assert many.shape == (10,)
    np.testing.assert_array_equal(VELOCITY.sample(4, seed=3)["velocity"], many[:4])
    np.testing.assert_array_equal(VELOCITY.at([7, 2], seed=3)["velocity"], many[[7, 2]])
    assert not np.isin(VELOCITY.sample(10, seed=4)["velocity"], many).any()


def test_draws_follow_their_laws() -> None:
    n = 2000
    velocity = VELOCITY.sample(n, 0)["velocity"]
    assert 0 <= velocity.min() < 0.01
    assert 1.99 < velocity.max() <= 2
    assert abs(velocity.mean() - 1) < 0.04
    signs = SIGN.sample(n, 0)["direction"]
    assert set(signs) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.07
    heading = HEADING.sample(n, 0)["direction"]
    np.testing.assert_allclose(np.hypot(*heading.T), 1, atol=1e-12)
    assert np.abs(heading.mean(0)).max() < 0.06
    goals = Distribution((Disc("goal", 3.0),)).sample(n, 0)["goal"]
    assert np.hypot(*goals.T).max() <= 3
    # Uniform over the disc's area: half of the goals lie within 3/√2.
    assert abs((np.hypot(*goals.T) < 3 / np.sqrt(2)).mean() - 0.5) < 0.04
    half = Distribution((Arc("goal", 1.0, 0.0, np.pi),)).sample(n, 0)["goal"]
    assert half[:, 1].min() >= 0
    corners = Distribution((Choice("goal", ((1.0, 2.0), (3.0, 4.0))),)).sample(50, 0)["goal"]
    assert {tuple(c) for c in corners} == {(1.0, 2.0), (3.0, 4.0)}
    factors = Distribution((Multiplier("m", 1.5, 3.0, (4, 2)),)).sample(n, 0)["m"]
    assert factors.shape == (n, 4, 2)
    assert 1.5**-3 <= factors.min() < 0.3
    assert 3.3 < factors.max() <= 1.5**3
    assert abs(np.log(factors).mean()) < 0.02


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_json_comes_back_bit_for_bit(name: str) -> None:
    distribution = ENVIRONMENTS[name].tasks
    tasks = distribution.sample(3, seed=1)
    again = distribution.from_json(distribution.to_json(tasks))
    assert list(again) == list(tasks)
    for key, values in tasks.items():
        np.testing.assert_array_equal(again[key], values)


def test_split_and_join_are_inverse() -> None:
    tasks = HEADING.sample(3, 0)
    np.testing.assert_array_equal(HEADING.join(split(tasks))["direction"], tasks["direction"])


@pytest.mark.parametrize(
    ("distribution", "tasks", "message"),
    [
        (
            VELOCITY,
            {"velocity": [1.0], "speed": [2.0]},
            "unknown task variable 'speed'; this environment's are velocity",
        ),
        (VELOCITY, {}, "the task variable 'velocity' is missing"),
        (VELOCITY, {"velocity": ["fast"]}, r"velocity must be numbers, not \['fast'\]"),
        (VELOCITY, {"velocity": [True]}, "velocity must be numbers"),
        (VELOCITY, {"velocity": [None]}, "velocity must be numbers"),
        (VELOCITY, {"velocity": [1.0, float("nan")]}, "velocity is not finite in task 1"),
        (VELOCITY, {"velocity": [float("inf")]}, "velocity is not finite in task 0"),
        (VELOCITY, {"velocity": 1.0}, r"velocity has shape \(\); T tasks need \(T,\)"),
        (VELOCITY, {"velocity": []}, r"velocity has shape \(0,\)"),
        (VELOCITY, {"velocity": [[1.0, 2.0]]}, r"velocity has shape \(1, 2\); T tasks need \(T,\)"),
        (VELOCITY, {"velocity": [[1.0], [2.0, 3.0]]}, "velocity must be numbers of shape"),
        (HEADING, {"direction": [[1.0, 0.0, 0.0]]}, r"T tasks need \(T, 2\)"),
        (HEADING, {"direction": [[3.0, 4.0]]}, r"direction must have length 1, not 5 \(task 0\)"),
        (SIGN, {"direction": [1, 0]}, r"direction must be -1 or 1, not 0 \(task 1\)"),
        (ENVIRONMENTS["navigation-corner"].tasks, {"goal": [[2.0, 1.0]]}, "goal must be one of"),
        (Distribution((Multiplier("m", 1.5, 3, (2,)),)), {"m": [[1.0, -1.0]]}, "m must be positive everywhere"),
        (
            Distribution((Uniform("a", 0, 1), Uniform("b", 0, 1))),
            {"a": [1.0], "b": [1.0, 2.0]},
            "the number of tasks differs: 1 of a, 2 of b",
        ),
    ],
)
def test_bad_tasks_are_named(distribution: Distribution, tasks: dict[str, object], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        distribution.check(tasks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{velocity", "the tasks are not JSON"),
        ('{"velocity": 1}', "tasks are a JSON list of objects"),
        ("[]", "at least one task is needed"),
        ("[3]", "task 0 is not a set of variables but 3"),
        (json.dumps([{"velocity": 1.0}, {"velocty": 1.0}]), "task 1: unknown task variable 'velocty'"),
        ('[{"velocity": NaN}]', "task 0: velocity is not finite"),
        ('[{"velocity": "1"}]', "task 0: velocity must be numbers"),
    ],
)
def test_bad_json_is_named(text: str, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        VELOCITY.from_json(text)


def test_tasks_outside_the_training_range_are_accepted() -> None:
    assert VELOCITY.check({"velocity": [7]})["velocity"].tolist() == [7.0]


def test_no_tasks_are_refused() -> None:
    with pytest.raises(TaskError, match="at least one task"):
        VELOCITY.sample(0, seed=0)
