"""Several students of one shape trained as one: parameters stacked, one forward and backward pass, one optimiser step.

Each student stays itself: its networks and moments are rows of the stack, so that acting, evaluating, saving and
restoring one of them is what it always was.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from reincarnate.nets import Flat
from reincarnate.nets.noisy import draw_noise
from reincarnate.nets.optimizers import clip_norm, stack
from reincarnate.nets.stacked import stacked_forward
from reincarnate.students.critics import Arguments
from reincarnate.students.gradient import Draws, FunctionalGradient, losses_of, target_of, weigh
from reincarnate.students.value import ValueStudent
from reincarnate.types import Batch, Learnt, Term


class StackedStudent:
    """S value students of one configuration, in step. Batches hold S equal parts, one after another."""

    def __init__(self, students: Sequence[ValueStudent], compiled: bool = False):
        self.students, self.config, self.critic = list(students), students[0].config, students[0].critic
        assert self.config.augment == "none", "screens are not stacked"
        for student in students:
            student.forget_forwards()
        self.online = Flat.stack([student.online for student in students])
        self.acting = Flat.stack([student.acting for student in students])
        targets = [student.target for student in students if student.target]
        self.target = Flat.stack(targets) if targets else None
        self.optimizer = stack([student.optimizer for student in students])
        self._noise_size = students[0].noise_size
        self._acting = self.acting.windows(self.acting.data)
        self._frozen = self.target.windows(self.target.data) if self.target else {}
        self._leaves = {n: w.detach().requires_grad_() for n, w in self.online.windows(self.online.data).items()}
        self._program = (
            FunctionalGradient(self.online, self.target, self.critic, self.config.double, len(students))
            if compiled
            else None
        )

    # ---- acting --------------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, obs: np.ndarray, epsilon: float, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """Training's actions [S·n], each student's drawn from its own generator as it would alone."""
        seeds, each = len(self.students), len(obs) // len(self.students)
        noise = self._noise(rngs)
        strays = [(rng.integers(self.students[0].spec.actions, size=each), rng.random(each)) for rng in rngs]
        actions, coins = (np.concatenate(columns) for columns in zip(*strays, strict=True))
        greedy = coins >= epsilon
        if greedy.any():
            out = stacked_forward(
                self.acting.module, self._acting, noise, torch.from_numpy(obs), *self.critic.at_rest(seeds * each)
            )
            actions = np.where(greedy, self.critic.values(out).argmax(-1).numpy(), actions)
        return actions

    def publish(self) -> None:
        """Let the acting networks be what the online networks are now."""
        self.acting.data.copy_(self.online.data)

    # ---- learning ------------------------------------------------------------------------------------

    def update(
        self,
        batch: Batch,
        terms: list[tuple[tuple[float, ...], Term]],
        rngs: Sequence[np.random.Generator],
        td_weight: float,
        lr_scales: Sequence[float],
    ) -> Learnt:
        """One gradient step of every student; each term has a weight for each of them. Means are [S]."""
        draws, seeds = self._draw(len(batch.action) // len(rngs), rngs), len(self.students)
        weights = torch.tensor([(td_weight,) * seeds, *(weight for weight, _ in terms)]).T
        learn = self._program or self._gradient
        learnt = learn(batch, draws, [term for _, term in terms], weights)
        assert self.online.grad is not None
        if self.config.max_grad_norm:
            clip_norm(self.online.grad, self.config.max_grad_norm)
        self.optimizer.step(self.online.data, self.online.grad, [self.config.lr * scale for scale in lr_scales])
        for student in self.students:
            student.counted()
        return learnt

    def _gradient(self, batch: Batch, draws: Draws, terms: Sequence[Term], weights: Tensor) -> Learnt:
        """Fill the flat gradient."""
        target = self._target_of(batch, draws)
        out = stacked_forward(self.online.module, self._leaves, draws.online_noise, batch.obs, *draws.online)
        each = losses_of(self.critic, out, target, batch, draws.online, terms)
        total, learnt = weigh(each, weights, batch.weight, len(self.students))
        gradients = torch.autograd.grad(total, list(self._leaves.values()))
        self.online.grad = self.online.join(dict(zip(self._leaves, gradients, strict=True)))
        return learnt

    @torch.no_grad()
    def _target_of(self, batch: Batch, draws: Draws) -> Tensor:
        online = partial(stacked_forward, self.online.module, self._leaves, draws.online_noise)
        if not self.target:
            return target_of(self.critic, batch, draws, self.config.double, online, online)
        frozen = partial(stacked_forward, self.target.module, self._frozen, draws.target_noise)
        return target_of(self.critic, batch, draws, self.config.double, online, frozen)

    def _draw(self, n: int, rngs: Sequence[np.random.Generator]) -> Draws:
        """What is random in an update, each part from its own generator."""
        drawn = [student.draw(n, rng) for student, rng in zip(self.students, rngs, strict=True)]
        online, target, online_noise, target_noise = zip(*drawn, strict=True)
        return Draws(_join(online), _join(target), _stack(online_noise), _stack(target_noise))

    def _noise(self, rngs: Sequence[np.random.Generator]) -> Tensor | None:
        if not self._noise_size:
            return None
        return torch.stack([draw_noise(self._noise_size, rng) for rng in rngs])


def _join(arguments: Sequence[Arguments]) -> Arguments:
    return tuple(torch.cat(parts) for parts in zip(*arguments, strict=True))


def _stack(noise: Sequence[Tensor | None]) -> Tensor | None:
    return None if noise[0] is None else torch.stack(noise)  # pyright: ignore
