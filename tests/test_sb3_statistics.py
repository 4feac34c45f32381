"""Observation statistics of SB3 agents are taken on evidence: from the agent's own file, or not at all, and it is said."""

import shutil
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from asking import says
from zips import write_zip

from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.teachers.sb3 import Sb3Teacher, open_address
from reincarnate.teachers.sb3.evidence import normalises

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what importing another library warns about is not ours
    from stable_baselines3 import A2C, DQN
    from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

SIZE = 3
RAW = 4 + 3 * np.random.default_rng(0).standard_normal((40, SIZE)).astype(np.float32)


class Drifting(gym.Env):
    """Observations far from zero, so that statistics matter; episodes of five steps."""

    def __init__(self, size: int = SIZE):
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self._rng, self._t = np.random.default_rng(1), 0

    def _seen(self) -> np.ndarray:
        return (4 + 3 * self._rng.standard_normal(self.observation_space.shape)).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        self._t = 0
        return self._seen(), {}

    def step(self, action):
        self._t += 1
        return self._seen(), 1.0, self._t == 5, False, {}


def trained(kind=A2C, normalised: bool = True, steps: int = 40, seed: int = 0, callback=None, size: int = SIZE, **more):
    """An agent after a short training, and its `VecNormalize`, if it had one."""
    env = DummyVecEnv([lambda: Drifting(size)])
    if normalised:
        env = VecNormalize(env, norm_reward=False, **more)
    small = {"n_steps": 8} if kind is A2C else {"buffer_size": 50, "learning_starts": 1000}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = kind("MlpPolicy", env, device="cpu", seed=seed, policy_kwargs={"net_arch": [8]}, **small)
        agent.learn(steps, callback=callback)
    return agent, env if normalised else None


def same(teacher: Sb3Teacher, agent, statistics: VecNormalize | None) -> None:
    """The teacher gives what the agent gives for observations that went through these statistics."""
    seen = RAW if statistics is None else statistics.normalize_obs(RAW)
    plain = torch.as_tensor(seen, dtype=torch.float32)
    with torch.no_grad():
        theirs = (
            agent.q_net(plain) if isinstance(agent, DQN) else agent.policy.get_distribution(plain).distribution.probs
        )
    ours, _ = says(teacher, torch.as_tensor(RAW))
    assert torch.allclose(ours if isinstance(agent, DQN) else ours.softmax(-1), theirs, atol=1e-5)


def other_statistics(path: Path, size: int = SIZE) -> None:
    """Those of somebody else's training."""
    env = VecNormalize(DummyVecEnv([lambda: Drifting(size)]))
    env.obs_rms.mean, env.obs_rms.var, env.obs_rms.count = np.full(size, 9.0), np.full(size, 0.1), 12345.0
    env.save(str(path))


def test_the_zoos_folder_beside_the_zip_holds_its_statistics(tmp_path: Path):
    agent, statistics = trained()
    (tmp_path / "Drifting-v1").mkdir()
    agent.save(tmp_path / "Drifting-v1.zip")
    statistics.save(str(tmp_path / "Drifting-v1" / "vecnormalize.pkl"))
    teacher = open_address(str(tmp_path / "Drifting-v1.zip"))
    same(teacher, agent, statistics)
    said = "observations are normalised by Drifting-v1/vecnormalize.pkl"
    assert said in teacher.card.preprocessing and said in teacher.card.warnings[0]


def test_the_zoos_best_model_takes_the_statistics_of_its_task(tmp_path: Path):
    env = DummyVecEnv([Drifting])
    evaluated = VecNormalize(env, norm_reward=False, training=False)
    callback = EvalCallback(
        evaluated, best_model_save_path=str(tmp_path), eval_freq=16, n_eval_episodes=1, verbose=0, warn=False
    )
    agent, statistics = trained(steps=40, callback=callback)
    (tmp_path / "Drifting-v1").mkdir()
    agent.save(tmp_path / "Drifting-v1.zip")
    statistics.save(str(tmp_path / "Drifting-v1" / "vecnormalize.pkl"))
    (tmp_path / "Drifting-v1" / "config.yml").write_text("n_timesteps: 40\nnormalize: true\npolicy: MlpPolicy\n")
    same(open_address(str(tmp_path / "best_model.zip")), A2C.load(tmp_path / "best_model.zip"), statistics)


@pytest.mark.parametrize("kind", [A2C, DQN])
def test_each_checkpoint_takes_the_statistics_of_its_own_step(kind, tmp_path: Path):
    callback = CheckpointCallback(16, str(tmp_path), name_prefix="mine", save_vecnormalize=True)
    trained(kind, callback=callback, steps=48)
    names = [f"mine_{step}_steps.zip" for step in (16, 32, 48)]
    for name in names:
        statistics = VecNormalize.load(
            str(tmp_path / name.replace("mine_", "mine_vecnormalize_").replace(".zip", ".pkl")), DummyVecEnv([Drifting])
        )
        same(open_address(str(tmp_path / name)), kind.load(tmp_path / name, device="cpu"), statistics)


@pytest.mark.parametrize("kind", [A2C, DQN])
@pytest.mark.parametrize("size", [SIZE, 7])
def test_anothers_statistics_are_left_alone_by_an_agent_trained_without_them(kind, size: int, tmp_path: Path):
    agent, _ = trained(kind, normalised=False)
    agent.save(tmp_path / "agent.zip")
    other_statistics(tmp_path / "vecnormalize.pkl", size)
    teacher = open_address(str(tmp_path / "agent.zip"))
    same(teacher, agent, None)
    assert "not normalised" in teacher.card.preprocessing and "vecnormalize.pkl" in teacher.card.warnings[0]


def test_a_stray_file_of_another_shape_blocks_no_zip_that_says_nothing(tmp_path: Path):
    other_statistics(tmp_path / "vecnormalize.pkl", 7)
    teacher = open_address(write_zip(tmp_path / "a.zip"))
    assert "vecnormalize.pkl is of shape (7,)" in teacher.card.warnings[0] and teacher._clip is None


@pytest.mark.parametrize("kind", [A2C, DQN])
def test_of_two_agents_in_a_folder_the_numbers_tell_whose_statistics_they_are(kind, tmp_path: Path):
    first, statistics = trained(kind, seed=0)
    second, _ = trained(kind, seed=1, steps=56)
    first.save(tmp_path / "first.zip")
    second.save(tmp_path / "second.zip")
    statistics.save(str(tmp_path / "vecnormalize.pkl"))
    same(open_address(str(tmp_path / "first.zip")), first, statistics)
    if kind is A2C:
        with pytest.raises(
            UserError, match=r"vecnormalize.pkl may be its statistics or another's.*\?vecnormalize=FILE"
        ):
            open_address(str(tmp_path / "second.zip"))


def test_statistics_under_any_name_are_known_by_their_numbers(tmp_path: Path):
    agent, statistics = trained()
    agent.save(tmp_path / "agent.zip")
    statistics.save(str(tmp_path / "stats of monday.pkl"))
    other_statistics(tmp_path / "a.pkl")
    same(open_address(str(tmp_path / "agent.zip")), agent, statistics)


def test_an_agent_whose_statistics_are_missing_is_refused_until_it_is_told(tmp_path: Path):
    agent, statistics = trained()
    agent.save(tmp_path / "agent.zip")
    path = str(tmp_path / "agent.zip")
    with pytest.raises(UserError, match="the zip says that observations were normalised, but no statistics were found"):
        open_address(path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    statistics.save(str(elsewhere / "mine.pkl"))
    without, given = open_address(f"{path}?vecnormalize=none"), open_address(f"{path}?vecnormalize=elsewhere/mine.pkl")
    same(without, agent, None)
    same(given, agent, statistics)
    assert without.card.sha256 != given.card.sha256  # whose scores must not be taken for each other's
    assert "as ?vecnormalize=none asks" in without.card.warnings[0]
    other_statistics(elsewhere / "wide.pkl", 7)
    with pytest.raises(UserError, match=r"statistics of shape \(7,\) do not fit observations \(3,\)"):
        open_address(f"{path}?vecnormalize=elsewhere/wide.pkl")
    with pytest.raises(UserError, match=r"'vecnorm=none' is not understood; known is .vecnormalize=FILE or none"):
        open_address(f"{path}?vecnorm=none")


def test_statistics_that_normalised_rewards_alone_change_no_observation(tmp_path: Path):
    agent, statistics = trained(norm_obs=False)
    agent.save(tmp_path / "agent.zip")
    statistics.save(str(tmp_path / "vecnormalize.pkl"))
    teacher = open_address(str(tmp_path / "agent.zip"))
    same(teacher, agent, None)
    assert "norm_obs = False" in teacher.card.preprocessing


def test_files_that_contradict_each_other_are_refused(tmp_path: Path):
    agent, _ = trained(normalised=False)
    agent.save(tmp_path / "agent.zip")
    (tmp_path / "config.yml").write_text("n_timesteps: 40\nnormalize: true\n")
    with pytest.raises(
        UserError, match=r"its config.yml says that observations were normalised, the zip that they were"
    ):
        open_address(str(tmp_path / "agent.zip"))
    (tmp_path / "config.yml").unlink()
    other_statistics(tmp_path / "agent_vecnormalize.pkl")
    with pytest.raises(UserError, match="bears its name, but the zip says that it was trained without any"):
        open_address(str(tmp_path / "agent.zip"))


def test_settings_of_the_zoo_decide_for_a_zip_that_does_not_say(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip")
    (tmp_path / "config.yml").write_text("n_timesteps: 40\nnormalize: true\n")
    with pytest.raises(UserError, match=r"its config.yml says that observations were normalised, but no statistics"):
        open_address(path)
    other_statistics(tmp_path / "vecnormalize.pkl")
    assert "normalised by vecnormalize.pkl" in open_address(path).card.preprocessing
    (tmp_path / "config.yml").write_text("n_timesteps: 40\npolicy: MlpPolicy\n")
    assert "left alone, for its config.yml says so" in open_address(path).card.preprocessing


SETTINGS = {
    "n_timesteps: 9\nnormalize: true": True,
    "- - - normalize\n    - true\n  - - policy\n    - MlpPolicy\n": True,
    "- - - normalize\n    - false\n  - - policy\n    - MlpPolicy\n": False,
    "- - - policy\n    - MlpPolicy\n": False,
    "policy: MlpPolicy\nnormalize: \"{'norm_obs': True, 'norm_reward': False}\"": True,
    "policy: MlpPolicy\nnormalize: \"{'norm_obs': False, 'norm_reward': True}\"": False,
    "- - - normalize\n    - dict(norm_obs=False, norm_reward=True)\n  - - policy\n    - x\n": False,
    "- - - normalize\n    - '{''norm_obs'': False,\n      ''norm_reward'': True}'\n  - - policy\n    - x\n": False,
    "normalize_advantage: true\nn_timesteps: 1": False,
    "name: something else": None,
}


@pytest.mark.parametrize("text", SETTINGS)
def test_what_the_zoos_settings_say_of_normalisation(text: str, tmp_path: Path):
    (tmp_path / "config.yml").write_text(text)
    assert normalises(tmp_path / "config.yml") is SETTINGS[text]


def test_the_public_collections_layout_scores_as_the_agents_own_folder_does(teachers: Path, tmp_path: Path, capsys):
    """All normalised agents of the RL Zoo's collection: ENV.zip beside ENV/vecnormalize.pkl; every command says it."""
    there = teachers / "sb3" / "ppo-Acrobot-v1"
    (tmp_path / "Acrobot-v1").mkdir()
    shutil.copy(there / "Acrobot-v1.zip", tmp_path)
    for name in ("vecnormalize.pkl", "config.yml", "args.yml"):
        shutil.copy(there / name, tmp_path / "Acrobot-v1")
    out = []
    for folder in (there, tmp_path):
        main(["evaluate", f"sb3:{folder}/Acrobot-v1.zip", "--env", "Acrobot-v1", "--episodes", "3"])
        out.append(capsys.readouterr())
    assert out[0].out == out[1].out and float(out[0].out.split()[1]) > -150
    assert "normalised by Acrobot-v1/vecnormalize.pkl" in " ".join((out[1].out + out[1].err).split())
