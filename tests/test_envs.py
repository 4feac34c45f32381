"""Tasks: the stated protocol, one seed one play, and frames that come back from the replay as they were seen."""

import numpy as np
import pytest
import torch
from probes import Corridor, corridor_spec

from reincarnate import envs
from reincarnate.data import Replay
from reincarnate.data.layouts import Transitions
from reincarnate.data.memory import Memory
from reincarnate.envs.atari import PROTOCOL
from reincarnate.envs.vector import IDLE, Copies
from reincarnate.errors import UserError

IDS = ["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "LunarLander-v3", "MinAtar/Freeway-v1", "ALE/Breakout-v5"]


def play(env, steps, seed):
    rng, actions = np.random.default_rng(seed), np.random.default_rng(1)
    seen = [env.reset(rng)]
    for _ in range(steps):
        step = env.step(actions.integers(env.spec.actions, size=env.n))
        seen += [step.obs, step.next_obs, step.reward]
    return seen


@pytest.mark.parametrize("env_id", IDS)
def test_a_task_looks_as_its_spec_says_and_plays_as_its_seed_says(env_id):
    spec = envs.spec(env_id)
    a, b, c = (envs.make(env_id, 2) for _ in range(3))
    first, second, third = play(a, 60, 0), play(b, 60, 0), play(c, 60, 5)
    assert first[0].shape == (2, *spec.obs_shape) and first[0].dtype == spec.obs_dtype
    assert all(np.array_equal(x, y) for x, y in zip(first, second, strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(first, third, strict=True))
    for env in (a, b, c):
        env.close()


def test_a_reset_begins_anew_whatever_came_before():
    env = envs.make("MinAtar/Breakout-v1", 2)
    first = play(env, 40, 3)
    assert all(np.array_equal(x, y) for x, y in zip(first, play(env, 40, 3), strict=True))


def test_atari_states_its_protocol_and_never_inherits_it():
    spec = envs.spec("ALE/Pong-v5")
    assert spec.protocol == {"env": "ALE/Pong-v5", **PROTOCOL}
    assert (PROTOCOL["sticky_actions"], PROTOCOL["frame_skip"], PROTOCOL["life_loss_terminal"]) == (0.25, 4, False)
    assert spec.obs_shape == (4, 84, 84) and spec.actions == 6 and spec.reward_clip == 1.0


def test_atari_observations_come_back_from_the_replay_as_they_were_seen():
    env = envs.make("ALE/Pong-v5", 1)
    replay, seen = Replay(env.spec, 1200, 1), set()
    obs = env.reset(np.random.default_rng(0))
    for i in range(1100):  # random play loses a game of Pong in some 900 steps
        action = np.array([i % 6])
        step = env.step(action)
        replay.add(obs, action, step.reward, step.terminated, step.truncated, step.next_obs)
        seen.add((obs.tobytes(), step.next_obs.tobytes()))
        obs = step.obs
    assert (replay.columns["flags"] & 1).any()
    batch = Memory(replay, Transitions()).sample(400, np.random.default_rng(1))
    pairs = zip(batch.obs.numpy(), batch.next_obs.numpy(), strict=True)
    assert all((a.tobytes(), b.tobytes()) in seen for a, b in pairs)
    env.close()


def test_the_colour_twin_plays_in_lockstep_and_changes_nothing_for_the_student():
    plain, twins = envs.make("ALE/Pong-v5", 2), envs.make("ALE/Pong-v5", 2, "rgb")
    assert all(np.array_equal(a, b) for a, b in zip(play(plain, 80, 0), play(twins, 80, 0), strict=True))
    screen = twins.view("rgb")
    assert screen.shape == (2, 210, 160, 3) and screen.dtype == np.uint8
    assert np.array_equal(twins.view("student"), plain.view("student"))
    plain.close()
    twins.close()


def test_a_view_the_task_does_not_offer_is_refused():
    with pytest.raises(UserError, match="no view 'rgb'"):
        envs.make("CartPole-v1", 1, "rgb")


def test_a_time_limit_truncates_and_an_idle_copy_stays_as_it_is():
    env = Copies(corridor_spec(), lambda: Corridor(50, True), 2, max_steps=3)
    env.reset(np.random.default_rng(0))
    steps = [env.step(np.array([0, IDLE])) for _ in range(3)]
    assert [bool(s.truncated[0]) for s in steps] == [False, False, True]
    assert steps[-1].next_obs[:, 0].tolist() == [3.0, 0.0] and steps[-1].obs[:, 0].tolist() == [0.0, 0.0]
    assert not steps[-1].terminated.any() and steps[-1].reward.tolist() == [3.0, 0.0]


def test_a_step_does_not_overwrite_what_an_earlier_one_returned():
    env = envs.make("ALE/Pong-v5", 1)
    env.reset(np.random.default_rng(0))
    early = env.step(np.array([0])).obs
    copy = early.copy()
    for _ in range(10):
        env.step(np.array([2]))
    assert np.array_equal(early, copy) and torch.from_numpy(early).shape == (1, 4, 84, 84)
    env.close()
