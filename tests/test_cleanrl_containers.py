"""CleanRL's torch agents in whatever torch or people put them: the same network comes out; and PQN and Gaussians."""

import math
from pathlib import Path

import pytest
import safetensors.torch
import torch
from asking import says
from test_teachers_cleanrl import SCREENS, Actor, Gaussian, Values, observations
from torch import nn

from reincarnate.errors import UserError
from reincarnate.teachers import open_teacher
from reincarnate.teachers.cleanrl import open_address, recognises


def old(value, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def optimiser(model: nn.Module) -> dict:
    adam = torch.optim.Adam(model.parameters())
    adam.step()
    return adam.state_dict()


CONTAINERS = {
    "torch's older form": lambda m, p: old(m.state_dict(), p),
    "state_dict": lambda m, p: torch.save({"state_dict": m.state_dict()}, p),
    "a checkpoint": lambda m, p: torch.save({"model_state_dict": m.state_dict(), "optim": optimiser(m), "step": 7}, p),
    "an unknown key": lambda m, p: torch.save({"net": m.state_dict(), "epoch": 3}, p),
    "older, and state_dict": lambda m, p: old({"state_dict": m.state_dict(), "step": 7}, p),
    "older, with critics": lambda m, p: old((m.state_dict(), nn.Linear(7, 1).state_dict()), p),
    "safetensors": lambda m, p: safetensors.torch.save_file(m.state_dict(), p, metadata={"format": "pt"}),
    "DataParallel": lambda m, p: torch.save({f"module.{k}": v for k, v in m.state_dict().items()}, p),
    "compiled": lambda m, p: torch.save({f"_orig_mod.{k}": v for k, v in m.state_dict().items()}, p),
}


@pytest.mark.parametrize("name", CONTAINERS)
@torch.no_grad()
def test_the_same_network_comes_out_of_every_container(name: str, tmp_path: Path):
    torch.manual_seed(0)
    model, path = Values(False, 2), tmp_path / "agent.bin"
    with torch.enable_grad():
        CONTAINERS[name](model, path)
    assert recognises(path)
    obs = observations((4,))
    assert torch.equal(says(open_address(str(path)), obs)[0], model(obs))


@pytest.mark.parametrize("name", ["a payload", "an object", "cut short", "nested"])
def test_other_things_in_these_containers_are_refused_in_one_line(name: str, tmp_path: Path):
    path, state = tmp_path / "a.cleanrl_model", Values(False, 2).state_dict()
    if name == "a payload":
        old({"state_dict": state, "x": Payload(tmp_path / "made")}, path)
    elif name == "an object":
        old({"state_dict": state, "x": {1, 2}}, path)
    elif name == "cut short":
        safetensors.torch.save_file(state, path)
        path.write_bytes(path.read_bytes()[:-9])
    else:
        deep: dict = dict(state)
        for _ in range(40):
            deep = {"state_dict": deep}
        old(deep, path)
    with pytest.raises(UserError, match=r"refused|safetensors") as caught:
        open_address(str(path))
    assert "\n" not in str(caught.value) and not (tmp_path / "made").exists()


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return __import__("os").mkdir, (str(self.folder),)


class Pqn(nn.Module):
    """`pqn.py` and `pqn_atari_envpool.py`, here with fewer filters."""

    def __init__(self, screens: bool):
        nn.Module.__init__(self)
        self.screens = screens
        if screens:
            torso = [
                *(nn.Conv2d(4, 4, 8, stride=4), nn.LayerNorm([4, 20, 20]), nn.ReLU()),
                *(nn.Conv2d(4, 6, 4, stride=2), nn.LayerNorm([6, 9, 9]), nn.ReLU()),
                *(nn.Conv2d(6, 8, 3, stride=1), nn.LayerNorm([8, 7, 7]), nn.ReLU(), nn.Flatten()),
                *(nn.Linear(392, 16), nn.LayerNorm(16), nn.ReLU()),
            ]
        else:
            torso = [nn.Linear(4, 12), nn.LayerNorm(12), nn.ReLU(), nn.Linear(12, 16), nn.LayerNorm(16), nn.ReLU()]
        self.network = nn.Sequential(*torso, nn.Linear(16, 3))
        for parameter in self.parameters():  # LayerNorms begin as ones and zeros
            parameter.data = torch.randn(parameter.shape) / math.sqrt(parameter.shape[-1])

    def forward(self, x):
        return self.network(x / 255.0 if self.screens else x)


@pytest.mark.parametrize("screens", [False, True])
@torch.no_grad()
def test_pqns_layer_norms_lie_between_layers_and_activations(screens: bool, tmp_path: Path):
    torch.manual_seed(0)
    model, shape = Pqn(screens), SCREENS if screens else (4,)
    torch.save(model.state_dict(), tmp_path / "pqn.cleanrl_model")
    teacher, obs = open_teacher(str(tmp_path / "pqn.cleanrl_model")), observations(shape)
    expected = model(obs.float())
    assert torch.allclose(says(teacher, obs)[0], expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    card = teacher.card
    assert (card.algorithm, card.tells, card.actions) == ("PQN", "values", 3) and "layer norm" in card.network
    assert card.parameters == sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def test_a_continuous_ppo_tells_its_mean_and_spread_unsquashed(tmp_path: Path):
    model = Gaussian()
    model.actor_logstd.data = torch.tensor([[-1.0, 0.25, 0.5]])
    torch.save(model.state_dict(), tmp_path / "a.cleanrl_model")
    teacher, obs = open_address(str(tmp_path / "a.cleanrl_model")), observations((5,))
    mean, log_std = teacher.distribution(obs)
    assert torch.equal(mean, says(teacher, obs)[0]) and log_std is not None
    assert log_std.tolist() == [[-1.0, 0.25, 0.5]] * 3
    assert teacher.acts == (False, None, True) and "clipped by its task" in teacher.card.network


@torch.no_grad()
def test_a_sac_tells_its_spread_brought_by_tanh_between_minus_5_and_2(tmp_path: Path):
    state = Actor("fc_mean").state_dict()
    width = state["fc_mean.weight"].shape[1]
    state |= {"fc_logstd.weight": torch.zeros(2, width), "fc_logstd.bias": torch.tensor([0.0, 0.5])}
    torch.save(state, tmp_path / "a.cleanrl_model")
    teacher, obs = open_address(str(tmp_path / "a.cleanrl_model")), observations((5,))
    mean, log_std = teacher.distribution(obs)
    assert teacher.acts is not None and (teacher.acts.squashed, teacher.acts.spread) == (True, True)
    scale, shift = state["action_scale"], state["action_bias"]
    assert torch.allclose(torch.tanh(mean) * scale + shift, says(teacher, obs)[0])
    assert log_std is not None
    assert log_std[0].tolist() == pytest.approx([-5 + 3.5 * (0 + 1), -5 + 3.5 * (math.tanh(0.5) + 1)], abs=1e-6)


def test_a_td3_tells_means_alone(tmp_path: Path):
    torch.save(Actor("fc_mu").state_dict(), tmp_path / "a.cleanrl_model")
    teacher = open_address(str(tmp_path / "a.cleanrl_model"))
    assert teacher.distribution(observations((5,)))[1] is None and teacher.acts is not None and not teacher.acts.spread
