"""CartPoles step together as Gymnasium's environments do one after another, to the bit."""

import gymnasium as gym
import numpy as np
import pytest

from reincarnate import envs
from reincarnate.envs import cartpole
from reincarnate.envs.vector import IDLE, Copies
from reincarnate.errors import UserError


def pair(monkeypatch, env, n):
    """The same task, its copies one after another and together."""
    with monkeypatch.context() as patch:
        patch.setattr(cartpole, "SOME", n + 1)
        apart = envs.make(env, n)
    together = envs.make(env, n)
    assert type(apart) is Copies and isinstance(together, cartpole.CartPoles)
    return apart, together


@pytest.mark.parametrize("env, n", [("CartPole-v1", 16), ("CartPole-v0", 7), ("CartPole-v1?max_episode_steps=20", 6)])
def test_every_number_is_the_one_of_gymnasiums_environments(env, n, monkeypatch):
    apart, together = pair(monkeypatch, env, n)
    rng, seeds = np.random.default_rng(0), np.random.default_rng(1).integers(2**31, size=n)
    assert np.array_equal(apart.begin(seeds), together.begin(seeds))
    ended = cut = 0
    for k in range(1200):
        if k == 600:  # by seeds drawn from a generator, in the middle of everything
            assert np.array_equal(*(e.reset(np.random.default_rng(2)) for e in (apart, together)))
        held = together._obs[:, 2] + together._obs[:, 3] > 0  # mostly upright: limits are reached too
        actions = np.where(rng.random(n) < 0.9, held, rng.integers(2, size=n)).astype(np.int64)
        actions[rng.random(n) < 0.05] = IDLE
        expected, found = apart.step(actions), together.step(actions)
        for name in ("obs", "next_obs", "reward", "terminated", "truncated"):
            one, other = getattr(expected, name), getattr(found, name)
            assert np.array_equal(one, other) and one.dtype == other.dtype, (k, name)
        ended, cut = ended + found.terminated.sum(), cut + found.truncated.sum()
    assert cut and (ended or "20" in env)
    assert np.array_equal(together.view("student"), found.obs) and together.score.shape == (n,)


@pytest.mark.parametrize("task", ["CartPole-v1?sutton_barto_reward=true", "Acrobot-v1"])
def test_what_is_not_cartpole_as_it_is_registered_is_left_to_gymnasium(task):
    assert type(envs.make(task, 8)) is Copies


def test_an_id_of_somebodys_that_wraps_cartpole_keeps_its_wrappers():
    spec = gym.wrappers.TransformReward(gym.make("CartPole-v1"), lambda r: r / 2).spec
    spec.id = "HalfCartPole-v1"
    gym.registry[spec.id] = spec
    env = envs.make(spec.id, 8)
    env.reset(np.random.default_rng(0))
    assert (env.step(np.zeros(8, np.int64)).reward == 0.5).all()
    del gym.registry[spec.id]


def test_an_action_that_there_is_not_is_refused():
    env = envs.make("CartPole-v1", 8)
    env.reset(np.random.default_rng(0))
    for wrong in (2, -2):
        with pytest.raises(UserError, match=f"action {wrong} is none of its 2"):
            env.step(np.array([0, 1, wrong, 0, 1, 0, 1, 0]))


def test_few_copies_step_one_after_another_which_is_quicker():
    assert type(envs.make("CartPole-v1", cartpole.SOME - 1)) is Copies
