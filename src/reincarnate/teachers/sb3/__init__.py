"""Agents saved by Stable-Baselines3 and sb3-contrib, read without either and without unpickling anything.

A saved agent is a zip: `data` (JSON, with pickles in base64 beside the text, which are never looked at) and
`policy.pth` (the weights). Layer sizes come from the tensors' shapes, the rest from the text.
"""

import re
import zipfile
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.files.safe import MIB, parse_json, read_file, read_members, read_tensors, sha256
from reincarnate.teachers.frozen import Memoryless, device_of
from reincarnate.teachers.sb3.format import SavedAgent, read_text
from reincarnate.teachers.sb3.network import build_network
from reincarnate.teachers.sb3.vecnormalize import Statistics, find_statistics
from reincarnate.teachers.wire.torch_legacy import is_legacy, read_legacy
from reincarnate.types import TeacherCard

MEMBERS = {
    "data": 64 * MIB,
    "policy.pth": 1024 * MIB,
    "_stable_baselines3_version": 1024,
}
SAFE = "weights and JSON only; nothing was unpickled"
SAFE_WITH_STATISTICS = "weights, JSON and numbers only; of the statistics' pickle nothing was imported or run"
SAFE_WITH_BOUNDS = "weights, JSON and numbers only; of the pickles with numbers nothing was imported or run"


class Sb3Teacher(Memoryless, nn.Module):
    """A saved policy, frozen: `logits` are a policy's (PPO, A2C, TRPO), action values (DQN, QR-DQN), or actions.

    Continuous actions are those of SB3's `predict(deterministic=True)`, in the units of its environment.
    """

    def __init__(self, card: TeacherCard, network: nn.Module, saved: SavedAgent, statistics: Statistics | None):
        super().__init__()
        self.card, self.network = card, network
        self._divide_by_255, self._heads = saved.divide_by_255, (saved.quantiles, saved.actions)
        self._clip = statistics.clip if statistics else None
        self.mean = nn.Buffer(torch.as_tensor(statistics.mean if statistics else 0.0))
        self.scale = nn.Buffer(torch.as_tensor(statistics.scale if statistics else 1.0))
        self.eval().requires_grad_(False)

    def told(self, obs: Tensor) -> Float32[Tensor, "B K"]:
        """Raw observations [B, *O] to logits, action values or continuous actions."""
        obs = obs.to(device_of(self))
        if self._clip is not None:
            obs = ((obs.double() - self.mean) / self.scale).clamp(-self._clip, self._clip)
        obs = obs.float() / 255 if self._divide_by_255 else obs.float()
        out = self.network(obs)
        return out.unflatten(1, self._heads).mean(1)


def recognises(path: Path) -> bool:
    """A zip by its name (even a damaged one: the reader says what is wrong), or one that holds a policy."""
    if not path.is_file() or path.suffix == ".zip":
        return path.is_file()
    try:
        with zipfile.ZipFile(path) as archive:
            return "policy.pth" in archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def open_address(path: str, actions: int | None = None) -> Sb3Teacher:
    """The teacher in a zip that SB3 1.0 or newer saved: PPO, A2C, TRPO, DQN, QR-DQN, SAC, TD3, DDPG or TQC.

    Statistics of a `vecnormalize.pkl` (or `vec_normalize.pkl`) beside it are applied to the observations.
    UserError: not such a file, damaged, hostile, or of a kind that is not supported; it says which.
    """
    file = Path(path)
    payload = read_file(file)
    members = read_members(payload, MEMBERS, path)
    if missing := [name for name in ("data", "policy.pth") if name not in members]:
        raise UserError(f"{path}: not saved by Stable-Baselines3: it has no {' and no '.join(missing)}")
    try:
        saved = read_text(parse_json(members["data"], "data"))
        weights = members["policy.pth"]
        tensors = (read_legacy if is_legacy(weights) else read_tensors)(weights, "policy.pth")
        network, words = build_network(tensors, saved)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    statistics = find_statistics(file.parent, saved.obs_shape)
    version = members.get("_stable_baselines3_version", b"unknown").decode("ascii", "replace").strip()[:20]
    card = _card(path, payload, version, saved, words, network, statistics)
    return Sb3Teacher(card, network, saved, statistics)


def _card(
    path: str,
    payload: bytes,
    version: str,
    saved: SavedAgent,
    words: str,
    network: nn.Module,
    statistics: Statistics | None,
) -> TeacherCard:
    steps = ["uint8 images divided by 255"] if saved.divide_by_255 else []
    if statistics:
        steps.insert(0, f"observations normalised by {statistics.source}, clipped at {statistics.clip:g}")
    return TeacherCard(
        uri=f"sb3:{path}",
        format=f"Stable-Baselines3 {version} zip",
        algorithm=saved.algorithm,
        tells=saved.tells,
        plays="greedy",  # how SB3 and its zoo evaluate agents: predict(deterministic=True)
        network=words,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        sha256=sha256(payload),
        obs_shape=saved.obs_shape,
        obs_dtype=saved.obs_dtype,
        actions=saved.actions,
        preprocessing="; ".join(steps) or "none",
        safety=_safety(saved, statistics),
        bounds=(saved.continuous.low, saved.continuous.high) if saved.continuous else None,
        env=_env_of(Path(path)),
        trained_env_steps=saved.env_steps,
    )


def _safety(saved: SavedAgent, statistics: Statistics | None) -> str:
    if saved.continuous and saved.continuous.pickled:
        return SAFE_WITH_BOUNDS
    return SAFE_WITH_STATISTICS if statistics else SAFE


def _env_of(path: Path) -> str | None:
    """The environment's id where the file is named after it, as the RL Zoo does."""
    found = re.fullmatch(r"(?:(?:ppo|a2c|trpo|dqn|qrdqn|sac|td3|ddpg|tqc)-)?([A-Za-z]\w*-v\d+)", path.stem)
    return found.group(1) if found else None
