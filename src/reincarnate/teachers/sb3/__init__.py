"""Agents saved by Stable-Baselines3 and sb3-contrib, read without either and without unpickling anything.

A saved agent is a zip: `data` (JSON, with pickles in base64 beside the text, which are never looked at) and
`policy.pth` (the weights). Layer sizes come from the tensors' shapes, the rest from the text.
"""

import math
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from reincarnate.agents.imported import Imported
from reincarnate.errors import UserError
from reincarnate.files.safe import MIB, parse_json, read_file, read_members, read_tensors, sha256
from reincarnate.teachers.frozen import Memoryless, as_gaussian, as_prediction, device_of
from reincarnate.teachers.heads import Acts, Bounded, Gaussian
from reincarnate.teachers.sb3.belonging import Found, find
from reincarnate.teachers.sb3.evidence import WRITTEN_WITH, read_evidence
from reincarnate.teachers.sb3.format import SavedAgent, read_text
from reincarnate.teachers.sb3.network import build_network
from reincarnate.teachers.sb3.recurrent import Remembering, build_recurrent
from reincarnate.teachers.sb3.start import BESIDE, VARIABLES, Source
from reincarnate.teachers.sb3.weights import imported
from reincarnate.teachers.wire.torch_legacy import is_legacy, read_legacy
from reincarnate.types import Prediction, TaskSpec, TeacherCard, TimeStep

MEMBERS = {
    "data": 64 * MIB,
    "policy.pth": 1024 * MIB,
    "pytorch_variables.pth": MIB,
    "tensors.pth": MIB,  # its name before 1.0
    "_stable_baselines3_version": 1024,
    WRITTEN_WITH: 64,
}
LARGEST_LOG_ALPHA = 50.0  # beyond, e to that is no worth of anything
SAFE = "weights and JSON only; nothing was unpickled"
SAFE_WITH_STATISTICS = "weights, JSON and numbers only; of the statistics' pickle nothing was imported or run"
SAFE_WITH_BOUNDS = "weights, JSON and numbers only; of the pickles with numbers nothing was imported or run"


class Sb3Teacher(Memoryless, nn.Module):
    """A saved policy, frozen: `logits` are a policy's (PPO, A2C, TRPO), action values (DQN, QR-DQN), or actions.

    Continuous actions are those of SB3's `predict(deterministic=True)`, in the units of its environment.
    """

    def __init__(self, card: TeacherCard, network: nn.Module, saved: SavedAgent, found: Found):
        super().__init__()
        self.card, self.network = card, network
        self._divide_by_255, self._heads = saved.divide_by_255, (saved.quantiles, saved.actions)
        statistics = found.statistics
        self._clip = nn.Buffer(torch.as_tensor(statistics.clip, dtype=torch.float64)) if statistics else None
        self.entries = saved.entries
        self.mean = nn.Buffer(torch.as_tensor(statistics.mean if statistics else 0.0))
        self.scale = nn.Buffer(torch.as_tensor(statistics.scale if statistics else 1.0))
        self.eval().requires_grad_(False)

    @property
    def acts(self) -> Acts | None:
        """How its base Gaussian becomes an action; None of discrete actions."""
        if not isinstance(self.network, Gaussian):
            return None
        squashed = isinstance(self.network.action, Bounded)
        return Acts(squashed, self.card.bounds, self.network.spread is not None)

    def told(self, obs: Tensor) -> Float32[Tensor, "B K"]:
        """Raw observations [B, *O] to logits, action values or continuous actions."""
        return self.network(self._seen(obs)).unflatten(1, self._heads).mean(1)

    @torch.no_grad()
    def distribution(self, obs: Tensor) -> tuple[Float32[Tensor, "B A"], Float32[Tensor, "B A"] | None]:
        """Raw observations [B, *O] to mean and log σ of the base Gaussian, before `acts` squashes or clips it.

        log σ is None where the file has none (TD3, DDPG, ARS). UserError: discrete actions.
        """
        if not isinstance(self.network, Gaussian):
            raise UserError(f"{self.card.uri}: has discrete actions, of which there is no Gaussian")
        return self.network.distribution(self._seen(obs))

    def _seen(self, obs: Tensor) -> Float32[Tensor, "B *O"]:
        """What the network sees of raw observations."""
        obs = obs.to(device_of(self))
        if self._clip is not None:
            obs = ((obs.double() - self.mean) / self.scale).clamp(-self._clip, self._clip)
        return obs.float() / 255 if self._divide_by_255 else obs.float()


class RecurrentSb3Teacher(Sb3Teacher):
    """A saved policy of RecurrentPPO, frozen; what it remembers is the LSTM's state, forgotten as episodes begin."""

    def __init__(self, card: TeacherCard, made: Remembering, saved: SavedAgent, found: Found):
        Sb3Teacher.__init__(self, card, made.network, saved, found)
        self.features_before, self.lstm = made.features, made.lstm
        self.eval().requires_grad_(False)

    def initial(self, n: int) -> Tensor:
        """The LSTM's state of n new episodes."""
        return self.lstm.initial(n)

    @torch.no_grad()
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What it says of raw observations, and its state after them."""
        begins, carry = step.begins.to(device_of(self)), carry.to(device_of(self))
        features, carry = self.lstm(self.features_before(self._seen(step.obs)), begins, carry)
        acts = self.acts
        if acts is not None and acts.spread:
            assert isinstance(self.network, Gaussian)
            return as_gaussian(acts, *self.network.distribution(features)), carry  # pyright: ignore[reportArgumentType]
        told = self.network(features).unflatten(1, self._heads).mean(1)
        return as_prediction(self.card, told), carry

    def told(self, obs: Tensor) -> Float32[Tensor, "B K"]:
        """Refused: of lone observations it has nothing to say."""
        raise UserError(f"{self.card.uri}: has a memory, and says nothing of observations out of their episode")


def recognises(path: Path) -> bool:
    """A zip by its name (even a damaged one: the reader says what is wrong), or one that holds a policy."""
    if not path.is_file() or path.suffix == ".zip":
        return path.is_file()
    try:
        with zipfile.ZipFile(path) as archive:
            return "policy.pth" in archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def open_weights(path: str, spec: TaskSpec | None = None) -> Imported:
    """The agent in a zip as one of ours, to go on from: its address is a teacher's. UserError: as `open_address`, or
    of a kind or shape that no student has.
    """
    return imported(_opened(path, (*BESIDE, *VARIABLES))[1])


def open_address(path: str, actions: int | None = None) -> Sb3Teacher:
    """The teacher in a zip that SB3 1.0 or newer saved, one of `format.KNOWN`: `FILE.zip[?vecnormalize=FILE|none]`.

    Statistics of a `VecNormalize` are applied to the observations where they are found and evidently its own
    (`belonging`), or named. UserError: not such a file, damaged, hostile, of a kind that is not supported, or with
    statistics that cannot be told from another agent's; it says which.
    """
    return _opened(path)[0]


def _opened(path: str, more: tuple[str, ...] = ()) -> tuple[Sb3Teacher, Source]:
    """The teacher in a zip, and all that it was made of, with `more` members of the zip as they are."""
    file, asked = _address(path)
    payload = read_file(file)
    members = read_members(payload, MEMBERS | dict.fromkeys(more, 1024 * MIB), str(file))
    if missing := [name for name in ("data", "policy.pth") if name not in members]:
        raise UserError(f"{file}: not saved by Stable-Baselines3: it has no {' and no '.join(missing)}")
    try:
        data = parse_json(members["data"], "data")
        saved = read_text(data)
        weights = members["policy.pth"]
        tensors = (read_legacy if is_legacy(weights) else read_tensors)(weights, "policy.pth")
        if saved.family.recurrent:
            made = build_recurrent(tensors, saved)
            parts, words = nn.ModuleList([made.features, made.lstm, made.network]), made.words
        else:
            made, (parts, words) = None, build_network(tensors, saved)
        alpha = _alpha(members.get("pytorch_variables.pth") or members.get("tensors.pth") or b"")
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    evidence = read_evidence(data, saved.entries, members.get(WRITTEN_WITH, b""))
    found = find(file, evidence, saved.obs_shape, asked, saved.entries)
    version = members.get("_stable_baselines3_version", b"unknown").decode("ascii", "replace").strip()[:20]
    card = replace(_card(path, payload, version, saved, words, parts, found), alpha=alpha)
    source = Source(file, card, data, saved, tensors, found.statistics, members)
    if made:
        return RecurrentSb3Teacher(card, made, saved, found), source
    return Sb3Teacher(card, parts, saved, found), source


def _alpha(variables: bytes) -> float | None:
    """SAC's and TQC's α: the exponential of `log_ent_coef`, where it was learnt and so is among the variables."""
    if not variables:
        return None
    tensors = (read_legacy if is_legacy(variables) else read_tensors)(variables, "pytorch_variables.pth")
    found = tensors.get("log_ent_coef")
    if found is None or found.numel() != 1 or not abs(found.item()) < LARGEST_LOG_ALPHA:
        return None
    return math.exp(found.item())


def _address(rest: str) -> tuple[Path, str]:
    """The file, and what is asked of its statistics. UserError: anything else behind the ?."""
    path, mark, query = rest.partition("?")
    if not mark or Path(rest).is_file():
        return Path(rest), ""
    key, equals, value = query.partition("=")
    if key != "vecnormalize" or not equals or not value:
        raise UserError(f"sb3:{rest}: {query!r} is not understood; known is ?vecnormalize=FILE or none")
    return Path(path), unquote(value)


def _card(
    path: str, payload: bytes, version: str, saved: SavedAgent, words: str, network: nn.Module, found: Found
) -> TeacherCard:
    statistics = found.statistics
    steps = [f"{found.said}, clipped at ±{statistics.limit:g}"] if statistics else []
    steps += ["uint8 images divided by 255"] if saved.divide_by_255 else []
    keys = [f"{entry.key} (an image, divided by 255)" if entry.image else entry.key for entry in saved.entries]
    steps += [f"a Dict's entries one after the other: {', '.join(keys)}"[:200]] if keys else []
    steps = steps or [f"none ({found.said})" if found.said else "none"]
    return TeacherCard(
        uri=f"sb3:{path}",
        format=f"Stable-Baselines3 {version} zip",
        algorithm=saved.algorithm,
        tells=saved.tells,
        plays="greedy",  # how SB3 and its zoo evaluate agents: predict(deterministic=True)
        network=words,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        # Another agent in effect, with other scores, whenever other statistics are applied.
        sha256=sha256(payload, statistics.sha256.encode()) if statistics else sha256(payload),
        obs_shape=saved.obs_shape,
        obs_dtype=saved.obs_dtype,
        actions=saved.actions,
        preprocessing="; ".join(steps),
        safety=_safety(saved, statistics is not None),
        bounds=(saved.continuous.low, saved.continuous.high) if saved.continuous else None,
        env=_env_of(_address(path)[0]),
        trained_env_steps=saved.env_steps,
        warnings=(found.said,) if found.said else (),
    )


def _safety(saved: SavedAgent, statistics: bool) -> str:
    if saved.continuous and saved.continuous.pickled:
        return SAFE_WITH_BOUNDS
    return SAFE_WITH_STATISTICS if statistics else SAFE


def _env_of(path: Path) -> str | None:
    """The environment's id where the file is named after it, as the RL Zoo does."""
    found = re.fullmatch(r"(?:(?:ppo|a2c|trpo|dqn|qrdqn|sac|td3|ddpg|tqc|ars|crossq)-)?([A-Za-z]\w*-v\d+)", path.stem)
    return found.group(1) if found else None
