"""A teacher from another framework in thirty lines: the PPO policies on MinAtar of pgx, whose weights were JAX arrays.

    reincarnate inspect "py:examples/minatar_ppo.py:PPO?path=../shared/teachers/minatar/pgx_ppo_breakout.npz" \
        --env MinAtar/Breakout-v1

The file holds plain arrays named as flax names them: convolutions are [height, width, in, out], images [n, h, w, c].
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class PPO:
    """MinAtar's own observation, bool[n, 10, 10, C], to the logits of the minimal actions."""

    tells = "logits"

    def __init__(self, path: str):
        with np.load(path, allow_pickle=False) as arrays:
            self.weights = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        channels, actions = self.weights["Conv_0.kernel"].shape[2], self.weights["Dense_3.bias"].shape[0]
        self.card = {
            "algorithm": "PPO",
            "network": f"conv 2x2 32, average pool 2, MLP 800-64-64-64-{actions}, ReLU then tanh",
            "parameters": sum(w.numel() for name, w in self.weights.items() if name[:7] not in VALUE_HEAD),
            "obs_shape": (10, 10, channels),
            "obs_dtype": "bool",
            "actions": actions,
            "preprocessing": "none",
            "protocol": {"sticky_actions": 0.1, "minimal_actions": True},
        }

    def dense(self, layer: int, x: Tensor) -> Tensor:
        return x @ self.weights[f"Dense_{layer}.kernel"] + self.weights[f"Dense_{layer}.bias"]

    def __call__(self, obs: Tensor) -> Tensor:
        return self.dense(3, self.features(obs))

    def features(self, obs: Tensor) -> Tensor:
        """The last hidden layer [n, 64], for a student that follows it (actor_mimic)."""
        x = F.pad(obs.float().permute(0, 3, 1, 2), (0, 1, 0, 1))  # flax's SAME padding of an even kernel: right, below
        kernel = self.weights["Conv_0.kernel"].permute(3, 2, 0, 1)
        x = F.relu(F.conv2d(x, kernel, self.weights["Conv_0.bias"]))
        x = F.avg_pool2d(x, 2).permute(0, 2, 3, 1).flatten(1)  # flattened as JAX does: channels last
        x = F.relu(self.dense(0, x))
        return torch.tanh(self.dense(2, torch.tanh(self.dense(1, x))))


VALUE_HEAD = ("Dense_4", "Dense_5", "Dense_6")
