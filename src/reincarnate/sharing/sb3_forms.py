"""What of an agent goes into an SB3 zip, by algorithm: networks by SB3's names, and settings in its words."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reincarnate.agents.agent import Agent
from reincarnate.errors import UserError
from reincarnate.nets.plain import plain
from reincarnate.nets.qnet import QNetwork
from reincarnate.nets.torsos import MLP, NatureCNN, NatureSameCNN, ScreenCNN
from reincarnate.students.continuous_settings import SAC, TD3, TQC, ContinuousSettings, ModernSAC
from reincarnate.students.families import DQN, QRDQN
from reincarnate.students.policy_network import PolicyNetwork
from reincarnate.students.policy_settings import A2C, PolicySettings
from reincarnate.teachers.sb3 import pairs
from reincarnate.types import TaskSpec

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "mish": nn.Mish,
}
OTHERS = (NatureSameCNN, ScreenCNN)  # NatureCNNs that SB3 has none of
CNN_FEATURES = 512  # of SB3's NatureCNN, unless told
CLASSES = "PPO, A2C, SAC, TQC, TD3, DQN and QR-DQN"
Tensors = dict[str, Tensor]


class Form(NamedTuple):
    """What an algorithm's zip holds: its policy's module and class, arguments of the policy, entries of its own,
    tensors of the policy, optimisers and how many parameters each has, and variables beside.
    """

    module: str
    name: str
    kwargs: dict[str, Any]
    data: dict[str, Any]
    policy: Tensors
    optimisers: dict[str, int]
    variables: Tensors = {}  # noqa: RUF012
    rmsprop: bool = False


def form_of(agent: Agent) -> Form:
    """UserError: no algorithm of SB3's has this network; it says why."""
    settings, network = agent.student, agent.network()
    if getattr(settings, "remembers", False):
        raise UserError(f"Stable-Baselines3 has no memories; {CLASSES} without one can be written")
    if isinstance(settings, PolicySettings) and isinstance(network, PolicyNetwork):
        return _policy(settings, network, agent.spec)
    if isinstance(settings, ContinuousSettings):
        return _actor_critic(settings, network)
    if isinstance(network, QNetwork) and type(settings) in (DQN, QRDQN):
        return _value(settings, network, agent.spec)
    raise UserError(f"Stable-Baselines3 has no {type(settings).__name__} agents; {CLASSES} can be written")


# ---- DQN and QR-DQN ------------------------------------------------------------------------------------


def _value(settings: Any, network: QNetwork, spec: TaskSpec) -> Form:
    """A dueling head becomes a plain one of the same values, noisy layers their means."""
    network = plain(network)  # pyright: ignore[reportAssignmentType]
    torso, kind = network.torso, type(settings)
    if settings.layer_norm or not isinstance(torso, MLP | NatureCNN) or isinstance(torso, OTHERS):
        what = "layer norms" if settings.layer_norm else f"torso {type(torso).__name__}"
        raise UserError(f"Stable-Baselines3's {kind.__name__} has no {what}: plain layers and NatureCNN alone")
    images = isinstance(torso, NatureCNN)
    if not images and spec.obs_dtype == "uint8":
        raise UserError("Stable-Baselines3 does not divide such bytes by 255, and the agent does")
    weights = _undueled(dict(network.state_dict()), network.outputs)
    inner = torso.fc if isinstance(torso, NatureCNN) else torso
    hidden = [layer.out_features for layer in inner.layers][images:]
    quantiles = network.outputs if kind is QRDQN else 1
    net = "quantile_net" if quantiles > 1 else "q_net"
    theirs = pairs.theirs_of(pairs.value(len(hidden), quantiles, images), weights)
    lagging = {f"{net}_target{name.removeprefix(net)}": tensor.clone() for name, tensor in theirs.items()}
    kwargs: dict[str, Any] = {"net_arch": hidden, "optimizer_kwargs": {"eps": settings.adam_eps}}
    kwargs |= _activation(settings.activation, "relu") | _features(inner.layers[0].out_features if images else None)  # pyright: ignore
    kwargs |= {"n_quantiles": quantiles} if quantiles > 1 else {}
    every = settings.target_every or 1
    data = {
        **_replaying(settings),
        **{"tau": 1.0, "exploration_initial_eps": settings.epsilon, "exploration_final_eps": settings.epsilon},
        **{"exploration_fraction": 0.1, "exploration_rate": settings.epsilon, "_n_calls": 0},
        "target_update_interval": max(1, round(every * settings.update_every / settings.updates_each)),
        "max_grad_norm": settings.max_grad_norm or 1e9,
    }
    if quantiles > 1:
        module, name, data["n_quantiles"] = "sb3_contrib.qrdqn.policies", "QRDQNPolicy", quantiles
    else:
        module, name = "stable_baselines3.dqn.policies", "DQNPolicy"
    return Form(
        module, "CnnPolicy" if images else name, kwargs, data, theirs | lagging, {"policy.optimizer": len(theirs)}
    )


def _undueled(weights: Tensors, outputs: int) -> Tensors:
    """q = v + a − mean(a) is one linear layer of the features, and each of its K numbers apart."""
    for part in ("weight", "bias"):
        value = weights.pop(f"value.{part}", None)
        if value is not None:
            advantage = weights[f"advantage.{part}"].unflatten(0, (-1, outputs))
            weights[f"advantage.{part}"] = (advantage - advantage.mean(0) + value).flatten(0, 1)
    return weights


def _replaying(settings: Any) -> dict[str, Any]:
    """Entries of every off-policy algorithm."""
    return {
        **{"buffer_size": settings.replay_size, "batch_size": settings.batch_size, "n_steps": settings.n_step},
        **{"learning_starts": settings.warmup, "optimize_memory_usage": False, "replay_buffer_kwargs": {}},
        **{"train_freq": settings.update_every, "gradient_steps": settings.updates_each, "use_sde_at_warmup": False},
    }


# ---- PPO and A2C ---------------------------------------------------------------------------------------


def _policy(settings: PolicySettings, network: PolicyNetwork, spec: TaskSpec) -> Form:
    """Layers that actor and critic share are written twice, but for images: SB3 has no shared layers besides."""
    images = isinstance(network.torso, NatureCNN) and not isinstance(network.torso, OTHERS)
    weights, together = dict(network.state_dict()), network.critic_torso is None
    if not images and not hasattr(network.torso, "layers"):
        raise UserError(
            f"Stable-Baselines3 has no torso {type(network.torso).__name__}: plain layers and NatureCNN alone"
        )
    if together and not images:
        shared = {name: tensor for name, tensor in weights.items() if name.startswith("torso.")}
        weights |= {f"critic_{name}": tensor for name, tensor in shared.items()}
    sizes = [
        [m.out_features for m in _layers(torso)] for torso in (network.torso, network.critic_torso or network.torso)
    ]
    inner = [own[images:] for own in sizes]
    if images and ((together and inner[0]) or sizes[0][0] != sizes[1][0]):
        raise UserError("Stable-Baselines3 shares convolutions and one layer behind them, and no more")
    spread = spec.continuous
    if spread:
        weights |= _in_units(weights, spec, settings.sde)
    counts = (len(inner[0]), len(inner[1]))
    wanted = pairs.policy(counts, images and together, images, "mean" if spread else "logits", spread)
    theirs = pairs.theirs_of(wanted, weights)
    count = len(theirs)
    if images:
        theirs |= _extractors(theirs, together)
    kwargs: dict[str, Any] = {"net_arch": {"pi": inner[0], "vf": inner[1]}}
    kwargs |= _activation("relu" if images else settings.activation, "tanh")
    kwargs |= _features(sizes[0][0] if images else None) | ({} if together or not images else SEPARATE)
    rmsprop = settings.optimizer == "rmsprop"
    kwargs |= {"optimizer_kwargs": {"eps": settings.adam_eps}}
    if rmsprop:
        kwargs |= {"optimizer_class": torch.optim.RMSprop}
        kwargs["optimizer_kwargs"] |= {"alpha": 0.99, "weight_decay": 0}
    data = {
        **{"n_steps": settings.rollout * settings.copies, "gae_lambda": settings.lam, "ent_coef": settings.entropy},
        **{"vf_coef": settings.value_weight / 2, "max_grad_norm": settings.max_grad_norm or 1e9},
        **{"rollout_buffer_kwargs": {}, "normalize_advantage": settings.norm_advantage},
    }
    if not isinstance(settings, A2C):
        batch = settings.batch_size or settings.rollout * settings.copies
        data |= {"batch_size": batch, "n_epochs": settings.epochs, "clip_range": settings.clip, "target_kl": None}
        data |= {"clip_range_vf": settings.clip_value or None}
    name = "ActorCriticCnnPolicy" if images else "ActorCriticPolicy"
    module = "stable_baselines3.common.policies"
    return Form(module, name, kwargs, data, theirs, {"policy.optimizer": count}, rmsprop=rmsprop)


SEPARATE = {"share_features_extractor": False}


def _layers(torso: nn.Module) -> list[nn.Linear]:
    return list((torso.fc if isinstance(torso, NatureCNN) else torso).layers)  # pyright: ignore


def _extractors(theirs: Tensors, together: bool) -> Tensors:
    """SB3's state dicts name one extractor three times, or the actor's twice."""
    own = "features_extractor." if together else "pi_features_extractor."
    tensors = {name.removeprefix(own): tensor for name, tensor in theirs.items() if name.startswith(own)}
    others = ("pi_features_extractor.", "vf_features_extractor.") if together else ("features_extractor.",)
    return {f"{other}{name}": tensor for other in others for name, tensor in tensors.items()}


def _in_units(weights: Tensors, spec: TaskSpec, sde: bool) -> Tensors:
    """Mean and spread in the task's units: the opposite of `teachers.sb3.on_policy.in_unit`."""
    assert spec.bounds is not None
    low, high = (torch.tensor(bound, dtype=torch.float64) for bound in spec.bounds)
    half = (high - low) / 2
    weight, bias, log_std = (weights[f"head.{name}"].double() for name in ("mean.weight", "mean.bias", "log_std"))
    scaled = {
        "head.mean.weight": weight * half[:, None],
        "head.mean.bias": bias * half + (high + low) / 2,
        "head.log_std": log_std + half.log(),
    }
    return {name: tensor.float() for name, tensor in scaled.items()}


# ---- SAC, TQC and TD3 ----------------------------------------------------------------------------------


def _actor_critic(settings: ContinuousSettings, network: Any) -> Form:
    kind = next((one for one in (TQC, SAC, TD3) if type(settings) is one), None)
    if kind is None and isinstance(settings, ModernSAC) and not settings.layer_norm and settings.loss == "squared":
        kind = SAC
    if kind is None or settings.simba or settings.layer_norm:
        what = (
            f"{type(settings).__name__} agents" if kind is None else "layer norms" if settings.layer_norm else "SimBa"
        )
        raise UserError(f"Stable-Baselines3 has no {what}; {CLASSES} of plain layers can be written")
    bounds = ("clamp", -20.0, 2.0)
    soft = isinstance(settings, SAC)
    if isinstance(settings, SAC) and not settings.sde:
        found = (settings.log_std_bound, settings.log_std_low, settings.log_std_high)
        if found != bounds:
            raise UserError(f"Stable-Baselines3 cuts log σ to [-20, 2], the agent by {found[0]} to {list(found[1:])}")
    shape = "sde" if getattr(settings, "sde", False) else "squashed" if soft else "means"
    critic = settings.critic_hidden or settings.hidden
    wanted = pairs.actor(shape, len(settings.hidden)) + pairs.critics(settings.critics, len(critic))
    theirs = pairs.theirs_of(wanted, dict(network.state_dict()))
    counts = {f"{part}.optimizer": sum(n.startswith(f"{part}.") for n in theirs) for part in ("actor", "critic")}
    parts = ("critic",) if soft else ("actor", "critic")
    lagging = {
        f"{part}_target{name.removeprefix(part)}": tensor.clone()
        for part in parts
        for name, tensor in theirs.items()
        if name.startswith(f"{part}.")
    }
    kwargs: dict[str, Any] = {"net_arch": {"pi": list(settings.hidden), "qf": list(critic)}}
    kwargs |= {"n_critics": settings.critics, "optimizer_kwargs": {"eps": settings.adam_eps}}
    kwargs |= _activation(settings.activation, "relu")
    data = {**_replaying(settings), "tau": settings.tau}
    if isinstance(settings, SAC):
        return _soft(settings, network, kwargs, data, theirs | lagging, counts)
    noise = {name: getattr(settings, name) for name in ("target_noise", "target_clip", "actor_every")}
    data |= {"policy_delay": noise["actor_every"], "target_policy_noise": noise["target_noise"]}
    data |= {"target_noise_clip": noise["target_clip"]}
    return Form("stable_baselines3.td3.policies", "TD3Policy", kwargs, data, theirs | lagging, counts)


def _soft(
    settings: SAC, network: Any, kwargs: dict[str, Any], data: dict[str, Any], policy: Tensors, counts: dict[str, int]
) -> Form:
    log_alpha, variables = network.entropy.log_alpha.detach().reshape(1), {}
    data |= {"target_update_interval": settings.target_every, "ent_coef": "auto"}
    data |= {"target_entropy": -settings.entropy * network.actor.head.mean.out_features}
    if settings.learn_alpha:
        counts, variables = {**counts, "ent_coef_optimizer": 1}, {"log_ent_coef": log_alpha.clone()}
    else:
        data["ent_coef"], variables = float(log_alpha.exp()), {"ent_coef_tensor": log_alpha.exp().reshape(())}
    kwargs |= {"use_sde": settings.sde}
    if isinstance(settings, TQC):
        kwargs |= {"n_quantiles": settings.quantiles}
        data |= {"top_quantiles_to_drop_per_net": settings.drop}
        return Form("sb3_contrib.tqc.policies", "TQCPolicy", kwargs, data, policy, counts, variables)
    return Form("stable_baselines3.sac.policies", "SACPolicy", kwargs, data, policy, counts, variables)


def _activation(name: str, usual: str) -> dict[str, Any]:
    return {} if name == usual else {"activation_fn": ACTIVATIONS[name]}


def _features(width: int | None) -> dict[str, Any]:
    return {} if width in (None, CNN_FEATURES) else {"features_extractor_kwargs": {"features_dim": width}}
