"""Imported agents act as the library that trained them says; it is only ever a witness in tests."""

import importlib
import sys
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from asking import says
from zips import PPO as ACTOR_CRITIC
from zips import described, dqn_weights, write_zip

from reincarnate.errors import UserError
from reincarnate.teachers import open_teacher
from reincarnate.teachers.fit import check_fit
from reincarnate.teachers.sb3 import Sb3Teacher, open_address
from reincarnate.types import TaskSpec, Teacher

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what importing another library warns about is not ours
    import sb3_contrib
    import stable_baselines3
    from stable_baselines3.common.running_mean_std import RunningMeanStd
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

ORIGINALS = {
    "PPO": stable_baselines3.PPO,
    "A2C": stable_baselines3.A2C,
    "DQN": stable_baselines3.DQN,
    "QR-DQN": sb3_contrib.QRDQN,
    "TRPO": sb3_contrib.TRPO,
}
DISCRETE = [
    "dqn-Acrobot-v1",
    "dqn-CartPole-v1",
    "dqn-LunarLander-v2",
    "dqn-MountainCar-v0",
    "ppo-Acrobot-v1",
    "ppo-CartPole-v1",
    "ppo-LunarLander-v2",
    "qrdqn-Acrobot-v1",
]
IMAGES = gym.spaces.Box(0, 255, (4, 36, 36), np.uint8)
VECTORS = gym.spaces.Box(-np.inf, np.inf, (5,), np.float32)


class Blank(gym.Env):
    """A task of any spaces in which nothing happens."""

    def __init__(self, observations: gym.Space):
        self.observation_space, self.action_space = observations, gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        return np.zeros(self.observation_space.shape, self.observation_space.dtype), {}

    def step(self, action):
        return self.reset()[0], 0.0, False, False, {}


def find(folder: Path, name: str) -> str:
    return str(next((folder / "sb3" / name).glob("*.zip")))


def original(teacher: Sb3Teacher, path: str):
    """The agent as its own library loads it, its spaces given by us."""
    card = teacher.card
    assert card.obs_shape is not None and card.actions is not None
    given = {
        "observation_space": gym.spaces.Box(-np.inf, np.inf, card.obs_shape, np.float32),
        "action_space": gym.spaces.Discrete(card.actions),
        "lr_schedule": lambda _: 0.0,
        "clip_range": lambda _: 0.0,
        "exploration_schedule": lambda _: 0.0,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about gym's age and about pickles of an older Python
        return ORIGINALS[card.algorithm].load(path, custom_objects=given, device="cpu")


@torch.no_grad()
def told(agent, algorithm: str, obs: np.ndarray) -> torch.Tensor:
    """Probabilities or action values by the original."""
    tensor = torch.as_tensor(obs)
    if algorithm == "DQN":
        return agent.q_net(tensor)
    if algorithm == "QR-DQN":
        return agent.quantile_net(tensor).mean(dim=1)
    return agent.policy.get_distribution(tensor).distribution.probs


def agree(teacher: Sb3Teacher, agent, raw: np.ndarray, seen: np.ndarray) -> None:
    """`raw` is what our teacher gets, `seen` what the original's policy gets."""
    ours, _ = says(teacher, torch.as_tensor(raw))
    theirs = told(agent, teacher.card.algorithm, seen)
    ours_told = ours.softmax(-1) if teacher.card.tells == "logits" else ours
    assert torch.allclose(ours_told, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))
    actions, _ = agent.predict(seen, deterministic=True)
    assert (ours.argmax(-1).numpy() == actions).all()


@pytest.mark.parametrize("name", DISCRETE)
def test_a_zoo_agent_acts_as_its_own_library_says(name: str, teachers: Path, monkeypatch):
    path = find(teachers, name)
    teacher = open_address(path)
    assert teacher.card.obs_shape is not None
    raw = 2 * np.random.default_rng(0).standard_normal((1000, *teacher.card.obs_shape)).astype(np.float32)
    seen = raw
    if name == "ppo-Acrobot-v1":
        for module in ("", ".spaces", ".spaces.box", ".spaces.discrete"):  # pickled with gym, which is gone
            monkeypatch.setitem(sys.modules, f"gym{module}", importlib.import_module(f"gymnasium{module}"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy has moved since
            statistics = load_statistics(teachers / "sb3" / name / "vecnormalize.pkl", raw.shape[1])
        seen = statistics.normalize_obs(raw)
    agree(teacher, original(teacher, path), raw, seen)
    assert isinstance(teacher, Teacher) and teacher.card.env == name.split("-", 1)[1]


def load_statistics(path: Path, size: int) -> VecNormalize:
    """SB3's own reading of its statistics, in a task of that size."""
    env = DummyVecEnv([lambda: Blank(gym.spaces.Box(-np.inf, np.inf, (size,), np.float32))])
    return VecNormalize.load(str(path), env)


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("algorithm", ORIGINALS)
def test_an_agent_saved_by_the_library_of_today_is_read_the_same(algorithm: str, images: bool, tmp_path: Path):
    space = IMAGES if images else VECTORS
    small = {"buffer_size": 10} if "DQN" in algorithm else {"n_steps": 8}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = ORIGINALS[algorithm](
            "CnnPolicy" if images else "MlpPolicy", Blank(space), device="cpu", seed=1, **small
        )
    agent.save(tmp_path / "agent.zip")
    teacher = open_address(str(tmp_path / "agent.zip"))
    assert (teacher.card.algorithm, teacher.card.obs_shape, teacher.card.actions) == (algorithm, space.shape, 3)
    space.seed(0)
    obs = np.stack([space.sample() for _ in range(50)])
    ours, _ = says(teacher, torch.as_tensor(obs))
    with torch.no_grad():
        seen = torch.as_tensor(obs).float() if "DQN" in algorithm and not images else torch.as_tensor(obs)
        theirs = told(agent, algorithm, seen.numpy())
    assert torch.allclose(ours.softmax(-1) if teacher.card.tells == "logits" else ours, theirs, atol=1e-5)


@pytest.mark.parametrize("activation", ["ReLU", "ELU"])
def test_another_activation_and_other_widths_are_honoured(activation: str, tmp_path: Path):
    kwargs = {"activation_fn": getattr(torch.nn, activation), "net_arch": {"pi": [7, 6, 5], "vf": [4]}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = stable_baselines3.PPO("MlpPolicy", Blank(VECTORS), device="cpu", n_steps=8, policy_kwargs=kwargs)
    agent.save(tmp_path / "agent.zip")
    teacher = open_address(str(tmp_path / "agent.zip"))
    obs = np.random.default_rng(0).standard_normal((50, 5)).astype(np.float32)
    agree(teacher, agent, obs, obs)
    assert teacher.card.network == f"MLP 5-7-6-5-3, {activation.lower()}"


def test_shared_layers_of_old_agents_come_first(tmp_path: Path):
    weights = {"mlp_extractor.shared_net.0.weight": torch.eye(3), "mlp_extractor.shared_net.0.bias": torch.zeros(3)}
    weights |= {"mlp_extractor.policy_net.0.weight": 2 * torch.eye(3), "mlp_extractor.policy_net.0.bias": torch.ones(3)}
    weights |= {"action_net.weight": torch.ones(2, 3), "action_net.bias": torch.zeros(2)}
    teacher = open_address(write_zip(tmp_path / "a.zip", described(ACTOR_CRITIC), weights))
    out, _ = says(teacher, torch.zeros(1, 3))
    assert teacher.card.algorithm == "A2C"
    assert torch.allclose(out, 3 * torch.tanh(torch.ones(1, 2)))


def test_statistics_saved_today_are_applied_as_their_library_does(tmp_path: Path):
    teacher_path, space = write_zip(tmp_path / "a.zip"), gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = VecNormalize(DummyVecEnv([lambda: Blank(space)]), clip_obs=2.0)
    env.obs_rms = RunningMeanStd(shape=(3,))
    env.obs_rms.mean, env.obs_rms.var = np.array([1.0, -2.0, 0.5]), np.array([0.1, 4.0, 1.0])
    plain = open_address(teacher_path)
    env.save(str(tmp_path / "vecnormalize.pkl"))
    teacher = open_address(teacher_path)
    raw = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)) * 3
    expected, _ = says(plain, torch.as_tensor(env.normalize_obs(raw.numpy())))
    ours, _ = says(teacher, raw)
    assert torch.allclose(ours, expected, atol=1e-6)
    assert "normalised by vecnormalize.pkl" in teacher.card.preprocessing


def test_statistics_that_leave_observations_alone_change_nothing(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = VecNormalize(DummyVecEnv([lambda: Blank(VECTORS)]), norm_obs=False)
    env.save(str(tmp_path / "vec_normalize.pkl"))
    assert open_address(write_zip(tmp_path / "a.zip")).card.preprocessing.startswith("none (observations are not norm")


def test_a_teacher_is_frozen_and_in_evaluation_mode(tmp_path: Path):
    teacher = open_address(write_zip(tmp_path / "a.zip"))
    out, state = says(teacher, torch.zeros(2, 3), teacher.initial(2))
    assert not teacher.training and not out.requires_grad and state.shape[-1] == 0
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_opening_a_teacher_leaves_the_global_generator_alone(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip")
    before = torch.get_rng_state()
    open_address(path)
    assert torch.equal(before, torch.get_rng_state())


def test_the_card_says_what_the_files_tell(tmp_path: Path):
    card = open_teacher(write_zip(tmp_path / "dqn-CartPole-v1.zip")).card
    assert (card.network, card.parameters, card.tells) == ("MLP 3-4-4-2, relu", 46, "values")
    assert (card.env, card.trained_env_steps, card.format) == ("CartPole-v1", 1000, "Stable-Baselines3 2.9.2 zip")


def test_a_misfit_is_an_error_and_another_protocol_a_warning(tmp_path: Path):
    card = open_teacher(write_zip(tmp_path / "a.zip", weights=dqn_weights())).card
    card.protocol["sticky_actions"] = 0.0
    task = TaskSpec("Task-v0", (3,), "float64", 2, 1, None, {"sticky_actions": 0.25, "frame_skip": 4})
    (warned,) = check_fit(card, task)  # other digits, float64 for float32, are no difference
    assert "sticky_actions" in warned
    for shape, actions in (((4,), 2), ((3,), 3)):
        with pytest.raises(UserError, match=r"sees \(3,\) and has 2 actions, the task shows"):
            check_fit(card, TaskSpec("Task-v0", shape, "float32", actions, 1, None, {}))


def test_an_unknown_kind_of_teacher_names_the_near_one():
    with pytest.raises(UserError, match="did you mean sb3:x"):
        open_teacher("sb33:x")
    with pytest.raises(UserError, match="no such file"):
        open_teacher("nowhere.zip")
