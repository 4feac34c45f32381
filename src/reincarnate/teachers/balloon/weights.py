"""`--weights balloon:perciatelli44`: the network of the Nature paper as a student's start, its function unchanged."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from reincarnate import envs
from reincarnate.agents.imported import Imported
from reincarnate.envs.balloon import ID
from reincarnate.students import QRDQN
from reincarnate.teachers.balloon.perciatelli import read_graph
from reincarnate.teachers.layers import Layer


def settings_of(hidden: Sequence[int], quantiles: int) -> QRDQN:
    """A QR-DQN student that the network fits, with the settings in which its makers fine-tuned it.

    Source: Balloon Learning Environment 1.0.1, `finetune_perciatelli.gin`. `lr` times finetune's 1/6 is their 2e-6.
    Priorities are drawn by, but their weights never reach the gradient there. Its 2 M rows are 100,000 here.
    """
    return QRDQN(
        hidden=tuple(hidden),
        quantiles=quantiles,
        gamma=0.993,
        n_step=5,
        lr=1.2e-5,
        adam_eps=2e-5,
        target_every=100,
        warmup=500,
        epsilon=0.0,
        priority=0.5,
        importance=0.0,
        polo=0.8,
        explorer="pressure",
    )


def open_weights(rest: str) -> Imported:
    """The agent in Perciatelli44's graph, or another of its form. UserError: it cannot be had."""
    graph = read_graph(rest)
    student = settings_of([layer.outputs for layer in graph.layers[:-1]], graph.quantiles)
    spec = replace(envs.spec(ID), obs_shape=(graph.layers[0].inputs,))
    if spec.obs_shape != envs.spec(ID).obs_shape:
        student = replace(student, explorer="uniform")  # which cannot read the pressure there
    about = {"method": "QR-DQN"}
    return Imported(Path(rest), student, spec, graph.sha256, about, {}, tensors=dict(_named(graph.layers)))


def _named(layers: Sequence[Layer]) -> tuple[tuple[str, Tensor], ...]:
    """The layers by the names that they have in a value network (`nets.qnet`)."""
    names = [*(f"torso.layers.{i}" for i in range(len(layers) - 1)), "advantage"]
    both = [(f"{n}.weight", one.weight) for n, one in zip(names, layers, strict=True)]
    both += [(f"{n}.bias", one.bias) for n, one in zip(names, layers, strict=True)]
    return tuple((name, tensor.clone()) for name, tensor in both)
