"""The value student with a memory: it acts with a carry and learns from sequences, each begun with a stored one (R2D2).

All that follows from the kind of values is the critic's, as in `students.value`; here is what sequences change.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reincarnate.losses.terms import OWN_FEATURES, reads_features
from reincarnate.nets.flops import LEARNING_PASSES, forward_flops
from reincarnate.nets.histories import rows_at
from reincarnate.nets.noisy import noise_size, set_noise
from reincarnate.nets.qnet import recall
from reincarnate.students.critics import Critic
from reincarnate.students.gradient import Draws, best_action, losses_of
from reincarnate.students.sequences import lesson_of, warmed
from reincarnate.students.value import ValueStudent
from reincarnate.types import VALUES, Batch, Cost, Learnt, Prediction, Term, TimeStep

ETA = 0.9  # of the largest error in a sequence's priority, the rest of the mean (Kapturowski et al., 2019, §2.3)


class RecurrentValuePolicy(nn.Module):
    """A value network with a memory as a policy, without noise; also its graph, memory in and memory out."""

    view = "student"

    def __init__(self, network: nn.Module, critic: Critic, frozen: bool = False):
        nn.Module.__init__(self)
        self.network, self.critic, self.frozen = network, critic, frozen
        self.noise_size = noise_size(network)

    def initial(self, n: int) -> Tensor:
        """The memory of n new episodes."""
        return self.network.memory.initial(n)  # pyright: ignore

    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """Action values [n, A], or [B, T, A] of sequences, and the memory after them."""
        device = next(self.network.parameters()).device
        values, carry = self(step.obs.to(device), step.begins.to(device), carry.to(device))
        return Prediction(VALUES, values), carry

    def forward(self, obs: Tensor, begins: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
        """The same of tensors on the network's device."""
        features, carry = recall(self.network, obs, begins, carry)
        rows = features.flatten(0, -2)
        rest = [a.expand(rows.shape[0], *a.shape[1:]) for a in self.critic.at_rest(1)]
        values = self.critic.values(self.network.read(rows, *rest))  # pyright: ignore
        return values.unflatten(0, begins.shape) if begins.ndim > 1 else values, carry


class RecurrentValueStudent(ValueStudent):
    """A value student with a memory, of any family.

    Of a sequence the first `burn_in` rows warm the memories of both networks up, from the carry that was stored when
    the first row was acted on (zeros of prior data), without gradient; all others are learnt from.
    """

    @property
    def _policy(self) -> RecurrentValuePolicy:
        return RecurrentValuePolicy(self.acting.module, self.critic)

    # ---- acting --------------------------------------------------------------------------------------

    def initial(self, n: int) -> Tensor:
        """The memory of n new episodes, [n, H] on the student's device."""
        return self.acting.module.memory.initial(n)  # pyright: ignore

    @property
    def keeps_values(self) -> bool:
        """Not it: rollouts are read in the order of time."""
        return False

    @torch.no_grad()
    def predict_under(self, step: TimeStep, carry: Tensor, noise: Tensor | None) -> tuple[Prediction, Tensor]:
        """Action values of the network that acts under this noise: [n, A], or [B, T, A] of sequences."""
        if self.noise_size:
            set_noise(self.acting.module, torch.zeros(self.noise_size, device=self.device) if noise is None else noise)
        return self._policy.predict(step, carry)

    # ---- learning ------------------------------------------------------------------------------------

    def draw(self, n: int, rng: np.random.Generator) -> Draws:
        """What is random in an update of `n` sequences."""
        return ValueStudent.draw(self, n * self.settings.unroll, rng)  # pyright: ignore

    def _gradient(self, batch: Batch, draws: Draws, terms: Sequence[Term], weights: Sequence[float] | Tensor) -> Learnt:
        """Fill the flat gradient."""
        assert self.online.grad is not None
        self.online.grad.zero_()
        self._set_noise(draws)
        rows = warmed(batch, self.settings.burn_in)  # pyright: ignore
        lesson, ahead = lesson_of(rows, self.settings.n_step)
        features = self._features(self.online.module, batch)
        out = self._read(self.online.module, features[:, :-1], draws.online)
        with torch.no_grad():
            target = self._target_in(batch, lesson, ahead, features.detach(), draws)
        plain = [term for term in terms if not reads_features([term])]
        each = losses_of(self.critic, out, target, lesson, draws.online, plain)
        each |= of_features(terms, features[:, :-1], lesson, each["td"])
        total, learnt = weighed(each, weights, lesson.weight)
        total.backward()
        return Learnt(learnt, self._errors(each["td"].detach(), rows))

    def _features(self, network: nn.Module, batch: Batch) -> Float[Tensor, "B U1 F"]:
        """What a network's head reads of the rows that are learnt from and of their last successor."""
        assert batch.next_obs is not None and batch.begins is not None
        first = self.settings.burn_in  # pyright: ignore
        memory: Any = network.memory
        carry = memory.initial(len(batch.obs)) if batch.carry is None else batch.carry
        if first:
            with torch.no_grad():
                carry = recall(network, batch.obs[:, :first], batch.begins[:, :first], carry)[1]
        obs = torch.cat([batch.obs[:, first:], batch.next_obs[:, None]], 1)
        return recall(network, obs, F.pad(batch.begins[:, first:], (0, 1)), carry)[0]

    def _read(self, network: nn.Module, features: Float[Tensor, "B U F"], arguments: Sequence[Tensor]) -> Tensor:
        return network.read(features.flatten(0, 1), *arguments)  # pyright: ignore

    def _target_in(self, batch: Batch, lesson: Batch, ahead: Tensor, online: Tensor, draws: Draws) -> Tensor:
        """What the taken actions' outputs should become; bootstrap values stand in rows `ahead` of the successors."""
        behind = self.target.module if self.target else self.online.module
        frozen = self._features(behind, batch) if self.target else online
        next_out = self._read(behind, rows_at(frozen[:, 1:], ahead), draws.target)
        select = None
        if self.settings.double:
            rest = self.critic.at_rest(ahead.numel())
            ahead_out = self._read(self.online.module, rows_at(online[:, 1:], ahead), rest)
            select = best_action(self.critic.values(ahead_out), lesson.next_mask)
        elif lesson.next_mask is not None:
            select = best_action(self.critic.values(next_out), lesson.next_mask)
        return self.critic.target(next_out, select, lesson)

    def _errors(self, td: Float[Tensor, "N"], rows: Batch) -> Float[Tensor, "B"]:
        """Each sequence's priority: η · the largest error + (1 − η) · their mean, of rows that are steps."""
        assert rows.weight is not None
        error, steps = _error(self.critic, td).view(rows.reward.shape), rows.weight > 0
        error = torch.where(steps, error, 0.0)
        return ETA * error.amax(1) + (1 - ETA) * error.sum(1) / steps.sum(1).clamp(min=1)

    # ---- what others tell of it ----------------------------------------------------------------------

    @torch.no_grad()
    def features(self, batch: Batch) -> dict[str, Tensor]:
        """What the memory of the network that acts says of the rows [N, F] that are learnt from."""
        if self.noise_size:
            set_noise(self.acting.module, torch.zeros(self.noise_size, device=self.device))
        weight = warmed(batch, self.settings.burn_in).weight  # pyright: ignore
        assert weight is not None
        return {"": self._features(self.acting.module, batch)[:, :-1].flatten(0, 1)[weight.flatten() > 0]}

    def compile(self) -> None:
        """Nothing: lengths of episodes differ, and with them what is computed."""

    def cost(self, copies: int) -> Cost:
        """Floating-point operations; see `nets.flops`. Burn-in is two forward passes more of its rows."""
        s, rng = self.settings, np.random.default_rng(0)
        obs = self.blank()
        begins = torch.zeros(1, dtype=torch.bool, device=self.device)
        row = _Row(self.network, self.critic.at_rest(1))
        act = float(forward_flops(row, obs, begins, self.initial(1)))
        learn = float(forward_flops(_Row(self.network, self.critic.draw(1, rng)[0]), obs, begins, self.initial(1)))
        passes = LEARNING_PASSES + 1 + 2 * s.burn_in / s.unroll  # pyright: ignore
        return Cost(act, learn * s.batch_size * passes, learn * s.batch_size * passes)


class _Row(nn.Module):
    """A network's pass over one row, to be counted."""

    def __init__(self, network: nn.Module, arguments: Sequence[Tensor]):
        nn.Module.__init__(self)
        self._network, self._arguments = [network], arguments  # not a part of this module

    def forward(self, obs: Tensor, begins: Tensor, carry: Tensor) -> Tensor:
        features, _ = recall(self._network[0], obs, begins, carry)
        return self._network[0].read(features, *self._arguments)  # pyright: ignore


def of_features(
    terms: Sequence[Term], features: Float[Tensor, "B U F"], lesson: Batch, like: Float[Tensor, "N"]
) -> dict[str, Tensor]:
    """Terms that read what the memory says, of rows that are steps; 0 of others. They come last among all terms."""
    found, rows = {}, features.flatten(0, 1)
    for term in terms:
        if reads_features([term]):
            assert lesson.weight is not None
            real = lesson.weight > 0
            said = term(Prediction(VALUES, rows), lesson._replace(notes={OWN_FEATURES: rows[real]}))
            found[term.name] = torch.zeros_like(like).masked_scatter(real, said)
    return found


def _error(critic: Critic, loss: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """|δ| of scalar critics, whose loss is Huber's; of distributions the loss itself, as everywhere here."""
    if critic.outputs > 1 or critic.implicit:
        return loss
    return torch.where(loss < 0.5, (2 * loss).sqrt(), loss + 0.5)


def weighed(
    each: dict[str, Float[Tensor, "N"]], weights: Sequence[float] | Tensor, importance: Float[Tensor, "N"] | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Σ weight · mean over the rows that are steps, and the means without importance weights."""
    assert importance is not None
    steps = (importance > 0).float()
    count = steps.sum().clamp(min=1)
    means = {name: ((loss * steps).sum() / count).detach() for name, loss in each.items()}
    parts = [(loss * importance).sum() / count for loss in each.values()]
    return torch.stack(parts) @ torch.as_tensor(weights, device=parts[0].device), means
