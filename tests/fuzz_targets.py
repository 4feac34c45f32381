"""Every importer with a small valid input of its own, to be damaged."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import own_targets
import reader_targets
import torch
from asking import cut, says
from fuzzing import Target
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from zips import dqn_weights, saved, write_zip

from reincarnate import envs
from reincarnate.agents.agent import save_agent
from reincarnate.data.dataset import open_dataset, verify, write_dataset
from reincarnate.data.rows import episode
from reincarnate.students import DQN
from reincarnate.teachers import open_teacher

FIXTURES = Path(__file__).parent / "fixtures"
SCREENS = (4, 84, 84)


def asked(address: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Callable[[Path], object]:
    """Opens a teacher by its address and asks it once."""

    def open_(folder: Path) -> object:
        teacher = open_teacher(address.format(folder))
        seen = teacher.card.obs_shape or shape  # damage may make it another, sound agent
        return says(teacher, torch.zeros(2, *seen, dtype=dtype), teacher.initial(2))

    return open_


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def fixture(name: str, path: str, address: str, shape: tuple[int, ...] = SCREENS) -> Callable[[Path], Target]:
    """What another library wrote."""
    place = FIXTURES / path
    found = files(place) if place.is_dir() else {p.name: p.read_bytes() for p in place.parent.glob(f"{place.name}*")}
    dtype = torch.uint8 if len(shape) == 3 else torch.float32
    return lambda folder: Target(name, found, asked(address, shape, dtype))


def sb3(folder: Path) -> Target:
    return Target("sb3", {"a.zip": Path(write_zip(folder / "a.zip")).read_bytes()}, asked("sb3:{}/a.zip", (3,)))


def cleanrl_torch(folder: Path) -> Target:
    names = {f"q_net.q_net.{k}.{part}": f"network.{k}.{part}" for k in (0, 2, 4) for part in ("weight", "bias")}
    content = saved({names[name]: tensor for name, tensor in dqn_weights().items()})
    return Target("cleanrl, torch", {"dqn.cleanrl_model": content}, asked("cleanrl:{}/dqn.cleanrl_model", (3,)))


def onnx(folder: Path) -> Target:
    weight = numpy_helper.from_array(np.ones((3, 2), np.float32), "W")
    ports = [("obs", TensorProto.FLOAT, ["n", 3])], [("logits", TensorProto.FLOAT, ["n", 2])]
    ends = [[helper.make_tensor_value_info(*port) for port in side] for side in ports]
    graph = helper.make_graph([helper.make_node("MatMul", ["obs", "W"], ["logits"])], "policy", *ends, [weight])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Target("onnx", {"a.onnx": made.SerializeToString()}, asked("onnx:{}/a.onnx", (3,)))


def torchscript(folder: Path) -> Target:
    network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch would rather have another format
        torch.jit.save(torch.jit.trace(network, torch.zeros(1, 3)), str(folder / "a.pt"))
    return Target("torchscript", {"a.pt": (folder / "a.pt").read_bytes()}, asked("torchscript:{}/a.pt", (3,)))


def pgx(folder: Path) -> Target:
    shipped = FIXTURES.parents[1] / "priors" / "minatar-breakout-ppo" / "policy.npz"
    return Target("pgx", {"policy.npz": shipped.read_bytes()}, asked("pgx:{}/policy.npz", (10, 10, 4), torch.bool))


def agent(folder: Path) -> Target:
    student = DQN(hidden=(4,)).newborn(envs.spec("CartPole-v1"), 0)
    save_agent(folder / "agent", student, {"env_steps": 3}, "card")
    return Target("agent", files(folder / "agent"), asked("store:{}", (4,)))


def dataset(folder: Path) -> Target:
    spec = envs.spec("CartPole-v1")
    rows = episode(spec, np.zeros((6, 4)), np.zeros(5, int), np.ones(5), terminated=True)
    made = write_dataset(folder, spec, [rows], {})

    def open_(place: Path) -> object:
        found = open_dataset(place)
        verify(found)
        return cut(found, 1, 0.9).sample(4, np.random.default_rng(0))

    return Target("dataset", files(made.path), open_)


TEACHERS: dict[str, Callable[[Path], Target]] = {
    "sb3": sb3,
    "cleanrl, torch": cleanrl_torch,
    "cleanrl, flax": fixture(
        "cleanrl, flax", "cleanrl/dqn_jax.cleanrl_model", "cleanrl:{}/dqn_jax.cleanrl_model", (4,)
    ),
    "dopamine, pickle": fixture("dopamine, pickle", "dopamine_agents/cartpole", "dopamine:{}", (4,)),
    "dopamine, tensorflow": fixture(
        "dopamine, tensorflow", "dopamine_agents/tensorflow/cartpole", "dopamine:{}/cartpole", (4,)
    ),
    "balloon": fixture("balloon", "balloon/small.pb", "balloon:{}/small.pb", (9,)),
    "onnx": onnx,
    "torchscript": torchscript,
    "pgx": pgx,
    "agent": agent,
    "dataset": dataset,
}
TARGETS = (
    TEACHERS
    | {f"data, {name}": target for name, target in reader_targets.TARGETS.items()}
    | {f"own, {name}": target for name, target in own_targets.TARGETS.items()}
)
