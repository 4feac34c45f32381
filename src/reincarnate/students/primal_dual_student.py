"""The learner of deep primal-dual policy learning: a step of the value, δ anew, a step of the policy."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reincarnate.losses import primal_dual
from reincarnate.losses.log_probs import log_prob_of, masked
from reincarnate.nets import Flat
from reincarnate.nets.flops import LEARNING_PASSES, forward_flops
from reincarnate.nets.fused_policy import FusedActorCritic, fits
from reincarnate.nets.optimizers import Adam, Optimizer
from reincarnate.students.kept import OptimizedByPart
from reincarnate.students.policy import as_drawn, unfit_on_policy
from reincarnate.students.policy_network import PolicyNetwork
from reincarnate.students.sampling import draw
from reincarnate.types import (
    NOTHING,
    OPTIMIZER,
    PLAIN,
    ActorOutput,
    Batch,
    Cost,
    Learnt,
    Phase,
    Prediction,
    TaskSpec,
    TimeStep,
    Weighing,
)
from reincarnate.types.leaves import each_tensor

if TYPE_CHECKING:
    from reincarnate.students.primal_dual import PrimalDual

START, OWN = "start", "own"  # notes: the observation an episode began with; that the policy's own loss has a meaning


class PrimalDualStudent(OptimizedByPart):
    """A primal-dual learner. It knows nothing about teachers.

    On its own experience the visits stand for the dual variable's. Prior data has no such meaning for the policy: there
    the value alone learns, with v(s) where v(s_0) is asked for, and the policy by terms.
    """

    view, frozen = "student", False

    def __init__(self, settings: "PrimalDual", network: PolicyNetwork, spec: TaskSpec, device: torch.device):
        self.settings, self.spec, self.device, self.kind = settings, spec, device, network.kind
        network = network.to(device)
        self.acting = Flat(copy.deepcopy(network), trainable=False)
        self.online = Flat(network)
        actor = sum(p.numel() for part in (network.torso, network.head) for p in part.parameters())
        self._parts = {"policy": slice(0, actor), "value": slice(actor, None)}  # the order of the parameters
        self._optimizers: dict[str, Optimizer] = {
            name: Adam(self.online.data[part].numel(), settings.adam_eps, device=device)
            for name, part in self._parts.items()
        }
        self._quick = FusedActorCritic(network) if fits(network) else None
        self._quick_acting = FusedActorCritic(self._acting) if fits(network) else None
        self._starts: np.ndarray | None = None
        self.updates = 0

    @property
    def network(self) -> PolicyNetwork:
        """The online network: what an agent keeps."""
        return self.online.module  # pyright: ignore[reportReturnType]

    @property
    def _acting(self) -> PolicyNetwork:
        return self.acting.module  # pyright: ignore[reportReturnType]

    @property
    def policy(self) -> "PrimalDualStudent":
        """What it published last."""
        return self

    def unfit(self, phases: Sequence[Phase]) -> str | None:
        """Why it cannot learn what a method asks of it, or None."""
        return unfit_on_policy(phases, self.kind, self.spec)

    # ---- acting --------------------------------------------------------------------------------------

    def initial(self, n: int) -> Tensor:
        """It remembers nothing: [n, 0]."""
        return torch.zeros(n, 0)

    @torch.no_grad()
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What the network of the last `publish` says."""
        return Prediction(self.kind, (self._quick_acting or self._acting).tell(step.obs.to(self.device))), carry

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: np.random.Generator) -> ActorOutput:
        """A draw from the policy. Notes what the episode began with, where that is asked for."""
        begun = {START: self._begun(step)} if self.settings.linear == "start" else NOTHING
        action, notes = draw(self.spec, self.kind, self.predict(step, carry)[0].x, step.mask, rng)
        return ActorOutput(action, carry, {**begun, **notes})

    def _begun(self, step: TimeStep) -> np.ndarray:
        """The observation with which each copy's episode began."""
        obs, begins = step.obs.numpy(), step.begins.numpy()
        before = obs if self._starts is None or len(self._starts) != len(obs) else self._starts
        self._starts = np.where(begins.reshape(-1, *[1] * (obs.ndim - 1)), obs, before)
        return self._starts

    def publish(self) -> None:
        """Let the acting network be what the online network is now."""
        self.acting.data.copy_(self.online.data)

    # ---- learning ------------------------------------------------------------------------------------

    def prepare(self, rollout: Batch, weighing: Weighing = PLAIN) -> Batch:
        """A rollout [C, T] as transitions [T·C], oldest first; a Gaussian's actions as they were drawn."""
        assert rollout.next_obs is not None
        notes = {name: value for name, value in rollout.notes.items() if name == START} | {OWN: rollout.reward}
        rollout = rollout._replace(action=as_drawn(rollout), begins=None, ended=None, carry=None, notes=notes)
        return each_tensor(rollout, lambda tensor: tensor.transpose(0, 1).flatten(0, 1))

    def update(self, batch: Batch, weighing: Weighing, rng: np.random.Generator) -> Learnt:
        """A step of the value, then with δ computed anew one of the policy on own · own loss + Σ weight · term."""
        losses: dict[str, Tensor] = {}
        if weighing.own:
            losses["value"] = self._value_loss(batch)
            self._descend("value", weighing.own * losses["value"].mean(), self.settings.value_lr * weighing.lr_scale)
        said = Prediction(self.kind, self._quick(batch.obs)[0] if self._quick else self.network.tell(batch.obs))
        total = said.x.new_zeros(())
        if OWN in batch.notes and weighing.own * weighing.policy:
            log_prob = log_prob_of(self.kind, masked(said.x, batch.mask), batch.action)
            losses["policy"] = primal_dual.policy_loss(log_prob, self._advantage(batch))
            total = weighing.own * weighing.policy * losses["policy"].mean()
        for weight, term in weighing.terms:
            losses[term.name] = term(said, batch)
            total = total + weight * losses[term.name].mean()
        if total.requires_grad:
            self._descend("policy", total, self.settings.lr * weighing.lr_scale)
        self.updates += 1
        each = sum((loss.detach() for loss in losses.values()), torch.zeros_like(batch.reward))
        return Learnt({name: loss.detach().mean() for name, loss in losses.items()}, each)

    def _value_loss(self, batch: Batch) -> Tensor:
        s = self.settings
        assert batch.next_obs is not None
        seen = torch.cat([batch.obs, batch.next_obs, batch.notes.get(START, batch.obs[:0])])
        values = self._quick(seen)[1] if self._quick else self.network.values(seen)
        value, after, start = values.split([len(batch.obs), len(batch.obs), len(seen) - 2 * len(batch.obs)])
        delta = primal_dual.advantage(batch.reward, batch.discount, value, after if s.through else after.detach())
        start = start if s.linear == "start" and len(start) else value
        return primal_dual.value_loss(delta, start, s.gamma, float(s.linear != "none"), s.penalty)

    @torch.no_grad()
    def _advantage(self, batch: Batch) -> Tensor:
        """δ by the values as they are now."""
        assert batch.next_obs is not None
        seen = torch.cat([batch.obs, batch.next_obs])
        value, after = (self._quick or self.network).values(seen).chunk(2)
        return primal_dual.advantage(batch.reward, batch.discount, value, after)

    def _descend(self, name: str, loss: Tensor, lr: float) -> None:
        grad, part = self.online.grad, self._parts[name]
        assert grad is not None
        grad.zero_()
        loss.backward()
        self._optimizers[name].step(self.online.data[part], grad[part], lr)

    @torch.no_grad()
    def features(self, batch: Batch) -> dict[str, Tensor]:
        """The last hidden layers [B, F] of the network that acts: the actor's and the critic's, or their common one."""
        return self._acting.last_layers(batch.obs.to(self.device))

    # ---- what is changed from outside ----------------------------------------------------------------

    def refresh(self, what: frozenset[str]) -> None:
        """Renew the optimisers' memory, if asked to; nothing lags behind."""
        if OPTIMIZER in what:
            self.forget_moments()

    def load(self, weights: dict[str, Tensor]) -> None:
        """Go on from these weights with empty optimisers."""
        with torch.no_grad():
            self.network.load_state_dict(weights)
        self.refresh(frozenset({OPTIMIZER}))
        self.publish()

    # ---- keeping -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """Everything an update changes, as flat tensors."""
        return {"online": self.online.data, **self.moments(), **self.counted_so_far()}

    def adopt(self, state: dict[str, Tensor]) -> str:
        """Take over the optimisers' memory in another's `state()`, where the network is as it was."""
        return self.adopt_by_part(state, {"online": self.online.data})

    def freeze(self, prefixes: Sequence[str]) -> tuple[int, int]:
        """Leave parameters with these prefixes alone from now on. Returns how many of how many are frozen."""
        return self.freeze_by_part(prefixes, self._parts)

    def cost(self, copies: int) -> Cost:
        """Floating-point operations; see `nets.flops`. Values are asked at both ends of a step, and once more for δ."""
        whole = float(forward_flops(self.network, self.blank()))
        batch = self.settings.pace(copies).batch
        return Cost(whole / 2, 2 * whole * LEARNING_PASSES * batch, 2 * whole * LEARNING_PASSES * batch)
