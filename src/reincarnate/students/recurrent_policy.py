"""The on-policy student with a memory: rollouts cut into segments, each begun with the memory it was played from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reincarnate.losses.decorrelation import decorrelation
from reincarnate.losses.log_probs import log_prob_of, masked
from reincarnate.losses.policy import value_error
from reincarnate.losses.returns import advantages, n_step_returns
from reincarnate.nets.flops import LEARNING_PASSES, forward_flops
from reincarnate.students.policy import Losses, PolicyStudent, as_drawn
from reincarnate.students.recurrent_network import RecurrentActorPolicy, RecurrentNetwork
from reincarnate.students.rollouts import Reading, begun, lone, read, real, segments
from reincarnate.students.sampling import draw
from reincarnate.types import PLAIN, ActorOutput, Batch, Cost, Prediction, TaskSpec, TimeStep, Weighing

if TYPE_CHECKING:
    from reincarnate.students.policy_settings import PolicySettings

TOLD = "told"  # among the notes of a prepared rollout: what the network that acts said of it


class RecurrentPolicyStudent(PolicyStudent):
    """An on-policy student with a memory.

    It reads each rollout once in the order of time, from where it stood at the end of the last, whoever acted: that
    gives log-probabilities, values and each segment's carry, so that no memory has to be stored. Gradients stay within
    a segment of `segment` steps. Prior data begins with an empty memory.
    """

    def __init__(self, settings: "PolicySettings", network: RecurrentNetwork, spec: TaskSpec, device: torch.device):
        PolicyStudent.__init__(self, settings, network, spec, device)
        self._carry: Tensor | None = None  # after the last rollout; of no meaning once environments have restarted

    @property
    def _net(self) -> RecurrentNetwork:
        return self.online.module  # pyright: ignore[reportReturnType]

    @property
    def _acts(self) -> RecurrentNetwork:
        return self.acting.module  # pyright: ignore[reportReturnType]

    # ---- acting --------------------------------------------------------------------------------------

    def initial(self, n: int) -> Tensor:
        """The actor's memory of n new episodes, [n, H] on the student's device."""
        return self._acts.memory.initial(n)

    @torch.no_grad()
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What the network of the last `publish` says of rows [n, *O] or sequences [B, T, *O]."""
        return RecurrentActorPolicy(self._acts).predict(step, carry)

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: np.random.Generator) -> ActorOutput:
        """A draw from the policy, as `PolicyStudent.act`, and the memory after it."""
        said, carry = self.predict(step, carry)
        action, notes = draw(self.spec, self.kind, said.x, step.mask, rng)
        return ActorOutput(action, carry, notes)

    # ---- learning ------------------------------------------------------------------------------------

    @torch.no_grad()
    def prepare(self, rollout: Batch, weighing: Weighing = PLAIN) -> Batch:
        """A rollout [C, T] as segments [S, L], oldest first, with advantages by the network that acted.

        As `PolicyStudent.prepare`, but in the order of time. `notes` also hold what the network said (`told`). Rows
        that fill the last segments up have weight 0.
        """
        assert rollout.ended is not None and rollout.begins is not None
        action = as_drawn(rollout)
        start = begun(self._carry, rollout, self._net.initial)
        told, value, after, carries, self._carry = self._read(self._acts, rollout, start)
        log_prob = log_prob_of(self.kind, masked(told, rollout.mask), action)
        if self._observe(rollout.obs.flatten(0, 1), weighing):
            _, value, after, *_ = self._read(self._net, rollout, start)
        reward = self._normalised(rollout)
        advantage = advantages(reward, rollout.discount, value, after, rollout.ended, self.settings.lam)
        notes = {"advantage": advantage, "value": value, "log_prob": log_prob, TOLD: told}
        self.seen, self._preparing = self.seen + self._preparing, reward.numel()
        whole = rollout._replace(
            action=action,
            reward=advantage + value,
            discount=torch.zeros_like(reward),
            next_obs=None,
            ended=None,
            next_mask=None,
            notes=notes,
        )
        return segments(whole, self.settings.segment, carries)

    def _read(self, net: RecurrentNetwork, rollout: Batch, carry: Tensor) -> Reading:
        """What a network says of a rollout."""
        return read(lambda obs, begins, carry, _: net.recall(obs, begins, carry), rollout, carry, self.settings.segment)

    def losses(self, batch: Batch, weighing: Weighing) -> Losses:
        """Each step's losses by name, own ones and terms; steps of weight 0 are left out."""
        if "advantage" not in batch.notes:
            return self._losses_of_data(batch, weighing)
        assert batch.begins is not None and batch.carry is not None
        x, value, _, features = self._net.recall_all(batch.obs, batch.begins, batch.carry)
        rows = lone(batch)
        x, value = real(x.flatten(0, 1), batch.weight), real(value.flatten(), batch.weight)
        each = self._on_policy(rows, x, value) | self._alike(features, batch.weight)
        return self._with_terms(each, Prediction(self.kind, x), rows, weighing)

    def _steps_of(self, batch: Batch) -> Tensor:
        return real(batch.obs.flatten(0, 1), batch.weight)

    def _losses_of_data(self, batch: Batch, weighing: Weighing) -> Losses:
        """Of sequences of prior data: V's TD error of n steps, and the terms."""
        assert batch.begins is not None and batch.ended is not None and batch.next_obs is not None
        net, carry = self._net, self._net.initial(len(batch.obs))
        reward = batch.reward if net.reward_norm is None else net.reward_norm(batch.reward)
        obs = torch.cat([batch.obs, batch.next_obs[:, None]], 1)
        x, value, _, features = net.recall_all(obs, F.pad(batch.begins, (0, 1)), carry)
        target = n_step_returns(
            reward, batch.discount, value[:, 1:].detach(), batch.ended, self.settings.n_step
        ).flatten()
        rows, x = lone(batch), real(x[:, :-1].flatten(0, 1), batch.weight)
        each = {"value": value_error(real(value[:, :-1].flatten(), batch.weight), real(target, batch.weight))}
        each |= self._alike([part[:, :-1] for part in features], batch.weight)
        return self._with_terms(each, Prediction(self.kind, x), rows, weighing)

    def _alike(self, features: Sequence[Tensor], weight: Tensor | None) -> Losses:
        """The decorrelation of what memories say of the rows that are steps, where it is asked for."""
        if not self.settings.decorrelate:
            return {}
        own = [decorrelation(real(part.flatten(0, 1), weight), self.settings.decorrelate_by) for part in features]
        return {"decorrelation": torch.stack(own).sum(0)}

    @torch.no_grad()
    def features(self, batch: Batch) -> dict[str, Tensor]:
        """What the memories of the network that acts say of the steps of segments: [N, F]."""
        assert batch.begins is not None
        carry = self._acts.initial(len(batch.obs)) if batch.carry is None else batch.carry
        told = self._acts.recall_all(batch.obs, batch.begins, carry)[3]
        read = [real(part.flatten(0, 1), batch.weight) for part in told]
        return {"": read[0]} if len(read) == 1 else dict(zip(("actor", "critic"), read, strict=True))

    # ---- what others tell of it ----------------------------------------------------------------------

    def cost(self, copies: int) -> Cost:
        """Floating-point operations; see `nets.flops`. A segment's are counted as so many rows'."""
        obs = self.blank()
        begins = torch.zeros(1, dtype=torch.bool, device=self.device)
        act = float(forward_flops(_Part(self._net.tell_recalling), obs, begins, self.initial(1)))
        whole = float(forward_flops(_Part(self._net.recall), obs, begins, self._net.initial(1)))
        learn = whole * self.settings.pace(copies).batch * LEARNING_PASSES
        return Cost(act, learn, learn + whole, whole)


class _Part(nn.Module):
    """A part of a network, to be counted."""

    def __init__(self, forward):
        nn.Module.__init__(self)
        self._forward = forward

    def forward(self, obs: Tensor, begins: Tensor, carry: Tensor) -> Tensor:
        return self._forward(obs, begins, carry)[0]
