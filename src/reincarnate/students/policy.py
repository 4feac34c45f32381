"""The on-policy student: an actor with state values, learning from the rollout it has just played (PPO and A2C)."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reincarnate.losses.decorrelation import decorrelation
from reincarnate.losses.log_probs import entropy_of, log_prob_of, masked
from reincarnate.losses.policy import approximate_kl, clipped_surrogate, clipped_value_error, value_error
from reincarnate.losses.policy_slopes import Weights
from reincarnate.losses.returns import advantages, standardised
from reincarnate.native import kernels
from reincarnate.nets import Flat
from reincarnate.nets.fused_policy import FusedActorCritic, fits
from reincarnate.nets.optimizers import Frozen, adopt, clip_norm, policy_optimizer
from reincarnate.nets.plasticity import frozen_mask
from reincarnate.students.at_once import pulls_alone
from reincarnate.students.costs import cost_of_policy
from reincarnate.students.kept import Kept
from reincarnate.students.policy_at_once import at_once
from reincarnate.students.policy_network import PolicyNetwork
from reincarnate.students.policy_program import PolicyProgram
from reincarnate.students.rollouts import of_successors
from reincarnate.students.sampling import BASE, draw
from reincarnate.types import (
    LOGITS,
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
    from reincarnate.students.policy_settings import PolicySettings

SAME = 1e-4  # in [-1, 1]: how far float32 takes an action on its way to the task's units and back
BY_ACTION = ("margin", "cql")  # terms that compare one of so many actions with the others
Losses = dict[str, Tensor]


class PolicyStudent(Kept):
    """An on-policy student being trained. It knows nothing about teachers.

    Whoever acted, a rollout is learnt from with this student's probabilities of its actions, so that a teacher may
    lead. Prior data has no such meaning: there the policy learns by terms alone, and the critic by TD of n steps.
    """

    view, frozen = "student", False
    counts = ("updates", "seen", "_preparing")

    def __init__(self, settings: "PolicySettings", network: PolicyNetwork, spec: TaskSpec, device: torch.device):
        self.settings, self.spec, self.device, self.kind = settings, spec, device, network.kind
        network = network.to(device)
        self.acting = Flat(copy.deepcopy(network), trainable=False)
        self.online = Flat(network)
        self.optimizer = policy_optimizer(settings.optimizer, self.online.data.numel(), settings.adam_eps, device)
        self._quick = FusedActorCritic(network) if fits(network) else None
        self._quick_acting = FusedActorCritic(self._acting) if fits(network) else None
        self._weights: tuple[tuple[float, ...], Tensor] = ((), torch.zeros(0))
        self._program: PolicyProgram | None = None
        own = ("critic_torso", "critic_memory", "value")
        critic = [name for name in own if getattr(network, name, None) is not None]
        self._critic = frozen_mask(network, tuple(critic)).to(device)  # 1 where the critic's own parameters are
        self.updates, self.seen = 0, 0  # updates; env steps that were prepared before those being learnt from
        self._preparing = 0

    @property
    def network(self) -> PolicyNetwork:
        """The online network: what an agent keeps."""
        return self.online.module  # pyright: ignore[reportReturnType]

    @property
    def policy(self) -> "PolicyStudent":
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
        return Prediction(self.kind, self._told(step.obs)), carry

    def _told(self, obs: Tensor) -> Tensor:
        """What the network that acts says, by the quickest way through it."""
        obs = obs.to(self.device)
        return self._quick_acting.tell(self._acting.seen(obs)) if self._quick_acting else self._acting.tell(obs)

    def _valued(self, obs: Tensor) -> Tensor:
        """What the online network says of states, without gradient."""
        return self._quick.values(self.network.seen(obs)) if self._quick else self.network.values(obs)

    @property
    def _acting(self) -> PolicyNetwork:
        return self.acting.module  # pyright: ignore[reportReturnType]

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: np.random.Generator) -> ActorOutput:
        """A draw from the policy; `explore` changes nothing. Gaussian draws are kept as `base`, before the clip."""
        action, notes = draw(self.spec, self.kind, self._told(step.obs), step.mask, rng)
        return ActorOutput(action, carry, notes)

    def publish(self) -> None:
        """Let the acting network be what the online network is now."""
        self.acting.data.copy_(self.online.data)
        for mine, other in zip(self._acting.buffers(), self.network.buffers(), strict=True):
            if mine.shape == other.shape:  # where a run stands in each copy's return is no part of the policy
                mine.copy_(other)

    # ---- learning ------------------------------------------------------------------------------------

    @torch.no_grad()
    def prepare(self, rollout: Batch, weighing: Weighing = PLAIN) -> Batch:
        """A rollout [C, T] as examples [T·C], oldest first, with advantages by the network that acted.

        Statistics take the rollout in first, of observations where the actor is not to stand still. `reward` becomes
        the value's target, A + V(s); `notes` hold `advantage`, `value` and `log_prob` of the actions that were taken.
        """
        assert rollout.next_obs is not None and rollout.ended is not None
        shape = rollout.reward.shape
        action = as_drawn(rollout)
        obs, ended = rollout.obs.flatten(0, 1), rollout.ended
        log_prob = log_prob_of(self.kind, masked(self._told(obs), _flat(rollout.mask)), action.flatten(0, 1))
        self._observe(obs, weighing)
        reward = self._normalised(rollout)
        value = self._valued(obs).view(shape)
        after = of_successors(value, rollout, lambda obs, mask: self._valued(obs))
        advantage = advantages(reward, rollout.discount, value, after, ended, self.settings.lam)
        notes = {"advantage": advantage, "value": value, "log_prob": log_prob.view(shape)}
        self.seen, self._preparing = self.seen + self._preparing, shape.numel()
        whole = rollout._replace(
            action=action,
            reward=advantage + value,
            discount=torch.zeros_like(reward),
            next_obs=None,
            begins=None,
            ended=None,
            carry=None,
            next_mask=None,
            notes=notes,
        )
        return each_tensor(whole, lambda tensor: tensor.transpose(0, 1).flatten(0, 1))

    def _still(self, weighing: Weighing) -> bool:
        """Whether the actor stays as it is."""
        return weighing.still or self.updates < self.settings.critic_updates

    def _observe(self, obs: Tensor, weighing: Weighing) -> bool:
        """Take in what observations are like, but under an actor that stands still, which would act differently.

        Returns whether it did.
        """
        norm = self.network.obs_norm
        if norm is None or self.settings.freeze_norm or self._still(weighing):
            return False
        norm.update(obs)
        return True

    def _normalised(self, rollout: Batch) -> Tensor:
        norm = self.network.reward_norm
        if norm is None or self.settings.freeze_norm:
            return rollout.reward if norm is None else norm(rollout.reward)
        assert rollout.begins is not None and rollout.ended is not None
        if len(norm.running) != len(rollout.reward):
            norm.running = torch.zeros(len(rollout.reward), dtype=torch.float64, device=self.device)
        norm.running.masked_fill_(rollout.begins[:, 0], 0)
        return norm.over(rollout.reward, rollout.ended)

    def update(self, batch: Batch, weighing: Weighing, rng: np.random.Generator) -> Learnt:
        """One gradient step on own · own loss + Σ weight · term, each averaged over the batch.

        The own loss is PPO's on a rollout's examples, V's error alone on prior data.
        """
        if "advantage" not in batch.notes:
            self._observe(self._steps_of(batch), weighing)
        by_hand = self._quick is not None and self._quick.kernels is not None and self._plain(batch, weighing)
        learnt = self._program(batch, weighing) if self._program and not by_hand else None
        if learnt is None:
            learnt = self._descended(batch, weighing)
        self._step(weighing.lr_scale, self._still(weighing))
        return learnt

    def _steps_of(self, batch: Batch) -> Tensor:
        """Observations of prior data."""
        return batch.obs

    def _descended(self, batch: Batch, weighing: Weighing) -> Learnt:
        """Fill the gradient, without autograd where that is enough."""
        if self._quick and self._plain(batch, weighing):
            return at_once(self, self._quick, batch, weighing)
        assert self.online.grad is not None
        self.online.grad.zero_()
        each = self.losses(batch, weighing)
        rows, weights = torch.stack(list(each.values())), self.weights_of(weighing, [*each])
        means = rows.mean(1)
        means.dot(weights).backward()
        return Learnt(dict(zip(each, means.detach().unbind(), strict=True)), weights @ rows.detach())

    def _plain(self, batch: Batch, weighing: Weighing) -> bool:
        """Whether there is nothing to learn but PPO's own losses of a rollout, all actions allowed.

        Compiled kernels know the pull of discrete teachers too.
        """
        fresh = "advantage" in batch.notes and batch.mask is None and not self.settings.decorrelate
        known = self._quick is not None and self._quick.kernels is not None and self.kind == LOGITS
        return fresh and (not weighing.terms or (known and all(pulls_alone(term) for _, term in weighing.terms)))

    def weights_of(self, weighing: Weighing, names: Sequence[str] = ()) -> Tensor:
        """What each of these losses weighs, float32 [L]; without `names` a rollout's, as `losses` orders them."""
        s = self.settings
        known = {**self.own_weights(weighing)._asdict(), "kl": 0.0}
        known |= {"decorrelation": s.decorrelate} if s.decorrelate else {}
        known |= {term.name: weight for weight, term in weighing.terms}
        wanted = tuple(known[name] for name in names or known)
        if wanted != self._weights[0]:
            self._weights = (wanted, torch.tensor(wanted, device=self.device))
        return self._weights[1]

    def own_weights(self, weighing: Weighing) -> Weights:
        """What PPO's own losses weigh."""
        policy = weighing.own * weighing.policy
        return Weights(policy, weighing.own * self.settings.value_weight, -policy * self.settings.entropy)

    def losses(self, batch: Batch, weighing: Weighing) -> Losses:
        """Each example's losses by name, own ones and terms."""
        return self.losses_of(self.network.seen(batch.obs), batch, weighing)

    def losses_of(self, seen: Tensor, batch: Batch, weighing: Weighing, quick: bool = True) -> Losses:
        """The same of observations as the layers see them; `quick`: by the quickest way through the network."""
        x, value, each = self._out(seen, quick)
        fresh = "advantage" in batch.notes
        own = self._on_policy(batch, x, value) if fresh else {"value": value_error(value, self._target(batch))}
        return self._with_terms(own | each, Prediction(self.kind, x), batch, weighing)

    def _with_terms(self, each: Losses, said: Prediction, batch: Batch, weighing: Weighing) -> Losses:
        return each | {term.name: term(said, batch) for _, term in weighing.terms}

    def _out(self, seen: Tensor, quick: bool) -> tuple[Tensor, Tensor, Losses]:
        """Predictions and values, and where it is asked for the decorrelation of the features that they are read from.

        It is the sum over the torsos of actor and critic where there are two.
        """
        s, net = self.settings, self.network
        if self._quick and quick and not s.decorrelate:
            return *self._quick(seen), {}
        features = net.features(seen)
        if not s.decorrelate:
            return *net.read(*features), {}
        own = features[:1] if net.critic_torso is None else features
        penalty = sum((decorrelation(part, s.decorrelate_by) for part in own), torch.zeros_like(features[0][:, 0]))
        return (*net.read(*features), {"decorrelation": penalty})

    @torch.no_grad()
    def features(self, batch: Batch) -> dict[str, Tensor]:
        """The last hidden layers [B, F] of the network that acts: the actor's and the critic's, or their common one."""
        return self._acting.last_layers(batch.obs.to(self.device))

    def _on_policy(self, batch: Batch, x: Tensor, value: Tensor) -> Losses:
        """PPO's losses of a rollout's examples, and how far the policy is from the one that acted."""
        s, notes, x = self.settings, batch.notes, masked(x, batch.mask)
        log_prob = log_prob_of(self.kind, x, batch.action)
        advantage = standardised(notes["advantage"]) if s.norm_advantage else notes["advantage"]
        return {
            "policy": clipped_surrogate(log_prob, notes["log_prob"], advantage, s.clip),
            "value": clipped_value_error(value, notes["value"], batch.reward, s.clip_value)
            if s.clip_value
            else value_error(value, batch.reward),
            "entropy": entropy_of(self.kind, x if s.entropy else x.detach()),
            "kl": approximate_kl(log_prob, notes["log_prob"]),
        }

    @torch.no_grad()
    def _target(self, batch: Batch) -> Tensor:
        """r + discount · V(s') of prior data, in the unit of V."""
        assert batch.next_obs is not None
        norm = self.network.reward_norm
        reward = batch.reward if norm is None else norm(batch.reward)
        return reward + batch.discount * self._valued(batch.next_obs)

    def fits_kernels(self, seeds: int = 1) -> bool:
        """Whether `compile` takes the compiled kernels of small plain networks."""
        return self._quick is not None and self.device.type == "cpu" and not self.settings.decorrelate

    def compile(self, program: bool = True) -> None:
        """Compute gradients by compiled kernels from now on, those of rollouts that they do not know by one program.

        `program`: that is made also where there are kernels. Within float tolerance of the plain ones.
        """
        compiled = kernels() if self.fits_kernels() else None
        self._program = PolicyProgram(self) if program or compiled is None else None
        if compiled is None:
            return
        self._quick, self._quick_acting = (FusedActorCritic(net, compiled) for net in (self.network, self._acting))
        self.optimizer.kernels = compiled

    def _step(self, lr_scale: float, still: bool) -> None:
        """Move the parameters along the gradient that was found, the actor's not where it stands `still`, and count."""
        s, grad = self.settings, self.online.grad
        assert grad is not None
        if still:
            grad.mul_(self._critic)
        if s.max_grad_norm:
            clip_norm(grad, s.max_grad_norm, self.optimizer)
        left = max(0.0, 1 - self.seen / s.anneal_env_steps) if s.anneal_env_steps else 1.0
        data = self.online.data
        before = data.clone() if still else data
        self.optimizer.step(data, grad, s.lr * lr_scale * left)
        if still:  # what an optimiser remembers of earlier gradients would move it on
            data.copy_(torch.where(self._critic > 0, data, before))
        self.updates += 1

    # ---- what is changed from outside ----------------------------------------------------------------

    def refresh(self, what: frozenset[str]) -> None:
        """Renew the optimiser's memory, if asked to; nothing lags behind."""
        if OPTIMIZER in what:
            for tensor in self.optimizer.state.values():
                tensor.zero_()

    def load(self, weights: dict[str, Tensor]) -> None:
        """Go on from these weights, statistics among them, with an empty optimiser."""
        with torch.no_grad():
            self.network.load_state_dict(weights)
        self.refresh(frozenset({OPTIMIZER}))
        self.publish()

    # ---- keeping -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """Everything an update changes, as flat tensors."""
        moments = {f"{self.settings.optimizer}.{name}": value for name, value in self.optimizer.state.items()}
        return {"online": self.online.data, **moments, **self._statistics(), **self.counted_so_far()}

    def _statistics(self) -> dict[str, Tensor]:
        """What is known of observations and rewards; where copies stand in their returns begins anew at a barrier."""
        parameters = {name for name, _ in self.network.named_parameters()}
        return {name: value for name, value in self.network.state_dict().items() if name not in parameters}

    def adopt(self, state: dict[str, Tensor]) -> str:
        """Take over the optimiser's memory in another's `state()`, where the network is as it was. Says what it did."""
        return adopt(self.optimizer, self.settings.optimizer, self.online.data, state)

    def freeze(self, prefixes: Sequence[str]) -> tuple[int, int]:
        """Leave parameters with these prefixes alone from now on. Returns how many of how many are frozen."""
        mask = frozen_mask(self.network, tuple(prefixes))
        self.optimizer = Frozen(self.optimizer, mask.bool().to(self.device))  # pyright: ignore
        return int(mask.sum()), mask.numel()

    def cost(self, copies: int) -> Cost:
        """Floating-point operations; see `nets.flops`. Prior data's successors take a pass of the critic's more."""
        return cost_of_policy(self, copies)


def unfit_on_policy(phases: Sequence[Phase], kind: str, spec: TaskSpec) -> str | None:
    """Why an on-policy student that tells predictions of this kind cannot learn what a method asks of it, or None."""
    for phase in phases:
        if phase.prior_share:
            return "an on-policy student learns from what it has just played; no prior data can be mixed into that"
        if not phase.learns:
            return f"phase {phase.name!r} fills a replay without learning, and an on-policy student has none"
        wrong = [t.term.name for t in phase.objective.terms if t.term.name in BY_ACTION]
        if wrong and kind != LOGITS:
            return f"the method's {wrong[0]} loss compares discrete actions; those of {spec.id} are continuous"
    return None


def as_drawn(rollout: Batch) -> Tensor:
    """Actions of a rollout before the clip (the note `BASE`); where somebody else acted, what that one did."""
    if BASE not in rollout.notes:
        return rollout.action
    base = rollout.notes[BASE]
    own = ((base.clamp(-1, 1) - rollout.action).abs() < SAME).all(-1, keepdim=True)
    return torch.where(own, base, rollout.action)


def _flat(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.flatten(0, 1)
