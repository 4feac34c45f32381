"""PPO policies on MinAtar by the authors of pgx, `pgx:FILE.npz`: flax's parameters as plain arrays, read without JAX.

The arrays are named as flax names them: `Conv_0.kernel` [height, width, in, out], `Dense_0` after it, then the policy's
`Dense_1` to `Dense_3` and the value's `Dense_4` to `Dense_6`, which may be missing. Source: github.com/sotetsuk/pgx.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from reincarnate.data.readers.npz import arrays, names
from reincarnate.errors import UserError
from reincarnate.files.regular import content_hash
from reincarnate.teachers.frozen import FrozenTeacher, parameters_of
from reincarnate.types import LOGITS, TeacherCard

SIDE = 10  # MinAtar's screens have 10 × 10 cells
POOL = 2
DENSE = ("Dense_0", "Dense_1", "Dense_2", "Dense_3")
LAYERS = ("Conv_0", *DENSE)
NEEDED = tuple(f"{layer}.{part}" for layer in LAYERS for part in ("kernel", "bias"))
GAMES = {(4, 5): "Asterix", (4, 3): "Breakout", (7, 3): "Freeway", (10, 6): "Seaquest", (6, 4): "SpaceInvaders"}
"""By channels and minimal actions, which tell MinAtar's games apart."""


def recognises(path: Path) -> bool:
    """An archive with these layers."""
    return path.suffix == ".npz" and path.is_file() and names(path) >= set(NEEDED)


def open_address(rest: str, actions: int | None = None) -> FrozenTeacher:
    """The teacher in an archive. UserError: a layer that is missing, damaged, or does not follow the one before."""
    path = Path(rest)
    if not path.exists():
        raise UserError(f"{path}: there is no such file")
    found = arrays(path, NEEDED, ())
    _check(found, path)
    network = Network(found)
    return FrozenTeacher(_card(path, found, network), network)


class Network(nn.Module):
    """bool [B, 10, 10, C] to logits [B, A]: a convolution 2 × 2, average pool 2, four layers, ReLU and then tanh."""

    def __init__(self, found: Mapping[str, np.ndarray]):
        super().__init__()
        weights = {name: torch.from_numpy(np.array(values, np.float32)) for name, values in found.items()}
        kernel = weights["Conv_0.kernel"].permute(3, 2, 0, 1).contiguous()
        self.kernel, self.bias = nn.Parameter(kernel), nn.Parameter(weights["Conv_0.bias"])
        self.dense = nn.ModuleList()
        for name in DENSE:
            turned = weights[f"{name}.kernel"].T.contiguous()
            layer = nn.Linear(turned.shape[1], turned.shape[0])
            layer.weight, layer.bias = nn.Parameter(turned), nn.Parameter(weights[f"{name}.bias"])
            self.dense.append(layer)

    def forward(self, obs: Bool[Tensor, "B 10 10 C"]) -> Float[Tensor, "B A"]:
        """Logits of the minimal actions."""
        first, *hidden, last = self.dense
        x = F.pad(obs.float().permute(0, 3, 1, 2), (0, 1, 0, 1))  # SAME padding of an even kernel: right and below
        x = F.avg_pool2d(F.relu(F.conv2d(x, self.kernel, self.bias)), POOL)
        x = F.relu(first(x.permute(0, 2, 3, 1).flatten(1)))  # flattened as JAX does: channels last
        for layer in hidden:
            x = torch.tanh(layer(x))
        return last(x)


def _check(found: Mapping[str, np.ndarray], path: Path) -> None:
    """Refuse layers that do not follow each other."""
    kernel = found["Conv_0.kernel"]
    if kernel.ndim != 4 or kernel.shape[:2] != (2, 2):
        raise UserError(f"{path}: Conv_0.kernel is {list(kernel.shape)}, and [2, 2, channels, filters] is needed")
    width = (SIDE // POOL) ** 2 * kernel.shape[3]
    for name in DENSE:
        shape = found[f"{name}.kernel"].shape
        if len(shape) != 2 or shape[0] != width:
            raise UserError(f"{path}: {name}.kernel is {list(shape)}, and [{width}, units] is needed")
        width = shape[1]
    for name in LAYERS:
        kernel, bias = (found[f"{name}.{part}"] for part in ("kernel", "bias"))
        if bias.shape != kernel.shape[-1:] or {kernel.dtype.kind, bias.dtype.kind} != {"f"}:
            raise UserError(f"{path}: {name}.bias is {bias.dtype}{list(bias.shape)}, not floats [{kernel.shape[-1]}]")
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise UserError(f"{path}: {name} holds numbers that are not finite")


def _card(path: Path, found: Mapping[str, np.ndarray], network: Network) -> TeacherCard:
    channels, filters = found["Conv_0.kernel"].shape[2:]
    widths = [found["Dense_0.kernel"].shape[0], *(found[f"{name}.bias"].shape[0] for name in DENSE)]
    game = GAMES.get((channels, widths[-1]))
    return TeacherCard(
        uri=f"pgx:{path}",
        format="pgx arrays (npz)",
        algorithm="PPO",
        tells=LOGITS,
        network=f"conv 2x2 {filters}, average pool 2, MLP {'-'.join(map(str, widths))}, ReLU then tanh",
        parameters=parameters_of(network),
        sha256=content_hash(path),
        obs_shape=(SIDE, SIDE, channels),
        obs_dtype="bool",
        actions=widths[-1],
        preprocessing="none",
        safety="arrays alone; nothing was unpickled or run",
        env=f"MinAtar/{game}-v1" if game else None,
        protocol={"sticky_actions": 0.1, "minimal_actions": True},
    )
