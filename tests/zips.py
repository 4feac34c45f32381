"""Small zips in the form of Stable-Baselines3, whole or spoilt, made here."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DQN, PPO = "stable_baselines3.dqn.policies", "stable_baselines3.common.policies"


def dqn_weights(obs: int = 3, hidden: int = 4, actions: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(hidden, obs), (hidden, hidden), (actions, hidden)]
    weights: dict[str, Tensor] = {}
    for i, size in enumerate(sizes):
        weights[f"q_net.q_net.{2 * i}.weight"] = torch.randn(size, generator=generator)
        weights[f"q_net.q_net.{2 * i}.bias"] = torch.randn(size[0], generator=generator)
    return weights


def described(module: str = DQN, obs_shape: tuple[int, ...] = (3,), actions: int = 2, **more: Any) -> dict[str, Any]:
    return {
        "policy_class": {":type:": "<class 'abc.ABCMeta'>", ":serialized:": "never looked at", "__module__": module},
        "policy_kwargs": {},
        "observation_space": {
            ":type:": "<class 'gymnasium.spaces.box.Box'>",
            "dtype": "float32",
            "_shape": list(obs_shape),
        },
        "action_space": {":type:": "<class 'gymnasium.spaces.discrete.Discrete'>", "n": str(actions), "start": "0"},
        "num_timesteps": 1000,
        **more,
    }


def saved(value: Any) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def write_zip(path: Path, data: Any = None, weights: Any = None, **members: bytes) -> str:
    """A zip with `data` (JSON) and `policy.pth`; bytes are written as they are. Returns the path as text."""
    data, weights = described() if data is None else data, dqn_weights() if weights is None else weights
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", data if isinstance(data, bytes) else json.dumps(data))
        archive.writestr("policy.pth", weights if isinstance(weights, bytes) else saved(weights))
        archive.writestr("_stable_baselines3_version", "2.9.2")
        for name, content in members.items():
            archive.writestr(name, content)
    return str(path)
