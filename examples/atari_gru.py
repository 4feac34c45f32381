"""A teacher with a memory and eyes of its own: the A3C agents with a GRU of baby-a3c, which look at the colour screen.

    reincarnate inspect "py:examples/atari_gru.py:GRU?path=../shared/teachers/baby-a3c/pong-v4.model.80.tar" \
        --env ALE/Pong-v5

`view` asks the task for another observation than the student's; `initial_state` says that a state is carried.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GRU(nn.Module):
    """The newest colour frame, uint8[n, 210, 160, 3], and the state [n, 256], to logits and the next state."""

    tells, view = "logits", "rgb"

    def __init__(self, path: str):
        super().__init__()
        weights = torch.load(path, weights_only=True, map_location="cpu")
        weights = weights.get("state_dict", weights)
        actions = len(weights["actor_linear.bias"])
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            nn.Conv2d(channels, 32, 3, stride=2, padding=1) for channels in (1, 32, 32, 32)
        )
        self.gru = nn.GRUCell(800, 256)
        self.critic_linear, self.actor_linear = nn.Linear(256, 1), nn.Linear(256, actions)
        self.load_state_dict(weights)
        self.card = {
            "algorithm": "A3C",
            "network": f"4 convs 32, GRU 800-256, linear 256-{actions}, ELU",
            "actions": actions,
            "preprocessing": "rows 35 to 194, grey, contrast stretched to 0..1, 80x80",
            "protocol": {"sticky_actions": 0.0},
        }

    def initial_state(self, n: int) -> Tensor:
        return torch.zeros(n, 256)

    def forward(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        x = stretched(frame[:, None, 35:195].float().mean(-1))
        x = F.interpolate(x, (80, 80), mode="bilinear", antialias=True)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.elu(conv(x))
        state = self.gru(x.flatten(1), state)
        return self.actor_linear(state), state


def stretched(grey: Tensor) -> Tensor:
    """Each image's darkest pixel to 0 and brightest to 1, as scipy's old `imresize` did: without it, no play."""
    low, high = grey.amin((1, 2, 3), keepdim=True), grey.amax((1, 2, 3), keepdim=True)
    return (grey - low) / (high - low).clamp_min(1e-6)
