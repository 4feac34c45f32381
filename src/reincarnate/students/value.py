"""The value student: online and target network, an optimiser, and a critic that says what the outputs mean."""

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.losses.log_probs import masked
from reincarnate.losses.returns import lambda_returns
from reincarnate.losses.terms import Decorrelation, reads_features
from reincarnate.native import Kernels, kernels
from reincarnate.nets import Flat, build, fits, quickest
from reincarnate.nets.augment import augmented
from reincarnate.nets.noisy import draw_noise, noise_size, set_noise
from reincarnate.nets.optimizers import Frozen, adopt, clip_norm, optimizer
from reincarnate.nets.plasticity import frozen_mask, reset_head, shrink_and_perturb
from reincarnate.seeds import stream
from reincarnate.students.at_once import by_kernels, expected_at_once, learns_at_once, suits_kernels
from reincarnate.students.beside import Beside
from reincarnate.students.captured import CapturedGradient
from reincarnate.students.costs import cost_of_values
from reincarnate.students.critics import Critic, Expected, ends
from reincarnate.students.exploration import GREEDY_VALUE, UnderNoise, epsilon_greedy
from reincarnate.students.gradient import Draws, FunctionalGradient, losses_of, target_of, weigh
from reincarnate.students.kept import Kept
from reincarnate.students.maps import FeatureMaps
from reincarnate.students.rollouts import of_successors
from reincarnate.surroundings import ungraded
from reincarnate.types import (
    LAGGING,
    OPTIMIZER,
    PLAIN,
    VALUES,
    ActorOutput,
    Batch,
    Cost,
    Learnt,
    Prediction,
    TaskSpec,
    Term,
    TimeStep,
    Weighing,
)
from reincarnate.types.leaves import each_tensor

if TYPE_CHECKING:
    from reincarnate.students.settings import ValueSettings


class ValueStudent(Kept):
    """A value student being trained, of any family. It knows nothing about teachers."""

    view, frozen = "student", False  # it is its own policy: what it published last

    def __init__(self, settings: "ValueSettings", critic: Critic, spec: TaskSpec, seed: int, device: torch.device):
        self.settings, self.critic, self.spec, self.seed, self.device = settings, critic.to(device), spec, seed, device
        network = build(spec, settings, critic, seed).to(device)
        self.acting = Flat(copy.deepcopy(network), trainable=False)
        self.target = Flat(copy.deepcopy(network), trainable=False) if settings.target_every else None
        self.online = Flat(network)
        size = self.online.data.numel()
        self.optimizer = optimizer(settings.optimizer, size, settings.adam_eps, settings.weight_decay, device)
        self.noise_size = noise_size(network)
        self._stretches = settings.stretches(spec)
        self.updates = 0
        self._forwards: dict[int, Callable[..., Tensor]] = {}
        self._weights: tuple[tuple[float, ...], Tensor] = ((), torch.zeros(0))
        self._program: FunctionalGradient | CapturedGradient | None = None
        self._kernels: Kernels | None = None
        self.beside: Beside | None = None
        self._maps: FeatureMaps | None = None  # to the features of teachers that it follows

    @property
    def network(self) -> nn.Module:
        """The online network: what an agent keeps."""
        return self.online.module

    @property
    def policy(self) -> "ValueStudent":
        """What it published last."""
        return self

    # ---- acting --------------------------------------------------------------------------------------

    def initial(self, n: int) -> Tensor:
        """It remembers nothing: [n, 0]."""
        return torch.zeros(n, 0)

    @ungraded
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """Action values [n, A] of the network that acts (the one of the last `publish`), without noise."""
        return self.predict_under(step, carry, None)

    def predict_under(self, step: TimeStep, carry: Tensor, noise: Tensor | None) -> tuple[Prediction, Tensor]:
        """The same, with this noise in its noisy layers."""
        return Prediction(VALUES, self._values(step.obs, noise)), carry

    def _values(self, obs: Tensor, noise: Tensor | None = None) -> Tensor:
        if self.noise_size:
            silent = torch.zeros(self.noise_size, device=self.device)
            set_noise(self.acting.module, silent if noise is None else noise)
        out = self._forward(self.acting)(obs.to(self.device), *self.critic.at_rest(obs.shape[0]))
        return self.critic.values(out)

    @ungraded
    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: np.random.Generator) -> ActorOutput:
        """Training's actions [n]: ε-greedy with ε = `explore`, under fresh noise where layers are noisy."""
        actor = UnderNoise(self, draw_noise(self.noise_size, rng).to(self.device)) if self.noise_size else self
        acted = epsilon_greedy(actor, step, carry, self.spec.actions, explore, rng, self.keeps_values)
        stretches = self._stretches
        return acted if stretches is None else acted._replace(action=stretches(step, acted.action, rng))

    @property
    def keeps_values(self) -> bool:
        """Whether rollouts note the values it acted by, which their λ-returns bootstrap from.

        Not of noisy layers, whose λ-returns are without noise, nor elsewhere than on a CPU: to ask of all is quicker
        there than to look which.
        """
        return self.settings.on_rollouts and not self.noise_size and self.device.type == "cpu"

    def publish(self) -> None:
        """Let the acting network be what the online network is now."""
        self.acting.data.copy_(self.online.data)

    # ---- learning ------------------------------------------------------------------------------------

    def prepare(self, rollout: Batch, weighing: Weighing = PLAIN) -> Batch:
        """A rollout [C, T] as examples [T·C], oldest first, towards λ-returns of the network that acted.

        G_t = r_t + γ·(λ·G_{t+1} + (1 − λ)·max_a Q(s_{t+1}, a)), cut to r_t + γ·max_a Q where the rollout ends or a
        limit ended the episode, and to r_t at a termination (Gallici et al., 2024, §3; Daley & Amato, 2019).
        """
        assert rollout.ended is not None
        lam: float = self.settings.lam  # pyright: ignore[reportAttributeAccessIssue]
        best = of_successors(rollout.notes.get(GREEDY_VALUE), rollout, self._largest)
        returns = lambda_returns(rollout.reward, rollout.discount, best, rollout.ended, lam)
        notes = {name: note for name, note in rollout.notes.items() if name != GREEDY_VALUE}
        unused = {"next_obs": None, "begins": None, "ended": None, "carry": None, "next_mask": None}
        b = rollout._replace(reward=returns, discount=torch.zeros_like(returns), notes=notes, **unused)
        return each_tensor(b, lambda tensor: tensor.transpose(0, 1).flatten(0, 1))

    @torch.no_grad()
    def _largest(self, obs: Tensor, mask: Tensor | None) -> Tensor:
        return masked(self._values(obs), mask).amax(-1)

    def update(self, batch: Batch, weighing: Weighing, rng: np.random.Generator) -> Learnt:
        """One gradient step on own · own loss + Σ weight · term, each averaged over the batch.

        One forward pass feeds every term. `rng` feeds what is random in the update itself (noise, fractions,
        augmentation). Returns the losses' means, unweighted, and each example's own loss.
        """
        batch, draws, weighing = self.augmented(batch, rng), self.draw(len(batch.action), rng), self.regular(weighing)
        weights = (weighing.own, *(weight for weight, _ in weighing.terms))
        terms = [term for _, term in weighing.terms]
        net, frozen = self._forward(self.online), self._forward(self.target or self.online)
        if self._kernels and suits_kernels(net, frozen, batch, terms):
            learnt = by_kernels(net, frozen, batch, terms, self.settings.double, weights)  # pyright: ignore
        elif self._program and not (self._kernels and learns_at_once(net, self.critic, batch, terms)):
            learnt = self._program(batch, draws, terms, self._as_tensor(weights))
        else:
            learnt = self._gradient(batch, draws, terms, weights)
        self.step(weighing.lr_scale)
        return learnt

    def _as_tensor(self, weights: tuple[float, ...]) -> Tensor:
        """Weights for a program; they seldom change from one update to the next."""
        if weights != self._weights[0]:
            self._weights = (weights, torch.tensor(weights, device=self.device))
        return self._weights[1]

    def regular(self, weighing: Weighing) -> Weighing:
        """With what the student's settings add to any objective: the decorrelation of its features."""
        s = self.settings
        if not s.decorrelate:
            return weighing
        return weighing._replace(terms=[*weighing.terms, (s.decorrelate, Decorrelation(s.decorrelate_by))])

    def step(self, lr_scale: float) -> None:
        """Move the parameters along the gradient that was found, and count."""
        assert self.online.grad is not None
        if self.settings.max_grad_norm:
            clip_norm(self.online.grad, self.settings.max_grad_norm, self.optimizer)
        self.optimizer.step(self.online.data, self.online.grad, self.settings.lr * lr_scale)
        if self._maps:
            self._maps.step(self.settings.lr * lr_scale)
        self.counted()

    def counted(self) -> None:
        """Another update is done: what is due after it."""
        self.updates += 1
        if self.settings.target_every and self.updates % self.settings.target_every == 0:
            self._sync()
        if self.settings.reset_every and self.updates % self.settings.reset_every == 0:
            self.reset()

    def draw(self, n: int, rng: np.random.Generator) -> Draws:
        """What is random in an update of `n` examples."""
        online, target = self.critic.draw(n, rng)
        if not self.noise_size:
            return Draws(online, target)
        noise = [draw_noise(self.noise_size, rng).to(self.device) for _ in range(2)]
        return Draws(online, target, noise[0], noise[1])

    def augmented(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """The batch as the student sees it; the teacher's logits were given for the original."""
        if (how := self.settings.augment) == "none":
            return batch
        return batch._replace(obs=augmented(batch.obs, how, rng), next_obs=augmented(batch.next_obs, how, rng))

    def _gradient(self, batch: Batch, draws: Draws, terms: Sequence[Term], weights: Sequence[float] | Tensor) -> Learnt:
        """Fill the flat gradient."""
        quick = self._forward(self.online)
        if not self._maps and learns_at_once(quick, self.critic, batch, terms):
            return expected_at_once(quick, batch, self._target_of(batch, draws), terms, weights)  # pyright: ignore
        assert self.online.grad is not None
        self.online.grad.zero_()
        self._set_noise(draws)
        ahead = self.beside.begin(self._target_of, batch, draws) if self.beside else None
        out, batch, features = self._passed(batch, draws, terms)
        target = ahead.result() if ahead else self._target_of(batch, draws)
        each = losses_of(self.critic, out, target, batch, draws.online, terms, features)
        total, learnt = weigh(each, weights, batch.weight)
        total.backward()
        return learnt

    def _passed(self, batch: Batch, draws: Draws, terms: Sequence[Term]) -> tuple[Tensor, Batch, Tensor | None]:
        """The online network's outputs, and its features where a term reads them.

        Where it follows teachers' features its own, mapped, are in the batch.
        """
        if self._maps:
            out, batch, features = self._maps.forward(self.online.module, batch, draws.online)
            return out, batch, features if reads_features(terms) else None
        if reads_features(terms):
            out, features = self.online.module(batch.obs, *draws.online, both=True)
            return out, batch, features
        return self._forward(self.online)(batch.obs, *draws.online), batch, None

    def follow(self, sizes: Sequence[int]) -> None:
        """Learn maps from its features to teachers', of these sizes. UserError: it has none of an observation alone."""
        if self.critic.implicit:
            raise UserError("a student that is asked at fractions has no features of an observation alone")
        shape = self.settings
        self._maps = FeatureMaps(
            "advantage",
            self.network.torso.features,  # pyright: ignore
            sizes,
            lambda size: optimizer(shape.optimizer, size, shape.adam_eps, shape.weight_decay, self.device),
            self.device,
            stream(self.seed, "maps"),
        )

    @torch.no_grad()
    def features(self, batch: Batch) -> dict[str, Tensor]:
        """The last hidden layer [B, F] of the network that acts, without noise."""
        if self.noise_size:
            set_noise(self.acting.module, torch.zeros(self.noise_size, device=self.device))
        obs = batch.obs.to(self.device)
        return {"": self.acting.module(obs, *self.critic.at_rest(len(obs)), both=True)[1]}

    def _set_noise(self, draws: Draws) -> None:
        if draws.online_noise is not None:
            set_noise(self.online.module, draws.online_noise)
        if draws.target_noise is not None and self.target:
            set_noise(self.target.module, draws.target_noise)

    @torch.no_grad()
    def _target_of(self, batch: Batch, draws: Draws) -> Tensor:
        online, frozen = self._forward(self.online), self._forward(self.target or self.online)
        return target_of(self.critic, batch, draws, self.settings.double, online, frozen)

    def _forward(self, net: Flat) -> Callable[..., Tensor]:
        """The quickest way through a network: one node where it is small and plain, its modules otherwise."""
        if id(net) not in self._forwards:
            self._forwards[id(net)] = quickest(net.module, self._kernels) or net.module  # pyright: ignore
        return self._forwards[id(net)]

    def forget_forwards(self) -> None:
        """The networks' parameters are about to move."""
        self._forwards.clear()

    # ---- quicker -------------------------------------------------------------------------------------

    def overlap(self) -> None:
        """Pass the target network beside the online one, on another thread. Changes no result."""
        self.beside = Beside()

    def fits_kernels(self, seeds: int = 1) -> bool:
        """Whether `compile` takes the compiled kernels of small plain networks, of a stack of seeds those of MLPs."""
        plain = self.device.type == "cpu" and isinstance(self.critic, Expected) and not self.settings.decorrelate
        return plain and bool((fits if seeds > 1 else quickest)(self.online.module))

    def compile(self, program: bool = True) -> None:
        """Compute gradients by compiled kernels from now on, on a GPU by one recorded graph, else by one program.

        With `program` what the kernels do not know is one too. Results agree within float tolerance, a graph's to the
        bit.
        """
        self._kernels = self.optimizer.kernels = kernels() if self.fits_kernels() else None
        self.forget_forwards()
        if self.device.type == "cuda":
            self._program = CapturedGradient(self._gradient, self.device)
        elif program or self._kernels is None:
            self._program = FunctionalGradient(self.online, self.target, self.critic, self.settings.double)

    def gradient_norms(self, batch: Batch, weighing: Weighing, rng: np.random.Generator) -> dict[str, float]:
        """The length of each loss's own gradient on a batch, its weight included. Changes nothing."""
        draws, weighing = self.draw(len(batch.action), rng), self.regular(weighing)
        terms = [term for _, term in weighing.terms]
        self._set_noise(draws)
        if self._maps:
            out, batch, features = self._maps.forward(self.online.module, batch, draws.online)
        else:
            out, features = self.online.module(batch.obs, *draws.online, both=True)
        each = losses_of(self.critic, out, self._target_of(batch, draws), batch, draws.online, terms, features)
        parameters = [p for p in self.online.module.parameters() if p.requires_grad]
        weights, found = (weighing.own, *(weight for weight, _ in weighing.terms)), {}
        for weight, (name, loss) in zip(weights, each.items(), strict=True):
            parts = torch.autograd.grad(loss.mean(), parameters, retain_graph=True, allow_unused=True)
            found[name] = weight * float(torch.cat([part.flatten() for part in parts if part is not None]).norm())
        return found

    def target_ends(self, batch: Batch, rng: np.random.Generator) -> tuple[float, float] | None:
        """The share of the targets' mass on the first and on the last atom of a bounded critic. Changes nothing."""
        draws = self.draw(len(batch.action), rng)
        self._set_noise(draws)
        return ends(self.critic, self._target_of(batch, draws))

    # ---- what is changed from outside ----------------------------------------------------------------

    def refresh(self, what: frozenset[str]) -> None:
        """Renew what lags behind (the target network, where there is one), or the optimiser's memory."""
        if LAGGING in what:
            self._sync()
        if OPTIMIZER in what:
            for tensor in self.optimizer.state.values():
                tensor.zero_()

    def _sync(self) -> None:
        if self.target:
            self.target.data.copy_(self.online.data)

    def reset(self) -> None:
        """Heads anew, the torso shrunk and perturbed, the optimiser's memory empty, the target synchronised.

        As in Nikishin et al. (2022) and D'Oro et al. (2023). The new weights are a function of (seed, updates). Not
        published: it may be acting on another thread.
        """
        number = int(stream(self.seed, "reset", self.updates).integers(2**31))
        fresh = build(self.spec, self.settings, self.critic, number).state_dict()
        weights = shrink_and_perturb(self.weights(), fresh, self.settings.shrink, "torso")
        self._begin_with(reset_head(weights, fresh))

    def load(self, weights: dict[str, Tensor]) -> None:
        """Go on from these weights with an empty optimiser; the target network is synchronised."""
        self._begin_with(weights)
        self.publish()

    def _begin_with(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            self.online.module.load_state_dict(weights)
        self.refresh(frozenset({LAGGING, OPTIMIZER}))

    # ---- keeping -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """Everything an update changes, as flat tensors."""
        target = {"target": self.target.data} if self.target else {}
        moments = {f"{self.settings.optimizer}.{name}": value for name, value in self.optimizer.state.items()}
        maps = self._maps.state() if self._maps else {}
        return {"online": self.online.data, **target, **moments, **maps, **self.counted_so_far()}

    def adopt(self, state: dict[str, Tensor]) -> str:
        """Take over the optimiser's memory in another's `state()`, where the network is as it was. Says what it did."""
        return adopt(self.optimizer, self.settings.optimizer, self.online.data, state)

    def trail(self, state: dict[str, Tensor]) -> None:
        """Take over the target network in another's `state()`, where both have one."""
        if self.target and "target" in state:
            self.target.data.copy_(state["target"])

    def freeze(self, prefixes: Sequence[str]) -> tuple[int, int]:
        """Leave parameters with these prefixes alone from now on. Returns how many of how many are frozen.

        Raises UserError where the student resets itself, which changes the whole network.
        """
        if self.settings.reset_every:
            raise UserError("freeze and --student.reset-every contradict each other: a reset changes the whole network")
        mask = frozen_mask(self.network, tuple(prefixes))
        self.optimizer = Frozen(self.optimizer, mask.bool().to(self.device))  # pyright: ignore
        return int(mask.sum()), mask.numel()

    def cost(self, copies: int) -> Cost:
        """Floating-point operations."""
        return cost_of_values(self)
