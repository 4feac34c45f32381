"""Imported agents with continuous actions act as the library that trained them says, in the environment's units."""

import base64
import importlib
import json
import pickle
import re
import sys
import warnings
import zipfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from asking import says
from zips import described, write_zip

from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.priors.teacher_report import inspect_teacher
from reincarnate.teachers import open_teacher
from reincarnate.teachers.fit import check_fit
from reincarnate.teachers.sb3 import Sb3Teacher, open_address
from reincarnate.types import MEANS, TaskSpec

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what importing another library warns about is not ours
    import sb3_contrib
    import stable_baselines3
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

REPLAYING = {"SAC": stable_baselines3.SAC, "TD3": stable_baselines3.TD3, "DDPG": stable_baselines3.DDPG}
REPLAYING["TQC"] = sb3_contrib.TQC
ON_POLICY = {"PPO": stable_baselines3.PPO, "A2C": stable_baselines3.A2C, "TRPO": sb3_contrib.TRPO}
ORIGINALS = REPLAYING | ON_POLICY
REAL = {
    "sac-Pendulum-v1": ("SAC", 2.0),
    "ddpg-Pendulum-v1": ("DDPG", 2.0),
    "sac-Hopper-v3": ("SAC", 1.0),
    "tqc-Hopper-v3": ("TQC", 1.0),
    "sac-HalfCheetah-v3": ("SAC", 1.0),
    "ppo-HalfCheetah-v3": ("PPO", 1.0),
}
LOPSIDED = gym.spaces.Box(np.array([-1.5, 0.0, -0.1], np.float32), np.array([0.5, 4.0, 0.3], np.float32))
VECTORS = gym.spaces.Box(-np.inf, np.inf, (5,), np.float32)
IMAGES = gym.spaces.Box(0, 255, (3, 36, 36), np.uint8)
BOX = {":type:": "<class 'gymnasium.spaces.box.Box'>", "dtype": "float32", "_shape": [2]}
TD3 = "stable_baselines3.td3.policies"


class Blank(gym.Env):
    """A task of any spaces in which nothing happens."""

    def __init__(self, observations: gym.Space, actions: gym.Space = LOPSIDED):
        self.observation_space, self.action_space = observations, actions

    def reset(self, *, seed=None, options=None):
        return np.zeros(self.observation_space.shape, self.observation_space.dtype), {}

    def step(self, action):
        return self.reset()[0], 0.0, False, False, {}


def find(folder: Path, name: str) -> str:
    return str(next((folder / "sb3" / name).glob("*.zip")))


def made(algorithm: str, env: gym.Env, policy: str = "MlpPolicy", **more):
    """A new agent, its last layer drawn anew and wide, so that tanh and clipping have something to do."""
    small = {"buffer_size": 10} if algorithm in REPLAYING else {"n_steps": 8}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = ORIGINALS[algorithm](policy, env, device="cpu", seed=1, **small, **more)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in agent.policy.named_parameters():
        if re.search(r"(action_net|actor\.mu)\b", name):
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return agent


def same(teacher: Sb3Teacher, agent, raw: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
    """Our actions, found equal to those of the original; `raw` is what ours gets, `seen` what the original gets."""
    ours, state = says(teacher, torch.as_tensor(raw))
    theirs, _ = agent.predict(raw if seen is None else seen, deterministic=True)
    assert state.shape[-1] == 0 and ours.dtype == torch.float32 and ours.shape == theirs.shape
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-5)
    return theirs


@pytest.mark.parametrize("name", REAL)
def test_a_zoo_agent_acts_as_its_own_library_says(name: str, teachers: Path, monkeypatch):
    algorithm, bound = REAL[name]
    path = find(teachers, name)
    teacher = open_address(path)
    card = teacher.card
    assert card.obs_shape is not None and card.actions is not None
    assert (card.algorithm, card.tells, card.plays) == (algorithm, MEANS, "greedy")
    assert card.bounds == ((-bound,) * card.actions, (bound,) * card.actions)
    raw = 2 * np.random.default_rng(0).standard_normal((1000, *card.obs_shape)).astype(np.float32)
    seen = None
    if name == "ppo-HalfCheetah-v3":
        seen = statistics(teachers / "sb3" / name / "vecnormalize.pkl", card.obs_shape, monkeypatch).normalize_obs(raw)
    actions = same(teacher, original(algorithm, path, card.obs_shape, card.bounds), raw, seen)
    assert np.abs(actions).max() > 0.9 * bound  # they reach the bounds, so that clipping or squashing was seen


def original(algorithm: str, path: str, obs_shape: tuple[int, ...], bounds):
    """The agent as its own library loads it, what its pickles of an older Python hold given by us."""
    low, high = (np.array(bound, np.float32) for bound in bounds)
    given = {
        "observation_space": gym.spaces.Box(-np.inf, np.inf, obs_shape, np.float32),
        "action_space": gym.spaces.Box(low, high),
        "lr_schedule": lambda _: 0.0,
        "learning_rate": 0.0,
        "clip_range": lambda _: 0.0,
        "action_noise": None,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about gym's age and about pickles of an older Python
        return ORIGINALS[algorithm].load(path, custom_objects=given, device="cpu")


def statistics(path: Path, obs_shape: tuple[int, ...], monkeypatch) -> VecNormalize:
    """SB3's own reading of statistics that were pickled with gym, which is gone."""
    for module in ("", ".spaces", ".spaces.box", ".spaces.discrete"):
        monkeypatch.setitem(sys.modules, f"gym{module}", importlib.import_module(f"gymnasium{module}"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy has moved since
        env = DummyVecEnv([lambda: Blank(gym.spaces.Box(-np.inf, np.inf, obs_shape, np.float32))])
        return VecNormalize.load(str(path), env)


@pytest.mark.parametrize("algorithm", ORIGINALS)
def test_an_agent_saved_by_the_library_of_today_is_read_the_same(algorithm: str, tmp_path: Path):
    agent = made(algorithm, Blank(VECTORS))
    agent.save(tmp_path / "agent.zip")
    teacher = open_address(str(tmp_path / "agent.zip"))
    card = teacher.card
    assert (card.algorithm, card.obs_shape, card.actions, card.tells) == (algorithm, (5,), 3, MEANS)
    assert card.bounds == (tuple(LOPSIDED.low.tolist()), tuple(LOPSIDED.high.tolist()))
    assert "nothing was unpickled" in card.safety
    same(teacher, agent, 2 * np.random.default_rng(0).standard_normal((200, 5)).astype(np.float32))


@pytest.mark.parametrize(
    "algorithm, kwargs",
    [
        *[("SAC", {}), ("SAC", {"clip_mean": 0.25}), ("TQC", {"clip_mean": 0.0}), ("PPO", {})],
        *[("PPO", {"squash_output": True}), ("A2C", {"squash_output": True, "full_std": False})],
    ],
)
def test_state_dependent_noise_leaves_its_mark_on_the_mean(algorithm: str, kwargs: dict, tmp_path: Path):
    agent = made(algorithm, Blank(VECTORS), use_sde=True, policy_kwargs=kwargs)
    agent.save(tmp_path / "agent.zip")
    teacher = open_address(str(tmp_path / "agent.zip"))
    obs = 4 * np.random.default_rng(0).standard_normal((200, 5)).astype(np.float32)
    actions = same(teacher, agent, obs)
    assert len(np.unique(actions)) > 10
    assert ("clipped" in teacher.card.network) == (algorithm == "PPO" and not kwargs)


@pytest.mark.parametrize("algorithm", ["SAC", "TD3", "PPO"])
@pytest.mark.parametrize("widths", [[], [7], [7, 6, 5]])
def test_other_widths_and_activations_are_honoured(algorithm: str, widths: list[int], tmp_path: Path):
    critic = {"qf" if algorithm in REPLAYING else "vf": [4]}
    kwargs = {"net_arch": {"pi": widths, **critic}, "activation_fn": torch.nn.ELU}
    agent = made(algorithm, Blank(VECTORS), policy_kwargs=kwargs)
    agent.save(tmp_path / "agent.zip")
    teacher = open_address(str(tmp_path / "agent.zip"))
    same(teacher, agent, np.random.default_rng(0).standard_normal((50, 5)).astype(np.float32))
    assert teacher.card.network.startswith(f"MLP {'-'.join(map(str, [5, *widths, 3]))}, elu")


@pytest.mark.parametrize("algorithm", ["SAC", "TD3", "PPO"])
def test_images_go_through_the_actors_own_convolutions(algorithm: str, tmp_path: Path):
    agent = made(
        algorithm, Blank(IMAGES), "CnnPolicy", policy_kwargs={"features_extractor_kwargs": {"features_dim": 9}}
    )
    agent.save(tmp_path / "agent.zip")
    IMAGES.seed(0)
    obs = np.stack([IMAGES.sample() for _ in range(10)])
    same(open_address(str(tmp_path / "agent.zip")), agent, obs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bounds_that_the_text_cuts_short_are_read_exactly(dtype, tmp_path: Path):
    space = gym.spaces.Box(np.array([-np.pi / 70, -2], dtype), np.array([np.pi / 70, 2], dtype), dtype=dtype)
    agent = made("SAC", Blank(VECTORS, space))
    agent.save(tmp_path / "agent.zip")
    teacher = open_address(str(tmp_path / "agent.zip"))
    assert teacher.card.bounds == (tuple(space.low.tolist()), tuple(space.high.tolist()))
    assert "of the pickles with numbers nothing was imported or run" in teacher.card.safety
    same(teacher, agent, np.random.default_rng(0).standard_normal((50, 5)).astype(np.float32))


def td3_weights() -> dict[str, torch.Tensor]:
    weights = {"actor.mu.0.weight": torch.ones(2, 3), "actor.mu.0.bias": torch.zeros(2)}
    return weights | {"critic.qf0.0.weight": torch.ones(1, 5), "actor_target.mu.0.bias": torch.ones(1)}


def refused(folder: Path, module: str, match: str, kwargs: dict | None = None, **space) -> None:
    data = described(module, action_space=BOX | {"low": "[-1. -1.]", "high": "[1. 1.]"} | space)
    data["policy_kwargs"] = kwargs or {}
    path = write_zip(folder / "a.zip", data, td3_weights())
    with pytest.raises(UserError, match=match) as caught:
        open_address(path)
    assert "\n" not in str(caught.value) and path in str(caught.value)


def test_a_pickle_in_place_of_the_bounds_never_runs(tmp_path: Path):
    made_by = tmp_path / "made"
    payload = base64.b64encode(pickle.dumps(Payload(made_by))).decode()
    refused(tmp_path, TD3, "mkdir.*refused, nothing was run", low="[...]", **{":serialized:": payload})
    assert not made_by.exists()


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return __import__("os").mkdir, (str(self.folder),)


WRONG = {
    "neither in its text nor": {"low": "[0.123456789 0]"},
    "not a pickle that can be read": {"low": "", ":serialized:": "gASV"},
    "neither in its text nor in": {"low": None, ":serialized:": "not base64!"},
    r"one row of floats is needed": {"_shape": [2, 3]},
    r"actions of float32 \[100000\]": {"_shape": [100_000]},
    r"actions of int64 \[2\]": {"dtype": "int64"},
    r"actions of float32 \['x'\]": {"_shape": ["x"]},
    "from .1.0, -1.0. to .1.0, 1.0. cannot be": {"low": "[1. -1.]"},
    "from .-inf, -inf. to .inf, inf. cannot be": {"low": "[-inf -inf]", "high": "[inf inf]"},
    "do not end in 1 actions": {"_shape": [1], "low": "[-1.]", "high": "[1.]"},
}


@pytest.mark.parametrize("words", WRONG)
def test_actions_that_are_wrong_are_refused_in_words(words: str, tmp_path: Path):
    refused(tmp_path, TD3, words, **WRONG[words])


def test_agents_that_cannot_have_such_actions_are_refused(tmp_path: Path):
    refused(tmp_path, "stable_baselines3.dqn.policies", "DQN cannot have actions in a Box space")
    refused(
        tmp_path, "sb3_contrib.tqcx.policies", "policies of sb3_contrib.tqcx.policies; .* CrossQ and ARS can be read"
    )
    refused(tmp_path, "stable_baselines3.sac.policies", "clip_mean is 'nan'", {"clip_mean": "nan"})
    path = write_zip(tmp_path / "b.zip", described(TD3), td3_weights())
    with pytest.raises(UserError, match="TD3 cannot have actions in a Discrete space"):
        open_address(path)


def test_normalised_observations_are_normalised_for_continuous_actions_too(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = VecNormalize(DummyVecEnv([lambda: Blank(VECTORS)]), clip_obs=2.0)
    env.obs_rms.mean, env.obs_rms.var = np.linspace(-1, 1, 5), np.linspace(0.1, 4, 5)
    agent = made("TD3", Blank(VECTORS))
    agent.save(tmp_path / "agent.zip")
    env.save(str(tmp_path / "vecnormalize.pkl"))
    raw = 3 * np.random.default_rng(0).standard_normal((50, 5)).astype(np.float32)
    same(open_address(str(tmp_path / "agent.zip")), agent, raw, env.normalize_obs(raw))


def test_bounds_other_than_the_tasks_are_refused_with_both_printed(tmp_path: Path):
    data = described(TD3, action_space=BOX | {"low": "[-2. -1.]", "high": "[1. 1.]"})
    card = open_teacher(write_zip(tmp_path / "a.zip", data, td3_weights())).card

    def task(low: float, high: float) -> TaskSpec:
        return TaskSpec("Task-v0", (3,), "float32", 2, 1, None, {}, ((low, -1.0), (high, high)))

    assert check_fit(card, task(-2.0, 1.0)) == check_fit(card, task(-2.00001, 1.0)) == []
    for low, high in ((-1.0, 1.0), (-3.0, 9.0)):
        with pytest.raises(UserError, match=r"from \[-2, -1\] to 1, Task-v0 takes .*-1\]? to"):
            check_fit(card, task(low, high))
    with pytest.raises(UserError, match="has continuous actions, Task-v0 discrete ones"):
        check_fit(card, TaskSpec("Task-v0", (3,), "float32", 2, 1, None, {}))


def rows(table) -> dict[str, str]:
    names, values = (list(column.cells) for column in table.columns)
    return dict(zip(names, values, strict=True))


def test_a_real_agent_swings_the_pendulum_up_and_is_inspected(teachers: Path, capsys):
    path = find(teachers, "sac-Pendulum-v1")
    told = rows(inspect_teacher(f"sb3:{path}", "Pendulum-v1", 10, "auto", 0, 1.0, lambda *_: None))
    mean = float(told["score"].split()[0])
    assert -260 < mean < -90 and "plays greedy" in told["score"]
    assert re.fullmatch(
        r"quartiles [\d.]+, [\d.]+, [\d.]+ of the way to the bounds; [\d.]+ % at them", told["action size"]
    )
    assert told["actions"] == "1, from -2 to 2" and not {"action gap", "policy entropy"} & told.keys()
    main(["evaluate", f"sb3:{path}", "--env", "Pendulum-v1", "--episodes", "2"])
    assert capsys.readouterr().out.startswith("Pendulum-v1: -")


def test_an_agent_plays_the_same_returns_here_as_in_its_own_library(teachers: Path):
    path = find(teachers, "ddpg-Pendulum-v1")
    teacher, env = open_address(path), gym.make("Pendulum-v1")
    assert teacher.card.bounds is not None
    agent = original("DDPG", path, (3,), teacher.card.bounds)
    ours = played(env, lambda obs: says(teacher, torch.as_tensor(obs[None]))[0][0].numpy())
    theirs = played(env, lambda obs: agent.predict(obs, deterministic=True)[0])
    assert ours == pytest.approx(theirs, rel=1e-3) and ours > -500


def played(env: gym.Env, act) -> float:
    obs, _ = env.reset(seed=5)
    total = 0.0
    for _ in range(200):
        obs, reward, *_ = env.step(act(obs))
        total += float(reward)
    return total


def refused_line(args: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_what_continuous_actions_cannot_do_yet_is_said_in_one_line(teachers: Path, capsys):
    teacher = f"sb3:{find(teachers, 'sac-Pendulum-v1')}"
    task = ["--env", "Pendulum-v1"]
    assert "continuous" in refused_line(["inspect", teacher, "--env", "CartPole-v1"], capsys)
    assert "as they are told" in refused_line(["evaluate", teacher, *task, "--plays", "sample"], capsys)
    assert "discrete ones" in refused_line(["train", "kickstart", "--teacher", teacher, *task], capsys)


@pytest.mark.filterwarnings("ignore:.*HalfCheetah-v3 is out of date:DeprecationWarning")
def test_a_task_that_has_moved_elsewhere_is_one_line(teachers: Path, capsys):
    line = refused_line(["evaluate", f"sb3:{find(teachers, 'ppo-HalfCheetah-v3')}"], capsys)
    assert "HalfCheetah-v3 needs a package that is not installed" in line


def test_the_text_beside_the_pickles_is_enough(teachers: Path, tmp_path: Path):
    """With every pickle taken out of a real agent, it is read the same."""
    path = find(teachers, "sac-Hopper-v3")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "a.zip", "w") as new:
        data = json.loads(old.read("data"))
        for value in data.values():
            if isinstance(value, dict):
                value.pop(":serialized:", None)
        new.writestr("data", json.dumps(data))
        new.writestr("policy.pth", old.read("policy.pth"))
    obs = torch.randn(20, 11, generator=torch.Generator().manual_seed(0))
    stripped, whole = open_address(str(tmp_path / "a.zip")), open_address(path)
    assert torch.equal(says(stripped, obs)[0], says(whole, obs)[0])
