"""SB3 agents that see or do more than arrays and numbers: read without unpickling, they say what the library says."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from reincarnate.envs.spaces import acting, seeing
from reincarnate.errors import UserError
from reincarnate.priors.weights import open_weights
from reincarnate.teachers import open_teacher

sb3 = pytest.importorskip("stable_baselines3")
contrib = pytest.importorskip("sb3_contrib")
BOX = spaces.Box(-1, 1, (3,), np.float32)
FEW = {"n_steps": 4, "batch_size": 4, "device": "cpu"}
ENTRIES = spaces.Dict(
    {"b": BOX, "a": spaces.Discrete(4), "c": spaces.MultiBinary(2), "d": spaces.MultiDiscrete([2, 3])}
)
CASES = {
    "a Dict": (sb3.PPO, "MultiInputPolicy", ENTRIES, spaces.Discrete(3)),
    "a Discrete": (sb3.A2C, "MlpPolicy", spaces.Discrete(5), spaces.Discrete(2)),
    "a MultiBinary": (sb3.PPO, "MlpPolicy", spaces.MultiBinary(5), spaces.Discrete(2)),
    "a MultiDiscrete": (sb3.PPO, "MlpPolicy", spaces.MultiDiscrete([2, 3]), spaces.Discrete(2)),
    "several choices": (sb3.PPO, "MlpPolicy", BOX, spaces.MultiDiscrete([2, 3, 2])),
    "yes or no": (sb3.PPO, "MlpPolicy", BOX, spaces.MultiBinary(3)),
    "masked": (contrib.MaskablePPO, "MlpPolicy", BOX, spaces.Discrete(4)),
    "masked choices": (contrib.MaskablePPO, "MlpPolicy", BOX, spaces.MultiDiscrete([2, 3])),
}


class Task(gymnasium.Env):
    def __init__(self, obs: spaces.Space, act: spaces.Space):
        self.observation_space, self.action_space = obs, act

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, True, False, {}

    def action_masks(self):
        return np.ones(4, bool)


def saved(kind, policy: str, obs: spaces.Space, act: spaces.Space, file):
    more = {} if kind is sb3.A2C else FEW
    model = kind(policy, Task(obs, act), seed=3, **({"device": "cpu"} | more))
    with torch.no_grad():
        for parameter in model.policy.action_net.parameters():
            parameter.add_(torch.randn(parameter.shape))  # a newborn's actions are nearly all alike
    model.save(file)
    return model


@pytest.mark.parametrize("name", CASES)
def test_it_says_what_the_library_says_of_every_action(name, tmp_path):
    kind, policy, obs, act = CASES[name]
    model = saved(kind, policy, obs, act, tmp_path / "a.zip")
    obs.seed(0)
    raw = [obs.sample() for _ in range(6)]
    see, do = seeing(obs, "a task"), acting(act, "a task")
    rows = np.stack([see.encode(one) if see.encode else one for one in raw])
    teacher = open_teacher(f"sb3:{tmp_path / 'a.zip'}", do.actions)
    assert (teacher.card.obs_shape, teacher.card.actions, teacher.card.obs_dtype) == (see.shape, do.actions, see.dtype)
    told = teacher.told(torch.from_numpy(rows)).log_softmax(1)  # pyright: ignore[reportAttributeAccessIssue]
    actions = [do.decode(i) if do.decode else i for i in range(do.actions)]
    for one, logits in zip(raw, told, strict=True):
        seen, _ = model.policy.obs_to_tensor(one)
        distribution = model.policy.get_distribution(seen)
        chances = [distribution.log_prob(torch.as_tensor(np.asarray(action)[None]).float()) for action in actions]
        torch.testing.assert_close(logits, torch.stack(chances).flatten(), rtol=1e-5, atol=1e-5)
        best, _ = model.predict(one, deterministic=True)
        assert np.array_equal(best, np.asarray(actions[int(logits.argmax())]))


def test_too_many_combinations_and_other_starts_are_refused(tmp_path):
    for obs, act, said in (
        (BOX, spaces.MultiBinary(11), "2,048 combinations"),
        (BOX, spaces.Discrete(2, start=1), "count from 0"),
    ):
        sb3.PPO("MlpPolicy", Task(obs, act), **FEW).save(tmp_path / "a.zip")
        with pytest.raises(UserError, match=f"{said}.*py:my_agent.py"):
            open_teacher(f"sb3:{tmp_path / 'a.zip'}")


def test_such_agents_are_teachers_alone_where_no_student_has_their_actions(tmp_path):
    saved(*CASES["several choices"], tmp_path / "a.zip")  # pyright: ignore[reportCallIssue]
    with pytest.raises(UserError, match="3 choices; it can be a teacher"):
        open_weights(f"sb3:{tmp_path / 'a.zip'}")
