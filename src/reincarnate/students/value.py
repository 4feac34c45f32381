"""The value student: online and target network, an optimiser, and a critic that says what the outputs mean."""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reincarnate.nets import Flat, FusedMLP, build, fits
from reincarnate.nets.augment import draw_intensity, draw_shift, intensity, shift
from reincarnate.nets.noisy import draw_noise, noise_size, set_noise
from reincarnate.nets.optimizers import clip_norm, optimizer
from reincarnate.nets.plasticity import reset_head, shrink_and_perturb
from reincarnate.seeds import stream
from reincarnate.students.critics import Critic
from reincarnate.students.exploration import epsilon_greedy
from reincarnate.students.gradient import Draws, FunctionalGradient, losses_of, target_of, weigh
from reincarnate.types import Batch, Learnt, TaskSpec, Term

if TYPE_CHECKING:
    from reincarnate.students.settings import ValueSettings

SHIFT_PAD = 4  # pixels, Kostrikov et al. (2021)
INTENSITY = 0.05  # Agarwal et al. (2022)


class ValueStudent:
    """A value student being trained, of any family. It knows nothing about teachers."""

    def __init__(self, config: "ValueSettings", critic: Critic, spec: TaskSpec, seed: int):
        self.config, self.critic, self.spec, self.seed = config, critic, spec, seed
        self.n_step, self.gamma, self.batch_size = config.n_step, config.gamma, config.batch_size
        network = build(spec, config, critic, seed)
        self.acting = Flat(copy.deepcopy(network), trainable=False)
        self.target = Flat(copy.deepcopy(network), trainable=False) if config.target_every else None
        self.online = Flat(network)
        size = self.online.data.numel()
        self.optimizer = optimizer(config.optimizer, size, config.adam_eps, config.weight_decay)
        self.noise_size = noise_size(network)
        self.updates = 0
        self._forwards: dict[int, Callable[..., Tensor]] = {}
        self._weights: tuple[tuple[float, ...], Tensor] = ((), torch.zeros(0))
        self._program: FunctionalGradient | None = None
        self._beside: ThreadPoolExecutor | None = None

    # ---- acting --------------------------------------------------------------------------------------

    @torch.no_grad()
    def values(self, obs: np.ndarray) -> np.ndarray:
        """Action values [n, A] of the network that acts (the one of the last `publish`), without noise."""
        return self._values(obs).numpy()

    def _values(self, obs: np.ndarray, noise: Tensor | None = None) -> Tensor:
        if self.noise_size:
            set_noise(self.acting.module, torch.zeros(self.noise_size) if noise is None else noise)
        out = self._forward(self.acting)(torch.from_numpy(obs), *self.critic.at_rest(len(obs)))
        return self.critic.values(out)

    @torch.no_grad()
    def act(self, obs: np.ndarray, epsilon: float, rng: np.random.Generator) -> np.ndarray:
        """Training's actions [n]: ε-greedy, under fresh noise where layers are noisy."""
        if not self.noise_size:
            return epsilon_greedy(self.values, obs, self.spec.actions, epsilon, rng)
        noise = draw_noise(self.noise_size, rng)
        return epsilon_greedy(lambda seen: self._values(seen, noise).numpy(), obs, self.spec.actions, epsilon, rng)

    def publish(self) -> None:
        """Let the acting network be what the online network is now."""
        self.acting.data.copy_(self.online.data)

    # ---- learning ------------------------------------------------------------------------------------

    def update(
        self,
        batch: Batch,
        terms: list[tuple[float, Term]],
        rng: np.random.Generator,
        td_weight: float = 1.0,
        lr_scale: float = 1.0,
    ) -> Learnt:
        """One gradient step on td_weight · own loss + Σ weight · term, each averaged over the batch.

        One forward pass feeds every term. `rng` feeds what is random in the update itself (noise, fractions,
        augmentation). Returns the losses' means, unweighted, and each example's own loss.
        """
        batch, draws = self.augmented(batch, rng), self.draw(len(batch.action), rng)
        weights = (td_weight, *(weight for weight, _ in terms))
        if weights != self._weights[0]:
            self._weights = (weights, torch.tensor(weights))
        learn = self._program or self._gradient
        learnt = learn(batch, draws, [term for _, term in terms], self._weights[1])
        self.step(lr_scale)
        return learnt

    def step(self, lr_scale: float) -> None:
        """Move the parameters along the gradient that was found, and count."""
        assert self.online.grad is not None
        if self.config.max_grad_norm:
            clip_norm(self.online.grad, self.config.max_grad_norm)
        self.optimizer.step(self.online.data, self.online.grad, self.config.lr * lr_scale)
        self.counted()

    def counted(self) -> None:
        """Another update is done: what is due after it."""
        self.updates += 1
        if self.config.target_every and self.updates % self.config.target_every == 0:
            self.sync_target()
        if self.config.reset_every and self.updates % self.config.reset_every == 0:
            self.reset()

    def draw(self, n: int, rng: np.random.Generator) -> Draws:
        """What is random in an update of `n` examples."""
        online, target = self.critic.draw(n, rng)
        noise = [draw_noise(self.noise_size, rng) for _ in range(2)] if self.noise_size else [None, None]
        return Draws(online, target, noise[0], noise[1])

    def augmented(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """The batch as the student sees it; the teacher's logits were given for the original."""
        if self.config.augment == "none":
            return batch
        return batch._replace(obs=self._augment(batch.obs, rng), next_obs=self._augment(batch.next_obs, rng))

    def _augment(self, obs: Tensor | None, rng: np.random.Generator) -> Tensor | None:
        if obs is None:
            return None
        obs = shift(obs, draw_shift(len(obs), SHIFT_PAD, rng), SHIFT_PAD)
        if self.config.augment == "shift":
            return obs
        return intensity(obs, draw_intensity(len(obs), INTENSITY, rng))

    def _gradient(self, batch: Batch, draws: Draws, terms: Sequence[Term], weights: Tensor) -> Learnt:
        """Fill the flat gradient."""
        assert self.online.grad is not None
        self.online.grad.zero_()
        self._set_noise(draws)
        ahead = self._beside.submit(self._target_of, batch, draws) if self._beside else None
        out = self._forward(self.online)(batch.obs, *draws.online)
        target = ahead.result() if ahead else self._target_of(batch, draws)
        each = losses_of(self.critic, out, target, batch, draws.online, terms)
        total, learnt = weigh(each, weights, batch.weight)
        total.backward()
        return learnt

    def _set_noise(self, draws: Draws) -> None:
        if draws.online_noise is not None:
            set_noise(self.online.module, draws.online_noise)
        if draws.target_noise is not None and self.target:
            set_noise(self.target.module, draws.target_noise)

    @torch.no_grad()
    def _target_of(self, batch: Batch, draws: Draws) -> Tensor:
        online, frozen = self._forward(self.online), self._forward(self.target or self.online)
        return target_of(self.critic, batch, draws, self.config.double, online, frozen)

    def _forward(self, net: Flat) -> Callable[..., Tensor]:
        """The quickest way through a network: one node where it is a small MLP, its modules otherwise."""
        if id(net) not in self._forwards:
            self._forwards[id(net)] = FusedMLP(net.module) if fits(net.module) else net.module  # pyright: ignore
        return self._forwards[id(net)]

    def forget_forwards(self) -> None:
        """The networks' parameters are about to move."""
        self._forwards.clear()

    # ---- quicker -------------------------------------------------------------------------------------

    def overlap(self) -> None:
        """Pass the target network beside the online one, on another thread. Changes no result."""
        self._beside = ThreadPoolExecutor(1)

    def compile(self) -> None:
        """Compute gradients by one compiled program from now on: quicker where an update is mostly overhead.

        Results agree with the plain ones within float tolerance, not to the bit.
        """
        self._program = FunctionalGradient(self.online, self.target, self.critic, self.config.double)

    # ---- what is changed from outside ----------------------------------------------------------------

    def sync_target(self) -> None:
        """Copy the online network to the target network, where there is one."""
        if self.target:
            self.target.data.copy_(self.online.data)

    def new_optimizer(self) -> None:
        """Empty the optimiser's memory."""
        for tensor in self.optimizer.state.values():
            tensor.zero_()

    def reset(self) -> None:
        """Heads anew, the torso shrunk and perturbed, the optimiser's memory empty, the target synchronised.

        As in Nikishin et al. (2022) and D'Oro et al. (2023). The new weights are a function of (seed, updates). Not
        published: it may be acting on another thread.
        """
        number = int(stream(self.seed, "reset", self.updates).integers(2**31))
        fresh = build(self.spec, self.config, self.critic, number).state_dict()
        weights = shrink_and_perturb(self.weights(), fresh, self.config.shrink, "torso")
        self._begin_with(reset_head(weights, fresh))

    def load(self, weights: dict[str, Tensor]) -> None:
        """Go on from these weights with an empty optimiser; the target network is synchronised."""
        self._begin_with(weights)
        self.publish()

    def _begin_with(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            self.online.module.load_state_dict(weights)
        self.new_optimizer()
        self.sync_target()

    # ---- keeping -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """Everything an update changes, as flat tensors."""
        target = {"target": self.target.data} if self.target else {}
        moments = {f"{self.config.optimizer}.{name}": value for name, value in self.optimizer.state.items()}
        return {"online": self.online.data, **target, **moments, "updates": torch.tensor(self.updates)}

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
