"""What the text of an SB3 zip says of its agent: algorithm, spaces, activation. Nothing is unpickled."""

import math
import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from reincarnate.errors import UserError
from reincarnate.teachers.sb3.actions import Continuous, read_continuous
from reincarnate.teachers.sb3.spaces import Chosen, Entry, chosen, count, kind, seen
from reincarnate.types import LOGITS, MEANS, VALUES

ACTIVATIONS: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (nn.Tanh, nn.ReLU, nn.ELU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Mish)
}
KNOWN = "PPO, MaskablePPO, RecurrentPPO, A2C, TRPO, DQN, QR-DQN, SAC, TD3, DDPG, TQC, CrossQ and ARS"
EXTRACTORS = ("FlattenExtractor", "NatureCNN", "CombinedExtractor")


@dataclass(frozen=True)
class Family:
    """Where a family of policies keeps its layers, as prefixes of the tensors' names; the head comes last.

    `tells` is what it tells of discrete actions, MEANS where it has none. A tensor named `limited` betrays that
    gSDE cuts the means. `spread` is where log σ lies: a parameter of that name, or a layer.
    """

    tells: str
    activation: str
    features: tuple[str, ...]
    layers: tuple[str, ...]
    unused: tuple[str, ...]
    limited: str = ""
    spread: str = ""
    recurrent: bool = False


GAUSSIAN = Family(
    MEANS,
    "ReLU",
    ("actor.features_extractor.",),
    ("actor.latent_pi.", "actor.mu."),
    ("actor.log_std", "actor.sde_features_extractor.", "critic.", "critic_target."),
    limited="actor.mu.0.weight",
    spread="actor.log_std",
)
ON_POLICY = Family(
    LOGITS,
    "Tanh",
    ("pi_features_extractor.", "features_extractor."),
    ("mlp_extractor.shared_net.", "mlp_extractor.policy_net.", "action_net."),
    (
        *("features_extractor.", "vf_features_extractor.", "mlp_extractor.value_net.", "value_net."),
        *("log_std", "sde_features_extractor."),
    ),
    spread="log_std",
)
FAMILIES = {
    "stable_baselines3.common.policies": ON_POLICY,
    "sb3_contrib.common.maskable.policies": ON_POLICY,
    "sb3_contrib.common.recurrent.policies": Family(
        LOGITS,
        "Tanh",
        ("pi_features_extractor.", "features_extractor."),
        ("mlp_extractor.shared_net.", "mlp_extractor.policy_net.", "action_net."),
        (
            *("features_extractor.", "vf_features_extractor.", "mlp_extractor.value_net.", "value_net."),
            *("log_std", "lstm_critic.", "critic."),
        ),
        spread="log_std",
        recurrent=True,
    ),
    "stable_baselines3.dqn.policies": Family(
        VALUES, "ReLU", ("q_net.features_extractor.",), ("q_net.q_net.",), ("q_net_target.",)
    ),
    "sb3_contrib.qrdqn.policies": Family(
        VALUES,
        "ReLU",
        ("quantile_net.features_extractor.",),
        ("quantile_net.quantile_net.",),
        ("quantile_net_target.",),
    ),
    "stable_baselines3.sac.policies": GAUSSIAN,
    "sb3_contrib.tqc.policies": GAUSSIAN,
    "sb3_contrib.crossq.policies": GAUSSIAN,
    "sb3_contrib.ars.policies": Family(LOGITS, "ReLU", (), ("action_net.",), ()),
    "stable_baselines3.td3.policies": Family(
        MEANS, "ReLU", ("actor.features_extractor.",), ("actor.mu.",), ("actor_target.", "critic.", "critic_target.")
    ),
}


@dataclass(frozen=True)
class SavedAgent:
    """What the text says of the agent, checked. `continuous` is None where actions are discrete.

    `expln`: gSDE's σ is not exp of its parameter; `renorm_epsilon`: what CrossQ adds to the variances it divides by.
    """

    family: Family
    tells: str
    algorithm: str
    activation: str
    obs_shape: tuple[int, ...]
    obs_dtype: str
    actions: int
    divide_by_255: bool
    env_steps: int | None
    quantiles: int
    continuous: Continuous | None
    expln: bool
    renorm_epsilon: float
    chosen: Chosen | None = None  # of discrete actions, where one is several choices
    entries: tuple[Entry, ...] = ()  # of what it sees, where that is a Dict; images are divided by 255


def read_text(data: dict[str, Any]) -> SavedAgent:
    """What the JSON says. UserError: not SB3's, or a kind of agent, space or network that cannot be read."""
    policy, kwargs = _object(data, "policy_class"), _object(data, "policy_kwargs")
    obs, actions = _object(data, "observation_space"), _object(data, "action_space")
    sees, discrete = seen(obs), None if kind(actions) == "Box" else chosen(actions)
    family = FAMILIES.get(module := str(policy.get("__module__", "unknown"))[:80])
    if family is None:
        raise UserError(f"not supported: policies of {module}; {KNOWN} can be read")
    continuous = None
    if discrete is None:
        continuous = read_continuous(actions, kwargs, _squashed(module, family, policy, kwargs))
    several = bool(discrete and discrete.choices)
    if family.tells == (VALUES if continuous else MEANS) or (several and (family.tells != LOGITS or family.recurrent)):
        raise UserError(f"{_algorithm(module, data)} cannot have actions in a {kind(actions)} space")
    steps = data.get("num_timesteps")
    divides = str(kwargs.get("normalize_images", True)) != "False"
    return SavedAgent(
        family=family,
        tells=MEANS if continuous else family.tells,
        algorithm=_algorithm(module, data),
        activation=_activation(kwargs, family),
        obs_shape=sees.shape,
        obs_dtype=sees.dtype,
        actions=len(continuous.low) if continuous else discrete.actions if discrete else 0,
        divide_by_255=sees.image and divides,
        env_steps=steps if isinstance(steps, int) and steps >= 0 else None,
        quantiles=count(data.get("n_quantiles"), "quantiles") if "qrdqn" in module else 1,
        continuous=continuous,
        expln=str(kwargs.get("use_expln")) == "True",
        renorm_epsilon=_epsilon(kwargs.get("batch_norm_eps", 1e-3)),
        chosen=discrete if several else None,
        entries=tuple(one._replace(image=one.image and divides) for one in sees.entries),
    )


def _squashed(module: str, family: Family, policy: dict[str, Any], kwargs: dict[str, Any]) -> bool:
    """Whether actions are squashed by tanh; clipped otherwise. ARS squashes unless its policy is the linear one."""
    by_default = family.tells == MEANS
    if "ars" in module:
        by_default = "ARSLinearPolicy" not in str(policy.get("__init__"))[:200]
    return str(kwargs.get("squash_output", by_default)) == "True"


def _epsilon(value: Any) -> float:
    try:
        number = float(str(value)[:40])
    except ValueError:
        number = math.nan
    if not 0 <= number < 1:
        raise UserError(f"batch_norm_eps is {str(value)[:40]!r}, which cannot be")
    return number


def _object(data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    if not isinstance(value, dict):
        raise UserError(f"not an agent saved by Stable-Baselines3: its data has no {key}")
    return value


def _algorithm(module: str, data: dict[str, Any]) -> str:
    if "dqn" in module:
        return "QR-DQN" if "qrdqn" in module else "DQN"
    if "td3" in module:  # DDPG is TD3 that neither delays the policy nor smooths the target
        return "DDPG" if (data.get("policy_delay"), data.get("target_noise_clip")) == (1, 0) else "TD3"
    if "ars" in module:
        return "ARS"
    if "recurrent" in module or "maskable" in module:
        return "RecurrentPPO" if "recurrent" in module else "MaskablePPO"
    if "crossq" in module:
        return "CrossQ"
    if "sac" in module or "tqc" in module:
        return "SAC" if "sac" in module else "TQC"
    return "PPO" if "clip_range" in data else "TRPO" if "cg_max_steps" in data else "A2C"


def _activation(kwargs: dict[str, Any], family: Family) -> str:
    extractor = re.search(r"(\w+)'>$", str(kwargs.get("features_extractor_class", ""))[:200])
    if extractor and extractor.group(1) not in EXTRACTORS:
        raise UserError(f"not supported: the features extractor {extractor.group(1)}")
    if "activation_fn" not in kwargs:
        return family.activation
    found = re.fullmatch(r"<class 'torch\.nn\.modules\.activation\.(\w+)'>", str(kwargs["activation_fn"])[:200])
    if not found or found.group(1) not in ACTIVATIONS:
        raise UserError(f"not supported: the activation function {str(kwargs['activation_fn'])[:80]}")
    return found.group(1)
