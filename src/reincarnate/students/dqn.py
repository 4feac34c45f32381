"""DQN (Mnih et al., 2015) with Adam, and switches for double Q-learning, dueling heads and n-step returns."""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reincarnate import losses
from reincarnate.nets import Flat, FusedMLP, build, fits
from reincarnate.nets.flat import Adam
from reincarnate.nets.qnet import TorsoName
from reincarnate.students.compiled import CompiledGradient
from reincarnate.types import Batch, Outputs, TaskSpec, Term


@dataclass(frozen=True)
class DQN:
    """Settings of a DQN student. Defaults: Agarwal et al. (2022) for n, γ, ε, batch and update period.

    Schedules are counted in env steps (agent steps, not frames), target syncs in updates. `hidden` empty means the
    torso's own sizes: 256, 256 (mlp), 128 (minatar), 512 (nature).
    """

    torso: TorsoName = "auto"
    hidden: tuple[int, ...] = ()
    double: bool = False
    dueling: bool = False
    n_step: int = 3
    gamma: float = 0.99
    lr: float = 1e-4
    adam_eps: float = 1.5e-4
    batch_size: int = 32
    update_every: int = 4  # env steps per update
    target_every: int = 2000  # updates between hard target syncs
    warmup: int = 1000  # env steps before the first online update
    replay_size: int = 100_000  # rows
    epsilon: float = 0.01  # the end value of exploration
    epsilon_steps: int = 10_000  # env steps from 1 to `epsilon`, for a newborn

    def newborn(self, spec: TaskSpec, seed: int) -> "DQNStudent":
        """A fresh student for a task; its weights are a function of `seed`."""
        return DQNStudent(self, spec, seed)


class DQNStudent:
    """A DQN being trained: online and target network, optimiser, and nothing about teachers."""

    def __init__(self, config: DQN, spec: TaskSpec, seed: int):
        self.config, self.spec = config, spec
        self.n_step, self.gamma, self.batch_size = config.n_step, config.gamma, config.batch_size
        network = build(spec, config.torso, config.hidden, config.dueling, seed)
        self.target = Flat(copy.deepcopy(network), trainable=False)
        self.acting = Flat(copy.deepcopy(network), trainable=False)
        self.online = Flat(network)
        self._online, self._target, self._acting = (_forward(net) for net in (self.online, self.target, self.acting))
        self.optimizer = Adam(self.online.data.numel(), config.adam_eps)
        self.updates = 0
        self._compiled: CompiledGradient | None = None
        self._beside: ThreadPoolExecutor | None = None

    @torch.no_grad()
    def values(self, obs: np.ndarray) -> np.ndarray:
        """Action values [n, A] of the network that acts: the one of the last `publish`."""
        return self._acting(torch.from_numpy(obs)).numpy()

    def act(self, obs: np.ndarray, epsilon: float, rng: np.random.Generator) -> np.ndarray:
        """ε-greedy actions [n]; the network is asked only where the coin says so."""
        actions = rng.integers(self.spec.actions, size=len(obs))
        greedy = rng.random(len(obs)) >= epsilon
        if greedy.all():
            return self.values(obs).argmax(-1)
        if greedy.any():
            actions[greedy] = self.values(obs[greedy]).argmax(-1)
        return actions

    def publish(self) -> None:
        """Let the acting network be what the online network is now."""
        self.acting.data.copy_(self.online.data)

    def update(
        self, batch: Batch, terms: list[tuple[float, Term]], td_weight: float = 1.0, lr_scale: float = 1.0
    ) -> dict[str, Tensor]:
        """One gradient step on td_weight · TD + Σ weight · term, each averaged over the batch.

        One forward pass feeds every term. Returns the losses' means as scalars, unweighted.
        """
        report = self._compiled(batch, terms, td_weight) if self._compiled else self._gradient(batch, terms, td_weight)
        assert self.online.grad is not None
        self.optimizer.step(self.online.data, self.online.grad, self.config.lr * lr_scale)
        self.updates += 1
        if self.updates % self.config.target_every == 0:
            self.sync_target()
        return report

    def _gradient(self, batch: Batch, terms: list[tuple[float, Term]], td_weight: float) -> dict[str, Tensor]:
        """Fill the flat gradient; returns the losses' means."""
        assert self.online.grad is not None
        self.online.grad.zero_()
        ahead = self._beside.submit(self._next_value, batch.next_obs) if self._beside else None
        q = self._online(batch.obs)
        next_value = ahead.result() if ahead else self._next_value(batch.next_obs)
        weights = [td_weight, *(weight for weight, _ in terms)]
        total, report = loss(q, next_value, batch, [term for _, term in terms], weights)
        total.backward()
        return report

    @torch.no_grad()
    def _next_value(self, next_obs: Tensor) -> Tensor:
        selector = self._online(next_obs) if self.config.double else None
        return bootstrap(self._target(next_obs), selector)

    def overlap(self) -> None:
        """Pass the target network beside the online one, on another thread. Changes no result."""
        self._beside = ThreadPoolExecutor(1)

    def compile(self) -> None:
        """Compute gradients by one compiled program from now on: quicker where an update is mostly overhead.

        Results agree with the plain ones within float tolerance, not to the bit.
        """
        self._compiled = CompiledGradient(self.online, self.target, bootstrap, loss, self.config.double)

    def sync_target(self) -> None:
        """Copy the online network to the target network."""
        self.target.data.copy_(self.online.data)

    def state(self) -> dict[str, Tensor]:
        """Everything an update changes, as flat tensors."""
        return {
            "online": self.online.data,
            "target": self.target.data,
            "adam.mean": self.optimizer.mean,
            "adam.square": self.optimizer.square,
            "adam.steps": self.optimizer.steps,
            "updates": torch.tensor(self.updates),
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Put `state()` back, in place."""
        own = self.state()
        for name in own.keys() - {"updates"}:
            own[name].copy_(state[name])
        self.updates = int(state["updates"])
        self.publish()

    def weights(self) -> dict[str, Tensor]:
        """The online network's parameters by name, as an agent keeps them."""
        return {name: p.detach().contiguous() for name, p in self.online.module.state_dict().items()}


def bootstrap(next_q: Tensor, selector: Tensor | None) -> Tensor:
    """The successor's value: plain, or double where the online network's values are given to select by."""
    return losses.max_value(next_q) if selector is None else losses.double_value(next_q, selector)


def loss(
    q: Tensor, next_value: Tensor, batch: Batch, terms: Sequence[Term], weights: Sequence[float] | Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the TD loss (first weight) and the terms, and each one's own mean."""
    means = {"td": losses.q_learning(q, batch.action, batch.reward, batch.discount, next_value).mean()}
    for term in terms:
        means[term.name] = term(Outputs(q), batch).mean()
    total = sum(weight * mean for weight, mean in zip(weights, means.values(), strict=True))
    return total, {name: mean.detach() for name, mean in means.items()}  # pyright: ignore


def _forward(net: Flat) -> Callable[[Tensor], Tensor]:
    """The quickest way through a network: one node where it is a small MLP, its modules otherwise."""
    return FusedMLP(net.module) if fits(net.module) else net.module  # pyright: ignore
