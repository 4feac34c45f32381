"""An agent written as a zip is opened by Stable-Baselines3 itself, plays the same actions there, and learns on."""

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from reincarnate import envs
from reincarnate.agents.agent import Agent, save_agent
from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.files.safe import unpickle_inert
from reincarnate.files.sb3_pickles import ALLOWED
from reincarnate.nets.normalise import ObservationNorm
from reincarnate.priors.weights import open_weights
from reincarnate.sharing.export import export, probes
from reincarnate.sharing.sb3_spaces import spaces_of
from reincarnate.students import (
    A2C,
    D4PG,
    DQN,
    PPO,
    QRDQN,
    SAC,
    TD3,
    TQC,
    ModernSAC,
    PPOContinuous,
    PrimalDual,
    Rainbow,
)
from reincarnate.teachers import open_teacher
from reincarnate.types import TaskSpec

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what importing another library warns about is not ours
    import sb3_contrib
    import stable_baselines3
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

CART = TaskSpec("CartPole-v1", (4,), "float32", 2, 1, None, {})
PENDULUM = TaskSpec("Pendulum-v1", (3,), "float32", 1, 1, None, {}, ((-2.0,), (2.0,)))
SCREEN = TaskSpec("Nobody/Knows-v0", (4, 36, 36), "uint8", 3, 4, None, {})
CHANNELS = TaskSpec("Nobody/Knows-v0", (4, 36, 36), "uint8", 3, 1, None, {})
SMALL = {"hidden": (9, 8)}
BRIEF = {**SMALL, "rollout": 4, "batch_size": 16, "epochs": 1}
REPLAYED = {**SMALL, "replay_size": 200, "batch_size": 8, "warmup": 10}
AGENTS = {
    "ppo": (stable_baselines3.PPO, PPO(**BRIEF, critic_hidden=(7,)), CART),
    "ppo-shared": (stable_baselines3.PPO, PPO(**BRIEF, shared="on", activation="relu"), CART),
    "ppo-numbers": (stable_baselines3.PPO, PPO(**BRIEF, log_std=-0.5), PENDULUM),
    "ppo-screens": (stable_baselines3.PPO, PPO(hidden=(20,)), SCREEN),
    "a2c": (stable_baselines3.A2C, A2C(**SMALL), CART),
    "sac": (stable_baselines3.SAC, SAC(**REPLAYED, critic_hidden=(7,), activation="elu"), PENDULUM),
    "sac-fixed": (stable_baselines3.SAC, SAC(**REPLAYED, alpha=0.3, learn_alpha=False), PENDULUM),
    "sac-sde": (stable_baselines3.SAC, SAC(**REPLAYED, sde=True), PENDULUM),
    "tqc": (sb3_contrib.TQC, TQC(**REPLAYED, quantiles=5), PENDULUM),
    "td3": (stable_baselines3.TD3, TD3(**REPLAYED), PENDULUM),
    "dqn": (stable_baselines3.DQN, DQN(**REPLAYED, activation="tanh"), CART),
    "dqn-dueling": (stable_baselines3.DQN, DQN(**REPLAYED, dueling=True, noisy=True), CART),
    "dqn-screens": (stable_baselines3.DQN, DQN(hidden=(20, 8), replay_size=50, batch_size=8), SCREEN),
    "dqn-channels": (stable_baselines3.DQN, DQN(hidden=(20, 8), replay_size=50, batch_size=8), CHANNELS),
    "qrdqn": (sb3_contrib.QRDQN, QRDQN(**REPLAYED, quantiles=5), CART),
}


def stored(folder: Path, settings, spec: TaskSpec) -> Agent:
    """An agent of random weights, with statistics where it has some."""
    student = settings.newborn(spec, seed=3)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in student.network.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=draw)
        for module in student.network.modules():
            if isinstance(module, ObservationNorm):
                module.update(torch.from_numpy(3 * probes(spec) + 1))
    return save_agent(folder / "agent", student, {"method": "scratch", "env": spec.id, "env_steps": 7, "prior": {}}, "")


def loaded(kind, path: Path, env=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind.load(path, env=env, device="cpu")


@torch.no_grad()
def same_play(agent: Agent, theirs, obs: np.ndarray) -> None:
    """Actions; of values and logits also what they are chosen by."""
    actions, _ = theirs.predict(obs, deterministic=True)
    x = agent.policy()(torch.from_numpy(obs))  # pyright: ignore[reportCallIssue]
    if agent.spec.continuous:
        mean = x[:, :1].tanh() if agent.student.predicts == "squashed" else x[:, :1]
        np.testing.assert_allclose(actions, 2 * mean.clamp(-1, 1).numpy(), rtol=1e-5, atol=1e-5)
        return
    assert (actions == x.argmax(-1).numpy()).all()
    seen, _ = theirs.policy.obs_to_tensor(obs)
    if agent.student.predicts == "values":
        told = (
            theirs.policy.q_net(seen) if hasattr(theirs.policy, "q_net") else theirs.policy.quantile_net(seen).mean(1)
        )
        assert torch.allclose(told, x, rtol=1e-5, atol=1e-5 * float(x.abs().max()))
        return
    told = theirs.policy.get_distribution(seen).distribution.logits
    assert torch.allclose(told, x.log_softmax(-1), rtol=1e-5, atol=1e-5 * max(1.0, float(x.abs().max())))
    assert torch.allclose(
        theirs.policy.predict_values(seen)[:, 0], agent.network().values(torch.from_numpy(obs)), atol=1e-4
    )


@pytest.mark.parametrize("name", AGENTS)
def test_sb3_loads_the_zip_plays_the_same_actions_and_learns_on(name: str, tmp_path: Path):
    kind, settings, spec = AGENTS[name]
    agent, out = stored(tmp_path, settings, spec), tmp_path / "x.zip"
    main(["export", str(agent.path), "--to", "sb3", "--out", str(out)])
    env = gym.make(spec.id) if spec.obs_dtype != "uint8" else None
    theirs = loaded(kind, out, env)
    same_play(agent, theirs, probes(spec))
    assert theirs.num_timesteps == 7 and theirs.gamma == settings.gamma
    if env is None:
        return
    before = [p.clone() for p in theirs.policy.parameters()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.learn(20)
    assert any(not torch.equal(a, b) for a, b in zip(before, theirs.policy.parameters(), strict=True))


@pytest.mark.parametrize("settings", [PPOContinuous(**{**BRIEF, "batch_size": 4}), SAC(**REPLAYED, normalise=True)])
def test_statistics_lie_beside_the_zip_and_sb3_loads_them(settings, tmp_path: Path):
    agent, out = stored(tmp_path, settings, PENDULUM), tmp_path / "x.zip"
    done = export(agent, "sb3", out)
    file = tmp_path / "x_vecnormalize.pkl"
    assert done.beside == (file,) and done.difference is not None and done.difference < 1e-5
    env = DummyVecEnv([lambda: gym.make("Pendulum-v1")])
    wrapped = VecNormalize.load(str(file), env)
    obs = probes(PENDULUM)
    kind = stable_baselines3.PPO if isinstance(settings, PPOContinuous) else stable_baselines3.SAC
    theirs = loaded(kind, out, wrapped)
    actions, _ = theirs.predict(wrapped.normalize_obs(obs), deterministic=True)
    x = agent.policy()(torch.from_numpy(obs))[:, :1]  # pyright: ignore[reportCallIssue]
    mean = x.tanh() if kind is stable_baselines3.SAC else x.clamp(-1, 1)
    np.testing.assert_allclose(actions, 2 * mean.numpy(), rtol=1e-5, atol=1e-5)
    assert wrapped.norm_reward == (kind is stable_baselines3.PPO) and wrapped.clip_obs == 10
    unpickle_inert(file.read_bytes(), ALLOWED, "what we wrote")  # it names nothing but what a reader allows
    again = open_weights(f"sb3:{out}")
    assert again.student.freeze_norm and again.spec.bounds == PENDULUM.bounds


def test_statistics_written_beside_a_zip_are_told_by_what_they_are_of_and_known_as_its_own(tmp_path: Path, capsys):
    for settings, words in (
        (PPOContinuous(**{**BRIEF, "batch_size": 4}), "its observations and of its rewards"),
        (SAC(**REPLAYED, normalise=True), "its observations"),
    ):
        folder = tmp_path / type(settings).__name__
        agent, out = stored(folder, settings, PENDULUM), folder / "x.zip"
        main(["export", str(agent.path), "--to", "sb3", "--out", str(out)])
        assert f"x_vecnormalize.pkl: the statistics of {words}\n" in capsys.readouterr().out
        warned = open_teacher(f"sb3:{out}").card.warnings
        assert warned == ("observations are normalised by x_vecnormalize.pkl (it was written with them)",)


def custom(*names: str) -> str:
    named = ", ".join(f'"{name}": env.{name}' for name in names)
    return f"custom_objects={{{named}}})"


class Odd(gym.Env):
    """Five steps of a task whose spaces `SPACES` names."""

    def __init__(self, which: str = "2d", high: float = 3.0):
        self.action_space, self.observation_space = SPACES[which], gym.spaces.Box(-high, high, (3,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.t += 1
        return np.zeros(3, np.float32), 0.0, False, self.t == 5, {}


SPACES: dict[str, gym.Space] = {
    "2d": gym.spaces.Box(-2, 2, (2, 2), np.float32),
    "several": gym.spaces.MultiDiscrete([2, 3]),
    "later": gym.spaces.Discrete(3, start=5),
    "float64": gym.spaces.Box(-2, 2, (2,), np.float64),
}


@pytest.fixture
def odd():
    for which in SPACES:
        gym.register(f"Odd-{which}-v0", Odd, kwargs={"which": which})
    yield
    for which in SPACES:
        del gym.registry[f"Odd-{which}-v0"]


@pytest.mark.parametrize("address", ["Pendulum-v1?max_episode_steps=50", "Pendulum-v1?g=9.8&max_episode_steps=50"])
def test_an_exported_agent_of_a_task_with_a_shorter_limit_opens_with_its_environment(address, tmp_path: Path, capsys):
    agent, out = stored(tmp_path, SAC(**REPLAYED), replace(PENDULUM, id=address)), tmp_path / "x.zip"
    main(["export", str(agent.path), "--to", "sb3", "--out", str(out)])
    assert "warning" not in capsys.readouterr().err
    loaded(stable_baselines3.SAC, out, gym.make("Pendulum-v1")).learn(12)


@pytest.mark.parametrize("id", ["nobody:Pendulum-v1?import=nobody", "nobody:Make", "Odd-2d-v0?which=2d", "A-v0,B-v0"])
def test_what_a_task_shows_is_not_looked_up_where_that_would_run_what_the_agent_names(id: str, odd, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "builtins.__import__", lambda name, *rest, real=__import__: (asked.append(name), real(name, *rest))[1]
    )
    found = spaces_of(replace(PENDULUM, id=id))
    assert "nobody" not in asked and "nobody" not in sys.modules
    wide = [remark for remark in found.remarks if "not known here" in remark]
    assert bool(wide) == (not id.startswith("nobody:Pendulum")) and isinstance(found.observations, gym.spaces.Box)
    assert not wide or custom("observation_space", "action_space") in wide[0]


def test_the_way_out_of_unknown_spaces_is_told_and_works(odd, tmp_path: Path, capsys):
    spec = replace(PENDULUM, id="nobody:Odd", actions=4, bounds=((-2.0,) * 4, (2.0,) * 4))
    agent, out = stored(tmp_path, SAC(**REPLAYED), spec), tmp_path / "x.zip"
    main(["export", str(agent.path), "--to", "sb3", "--out", str(out)])
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and custom("observation_space", "action_space") in said
    env = gym.make("Odd-2d-v0")
    with pytest.raises(ValueError, match="spaces do not match"):
        loaded(stable_baselines3.SAC, out, env)
    told = {"observation_space": env.observation_space, "action_space": env.action_space}
    stable_baselines3.SAC.load(out, env=env, device="cpu", custom_objects=told).learn(12)


def test_actions_that_sb3_has_in_another_form_are_told_with_a_way_out_that_works(odd, tmp_path: Path):
    for which, settings in (("2d", TD3(**REPLAYED)), ("several", DQN(**REPLAYED)), ("later", DQN(**REPLAYED))):
        spec = envs.spec(f"Odd-{which}-v0")
        out = tmp_path / which / "x.zip"
        remarks = export(stored(tmp_path / which, settings, spec), "sb3", out).remarks
        env, kind = gym.make(spec.id), stable_baselines3.TD3 if which == "2d" else stable_baselines3.DQN
        assert len(remarks) == 1
        told = {"action_space": env.action_space} if which == "2d" else None
        if told:
            assert custom("action_space") in remarks[0]
        else:
            env = eval(remarks[0].partition("give SB3 ")[2], {"gymnasium": gym, "np": np, "env": env})
        kind.load(out, env=env, device="cpu", custom_objects=told).learn(12)
    plain = spaces_of(envs.spec("Odd-float64-v0"))
    assert plain.actions == SPACES["float64"] and not plain.remarks


REFUSED = [
    (PrimalDual(**SMALL), CART, "has no PrimalDual agents; PPO, A2C"),
    (PrimalDual(**SMALL), PENDULUM, "has no PrimalDual agents; PPO, A2C"),
    (Rainbow(**SMALL), CART, "has no Rainbow agents; PPO, A2C"),
    (DQN(**SMALL, layer_norm=True), CART, "DQN has no layer norms"),
    (DQN(hidden=(8,), torso="nature-same"), replace(SCREEN, obs_shape=(4, 84, 84)), "no torso NatureSameCNN"),
    (D4PG(**SMALL, replay_size=300), PENDULUM, "has no D4PG agents"),
    (ModernSAC(**SMALL), PENDULUM, "has no ModernSAC agents"),
    (SAC(**SMALL, log_std_low=-5.0), PENDULUM, r"cuts log σ to \[-20, 2\], the agent by clamp to \[-5.0, 2.0\]"),
]


@pytest.mark.parametrize("settings, spec, match", REFUSED)
def test_an_agent_that_sb3_has_no_place_for_is_one_line_and_no_file(settings, spec, match, tmp_path: Path):
    agent = stored(tmp_path, settings, spec)
    with pytest.raises(UserError, match=match):
        export(agent, "sb3", tmp_path / "x.zip")
    with pytest.raises(UserError, match=r"ends in \.zip"):
        export(agent, "sb3", tmp_path / "x.sb3")
    assert not list(tmp_path.glob("x*"))
