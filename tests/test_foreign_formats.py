"""Agents of CleanRL and Dopamine, and of the Hub, go on: their networks say what their own modules compute."""

from pathlib import Path

import numpy as np
import pytest
import test_teachers_cleanrl as cleanrl
import test_teachers_dopamine as dopamine
import torch
from test_foreign_weights import close, ours
from torch import nn
from torch.nn import functional as F
from zips import write_zip

from reincarnate.agents.imported import Imported
from reincarnate.errors import UserError
from reincarnate.losses.log_probs import log_prob_of
from reincarnate.priors.weights import open_weights
from reincarnate.teachers import hub
from reincarnate.teachers.chains import value_agent
from reincarnate.teachers.dopamine import build, card_of
from reincarnate.teachers.dopamine.files import Checkpoint
from reincarnate.types import TaskSpec

SCREENS = (4, 84, 84)


def saved(folder: Path, value) -> str:
    torch.save(value, folder / "a.cleanrl_model")
    return f"cleanrl:{folder / 'a.cleanrl_model'}"


def nature(outputs: int) -> nn.Sequential:
    """Of `dqn_atari.py`, in full."""
    convs = nn.Conv2d(4, 32, 8, stride=4), nn.Conv2d(32, 64, 4, stride=2), nn.Conv2d(64, 64, 3, stride=1)
    torso = [module for conv in convs for module in (conv, nn.ReLU())]
    return nn.Sequential(*torso, nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, outputs))


@torch.no_grad()
def test_cleanrls_value_agents_go_on(tmp_path: Path):
    screens = cleanrl.Values(True, 6)
    screens.network = nature(6)
    for model, value, shape in (
        (*cleanrl.plain(cleanrl.Values(False, 2)), (4,)),
        (*cleanrl.c51(False), (4,)),
        (*cleanrl.plain(screens), SCREENS),
    ):
        agent, obs = open_weights(saved(tmp_path, value)), cleanrl.observations(shape)
        close(ours(agent, obs), model(obs.float()))  # pyright: ignore[reportArgumentType]
    assert type(agent.student).__name__ == "DQN" and agent.spec.stack == 4 and agent.student.torso == "nature"


@torch.no_grad()
def test_pqn_of_cleanrl_goes_on_with_its_layer_norms(tmp_path: Path):
    model = nn.Sequential(nn.Linear(4, 9), nn.LayerNorm(9), nn.ReLU(), nn.Linear(9, 8), nn.LayerNorm(8), nn.ReLU())
    model.append(nn.Linear(8, 2))
    agent = open_weights(saved(tmp_path, {f"network.{name}": t for name, t in model.state_dict().items()}))
    obs = cleanrl.observations((4,))
    close(ours(agent, obs), model(obs))  # pyright: ignore[reportArgumentType]
    assert type(agent.student).__name__ == "PQN" and agent.student.layer_norm


@torch.no_grad()
def test_cleanrls_policies_go_on_with_their_critics(tmp_path: Path):
    model = cleanrl.Policy()
    agent, obs = open_weights(saved(tmp_path, model.state_dict())), cleanrl.observations((4,))
    close(ours(agent, obs), model(obs))  # pyright: ignore[reportArgumentType]
    close(agent.network().values(obs), model.critic(obs)[:, 0])  # pyright: ignore
    model = cleanrl.ScreenPolicy()
    model.network, model.actor, model.critic = nature(1)[:-1], nn.Linear(512, 4), nn.Linear(512, 1)
    agent, obs = open_weights(saved(tmp_path, model.state_dict())), cleanrl.observations(SCREENS)
    close(ours(agent, obs), model(obs.float()))  # pyright: ignore[reportArgumentType]
    close(agent.network().values(obs), model.critic(model.network(obs / 255))[:, 0])  # pyright: ignore


@torch.no_grad()
def test_cleanrls_gaussian_is_in_the_units_of_the_task_that_it_goes_on_in(tmp_path: Path):
    model = cleanrl.Gaussian()
    model.actor_logstd += 0.3
    spec = TaskSpec("T-v0", (5,), "float32", 3, 1, None, {}, ((-1.5, 0.0, -0.1), (0.5, 4.0, 0.3)))
    agent, obs = open_weights(saved(tmp_path, model.state_dict()), spec), cleanrl.observations((5,), 100)
    x, half, middle = ours(agent, obs), torch.tensor([1.0, 2.0, 0.2]), torch.tensor([-0.5, 2.0, 0.1])
    close(x.chunk(2, -1)[0] * half + middle, model(obs))
    action = model(obs) + 0.5
    expected = torch.distributions.Normal(model(obs), model.actor_logstd.exp()).log_prob(action).sum(-1)
    close(log_prob_of("gaussian", x, (action - middle) / half) - half.log().sum(), expected)
    assert any("normalised observations" in line for line in agent.said) and not agent.student.norm_obs


class Critic(nn.Module):
    """`QNetwork` of `td3_continuous_action.py`."""

    def __init__(self):
        nn.Module.__init__(self)
        self.fc1, self.fc2, self.fc3 = nn.Linear(7, 16), nn.Linear(16, 16), nn.Linear(16, 1)

    def forward(self, x, a):
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(torch.cat([x, a], 1))))))


@torch.no_grad()
def test_td3_of_cleanrl_goes_on_with_critics_that_see_actions_in_the_tasks_units(tmp_path: Path):
    actor, critics = cleanrl.Actor("fc_mu"), [Critic(), Critic()]
    agent = open_weights(saved(tmp_path, (actor.state_dict(), *(critic.state_dict() for critic in critics))))
    obs, unit = cleanrl.observations((5,), 100), 2 * torch.rand(100, 2) - 1
    close(ours(agent, obs) * actor.action_scale + actor.action_bias, actor(obs))
    told = agent.network().critic(obs, unit)  # pyright: ignore
    close(told, torch.stack([critic(obs, unit * actor.action_scale + actor.action_bias)[:, 0] for critic in critics]))
    assert agent.spec.bounds is not None and agent.student.critics == 2


def test_cleanrls_files_without_a_critic_are_refused_in_one_line(tmp_path: Path):
    for value, match in (
        (cleanrl.Actor("fc_mu").state_dict(), "holds no critic; it can be a --teacher"),
        (cleanrl.Actor("fc_mean").state_dict(), "a SAC agent of CleanRL"),
        ({k: v for k, v in cleanrl.Policy().state_dict().items() if "actor" in k}, "it holds no critic"),
    ):
        with pytest.raises(UserError, match=match):
            open_weights(saved(tmp_path, value))
    for name in ("td3_continuous_action_jax", "qdagger_dqn_atari_jax_impalacnn", "dqn_atari_jax"):
        with pytest.raises(UserError, match=r"it can be a --teacher|in the student"):
            open_weights(f"cleanrl:{cleanrl.FIXTURES / name}.cleanrl_model")


def dense(rng: np.random.Generator, inputs: int, outputs: int) -> dict[str, np.ndarray]:
    return {"kernel": rng.standard_normal((inputs, outputs)).astype(np.float32) * 0.02, "bias": np.ones(outputs, "f4")}


def conv(rng: np.random.Generator, size: int, inputs: int, outputs: int) -> dict[str, np.ndarray]:
    kernel = rng.standard_normal((size, size, inputs, outputs)).astype(np.float32) * 0.05
    return {"kernel": kernel, "bias": np.zeros(outputs, np.float32)}


@pytest.mark.parametrize("outputs, kind", [(6, "DQN"), (6 * 51, "Rainbow"), (6 * 200, "QRDQN"), (0, "Rainbow")])
@torch.no_grad()
def test_dopamines_agents_of_atari_go_on(outputs: int, kind: str, tmp_path: Path):
    rng = np.random.default_rng(0)
    tree = {"Conv_0": conv(rng, 8, 4, 32), "Conv_1": conv(rng, 4, 32, 64), "Conv_2": conv(rng, 3, 64, 64)}
    tree |= {"Dense_0": dense(rng, 7744, 512), "Dense_1": dense(rng, 512, outputs or 6 * 51)}
    tree |= {} if outputs else {"Dense_2": dense(rng, 512, 51)}  # dueling
    built = build(tree, 6)
    checkpoint = Checkpoint(tree, "Dopamine", "0" * 64, "", 5)
    agent = value_agent(tmp_path, card_of("dopamine:x", checkpoint, built), built.network)
    obs = dopamine.observations(SCREENS)
    expected = built.network(obs)
    close(ours(agent, obs), expected, float(expected.abs().max()))
    assert type(agent.student).__name__ == kind and agent.student.torso == "nature-same"
    assert agent.student.dueling == (not outputs) and agent.spec.protocol["sticky_actions"] == 0.25


@torch.no_grad()
def test_dopamines_agents_of_classic_control_go_on_without_rescaling():
    for name in ("cartpole", "lunarlander"):
        agent = open_weights(f"dopamine:{dopamine.FIXTURES / name}")
        expected = torch.tensor(dopamine.EXPECTED[name])
        close(ours(agent, dopamine.observations(agent.spec.obs_shape)), expected, 2 * float(expected.abs().max()))
    for name, match in (("iqn", "before its Implicit"), ("minatar", "MinAtarConv"), ("ppo", "hold its critic")):
        with pytest.raises(UserError, match=f"{match}.*it can be a --teacher"):
            open_weights(f"dopamine:{dopamine.FIXTURES / name}")


def test_an_agent_on_the_hub_goes_on_as_the_file_that_it_is(tmp_path: Path, monkeypatch):
    path = Path(write_zip(tmp_path / "a.zip"))
    monkeypatch.setattr(hub, "_fetched", lambda rest: (hub.Address("a/b", "", "", ""), None, "a.zip", path))
    agent = open_weights("hf:a/b")
    assert isinstance(agent, Imported) and agent.student.hidden == (4, 4)
    with pytest.raises(
        UserError, match="weights are read from a path, or from store, sb3, cleanrl, balloon, dopamine, hf"
    ):
        open_weights("onnx:x.onnx")
