"""The off-policy student of continuous actions with memories: actor and critics read sequences, begun as R2D2's are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reincarnate.nets.flops import LEARNING_PASSES, forward_flops
from reincarnate.nets.histories import History
from reincarnate.nets.remembering import tell_recalling
from reincarnate.students import judging
from reincarnate.students.continuous import RANDOM, ContinuousStudent, Seen
from reincarnate.students.noise import Noise
from reincarnate.students.sequences import lesson_of, warmed
from reincarnate.types import ActorOutput, Batch, Cost, Learnt, Phase, Prediction, TimeStep, Weighing

if TYPE_CHECKING:
    from reincarnate.nets.remembering import RecurrentActorCritic


class RecurrentContinuousStudent(ContinuousStudent):
    """An off-policy actor-critic with a memory in its actor and another in its critics (Ni et al., 2022).

    Of a sequence the first `burn_in` rows warm all memories up without gradient, the actor's from the carry that was
    stored when the first row was acted on (Kapturowski et al., 2019), the critics' from an empty one; all other rows
    are learnt from, those in which nobody acted with weight 0. Ni et al. read whole episodes from empty memories, and
    show them the last action and reward too.
    """

    network: "RecurrentActorCritic"

    # ---- acting --------------------------------------------------------------------------------------

    def initial(self, n: int) -> Tensor:
        """The actor's memory of n new episodes, [n, H] on the student's device."""
        return self._acting.module.torso.memory.initial(n)  # pyright: ignore

    @torch.no_grad()
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What the actor of the last `publish` says of rows [n, *O] or sequences [B, T, *O], without noise."""
        there = (tensor.to(self.device) for tensor in (step.obs, step.begins, carry))
        x, carry = tell_recalling(self._acting.module, self._acting_norm, *there)
        return Prediction(self.settings.predicts, x), carry

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: np.random.Generator) -> ActorOutput:
        """As `ContinuousStudent.act`; what it sees while it acts at random is remembered too."""
        said, carry = self.predict(step, carry)
        x = None if explore >= RANDOM else said.x
        return ActorOutput(self._acted(x, len(step.begins), explore, rng), carry)

    # ---- learning ------------------------------------------------------------------------------------

    def unfit(self, phases: Sequence[Phase]) -> str | None:
        """Why it cannot learn what a method asks of it, or None."""
        wrong = [t.term.name for phase in phases for t in phase.objective.terms if judging.of_critics(t.term)]
        if wrong:
            return (
                f"its {wrong[0]} term asks critics about many actions of lone steps; a student with a memory has none"
            )
        return None

    def _update(self, batch: Batch, weighing: Weighing, noise: Noise) -> Learnt:
        """Of sequences [B, T]; each row's loss [B·U]."""
        rows = warmed(batch, self.settings.burn_in)
        lesson, ahead = lesson_of(rows, self.settings.n_step)
        assert lesson.weight is not None
        steps = (lesson.weight > 0).float().sum().clamp(min=1)
        lesson = lesson._replace(weight=lesson.weight * (lesson.weight.numel() / steps))  # a mean over the steps
        self._observe(lesson, weighing)
        return self._learn(self._histories(batch, ahead, lesson.reward), lesson, weighing, noise)

    @torch.no_grad()
    def _histories(self, batch: Batch, ahead: Tensor, reward: Tensor) -> Seen:
        """What the networks see: rows of sequences, and the rows whose values the targets ask."""
        assert batch.next_obs is not None and batch.begins is not None
        norm, first = self.network.norm, self.settings.burn_in
        obs, begins = norm(torch.cat([batch.obs, batch.next_obs[:, None]], 1)), F.pad(batch.begins, (0, 1))
        now = torch.arange(ahead.shape[1], device=ahead.device).expand_as(ahead)
        here = History(obs[:, :-1], begins[:, :-1], batch.carry, first, now)
        return Seen(here, History(obs, begins, batch.carry, first, ahead + 1), self._scaled(reward))

    # ---- what others tell of it ----------------------------------------------------------------------

    @torch.no_grad()
    def features(self, batch: Batch) -> dict[str, Tensor]:
        """What the last layers say of the N rows that are learnt from and are steps: the actor's [N, F], of n critics
        [n, N, F]."""
        rows = warmed(batch, self.settings.burn_in)
        assert rows.weight is not None
        now = torch.arange(rows.reward.shape[1], device=self.device).expand(rows.reward.shape)
        here, steps = self._histories(batch, now, rows.reward.flatten()).obs, rows.weight.flatten() > 0
        critics = self.network.critic.features(here, rows.action.flatten(0, 1))  # pyright: ignore[reportArgumentType]
        return {"actor": self.network.actor.features(here)[steps], "critic": critics[:, steps]}

    def cost(self, copies: int) -> Cost:
        """Floating-point operations; see `nets.flops`. A sequence's are counted as so many rows', its burn-in's too.

        For a critics' step the actor and the lagging critics read successors; for an actor's the critics read once.
        """
        s, net = self.settings, self.network
        act, critic = self._row(net.actor.torso, net.actor.head), self._row(net.critic.remembered, net.critic)
        value = 0.0 if net.value is None else self._row(net.value.torso, net.value.value)
        warm = s.burn_in / s.unroll
        values = critic * (1 + LEARNING_PASSES + 2 * warm) + act * (1 + warm)
        values += value * (1 + LEARNING_PASSES + 2 * warm)
        policy = act * (LEARNING_PASSES + warm) + critic * (1 + warm) + self._heads() * (LEARNING_PASSES - 2)
        learn = s.batch_size * (values + policy / s.actor_every)
        return Cost(act, learn, learn)

    def _row(self, remembered: Any, rest: nn.Module) -> float:
        """Operations for one row."""
        row = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        never = torch.zeros(1, 1, dtype=torch.bool, device=self.device)
        history = History(self.network.norm(self.blank())[:, None], never, None, 0, row)
        if rest is self.network.critic:
            return float(forward_flops(rest, history, torch.zeros(1, self.spec.actions, device=self.device)))  # pyright: ignore
        return float(forward_flops(nn.Sequential(remembered, rest), history))  # pyright: ignore

    def _heads(self) -> float:
        heads = self.network.critic.heads
        inputs = self.network.critic.remembered.features + self.blank()[0].numel()
        noted = torch.zeros(1, inputs, device=self.device), torch.zeros(1, self.spec.actions, device=self.device)
        return float(forward_flops(heads, *noted))
