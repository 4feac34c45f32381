"""CleanRL's agents: its flax files as flax computes them, its torch files as modules written like CleanRL's do.

CleanRL installs on no Python of today. The flax files are fixtures that flax wrote (`fixtures/cleanrl`); the torch files
are saved here, in the way its scripts save them, from modules with the layers and names of its scripts.
"""

import json
import os
import struct
from pathlib import Path

import msgpack
import numpy as np
import pytest
import torch
from asking import says
from torch import nn
from torch.nn import functional as F
from zips import write_zip

from reincarnate.errors import UserError
from reincarnate.teachers import open_teacher
from reincarnate.teachers.cleanrl import open_address, recognises
from reincarnate.teachers.fit import check_fit
from reincarnate.types import TaskSpec, Teacher

FIXTURES = Path(__file__).parent / "fixtures" / "cleanrl"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())
SCREENS = (4, 84, 84)


def observations(shape: tuple[int, ...], n: int = 3) -> torch.Tensor:
    """Those of make_cleanrl.py."""
    rng = np.random.default_rng(0)
    if len(shape) == 3:
        return torch.from_numpy(rng.integers(0, 256, (n, *shape), dtype=np.uint8))
    return torch.from_numpy(rng.standard_normal((n, *shape)).astype(np.float32))


# ---- flax ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "algorithm", "tells", "shape"),
    [
        ("dqn_jax", "DQN", "values", (4,)),
        ("dqn_atari_jax", "DQN", "values", SCREENS),
        ("c51_jax", "C51", "values", (4,)),
        ("qdagger_dqn_atari_jax_impalacnn", "DQN", "values", SCREENS),
        ("ppo_atari_envpool_xla_jax", "PPO", "logits", SCREENS),
        ("td3_continuous_action_jax", "DDPG or TD3", "means", (11,)),
    ],
)
def test_a_jax_agent_tells_what_flax_computes(name: str, algorithm: str, tells: str, shape: tuple[int, ...]):
    teacher = open_teacher(str(FIXTURES / f"{name}.cleanrl_model"))
    card, expected = teacher.card, torch.tensor(EXPECTED[name])
    out, state = says(teacher, observations(shape), teacher.initial(3))
    assert torch.allclose(out, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max())) and state.shape[-1] == 0
    assert (card.algorithm, card.tells, card.obs_shape, card.actions) == (algorithm, tells, shape, expected.shape[1])
    assert isinstance(teacher, Teacher)


def test_the_card_says_what_the_arguments_in_the_file_tell():
    card = open_address(str(FIXTURES / "ppo_atari_envpool_xla_jax.cleanrl_model")).card
    assert (card.env, card.trained_env_steps) == ("BreakoutNoFrameskip-v4", 10_000_000)
    assert card.network == "Nature convolutions 4-6-8 (VALID), MLP 392-16-4, relu"
    task = TaskSpec("ALE/Breakout-v5", SCREENS, "uint8", 4, 4, 1.0, {"sticky_actions": 0.25, "frame_skip": 4})
    assert check_fit(card, task) == [
        "the teacher was trained with sticky_actions = 0.0, ALE/Breakout-v5 has 0.25",
    ]


def test_bounds_that_a_jax_file_does_not_hold_are_a_warning_or_named():
    path = str(FIXTURES / "td3_continuous_action_jax.cleanrl_model")
    assert "-1 to 1" in open_address(path).card.warnings[0]
    teacher = open_teacher(f"cleanrl:{path}?tells=means&low=-2&high=4")
    out, _ = says(teacher, observations((11,)))
    assert torch.allclose(out, 3 * torch.tensor(EXPECTED["td3_continuous_action_jax"]) + 1, atol=1e-5)
    assert teacher.card.bounds == ((-2.0,) * 3, (4.0,) * 3) and not teacher.card.warnings
    with pytest.raises(UserError, match="its actions 3"):
        open_address(f"{path}?tells=means&low=-2,-2&high=4,4")


def test_what_a_file_says_itself_is_not_asked_for():
    with pytest.raises(UserError, match="its file says what it tells: values"):
        open_address(f"{FIXTURES / 'dqn_jax.cleanrl_model'}?tells=logits")


# ---- torch ---------------------------------------------------------------------------------------------------


class Values(nn.Module):
    """`dqn.py`, `c51.py`, and with convolutions `dqn_atari.py`, `c51_atari.py`, here with fewer filters."""

    atoms: torch.Tensor

    def __init__(self, screens: bool, outputs: int, atoms: torch.Tensor | None = None):
        nn.Module.__init__(self)
        if atoms is not None:
            self.register_buffer("atoms", atoms)
        if screens:
            convs = nn.Conv2d(4, 4, 8, stride=4), nn.Conv2d(4, 6, 4, stride=2), nn.Conv2d(6, 8, 3, stride=1)
            torso = [module for conv in convs for module in (conv, nn.ReLU())]
            dense = [nn.Flatten(), nn.Linear(8 * 7 * 7, 16), nn.ReLU(), nn.Linear(16, outputs)]
        else:
            torso = [nn.Linear(4, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()]
            dense = [nn.Linear(84, outputs)]
        self.screens, self.network = screens, nn.Sequential(*torso, *dense)

    def forward(self, x):
        out = self.network(x / 255.0 if self.screens else x)
        if not hasattr(self, "atoms"):
            return out
        return (torch.softmax(out.view(len(x), -1, len(self.atoms)), dim=2) * self.atoms).sum(2)


class Residual(nn.Module):
    def __init__(self, channels: int):
        nn.Module.__init__(self)
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.conv1(F.relu(self.conv0(F.relu(x))))


class ConvSequence(nn.Module):
    def __init__(self, inputs: int, channels: int):
        nn.Module.__init__(self)
        self.conv = nn.Conv2d(inputs, channels, 3, padding=1)
        self.res_block0, self.res_block1 = Residual(channels), Residual(channels)

    def forward(self, x):
        x = F.max_pool2d(self.conv(x), kernel_size=3, stride=2, padding=1)
        return self.res_block1(self.res_block0(x))


class Impala(nn.Module):
    """`qdagger_dqn_atari_impalacnn.py`; its max pooling pads on every side, unlike that of the JAX script."""

    def __init__(self):
        nn.Module.__init__(self)
        stacks = ConvSequence(4, 2), ConvSequence(2, 3), ConvSequence(3, 4)
        head = nn.Flatten(), nn.ReLU(), nn.Linear(4 * 11 * 11, 16), nn.ReLU(), nn.Linear(16, 6)
        self.network = nn.Sequential(*stacks, *head)

    def forward(self, x):
        return self.network(x / 255.0)


class Policy(nn.Module):
    """`ppo.py`."""

    def __init__(self):
        nn.Module.__init__(self)
        self.critic = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
        self.actor = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))

    def forward(self, x):
        return self.actor(x)


class ScreenPolicy(nn.Module):
    """`ppo_atari.py`, with fewer filters."""

    def __init__(self):
        nn.Module.__init__(self)
        self.network = nn.Sequential(*list(Values(True, 1).network)[:-1])
        self.actor, self.critic = nn.Linear(16, 4), nn.Linear(16, 1)

    def forward(self, x):
        return self.actor(self.network(x / 255.0))


class Gaussian(nn.Module):
    """`ppo_continuous_action.py`."""

    def __init__(self):
        nn.Module.__init__(self)
        self.critic = nn.Sequential(nn.Linear(5, 64), nn.Tanh(), nn.Linear(64, 1))
        self.actor_mean = nn.Sequential(nn.Linear(5, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3))
        self.actor_logstd = nn.Parameter(torch.zeros(1, 3))

    def forward(self, x):
        return self.actor_mean(x)


class Actor(nn.Module):
    """`td3_continuous_action.py` and `ddpg_…` (`fc_mu`), `sac_…` (`fc_mean`)."""

    action_scale: torch.Tensor
    action_bias: torch.Tensor

    def __init__(self, last: str):
        nn.Module.__init__(self)
        self.fc1, self.fc2 = nn.Linear(5, 32), nn.Linear(32, 32)
        self.add_module(last, nn.Linear(32, 2))
        if last == "fc_mean":
            self.fc_logstd = nn.Linear(32, 2)
        self.register_buffer("action_scale", torch.tensor([0.4, 2.0]))
        self.register_buffer("action_bias", torch.tensor([0.0, 1.0]))
        self.last = last

    def forward(self, x):
        x = F.relu(self.fc2(F.relu(self.fc1(x))))
        return torch.tanh(self.get_submodule(self.last)(x)) * self.action_scale + self.action_bias


def c51(screens: bool):
    """C51's file holds its arguments beside the weights."""
    model = Values(screens, 3 * 51, torch.linspace(-10, 10, 51))
    args = {"env_id": "PongNoFrameskip-v4", "n_atoms": 51, "v_min": -10.0, "v_max": 10.0, "total_timesteps": 1000}
    return model, {"model_weights": model.state_dict(), "args": args}


def plain(model: nn.Module):
    return model, model.state_dict()


def with_critics(model: nn.Module):
    return model, (model.state_dict(), nn.Linear(7, 1).state_dict(), nn.Linear(7, 1).state_dict())


@pytest.mark.parametrize(
    ("make", "tells", "shape", "actions"),
    [
        (lambda: plain(Values(False, 2)), "values", (4,), 2),
        (lambda: plain(Values(True, 6)), "values", SCREENS, 6),
        (lambda: c51(False), "values", (4,), 3),
        (lambda: c51(True), "values", SCREENS, 3),
        (lambda: plain(Impala()), "values", SCREENS, 6),
        (lambda: plain(Policy()), "logits", (4,), 2),
        (lambda: plain(ScreenPolicy()), "logits", SCREENS, 4),
        (lambda: plain(Gaussian()), "means", (5,), 3),
        (lambda: with_critics(Actor("fc_mu")), "means", (5,), 2),
        (lambda: plain(Actor("fc_mean")), "means", (5,), 2),
    ],
    ids=["dqn", "dqn_atari", "c51", "c51_atari", "qdagger", "ppo", "ppo_atari", "ppo_continuous", "td3", "sac"],
)
@torch.no_grad()
def test_a_torch_agent_tells_what_its_own_module_computes(make, tells, shape, actions, tmp_path: Path):
    torch.manual_seed(0)
    model, saved = make()
    path = tmp_path / "a.cleanrl_model"
    torch.save(saved, path)
    teacher, obs = open_teacher(str(path)), observations(shape)
    expected = model(obs.float())
    out, _ = says(teacher, obs)
    assert torch.allclose(out, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))
    assert (teacher.card.tells, teacher.card.obs_shape, teacher.card.actions) == (tells, shape, actions)


def test_the_bounds_of_a_torch_actor_are_in_its_file(tmp_path: Path):
    torch.save(Actor("fc_mean").state_dict(), tmp_path / "a.cleanrl_model")
    low, high = open_address(str(tmp_path / "a.cleanrl_model")).card.bounds or ((), ())
    assert low == pytest.approx((-0.4, -1.0)) and high == pytest.approx((0.4, 3.0))


def test_statistics_that_ppo_does_not_save_are_a_warning(tmp_path: Path):
    torch.save(Gaussian().state_dict(), tmp_path / "a.cleanrl_model")
    assert "normalised observations" in open_address(str(tmp_path / "a.cleanrl_model")).card.warnings[0]


@pytest.mark.parametrize(
    "folder",
    ["BreakoutNoFrameskip-v4__dqn_atari__1__1670000000", "models--cleanrl--BreakoutNoFrameskip-v4-dqn_atari-seed1"],
)
def test_the_environment_is_read_off_the_folder(folder: str, tmp_path: Path):
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / "dqn_atari.cleanrl_model"
    torch.save(Values(True, 4).state_dict(), path)
    card = open_address(str(path)).card
    assert (card.env, card.protocol["sticky_actions"]) == ("BreakoutNoFrameskip-v4", 0.0)


def test_files_are_recognised_by_content_too(tmp_path: Path):
    torch.save(Values(False, 2).state_dict(), tmp_path / "q_network.pth")
    torch.save({"something": torch.ones(2)}, tmp_path / "other.pth")
    (tmp_path / "agent.msgpack").write_bytes((FIXTURES / "dqn_jax.cleanrl_model").read_bytes())
    (tmp_path / "text").write_text("a" * 100)
    write_zip(tmp_path / "sb3.bin")
    found = {path.name for path in tmp_path.iterdir() if recognises(path)}
    assert found == {"q_network.pth", "agent.msgpack"} and not recognises(tmp_path)


# ---- files that are not what they should be --------------------------------------------------------------------


def refused(path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        open_address(str(path))
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def saved_as(path: Path, value) -> Path:
    torch.save(value, path) if not isinstance(value, bytes) else path.write_bytes(value)
    return path


def packed(array: np.ndarray, shape=None, dtype: str | None = None) -> msgpack.ExtType:
    """An array as flax packs it, and as it does not."""
    content = (array.shape if shape is None else shape, dtype or array.dtype.name, array.tobytes())
    return msgpack.ExtType(1, msgpack.packb(content))


def dense(kernel: msgpack.ExtType, bias: int = 2) -> bytes:
    layer = {"kernel": kernel, "bias": packed(np.zeros(bias, np.float32))}
    return bytes(msgpack.packb({"params": {"Dense_0": layer}}) or b"")


@pytest.mark.parametrize("name", ["dqn_jax", "c51_jax", "ppo_atari_envpool_xla_jax"])
@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_truncated_flax_file_is_refused(name: str, share: float, tmp_path: Path):
    whole = (FIXTURES / f"{name}.cleanrl_model").read_bytes()
    refused(saved_as(tmp_path / "a.cleanrl_model", whole[: int(len(whole) * share)]), "msgpack")


def test_a_truncated_torch_file_is_refused(tmp_path: Path):
    path = saved_as(tmp_path / "a.cleanrl_model", Values(False, 2).state_dict())
    refused(saved_as(path, path.read_bytes()[:-500]), "torch's zip format")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, tmp_path: Path):
    state = Values(False, 2).state_dict()
    state["network.2.weight"][0, 0] = value
    refused(saved_as(tmp_path / "a.cleanrl_model", state), "NaN or infinity")
    refused(
        saved_as(tmp_path / "a.cleanrl_model", dense(packed(np.full((3, 2), value, np.float32)))), "NaN or infinity"
    )


@pytest.mark.parametrize(
    ("payload", "match"),
    [
        (b"", "msgpack"),
        (b"PK\x03\x04 and nothing more", "torch's zip format"),
        (b"\x93\x01\x02\x03", "holds a list"),
        (dense(packed(np.zeros(6, np.float32), shape=[10**6, 10**6])), "msgpack"),
        (dense(packed(np.zeros((3, 2), np.float32), shape=[-1, 2], dtype="object")), "object"),
        (dense(packed(np.zeros((3, 2), np.int64))), "int64"),
        (dense(packed(np.zeros((3, 2), np.float32)), bias=3), "make no layer"),
        (dense(packed(np.zeros((0, 2), np.float32))), "make no layer"),
        (dense(msgpack.ExtType(2, b"\x92\x01\x02")), "extension type 2"),
        (b"\x81\xa6params\xdf\xff\xff\xff\xff", "msgpack"),
        (b"\x81\xa6params\xdd\x7f\xff\xff\xff", "msgpack"),
        (b"\x81\xa6params" * 3000 + b"\x80", "msgpack"),
        (b"\x81\xa6params" * 500 + b"\x80", "not supported|not a tree"),
        (msgpack.packb({"params": {f"Dense_{i}": {} for i in range(1000)}}), "1000 layers"),
        (msgpack.packb({"params": {"LSTM_0": {}}}), "layers such as 'LSTM_0'"),
        (msgpack.packb({"params": {"Dense_0": 3}}), "no layer"),
        (msgpack.packb({"0": 1, "1": {"0": 1, "1": 1, "2": 1}}), "not a tree"),
    ],
)
def test_whatever_a_file_holds_the_end_is_one_line(payload: bytes, match: str, tmp_path: Path):
    refused(saved_as(tmp_path / "a.cleanrl_model", payload), match)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.pop("network.2.bias"), "no layer with a weight and a bias"),
        (lambda s: s.update({"network.2.weight": torch.zeros(84, 7)}), "do not chain"),
        (lambda s: s.update({"network.2.weight": torch.zeros(84)}), r"LayerNorm of shape \(84,\) does not fit"),
        (lambda s: s.update({"network.2.weight": torch.zeros(84, 120, dtype=torch.int64)}), "not floating-point"),
        (lambda s: s.update({"network.1.weight": torch.ones(84), "network.1.bias": torch.ones(84)}), "does not fit"),
        (
            lambda s: s.update({"network.1.weight": torch.ones(120), "network.1.bias": torch.full((120,), torch.nan)}),
            "finite",
        ),
        (lambda s: s.update({"lstm.weight_ih_l0": torch.zeros(4, 4)}), "layers such as 'lstm"),
        (lambda s: s.update({"atoms": torch.linspace(-1, 1, 5)}), "not a whole number of actions"),
        (lambda s: s.update({f"network.{i}.weight": s["network.2.weight"] for i in range(900)}), "share their numbers"),
        (lambda s: s.clear(), "not supported"),
    ],
)
def test_layers_that_make_no_known_network_are_refused(change, match: str, tmp_path: Path):
    state = dict(Values(False, 2).state_dict())
    change(state)
    refused(saved_as(tmp_path / "a.cleanrl_model", state), match)


@pytest.mark.parametrize(
    "low, high, atoms", [(1, 0, 51), (0, 1, 10**9), (0, "x", 51), (0, 1, 50), (float("nan"), 1, 51)]
)
def test_an_impossible_support_is_refused(low, high, atoms, tmp_path: Path):
    model = Values(False, 2 * 51)
    saved = {"model_weights": model.state_dict(), "args": {"v_min": low, "v_max": high, "n_atoms": atoms}}
    refused(saved_as(tmp_path / "a.cleanrl_model", saved), "which is none|whole number of actions")


class Payload:
    """Unpickled, it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("made_by_a_pickle",)


def test_nothing_in_a_torch_file_is_run(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = saved_as(tmp_path / "a.cleanrl_model", {"network.0.weight": Payload()})
    refused(path, r"more than tensors \(posix.mkdir\); refused, nothing was run")
    assert not (tmp_path / "made_by_a_pickle").exists()


def test_half_precision_weights_are_read(tmp_path: Path):
    bits = np.arange(6, dtype=np.float32).view(np.uint32) >> 16
    kernel = packed(bits.astype("<u2"), shape=[3, 2], dtype="bfloat16")
    teacher = open_address(str(saved_as(tmp_path / "a.cleanrl_model", dense(kernel))))
    out, _ = says(teacher, torch.eye(3))
    assert out.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_header_that_lies_allocates_nothing(tmp_path: Path):
    bomb = b"\x81\xa6params" + b"\xdd" + struct.pack(">I", 2**31) * 100
    refused(saved_as(tmp_path / "a.cleanrl_model", bomb), "max_array_len|msgpack")


def test_opening_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    open_address(str(FIXTURES / "qdagger_dqn_atari_jax_impalacnn.cleanrl_model"))
    open_address(str(FIXTURES / "dqn_atari_jax.cleanrl_model"))
    assert torch.equal(before, torch.get_rng_state())
