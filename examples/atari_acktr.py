"""A teacher for Atari in a class of your own: ACKTR agents on the classic 84x84 frames, from plain npz weights.

    reincarnate inspect "py:examples/atari_acktr.py:ACKTR?path=../shared/teachers/atari/ikostrikov_acktr_pong.npz" \
        --env ALE/Pong-v5

An `nn.Module` is put in eval mode and frozen for you. These agents never met sticky actions: under the sticky
protocol they are far from their best, which makes them teachers worth surpassing.
"""

import numpy as np
import torch
from torch import Tensor, nn


class ACKTR(nn.Module):
    """The task's own observation, uint8[n, 4, 84, 84] oldest frame first, to the logits of the minimal actions."""

    tells = "logits"

    def __init__(self, path: str):
        super().__init__()
        with np.load(path, allow_pickle=False) as arrays:
            weights = {name: torch.from_numpy(arrays[name]) for name in arrays.files if not name.startswith("critic")}
        actions = len(weights["actor.bias"])
        self.conv1, self.conv2 = nn.Conv2d(4, 32, 8, stride=4), nn.Conv2d(32, 64, 4, stride=2)
        self.conv3 = nn.Conv2d(64, 32, 3)
        self.fc, self.actor = nn.Linear(32 * 7 * 7, 512), nn.Linear(512, actions)
        self.load_state_dict(weights)
        self.card = {
            "algorithm": "ACKTR",
            "network": f"conv 32-64-32, MLP 1568-512-{actions}, ReLU",
            "obs_shape": (4, 84, 84),
            "obs_dtype": "uint8",
            "actions": actions,
            "preprocessing": "divided by 255",
            "protocol": {"sticky_actions": 0.0, "frame_skip": 4},
        }

    def forward(self, obs: Tensor) -> Tensor:
        x = torch.relu(self.conv1(obs.float() / 255))
        x = torch.relu(self.conv3(torch.relu(self.conv2(x))))
        return self.actor(torch.relu(self.fc(x.flatten(1))))
