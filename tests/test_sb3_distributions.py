"""Gaussian policies of SB3 tell the mean and spread that their own library computes, before tanh or clipping."""

import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from asking import says
from test_teachers_sb3_continuous import LOPSIDED, REAL, VECTORS, Blank, find, made, original, same, statistics

from reincarnate.errors import UserError
from reincarnate.teachers.sb3 import open_address

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what importing another library warns about is not ours
    import sb3_contrib

SPREADLESS = ("DDPG", "TD3")


@torch.no_grad()
def base(agent, seen: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and log σ of the Gaussian in the original, before anything is made of it."""
    obs = torch.as_tensor(seen, dtype=torch.float32)
    if not hasattr(agent.policy, "actor"):
        normal = agent.policy.get_distribution(obs).distribution
    else:
        mean, log_std, more = agent.actor.get_action_dist_params(obs)
        agent.actor.action_dist.actions_from_params(mean, log_std, deterministic=True, **more)
        normal = agent.actor.action_dist.distribution
    return normal.mean, normal.stddev.log()


def told_the_same(path: str, agent, raw: np.ndarray, seen: np.ndarray) -> None:
    mean, log_std = open_address(path).distribution(torch.as_tensor(raw))
    theirs = base(agent, seen)
    assert log_std is not None and mean.shape == log_std.shape == (len(raw), theirs[0].shape[1])
    scale = float(theirs[0].abs().max())
    assert torch.allclose(mean, theirs[0], rtol=1e-5, atol=1e-5 * max(1.0, scale))
    assert torch.allclose(log_std, theirs[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", REAL)
def test_a_zoo_agents_mean_and_spread_are_those_of_its_library(name: str, teachers: Path, monkeypatch):
    algorithm, bound = REAL[name]
    path = find(teachers, name)
    teacher = open_address(path)
    assert teacher.card.obs_shape is not None and teacher.card.bounds is not None and teacher.acts is not None
    raw = 2 * np.random.default_rng(0).standard_normal((1000, *teacher.card.obs_shape)).astype(np.float32)
    seen = raw
    if name == "ppo-HalfCheetah-v3":
        file = teachers / "sb3" / name / "vecnormalize.pkl"
        seen = statistics(file, teacher.card.obs_shape, monkeypatch).normalize_obs(raw)
    assert teacher.acts.squashed == (algorithm != "PPO") and teacher.acts.bounds == teacher.card.bounds
    if algorithm in SPREADLESS:
        mean, log_std = teacher.distribution(torch.as_tensor(raw))
        assert log_std is None and not teacher.acts.spread and "it tells means" in teacher.card.network
        greedy = says(teacher, torch.as_tensor(raw))[0]
        assert torch.allclose(bound * torch.tanh(mean), greedy, atol=1e-6)
        return
    assert teacher.acts.spread and "spread" in teacher.card.network
    agent = original(algorithm, path, teacher.card.obs_shape, teacher.card.bounds)
    told_the_same(path, agent, raw, seen)


@pytest.mark.parametrize(
    "algorithm, kwargs, more",
    [
        *[(algorithm, {}, {}) for algorithm in ("SAC", "TQC", "PPO", "A2C", "TRPO")],
        *[("SAC", {"clip_mean": 0.25}, {"use_sde": True}), ("TQC", {"use_expln": True}, {"use_sde": True})],
        *[("PPO", {"full_std": False, "use_expln": True}, {"use_sde": True})],
        *[("PPO", {"squash_output": True, "log_std_init": 0.5}, {"use_sde": True}), ("A2C", {}, {"use_sde": True})],
    ],
)
def test_the_spread_of_an_agent_saved_today_is_that_of_its_library(algorithm: str, kwargs, more, tmp_path: Path):
    agent = made(algorithm, Blank(VECTORS), policy_kwargs=kwargs, **more)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in agent.policy.named_parameters():
        if "log_std" in name:  # of either sign, so that expln has something to do
            parameter.data = torch.randn(parameter.shape, generator=generator)
    agent.save(tmp_path / "agent.zip")
    obs = np.random.default_rng(0).standard_normal((200, 5)).astype(np.float32)
    told_the_same(str(tmp_path / "agent.zip"), agent, obs, obs)
    acts = open_address(str(tmp_path / "agent.zip")).acts
    assert acts is not None and acts.squashed == (algorithm in ("SAC", "TQC") or bool(kwargs.get("squash_output")))


@pytest.mark.parametrize(
    "more", [{}, {"batch_norm": False}, {"batch_norm_eps": 0.1}, {"net_arch": {"pi": [9, 6], "qf": [4]}}]
)
def test_a_crossq_agent_acts_and_spreads_as_its_library_says(more: dict, tmp_path: Path):
    small = {"net_arch": {"pi": [8], "qf": [8]}} | more
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = sb3_contrib.CrossQ(
            "MlpPolicy", Blank(VECTORS), device="cpu", seed=1, buffer_size=10, policy_kwargs=small
        )
    generator = torch.Generator().manual_seed(0)
    for name, tensor in agent.policy.state_dict().items():
        if name.startswith("actor") and tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + (0.1 if "ra_var" in name else -0.4))
    agent.save(tmp_path / "agent.zip")
    obs = np.random.default_rng(0).standard_normal((200, 5)).astype(np.float32)
    teacher = open_address(str(tmp_path / "agent.zip"))
    assert teacher.card.algorithm == "CrossQ"
    same(teacher, agent, obs)
    told_the_same(str(tmp_path / "agent.zip"), agent, obs, obs)


@pytest.mark.parametrize(
    "policy, kwargs",
    [
        ("LinearPolicy", {}),
        ("MlpPolicy", {}),
        ("LinearPolicy", {"with_bias": True}),
        ("MlpPolicy", {"squash_output": False}),
    ],
)
def test_an_ars_agent_acts_as_its_library_says(policy: str, kwargs: dict, tmp_path: Path):
    agent = ars(policy, Blank(VECTORS), kwargs)
    agent.save(tmp_path / "agent.zip")
    teacher = open_address(str(tmp_path / "agent.zip"))
    obs = np.random.default_rng(0).standard_normal((200, 5)).astype(np.float32)
    same(teacher, agent, obs)
    assert teacher.acts is not None and not teacher.acts.spread and teacher.card.algorithm == "ARS"
    assert teacher.acts.squashed == kwargs.get("squash_output", policy == "MlpPolicy")


def test_an_ars_agent_with_discrete_actions_chooses_as_its_library_does(tmp_path: Path):
    agent = ars("MlpPolicy", Blank(VECTORS, gym.spaces.Discrete(4)), {})
    agent.save(tmp_path / "agent.zip")
    teacher = open_address(str(tmp_path / "agent.zip"))
    obs = np.random.default_rng(0).standard_normal((200, 5)).astype(np.float32)
    ours = says(teacher, torch.as_tensor(obs))[0].argmax(-1).numpy()
    assert (ours == agent.predict(obs, deterministic=True)[0]).all() and len(np.unique(ours)) > 1
    assert teacher.acts is None
    with pytest.raises(UserError, match="has discrete actions, of which there is no Gaussian"):
        teacher.distribution(torch.as_tensor(obs))


def ars(policy: str, env: gym.Env, kwargs: dict):
    """An agent of random weights: a new one's are zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = sb3_contrib.ARS(policy, env, device="cpu", seed=1, policy_kwargs=kwargs)
    generator = torch.Generator().manual_seed(0)
    for parameter in agent.policy.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return agent


GRIDS = {
    "an image": (gym.spaces.Box(0, 255, (3, 36, 36), np.uint8), True),
    "a small image": (gym.spaces.Box(0, 255, (3, 4, 4), np.uint8), True),
    "a grid of kinds": (gym.spaces.Box(0, 9, (3, 4, 4), np.uint8), False),
    "a large grid of kinds": (gym.spaces.Box(0, 9, (3, 36, 36), np.uint8), False),
    "a board": (gym.spaces.Box(0, 255, (8, 8), np.uint8), False),
    "bytes": (gym.spaces.Box(0, 255, (6,), np.uint8), False),
}


def odd() -> gym.spaces.Box:
    """A large grid that is an image but for one number, which the text leaves out."""
    high = np.full((3, 36, 36), 255, np.uint8)
    high[1, 17, 17] = 254
    return gym.spaces.Box(np.zeros_like(high), high, dtype=np.uint8)


@pytest.mark.parametrize("name", [*GRIDS, "an image but for one number"])
def test_only_images_in_the_sense_of_sb3_are_divided_by_255(name: str, tmp_path: Path):
    space, divided = GRIDS.get(name) or (odd(), False)
    agent = made("SAC", Blank(space, LOPSIDED), policy_kwargs={"net_arch": [8]})
    agent.save(tmp_path / "agent.zip")
    space.seed(0)
    obs = np.stack([space.sample() for _ in range(20)])
    teacher = open_address(str(tmp_path / "agent.zip"))
    same(teacher, agent, obs)
    assert ("divided by 255" in teacher.card.preprocessing) == divided
