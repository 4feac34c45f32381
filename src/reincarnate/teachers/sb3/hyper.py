"""What an SB3 zip says of its training, as settings of the student that goes on; no number is taken unlooked at."""

import base64
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from reincarnate.errors import UserError
from reincarnate.files.pickled import Inert
from reincarnate.files.safe import unpickle_inert
from reincarnate.nets.activations import Activation
from reincarnate.students.policy_settings import PolicySettings

ACTIVATIONS: dict[str, Activation] = {
    "ReLU": "relu",
    "Tanh": "tanh",
    "ELU": "elu",
    "LeakyReLU": "leaky_relu",
    "GELU": "gelu",
    "SiLU": "silu",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "Mish": "mish",
}
FREQUENCY = (r"stable_baselines3\.common\.type_aliases\.(TrainFreq|TrainFrequencyUnit)",)
MOST = 10**7


class Field(NamedTuple):
    """A number of SB3's: its name there, whether it is whole, and between what it makes sense."""

    name: str
    whole: bool
    low: float
    high: float


GENERAL = {
    "gamma": Field("gamma", False, 0, 1),
    "lr": Field("learning_rate", False, 0, 1),
    "batch_size": Field("batch_size", True, 1, MOST),
    "max_grad_norm": Field("max_grad_norm", False, 0, MOST),
}
REPLAY = {
    "replay_size": Field("buffer_size", True, 1, MOST),
    "n_step": Field("n_steps", True, 1, 1000),
}
VALUE = {**GENERAL, **REPLAY, "epsilon": Field("exploration_final_eps", False, 0, 1)}
CONTINUOUS = {**{k: GENERAL[k] for k in ("gamma", "lr", "batch_size")}, **REPLAY, "tau": Field("tau", False, 1e-6, 1)}
POLICY = {
    **GENERAL,
    "lam": Field("gae_lambda", False, 0, 1),
    "entropy": Field("ent_coef", False, 0, 1000),
    "epochs": Field("n_epochs", True, 1, 1000),
    "clip": Field("clip_range", False, 1e-6, 1000),
}


def number(data: Mapping[str, Any], field: Field) -> float | int | None:
    """One that is there and makes sense; of a schedule in its text only a constant one."""
    value = data.get(field.name)
    if isinstance(value, dict):
        found = re.fullmatch(r"ConstantSchedule\(val=([0-9.eE+-]{1,30})\)", str(value.get("value_schedule", ""))[:80])
        value = _float(found[1]) if found else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not field.low <= value <= field.high:
        return None
    if field.whole:
        return int(value) if value == int(value) else None
    return float(value)


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def numbers(data: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    """Settings by our names, those that the zip tells."""
    told = {ours: number(data, field) for ours, field in fields.items()}
    return {ours: value for ours, value in told.items() if value is not None}


def schedule_note(
    data: Mapping[str, Any], told: Mapping[str, Any], usual: float, last: float | None
) -> tuple[str, ...]:
    """A word where its learning rate was no number; `last` is the one that it ended with."""
    if "lr" in told or "learning_rate" not in data:
        return ()
    ended = f", ended at {last:g}," if last is not None else ""
    return (f"its learning rate was a schedule{ended} and is not taken: the student's own is {usual:g} (--student.lr)",)


def rhythm(data: Mapping[str, Any]) -> dict[str, int]:
    """Env steps between updates and updates at once; {} where the zip does not tell them in steps.

    Stable-Baselines3 counts steps of all copies at once.
    """
    frequency, each = _frequency(data.get("train_freq")), data.get("gradient_steps")
    if frequency is None or isinstance(each, bool) or not isinstance(each, int) or not -1 <= each <= 10_000 or not each:
        return {}
    frequency *= int(number(data, Field("n_envs", True, 1, 10_000)) or 1)
    return {"update_every": frequency, "updates_each": frequency if each < 0 else each}


def _frequency(value: Any) -> int | None:
    """Steps of a `TrainFreq`, out of its pickle, of which only the skeleton is looked at."""
    try:
        raw = base64.b64decode(str(value.get(":serialized:", ""))[:4096], validate=True)
        found = unpickle_inert(raw, FREQUENCY, "train_freq")
    except (AttributeError, ValueError, UserError):
        return None
    match found:
        case Inert(args=(int() as steps, Inert(args=("step",)))) if 1 <= steps <= 10_000:
            return steps
    return None


def target_updates(data: Mapping[str, Any], pace: Mapping[str, int]) -> dict[str, int]:
    """Updates between target syncs of DQN, which counts env steps; {} where that cannot be told."""
    steps = number(data, Field("target_update_interval", True, 1, MOST))
    if steps is None or not pace:
        return {}
    return {"target_every": max(1, round(int(steps) * pace["updates_each"] / pace["update_every"]))}


def rollout(data: Mapping[str, Any], settings: type[PolicySettings]) -> dict[str, Any]:
    """Rollouts as long in all as they were, whatever the number of copies; and what else is told in another unit."""
    steps, copies = number(data, Field("n_steps", True, 1, MOST)), number(data, Field("n_envs", True, 1, 10_000))
    told: dict[str, Any] = {}
    if steps is not None:
        told["rollout"] = max(1, round(int(steps) * int(copies or 1) / settings.copies))
    if (weight := number(data, Field("vf_coef", False, 0, 1000))) is not None:
        told["value_weight"] = 2 * weight  # of the squared error there, of half of it here
    if isinstance(norm := data.get("normalize_advantage"), bool):
        told["norm_advantage"] = norm
    return told


def entropy_weight(data: Mapping[str, Any], actions: int) -> dict[str, Any]:
    """SAC's α, learnt or fixed, and its target."""
    coefficient, told = data.get("ent_coef"), {}
    if number(data, Field("ent_coef", False, 1e-12, 1e6)) is not None:
        told = {"alpha": float(coefficient), "learn_alpha": False}  # pyright: ignore[reportArgumentType]
    if (target := number(data, Field("target_entropy", False, -1e4, 1e4))) is not None:
        told["entropy"] = -target / actions
    return told
