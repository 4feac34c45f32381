"""Perciatelli44 of the Balloon Learning Environment (Bellemare et al., 2020), `balloon:perciatelli44`.

Its frozen graph lies in the wheel `balloon-learning-environment`, found where that is installed without importing it
(which no Python of today can), or named: `balloon:PATH` of the graph or of the wheel.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import nn

from reincarnate.envs.balloon.wheel import WHEEL, installed
from reincarnate.errors import UserError
from reincarnate.files.safe import MIB, read_file, read_members, sha256
from reincarnate.teachers.dopamine.files import ONLINE, tree_of
from reincarnate.teachers.frozen import FrozenTeacher, parameters_of
from reincarnate.teachers.heads import Quantiles
from reincarnate.teachers.layers import Flat, Layer, mlp, widths
from reincarnate.teachers.wire.flaxtree import read_parts
from reincarnate.teachers.wire.graphdef import read_constants
from reincarnate.types import VALUES, TeacherCard

NAME = "perciatelli44"
MEMBER = f"balloon_learning_environment/models/{NAME}.pb"
SHA256 = "f4185886e583324092d5424a2b9a4fa0956e1027e1ad2a05d35e15be59714fc8"
ACTIONS = 3  # down, stay, up


def recognises(path: Path) -> bool:
    """The wheel or the graph, by their names."""
    wheel = path.suffix == ".whl" and path.name.startswith(WHEEL.replace("-", "_"))
    return path.is_file() and (wheel or path.name == f"{NAME}.pb")


class Graph(NamedTuple):
    """The fully connected layers of such a graph, as modules with ReLU between them, and the hash of its file."""

    layers: Sequence[Layer]
    modules: list[nn.Module]
    quantiles: int
    sha256: str


def read_graph(rest: str) -> Graph:
    """The graph of a name or a path. UserError: the wheel is not installed, or the file is not such a graph."""
    path = installed(MEMBER, f"balloon:{NAME}", ", or name its wheel: balloon:PATH") if rest == NAME else Path(rest)
    payload = read_file(path)
    if payload.startswith(b"PK"):
        members = read_members(payload, {MEMBER: 64 * MIB}, str(path))
        if MEMBER not in members:
            raise UserError(f"{path}: holds no {MEMBER}; the wheel {WHEEL} was expected")
        payload = members[MEMBER]
    try:
        parts = read_parts(tree_of(read_constants(payload, ONLINE, str(path)), path))
        if parts.convs or parts.stacks or not parts.dense:
            raise UserError("not the network of a balloon: fully connected layers alone were expected")
        outputs = parts.dense[-1].outputs
        if outputs % ACTIONS:
            raise UserError(f"its {outputs} outputs are no quantiles of {ACTIONS} actions")
        modules = mlp(parts.dense, parts.dense[0].inputs)
    except UserError as error:
        raise UserError(f"balloon:{rest}: {error}") from None
    return Graph(parts.dense, modules, outputs // ACTIONS, sha256(payload))


def open_address(rest: str, actions: int | None = None) -> FrozenTeacher:
    """The teacher: values of 3 actions, the means of its quantiles. Another graph than version 1.0.1's is a warning.

    UserError: the wheel is not installed, or the file is not such a graph.
    """
    graph = read_graph(rest)
    width, digest = graph.layers[0].inputs, graph.sha256
    network = nn.Sequential(Flat(), *graph.modules, Quantiles(graph.quantiles))
    card = TeacherCard(
        uri=f"balloon:{rest}",
        format="frozen TensorFlow graph",
        algorithm="QR-DQN",
        tells=VALUES,
        network=f"MLP {widths(width, graph.layers)}, relu",
        parameters=parameters_of(network),
        sha256=digest,
        obs_shape=(width,),
        obs_dtype="float32",
        actions=ACTIONS,
        preprocessing="none",
        safety="numbers only; no graph was run",
        env="BalloonLearningEnvironment-v0",
        warnings=() if digest == SHA256 else (f"not the {NAME} of {WHEEL} 1.0.1: its sha256 is another",),
    )
    return FrozenTeacher(card, network)
