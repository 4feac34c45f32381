"""Tasks with continuous actions are played by the same loops."""

import numpy as np
import pytest
import torch

from reincarnate import envs
from reincarnate.agents.acting import play
from reincarnate.errors import UserError
from reincarnate.students import DQN
from reincarnate.training.evaluate import evaluate
from reincarnate.training.players import RandomPlayer
from reincarnate.types import MEANS, TimeStep


def test_pendulum_tells_its_bounds_and_a_random_policy_stays_within_them():
    spec = envs.spec("Pendulum-v1")
    assert spec.continuous and spec.actions == 1 and spec.bounds == ((-2.0,), (2.0,))
    now = TimeStep(torch.zeros(1000, 3), torch.zeros(1000, dtype=torch.bool))
    actions = RandomPlayer(spec).act(now, torch.zeros(1000, 0), 0.0, np.random.default_rng(0)).action
    assert actions.shape == (1000, 1) and -2 <= actions.min() < -1.9 and 1.9 < actions.max() <= 2


def test_evaluation_plays_exactly_the_episodes_asked_for():
    player = RandomPlayer(envs.spec("Pendulum-v1"))
    env_steps = evaluate("Pendulum-v1", player, 3, np.random.default_rng(0)).env_steps
    assert env_steps == 3 * 200


def test_an_idle_copy_stays_where_it_is():
    env = envs.make("Pendulum-v1", 2)
    obs = env.reset(np.random.default_rng(0))
    step = env.step(np.array([[1.0], [np.nan]], np.float32))
    assert (step.next_obs[1] == obs[1]).all() and (step.next_obs[0] != obs[0]).any()
    env.close()


def test_a_student_of_discrete_actions_refuses():
    with pytest.raises(UserError, match="continuous actions"):
        DQN().newborn(envs.spec("Pendulum-v1"), 0)


def test_continuous_actions_are_played_as_they_are_told():
    told = torch.tensor([[0.5, -0.25]])
    assert play(told, MEANS, np.random.default_rng(0)).tolist() == told.tolist()
