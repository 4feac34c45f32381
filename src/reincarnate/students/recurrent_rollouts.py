"""The value student with a memory that learns from rollouts: their segments, towards λ-returns (PQN with a memory)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reincarnate.data.layouts import all_where_none
from reincarnate.losses.log_probs import masked
from reincarnate.losses.returns import lambda_returns
from reincarnate.losses.terms import reads_features
from reincarnate.nets.flops import LEARNING_PASSES
from reincarnate.nets.noisy import set_noise
from reincarnate.nets.qnet import recall
from reincarnate.students.critics import Critic
from reincarnate.students.gradient import Draws, losses_of
from reincarnate.students.recurrent import RecurrentValueStudent, of_features, weighed
from reincarnate.students.rollouts import begun, read, real, segments
from reincarnate.types import PLAIN, Batch, Cost, Learnt, Phase, TaskSpec, Term, Weighing

if TYPE_CHECKING:
    from reincarnate.students.families import PQN


class RecurrentRolloutStudent(RecurrentValueStudent):
    """A value student with a memory that learns from what it has just played.

    As the on-policy students do, it reads each rollout once in the order of time, from where it stood at the end of the
    last: that gives the values of successors and each segment's carry. Gradients stay within a segment. Prior data is
    learnt from in sequences of a segment's length that begin with an empty memory, towards n-step targets.
    """

    def __init__(self, settings: "PQN", critic: Critic, spec: TaskSpec, seed: int, device: torch.device):
        RecurrentValueStudent.__init__(self, settings, critic, spec, seed, device)
        self._carry: Tensor | None = None  # after the last rollout; of no meaning once environments have restarted

    def unfit(self, phases: Sequence[Phase]) -> str | None:
        """Why it cannot learn what a method asks of it, or None."""
        if any(phase.prior_share for phase in phases):
            return "a pqn student with a memory reads its own rollouts; no prior data can be mixed into those"
        return None

    @torch.no_grad()
    def prepare(self, rollout: Batch, weighing: Weighing = PLAIN) -> Batch:
        """A rollout [C, T] as segments [S, L], oldest first, towards λ-returns of the network that acted.

        As `ValueStudent.prepare`, but each value is that of a state with what is remembered there.
        """
        assert rollout.ended is not None
        if self.noise_size:
            set_noise(self.acting.module, torch.zeros(self.noise_size, device=self.device))
        start = begun(self._carry, rollout, self.initial)
        _, _, after, carries, self._carry = read(self._valued, rollout, start, self.settings.segment)  # pyright: ignore
        lam: float = self.settings.lam  # pyright: ignore[reportAttributeAccessIssue]
        returns = lambda_returns(rollout.reward, rollout.discount, after, rollout.ended, lam)
        unused = {"next_obs": None, "ended": None, "next_mask": None}
        whole = rollout._replace(reward=returns, discount=torch.zeros_like(returns), **unused)
        return segments(whole, self.settings.segment, carries)  # pyright: ignore[reportAttributeAccessIssue]

    def _valued(self, obs: Tensor, begins: Tensor, carry: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Action values by the network that acts, without noise, the greatest that is allowed, the carry after."""
        q, carry = self._policy(obs, begins, carry)
        return q, masked(q, mask).amax(-1), carry

    def _gradient(self, batch: Batch, draws: Draws, terms: Sequence[Term], weights: Sequence[float] | Tensor) -> Learnt:
        """Fill the flat gradient, on segments of a rollout; of prior data as any value student with a memory."""
        if batch.next_obs is not None:
            return RecurrentValueStudent._gradient(self, batch, draws, terms, weights)
        assert self.online.grad is not None and batch.begins is not None and batch.carry is not None
        self.online.grad.zero_()
        self._set_noise(draws)
        features = recall(self.online.module, batch.obs, batch.begins, batch.carry)[0]
        out = self._read(self.online.module, features, draws.online)
        lesson = self._alone(batch)
        target = self.critic.target(None, None, lesson)
        each = losses_of(self.critic, out, target, lesson, draws.online, [t for t in terms if not reads_features([t])])
        each |= of_features(terms, features, lesson, each["td"])
        total, learnt = weighed(each, weights, lesson.weight)
        total.backward()
        return Learnt(learnt, each["td"].detach())

    def _alone(self, batch: Batch) -> Batch:
        """Segments [S, L] as examples [S·L]; rows that fill a segment up have weight 0."""
        told = {name: p._replace(x=p.x.flatten(0, 1)) for name, p in batch.predictions.items()}
        weight = torch.ones_like(batch.reward) if batch.weight is None else batch.weight
        mask = None if batch.mask is None else all_where_none(batch.mask).flatten(0, 1)
        flat = (batch.obs.flatten(0, 1), batch.action.flatten(), batch.reward.flatten(), batch.discount.flatten(), None)
        return Batch(*flat, predictions=told, weight=weight.flatten(), mask=mask)

    @torch.no_grad()
    def features(self, batch: Batch) -> dict[str, Tensor]:
        """What the memory of the network that acts says of the steps of segments [N, F]."""
        if self.noise_size:
            set_noise(self.acting.module, torch.zeros(self.noise_size, device=self.device))
        assert batch.begins is not None
        carry = self.initial(len(batch.obs)) if batch.carry is None else batch.carry
        told = recall(self.acting.module, batch.obs, batch.begins, carry)[0].flatten(0, 1)
        return {"": real(told, batch.weight)}

    def cost(self, copies: int) -> Cost:
        """Floating-point operations. Own experience has its targets by `prepare`, which reads each step once."""
        told = RecurrentValueStudent.cost(self, copies)
        return told._replace(online=told.online * LEARNING_PASSES / (LEARNING_PASSES + 1), prepare=told.act)
