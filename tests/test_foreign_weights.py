"""Somebody else's agent goes on: what its networks say, its targets, α and moments are those of its own library."""

import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import test_teachers_sb3 as discrete
import test_teachers_sb3_continuous as continuous
import torch
from thinning import slow
from zips import described, dqn_weights, write_zip

from reincarnate import Run, execute
from reincarnate.agents.agent import open_agent
from reincarnate.agents.imported import Imported
from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.losses.log_probs import log_prob_of, squashed_log_prob
from reincarnate.methods import METHODS
from reincarnate.priors.weights import open_weights
from reincarnate.students import PPO, SAC
from reincarnate.teachers.sb3 import hyper
from reincarnate.types import TimeStep

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what importing another library warns about is not ours
    import sb3_contrib
    import stable_baselines3

CART = gym.spaces.Box(-1, 1, (4,), np.float32)
CLASSES = {
    **{name: getattr(stable_baselines3, name) for name in ("PPO", "A2C", "DQN", "SAC", "TD3", "DDPG")},
    "TQC": sb3_contrib.TQC,
    "QR-DQN": sb3_contrib.QRDQN,
}
OFF_POLICY = ("SAC", "TQC", "TD3", "DDPG")


def opened(path: str) -> Imported:
    agent = open_weights(f"sb3:{path}")
    assert isinstance(agent, Imported)
    return agent


@torch.no_grad()
def ours(agent: Imported, obs: np.ndarray) -> torch.Tensor:
    policy = agent.policy()
    step = TimeStep(torch.as_tensor(obs), torch.zeros(len(obs), dtype=torch.bool))
    return policy.predict(step, policy.initial(len(obs)))[0].x


def close(a: torch.Tensor, b: torch.Tensor, scale: float = 1.0) -> None:
    assert a.shape == b.shape
    assert torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-5 * max(1.0, scale))


def observations(size: int, n: int = 1000) -> np.ndarray:
    return 2 * np.random.default_rng(0).standard_normal((n, size)).astype(np.float32)


# ---- parity --------------------------------------------------------------------------------------------


@torch.no_grad()
def same_values(agent: Imported, theirs, raw: np.ndarray) -> None:
    """Action values; of QR-DQN each quantile."""
    obs, network = torch.as_tensor(raw), agent.network()
    if agent.card.algorithm == "DQN":
        expected = theirs.q_net(obs)
        close(network(obs), expected, float(expected.abs().max()))
        lagging = theirs.q_net_target(obs)
    else:
        expected = theirs.quantile_net(obs).transpose(1, 2)
        close(network(obs), expected, float(expected.abs().max()))
        lagging = theirs.quantile_net_target(obs).transpose(1, 2)
    target = agent.student.network(agent.spec)
    target.load_state_dict(dict(agent.lagging))
    close(target(obs), lagging, float(lagging.abs().max()))


@torch.no_grad()
def same_policy(agent: Imported, theirs, raw: np.ndarray, seen: np.ndarray) -> None:
    """Means, log-probabilities in the task's units, and state values."""
    obs, policy, x = torch.as_tensor(seen, dtype=torch.float32), theirs.policy, ours(agent, raw)
    distribution = policy.get_distribution(obs)
    values = policy.predict_values(obs)[:, 0]
    close(agent.network().values(torch.as_tensor(raw)), values, float(values.abs().max()))  # pyright: ignore
    if agent.spec.bounds is None:
        close(x.log_softmax(-1), distribution.distribution.logits)
        return
    low, high = (torch.tensor(bound) for bound in agent.spec.bounds)
    half = (high - low) / 2
    actions = distribution.distribution.sample()
    log_prob = log_prob_of("gaussian", x, (actions - (high + low) / 2) / half) - half.log().sum()
    expected = distribution.log_prob(actions)
    close(log_prob, expected, float(expected.abs().max()))
    close(x.chunk(2, -1)[0] * half + (high + low) / 2, distribution.distribution.mean)


@torch.no_grad()
def same_actor_critic(agent: Imported, theirs, raw: np.ndarray) -> None:
    """Means, log-probabilities, both critics and their targets."""
    same_critics(lagging_critic(agent), theirs.critic_target, raw, agent.spec.actions)
    if agent.card.algorithm in ("TD3", "DDPG"):
        same_critics(agent.network().critic, theirs.critic, raw, agent.spec.actions)
        close(ours(agent, raw), theirs.actor(torch.as_tensor(raw, dtype=torch.float32)))
        return
    same_soft(agent, theirs, raw)


@torch.no_grad()
def same_critics(critic, theirs, raw: np.ndarray, actions: int) -> None:
    """What they say of random actions."""
    obs, unit = torch.as_tensor(raw, dtype=torch.float32), 2 * torch.rand(len(raw), actions, generator=generator()) - 1
    said = theirs(obs, unit)
    expected = torch.cat(said, -1).T if isinstance(said, tuple) else said.transpose(0, 1)
    close(critic(obs, unit), expected, float(expected.abs().max()))


@torch.no_grad()
def same_soft(agent: Imported, theirs, raw: np.ndarray) -> None:
    """Means and spread of the Gaussian before tanh, log-probabilities, critics and α."""
    network, x, obs = agent.network(), ours(agent, raw), torch.as_tensor(raw, dtype=torch.float32)
    same_critics(network.critic, theirs.critic, raw, agent.spec.actions)
    mean, log_std, more = theirs.actor.get_action_dist_params(obs)
    theirs.actor.action_dist.actions_from_params(mean, log_std, deterministic=True, **more)
    normal = theirs.actor.action_dist.distribution
    close(x.chunk(2, -1)[0], normal.mean, float(normal.mean.abs().max()))
    close(x.chunk(2, -1)[1], normal.stddev.log())
    base = (normal.mean + 0.5 * normal.stddev).clamp(-2, 2)  # further out their formula adds 1e-6 to what is as small
    expected = theirs.actor.action_dist.log_prob(base.tanh())
    close(squashed_log_prob(*x.chunk(2, -1), base), expected, 10 * float(expected.abs().max()))
    close(network.entropy.log_alpha.exp()[None], alpha_of(theirs))


def alpha_of(theirs) -> torch.Tensor:
    return theirs.log_ent_coef.detach().exp() if theirs.log_ent_coef is not None else theirs.ent_coef_tensor[None]


def lagging_critic(agent: Imported):
    critic = agent.student.network(agent.spec).critic
    critic.load_state_dict({name[7:]: t for name, t in agent.lagging.items() if name.startswith("critic.")})
    return critic


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", [*discrete.DISCRETE, *continuous.REAL])
def test_a_zoo_agent_goes_on_as_what_it_was(name: str, teachers: Path, monkeypatch):
    path = discrete.find(teachers, name)
    agent = opened(path)
    raw = observations(agent.spec.obs_shape[0])
    if name in continuous.REAL:
        theirs = continuous.original(continuous.REAL[name][0], path, agent.spec.obs_shape, agent.spec.bounds)
    else:
        theirs = discrete.original(discrete.open_address(path), path)
    file, seen = teachers / "sb3" / name / "vecnormalize.pkl", raw
    if file.exists():
        seen = continuous.statistics(file, agent.spec.obs_shape, monkeypatch).normalize_obs(raw)
        assert agent.student.norm_obs and agent.student.freeze_norm
    same(agent, theirs, raw, seen)


def same(agent: Imported, theirs, raw: np.ndarray, seen: np.ndarray) -> None:
    if agent.card.algorithm in OFF_POLICY:
        same_actor_critic(agent, theirs, raw)
    elif agent.card.algorithm in ("DQN", "QR-DQN"):
        same_values(agent, theirs, raw)
    else:
        same_policy(agent, theirs, raw, seen)


SHAPES = [
    ("PPO", {"net_arch": {"pi": [9, 8], "vf": [7]}, "activation_fn": torch.nn.ELU}, {}),
    ("PPO", {"full_std": False}, {"use_sde": True}),
    ("A2C", {"net_arch": [6], "activation_fn": torch.nn.SiLU}, {}),
    ("SAC", {"net_arch": {"pi": [9], "qf": [8, 7]}, "n_critics": 3, "activation_fn": torch.nn.Mish}, {"ent_coef": 0.3}),
    ("SAC", {}, {"use_sde": True}),
    ("TQC", {"n_quantiles": 6, "net_arch": [9, 8]}, {"top_quantiles_to_drop_per_net": 1}),
    ("TD3", {"net_arch": [9, 8], "activation_fn": torch.nn.Tanh}, {}),
    ("DDPG", {"net_arch": [9]}, {}),
    ("DQN", {"net_arch": [9, 8], "activation_fn": torch.nn.GELU}, {}),
    ("QR-DQN", {"net_arch": [9], "n_quantiles": 5}, {}),
]
TASK = {"DQN": gym.spaces.Discrete(3), "QR-DQN": gym.spaces.Discrete(3)}


def trained(algorithm: str, kwargs: dict, more: dict, folder: Path, steps: int = 12, env: gym.Env | None = None):
    """A small agent of today's library that has learnt a little, so that its optimisers remember something."""
    small = {"n_steps": 8} if algorithm in ("PPO", "A2C") else {"buffer_size": 50, "learning_starts": 4}
    small |= {"batch_size": 4} if algorithm != "A2C" else {}
    env = env or Restless(continuous.VECTORS, TASK.get(algorithm, continuous.LOPSIDED))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = CLASSES[algorithm]("MlpPolicy", env, device="cpu", seed=1, policy_kwargs=kwargs, **small, **more)
        agent.learn(steps)
    for i, parameter in enumerate(agent.policy.parameters()):  # so that targets and α are not what they follow
        parameter.data += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i))
    agent.save(folder / "agent.zip")
    return agent, str(folder / "agent.zip")


class Restless(continuous.Blank):
    """A task of any spaces in which something random happens, for ten steps."""

    def reset(self, *, seed=None, options=None):
        self.rng, self.left = np.random.default_rng(seed), 10
        return self.rng.standard_normal(self.observation_space.shape).astype(np.float32), {}

    def step(self, action):
        self.left -= 1
        obs = self.rng.standard_normal(self.observation_space.shape).astype(np.float32)
        return obs, float(self.rng.standard_normal()), self.left == 0, False, {}


@pytest.mark.parametrize("algorithm, kwargs, more", SHAPES)
def test_an_agent_of_todays_library_goes_on_with_all_that_it_had(algorithm, kwargs, more, tmp_path):
    theirs, path = trained(algorithm, kwargs, more, tmp_path)
    agent, raw = opened(path), observations(5, 200)
    same(agent, theirs, raw, raw)
    if kwargs.get("full_std") is False:  # one weight there for all numbers of an action has one each here
        assert not agent.moments and "no optimiser's state" in agent.said[-1]
        return
    optimisers = (
        {"": theirs.policy.optimizer}
        if algorithm not in OFF_POLICY
        else {
            "actor": theirs.actor.optimizer,
            "critic": theirs.critic.optimizer,
            **({"entropy": theirs.ent_coef_optimizer} if getattr(theirs, "ent_coef_optimizer", None) else {}),
        }
    )
    for part, optimiser in optimisers.items():
        theirs_of = list(optimiser.state.values())
        slots, key = agent.moments[part].slots, "exp_avg_sq" if "exp_avg_sq" in theirs_of[0] else "square_avg"
        if algorithm not in ("PPO", "A2C"):  # there a layer is in other units
            total = sum(float(one[key].double().sum()) for one in theirs_of)
            assert total > 0 and total == pytest.approx(sum(float(t.double().sum()) for t in slots["square"].values()))
        assert agent.moments[part].steps == (max(int(one["step"]) for one in theirs_of))
    state = agent.optimizer_state()
    student = agent.student.newborn(agent.spec, 7)
    student.load({name: tensor.clone() for name, tensor in agent.tensors.items()})
    assert student.adopt(state) == "optimiser: its state is reused"
    taken = student.state()
    student.trail(state) if agent.lagging else None
    assert all(torch.equal(taken[name], state[name]) for name in taken if "target" not in name)
    assert all(torch.equal(student.state()[name], state[name]) for name in state if "target" in name)


CROSSQ = [
    ({"net_arch": {"pi": [9, 8], "qf": [7]}}, {}),
    ({"net_arch": [6], "n_critics": 3, "activation_fn": torch.nn.SiLU, "batch_norm_eps": 0.1}, {"ent_coef": 0.3}),
    ({"net_arch": [6], "batch_norm": False}, {}),
    ({"net_arch": [6], "batch_norm": False}, {"use_sde": True}),
]


def crossq(env: gym.Env | str, folder: Path, kwargs: dict, more: dict):
    """A CrossQ agent whose weights and running statistics are random, as if it had learnt."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = sb3_contrib.CrossQ(
            "MlpPolicy", env, device="cpu", seed=1, buffer_size=50, batch_size=4, policy_kwargs=kwargs, **more
        )
    for name, tensor in agent.policy.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator()) + (0.1 if "ra_var" in name else -0.4))
    agent.save(folder / "agent.zip")
    return agent, str(folder / "agent.zip")


@pytest.mark.parametrize("kwargs, more", CROSSQ)
def test_a_crossq_agent_goes_on_as_a_sac_agent_that_says_the_same(kwargs, more, tmp_path):
    theirs, path = crossq(Restless(continuous.VECTORS, continuous.LOPSIDED), tmp_path, kwargs, more)
    theirs.policy.set_training_mode(False)
    agent, raw = opened(path), observations(5)
    same_soft(agent, theirs, raw)
    student = agent.student
    assert (
        isinstance(student, SAC)
        and student.actor_every == 3
        and student.tau == SAC().tau
        and student.sde == bool(more.get("use_sde"))
    )
    assert student.batch_size == 4 and not agent.kept and "acts the same and goes on as SAC" in agent.said[-1]


def test_a_crossq_agent_that_cannot_go_on_is_refused_in_one_line(tmp_path):
    env = Restless(continuous.VECTORS, continuous.LOPSIDED)
    _, path = crossq(env, tmp_path, {"net_arch": [4]}, {"use_sde": True})
    with pytest.raises(UserError, match="gSDE behind batch renormalisation; it can be a --teacher"):
        opened(path)


def test_a_crossq_agent_teaches_goes_on_and_is_inspected(tmp_path, capsys):
    _, path = crossq("Pendulum-v1", tmp_path, {"net_arch": [6]}, {})
    main(["inspect", f"sb3:{path}", "--env", "Pendulum-v1", "--episodes", "1"])
    assert "CrossQ" in (said := capsys.readouterr().out) and "batch renormalisation" in said
    few = {"eval_episodes": 1, "final_episodes": 1, "reference_episodes": 1, "evaluations": 1, "env_steps": 60}
    few |= {"store": str(tmp_path / "store")}
    small = SAC(hidden=(4,), warmup=10, batch_size=8)
    execute(Run("Pendulum-v1", method("kickstart"), small, teacher=f"sb3:{path}", **few), tmp_path / "taught")
    going_on = replace(opened(path).student, warmup=10, batch_size=8)
    notes: list[str] = []
    run = Run("Pendulum-v1", method("finetune"), going_on, weights=f"sb3:{path}", **few)
    assert execute(run, tmp_path / "on", note=notes.append)["prior"]["weights"] == opened(path).sha256
    assert any("renormalisation became part of its layers" in note for note in notes)


# ---- refusals ------------------------------------------------------------------------------------------


def line_of(args: list[str], capsys) -> str:
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as end:
        main(args)
    assert end.value.code == 2
    return " ".join(capsys.readouterr().err.split())


SHORT = [
    "--env-steps",
    "300",
    "--evaluations",
    "1",
    "--eval-episodes",
    "1",
    "--final-episodes",
    "1",
    "--reference-episodes",
    "1",
]


def test_a_student_of_another_kind_shape_or_function_is_refused_with_both_printed(tmp_path, capsys):
    weights = ["--weights", f"sb3:{write_zip(tmp_path / 'a.zip', described(obs_shape=(4,)), dqn_weights(4))}", *SHORT]
    go = ["train", "finetune", "--env", "CartPole-v1", "--out", str(tmp_path / "run"), *weights]
    said = line_of([*go, "--student", "ppo"], capsys)
    assert "the agent is another kind than the student" in said and "DQN (MLP 4-4)" in said and "PPO (mlp 64-64" in said
    assert f"or let it teach: reincarnate train qdagger --teacher {weights[1]}" in said
    said = line_of([*go, "--student.hidden", "5"], capsys)
    assert "torso.layers.0.weight is [4, 4] there and [5, 4] in the student" in said and "DQN (MLP 5)" in said
    said = line_of([*go, "--student.activation", "tanh"], capsys)
    assert "would not act as the agent: activation relu there, tanh here" in said
    go[3] = "Pendulum-v1"
    assert "Pendulum-v1 has continuous actions" in line_of(go, capsys)
    assert not (tmp_path / "run").exists()


def test_half_precision_is_no_other_function(tmp_path):
    weights = ["--weights", f"sb3:{write_zip(tmp_path / 'a.zip', described(obs_shape=(4,)), dqn_weights(4))}", *SHORT]
    main(["train", "finetune", "--env", "CartPole-v1", "--out", str(tmp_path / "run"), *weights, "--student.bfloat16"])
    assert open_agent(tmp_path / "run").student.bfloat16


def test_bounds_that_differ_from_the_tasks_are_refused_with_both_printed(tmp_path, capsys):
    wide = Restless(gym.spaces.Box(-1, 1, (3,), np.float32), gym.spaces.Box(-3, 3, (1,), np.float32))
    _, path = trained("TD3", {"net_arch": [4]}, {}, tmp_path, steps=1, env=wide)
    said = line_of(["train", "finetune", "--env", "Pendulum-v1", "--weights", f"sb3:{path}", *SHORT], capsys)
    assert "lie within ((-3.0,), (3.0,)), those of Pendulum-v1 within ((-2.0,), (2.0,))" in said


@pytest.mark.parametrize(
    "data, change, match",
    [
        ({}, {"q_net.q_net.0.weight": torch.full((4, 3), torch.nan)}, "NaN or infinity"),
        ({}, {"q_net.q_net.4.bias": torch.zeros(7)}, "make no layer"),
        ({}, {"q_net_target.q_net.0.weight": torch.zeros(4, 3)}, "its network lacks"),
        ({"gamma": 1e9, "batch_size": "7", "learning_rate": True, "buffer_size": -4}, {}, None),
    ],
)
def test_a_zip_that_is_spoilt_is_one_line_and_numbers_that_make_no_sense_are_not_taken(data, change, match, tmp_path):
    path = write_zip(tmp_path / "a.zip", described(**data), {**dqn_weights(), **change})
    if match is None:
        agent = opened(path)
        usual = type(agent.student)()
        assert agent.student.gamma == usual.gamma and agent.student.batch_size == usual.batch_size
        assert agent.student.lr == usual.lr and agent.student.replay_size == usual.replay_size and not agent.kept
        return
    with pytest.raises(UserError, match=match):
        opened(path)


def test_an_optimisers_state_of_strangers_is_never_run_and_left_where_it_does_not_fit(tmp_path):
    hostile = b"cos\nsystem\n(S'touch /tmp/never'\ntR."
    path = write_zip(tmp_path / "a.zip", **{"policy.optimizer.pth": hostile})
    assert not opened(path).moments
    _, path = trained("DQN", {"net_arch": [4]}, {}, tmp_path)
    assert opened(path).moments[""].steps > 0


def test_agents_without_a_critic_are_refused_in_words(tmp_path):
    data = described("sb3_contrib.ars.policies", obs_shape=(3,))
    data["policy_class"]["__init__"] = "<function ARSLinearPolicy.__init__ at 0x7f>"
    path = write_zip(tmp_path / "a.zip", data, {"action_net.weight": torch.ones(2, 3)})
    with pytest.raises(UserError, match=r"agents of ARS cannot go on .it has no critic.; it can be a --teacher"):
        opened(path)


# ---- going on ------------------------------------------------------------------------------------------


def method(name: str, **settings):
    return METHODS[name](**settings)


@pytest.mark.parametrize(
    "zoo, task, way, student",
    [
        ("dqn-CartPole-v1", "CartPole-v1", method("finetune", reuse="all"), {"update_every": 4, "updates_each": 1}),
        slow("ppo-CartPole-v1", "CartPole-v1", method("finetune", reuse="all"), {"epochs": 1}),
        ("sac-Pendulum-v1", "Pendulum-v1", method("wsrl", warmup_env_steps=50), {"batch_size": 16}),
        slow("ddpg-Pendulum-v1", "Pendulum-v1", method("finetune", reuse="all"), {"batch_size": 16, "update_every": 4}),
    ],
)
def test_training_goes_on_from_a_zoo_agent_and_the_lineage_names_it(zoo, task, way, student, teachers, tmp_path):
    address = f"sb3:{discrete.find(teachers, zoo)}"
    agent = open_weights(address)
    settings = replace(agent.student, **student, **({"warmup": 20} if hasattr(agent.student, "warmup") else {}))
    few = {"eval_episodes": 1, "final_episodes": 1, "reference_episodes": 1, "evaluations": 1, "env_steps": 300}
    notes: list[str] = []
    run = Run(task, way, settings, weights=address, store=str(tmp_path / "store"), **few)
    result = execute(run, tmp_path / "run", note=notes.append)
    assert result["prior"]["weights"] == agent.sha256 and result["prior"]["ancestors"][agent.sha256]
    if getattr(way, "reuse", "") == "all":
        assert "optimiser: its state is reused" in notes
        assert ("target networks: the agent's own" in notes) == ("ppo" not in zoo)
    if "sac" not in zoo:
        assert not any("warning" in note and "not all fits" in note for note in notes)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize(
    "settings, env",
    [
        (PPO(norm_obs=True, norm_reward=True, rollout=8), "CartPole-v1"),
        (SAC(normalise=True, hidden=(4,), warmup=10, batch_size=8), "Pendulum-v1"),
    ],
)
def test_frozen_statistics_stay_as_they_are(settings, env, frozen, tmp_path):
    settings = replace(settings, freeze_norm=frozen)
    few = {"eval_episodes": 1, "final_episodes": 1, "reference_episodes": 1, "evaluations": 1, "env_steps": 128}
    execute(Run(env, METHODS["scratch"](), settings, store=str(tmp_path / "store"), **few), tmp_path / "run")
    counts = [t for name, t in open_agent(tmp_path / "run").network().state_dict().items() if "moments.count" in name]
    assert counts and all((float(count) < 1) == frozen for count in counts)


def test_a_rhythm_in_steps_of_several_copies_is_told_in_env_steps(monkeypatch):
    monkeypatch.setattr(hyper, "_frequency", lambda told: 4)
    for copies, each, wanted in ((1, 1, (4, 1, 250)), (8, 1, (32, 1, 31)), (8, -1, (32, 32, 1000))):
        data = {"n_envs": copies, "gradient_steps": each, "target_update_interval": 1000}
        pace = hyper.rhythm(data)
        assert (pace["update_every"], pace["updates_each"], hyper.target_updates(data, pace)["target_every"]) == wanted
