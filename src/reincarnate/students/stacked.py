"""Several students of one shape trained as one: parameters stacked, one forward and backward pass, one optimiser step.

Each student stays itself: its networks and moments are rows of the stack, so that acting, evaluating, saving and
restoring one of them is what it always was.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from reincarnate.losses.terms import reads_features
from reincarnate.native import kernels
from reincarnate.nets import Flat, fits
from reincarnate.nets.fused_stack import FusedStack
from reincarnate.nets.noisy import draw_noise
from reincarnate.nets.optimizers import clip_norm, stack
from reincarnate.nets.stacked import stacked_both, stacked_forward
from reincarnate.students.at_once import by_kernels, expected_at_once, learns_at_once, suits_kernels
from reincarnate.students.captured import CapturedGradient
from reincarnate.students.critics import Arguments, Expected
from reincarnate.students.exploration import best_of
from reincarnate.students.gradient import Draws, FunctionalGradient, losses_of, target_of, weigh
from reincarnate.students.value import ValueStudent
from reincarnate.types import ActorOutput, Batch, Learnt, Term, TimeStep, Weighing


class StackedStudent:
    """S value students of one configuration, in step. Batches hold S equal parts, one after another."""

    def __init__(self, students: Sequence[ValueStudent], compiled: bool = False, program: bool = True):
        self.students, self.settings, self.critic = list(students), students[0].settings, students[0].critic
        assert self.settings.augment == "none", "screens are not stacked"
        for student in students:
            student.forget_forwards()
        self.online = Flat.stack([student.online for student in students])
        self.acting = Flat.stack([student.acting for student in students])
        targets = [student.target for student in students if student.target]
        self.target = Flat.stack(targets) if targets else None
        self.optimizer = stack([student.optimizer for student in students])  # pyright: ignore
        self._noise_size = students[0].noise_size
        self._stretches = [student.settings.stretches(student.spec) for student in students]
        self._acting = self.acting.windows(self.acting.data)
        self._frozen = self.target.windows(self.target.data) if self.target else {}
        self._leaves = {n: w.detach().requires_grad_() for n, w in self.online.windows(self.online.data).items()}
        plain = isinstance(self.critic, Expected) and fits(self.online.module) and self.online.data.device.type == "cpu"
        self._kernels = self.optimizer.kernels = kernels() if plain and compiled else None
        self._quick = FusedStack(self.online, self._kernels) if plain else None
        self._program = self._quicker() if compiled and (program or not self._kernels) else None
        if self._kernels:
            self._quick_acting = FusedStack(self.acting, self._kernels)
            self._quick_frozen = FusedStack(self.target, self._kernels) if self.target else self._quick

    def _quicker(self) -> Callable[..., Learnt]:
        """What computes gradients in one go: a recorded graph on a GPU, a compiled program elsewhere."""
        if self.online.data.device.type == "cuda":
            return CapturedGradient(self._gradient, self.online.data.device)
        return FunctionalGradient(self.online, self.target, self.critic, self.settings.double, len(self.students))

    # ---- acting --------------------------------------------------------------------------------------

    def initial(self, n: int) -> Tensor:
        """It remembers nothing: [n, 0]."""
        return torch.zeros(n, 0)

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: Sequence[np.random.Generator]) -> ActorOutput:
        """Training's actions [S·n], each student's drawn from its own generator as it would alone."""
        seeds, n, actions = len(self.students), len(step.begins), self.students[0].spec.actions
        each = n // seeds
        noise = self._noise(rng)
        draws = [(own.integers(actions, size=each), own.random(each)) for own in rng]
        chosen, coins = (np.concatenate(columns) for columns in zip(*draws, strict=True))
        greedy = coins >= explore
        if step.mask is not None:
            odds = [own.random((each, actions)) for own in rng]
            chosen = (np.concatenate(odds) * step.mask.numpy()).argmax(-1)
        if greedy.any():
            obs = step.obs.to(self.acting.data.device)
            out = self._acted(obs, noise)
            chosen = np.where(greedy, best_of(self.critic.values(out), step.mask), chosen)
        return ActorOutput(self._explored(step, chosen, rng), carry)

    def _acted(self, obs: Tensor, noise: Tensor | None) -> Tensor:
        """What the networks that act say."""
        if self._kernels:
            return self._quick_acting(obs)
        return stacked_forward(self.acting.module, self._acting, noise, obs, *self.critic.at_rest(len(obs)))

    def _explored(self, step: TimeStep, actions: np.ndarray, rng: Sequence[np.random.Generator]) -> np.ndarray:
        """The actions with those of each student's explorer, where they explore in stretches."""
        if self._stretches[0] is None:
            return actions
        n, parts = len(actions) // len(self.students), []
        for i, (stretches, own) in enumerate(zip(self._stretches, rng, strict=True)):
            part = slice(i * n, (i + 1) * n)
            assert stretches is not None
            mask = None if step.mask is None else step.mask[part]
            parts.append(stretches(TimeStep(step.obs[part], step.begins[part], mask=mask), actions[part], own))
        return np.concatenate(parts)

    def publish(self) -> None:
        """Let the acting networks be what the online networks are now."""
        self.acting.data.copy_(self.online.data)

    # ---- learning ------------------------------------------------------------------------------------

    def update(self, batch: Batch, weighings: Sequence[Weighing], rngs: Sequence[np.random.Generator]) -> Learnt:
        """One gradient step of every student; each has its own weights and rate. Means are [S]."""
        weighings = [own.regular(weighing) for own, weighing in zip(self.students, weighings, strict=True)]
        draws, terms = self._draw(len(batch.action) // len(rngs), rngs), union(weighings)
        own = tuple(weighing.own for weighing in weighings)
        learnt = self._learnt(batch, draws, [term for _, term in terms], [own, *(weight for weight, _ in terms)])
        assert self.online.grad is not None
        if self.settings.max_grad_norm:
            clip_norm(self.online.grad, self.settings.max_grad_norm, self.optimizer)
        rates = [self.settings.lr * weighing.lr_scale for weighing in weighings]
        self.optimizer.step(self.online.data, self.online.grad, rates)
        for student in self.students:
            student.counted()
        return learnt

    def _learnt(self, batch: Batch, draws: Draws, terms: Sequence[Term], weights: Sequence[Sequence[float]]) -> Learnt:
        """Fill the flat gradient; `weights` [L, S]."""
        if self._kernels and suits_kernels(self._quick, self._quick_frozen, batch, terms):
            told = [weight for seed in zip(*weights, strict=True) for weight in seed]
            return by_kernels(self._quick, self._quick_frozen, batch, terms, self.settings.double, told)  # pyright: ignore
        weighed = torch.tensor(weights, device=self.online.data.device).T
        known = self._kernels is not None and learns_at_once(self._quick, self.critic, batch, terms)
        return (self._gradient if known else self._program or self._gradient)(batch, draws, terms, weighed)

    def _gradient(self, batch: Batch, draws: Draws, terms: Sequence[Term], weights: Tensor) -> Learnt:
        """Fill the flat gradient."""
        target = self._target_of(batch, draws)
        if self._quick and learns_at_once(self._quick, self.critic, batch, terms):
            return expected_at_once(self._quick, batch, target, terms, weights)
        inputs, features = (draws.online_noise, batch.obs, *draws.online), None
        if reads_features(terms):
            out, features = stacked_both(self.online.module, self._leaves, *inputs)
        else:
            out = stacked_forward(self.online.module, self._leaves, *inputs)
        each = losses_of(self.critic, out, target, batch, draws.online, terms, features)
        total, learnt = weigh(each, weights, batch.weight, len(self.students))
        gradients = torch.autograd.grad(total, list(self._leaves.values()))
        self.online.join(dict(zip(self._leaves, gradients, strict=True)), self.online.grad)
        return learnt

    @torch.no_grad()
    def _target_of(self, batch: Batch, draws: Draws) -> Tensor:
        online = partial(stacked_forward, self.online.module, self._leaves, draws.online_noise)
        if not self.target:
            return target_of(self.critic, batch, draws, self.settings.double, online, online)
        frozen = partial(stacked_forward, self.target.module, self._frozen, draws.target_noise)
        return target_of(self.critic, batch, draws, self.settings.double, online, frozen)

    def _draw(self, n: int, rngs: Sequence[np.random.Generator]) -> Draws:
        """What is random in an update, each part from its own generator."""
        drawn = [student.draw(n, rng) for student, rng in zip(self.students, rngs, strict=True)]
        online, target, online_noise, target_noise = zip(*drawn, strict=True)
        return Draws(_join(online), _join(target), _stack(online_noise), _stack(target_noise))

    def _noise(self, rngs: Sequence[np.random.Generator]) -> Tensor | None:
        if not self._noise_size:
            return None
        return torch.stack([draw_noise(self._noise_size, rng) for rng in rngs]).to(self.acting.data.device)


def _join(arguments: Sequence[Arguments]) -> Arguments:
    return tuple(torch.cat(parts) for parts in zip(*arguments, strict=True))


def _stack(noise: Sequence[Tensor | None]) -> Tensor | None:
    return None if noise[0] is None else torch.stack(noise)  # pyright: ignore


def union(weighings: Sequence[Weighing]) -> list[tuple[tuple[float, ...], Term]]:
    """All terms that have weight for somebody, each with a weight for everybody."""
    own = [{term: weight for weight, term in weighing.terms} for weighing in weighings]
    terms = dict.fromkeys(term for weights in own for term in weights)
    return [(tuple(weights.get(term, 0.0) for weights in own), term) for term in terms]
