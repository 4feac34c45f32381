"""The off-policy student of continuous actions: an actor, critics, lagging copies of both, and an entropy it may weigh.

One class for TD3, D4PG, SAC and TQC: they differ in their settings, and in what the critics' outputs mean (`qcritics`).
"""

import copy
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reincarnate.data.layouts import from_unit
from reincarnate.losses import actor_critic
from reincarnate.losses.decorrelation import decorrelation
from reincarnate.losses.divergences import q_scale
from reincarnate.nets import Flat
from reincarnate.nets.actorcritic import ActorCriticNetwork
from reincarnate.nets.actors import Drawn, drawn
from reincarnate.nets.histories import History
from reincarnate.nets.normalise import ObservationNorm
from reincarnate.nets.optimizers import Optimizer, clip_norm, optimizer
from reincarnate.students import exploration, judging
from reincarnate.students.captured import CapturedUpdate
from reincarnate.students.costs import cost_of_actor_critic
from reincarnate.students.critics import ends
from reincarnate.students.kept import OptimizedByPart
from reincarnate.students.noise import Noise
from reincarnate.students.qcritics import StateActionCritic, Successor
from reincarnate.types import (
    LAGGING,
    OPTIMIZER,
    PLAIN,
    SQUASHED,
    ActorOutput,
    Batch,
    Cost,
    Learnt,
    Prediction,
    TaskSpec,
    TimeStep,
    Weighing,
)

if TYPE_CHECKING:
    from reincarnate.students.continuous_settings import ContinuousSettings

ALIKE = "actor_decorrelation"  # what the decorrelation of the actor's features is called in metrics
RANDOM = 1.0
"""The exploration at which actions are uniformly random; no σ of noise in [-1, 1] is as large."""


class Seen(NamedTuple):
    """A batch's observations as the networks see them, and its rewards as the critics do."""

    obs: Tensor | History
    next_obs: Tensor | History
    reward: Tensor


class ContinuousStudent(OptimizedByPart):
    """An off-policy actor-critic being trained. It knows nothing about teachers.

    A method's terms speak to the actor. Each is multiplied by mean|Q| of the batch (at least `q_floor`), so that its
    weight against −Q does not depend on the size of rewards (TD3+BC: Fujimoto & Gu, 2021, seen from the other side).
    Without a loss of its own (`own` 0) the critics stay as they are, and terms are taken as they are.
    """

    view, frozen = "student", False  # it is its own policy: what it published last

    def __init__(
        self,
        settings: "ContinuousSettings",
        critic: StateActionCritic,
        spec: TaskSpec,
        network: ActorCriticNetwork,
        device: torch.device,
    ):
        self.settings, self.critic, self.spec, self.device = settings, critic, spec, device
        self.network = network.to(device)
        lagging = {"critic": network.critic} | ({"actor": network.actor} if settings.target_actor else {})
        self.targets = {name: Flat(copy.deepcopy(part), trainable=False) for name, part in lagging.items()}
        self._acting = Flat(copy.deepcopy(network.actor), trainable=False)
        self._acting_norm = copy.deepcopy(network.norm)
        judge = Flat(copy.deepcopy(network.critic), trainable=False)
        parts = {"actor": network.actor, "critic": network.critic} | (
            {"entropy": network.entropy} if self._soft else {}
        )
        parts |= {"value": network.value} if network.value is not None else {}
        self.online = {name: Flat(part) for name, part in parts.items()}  # pyright: ignore[reportArgumentType]
        judge.move(self.online["critic"].data, None)
        self._judge: Any = judge.module  # the critics, for the actor: no gradient reaches their parameters
        if settings.reads == "first":
            self._judge.keep_first()
        self._optimizers: dict[str, Optimizer] = {name: self._optimizer(name) for name in parts}
        self.updates = 0
        self._recorded: CapturedUpdate | None = None

    @property
    def policy(self) -> "ContinuousStudent":
        """What it published last."""
        return self

    @property
    def _soft(self) -> bool:
        """Whether it draws its actions, and is paid for their entropy."""
        return self.settings.predicts == SQUASHED

    def _optimizer(self, name: str) -> Optimizer:
        decay = 0.0 if name == "entropy" else self.settings.weight_decay
        return optimizer("adam", self.online[name].data.numel(), self.settings.adam_eps, decay, self.device)

    # ---- acting --------------------------------------------------------------------------------------

    def initial(self, n: int) -> Tensor:
        """It remembers nothing: [n, 0]."""
        return torch.zeros(n, 0)

    @torch.no_grad()
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What the actor that acts (the one of the last `publish`) says, without noise."""
        return Prediction(self.settings.predicts, self._said(step.obs)), carry

    def _said(self, obs: Tensor) -> Tensor:
        return self._acting.module(self._acting_norm(obs.to(self.device)))

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: np.random.Generator) -> ActorOutput:
        """Training's actions [n, A] in the task's units: under noise, drawn, or at `RANDOM` uniform."""
        x = None if explore >= RANDOM else self._said(step.obs)
        return ActorOutput(self._acted(x, len(step.begins), explore, rng), carry)

    def _acted(self, x: Tensor | None, n: int, explore: float, rng: np.random.Generator) -> np.ndarray:
        """Actions [n, A] in the task's units by what the actor said; None where it was not asked: at random."""
        if x is None:
            unit = rng.uniform(-1, 1, (n, self.spec.actions)).astype(np.float32)
        else:
            exploration.sound(x)
            normal = Noise(rng, self.device).normal(n, self.spec.actions)
            unit = exploration.to_host(self.settings.explored(x, explore, normal))
        return from_unit(self.spec, unit)

    @torch.no_grad()
    def features(self, batch: Batch) -> dict[str, Tensor]:
        """The last hidden layers: the actor's [B, F], and of n critics [n, B, F]."""
        obs = self.network.norm(batch.obs.to(self.device))
        return {"actor": self.network.actor.features(obs), "critic": self.network.critic.features(obs, batch.action)}

    @torch.no_grad()
    def publish(self) -> None:
        """Let the acting network be what the online one is now."""
        self._acting.data.copy_(self.online["actor"].data)
        for own, new in zip(self._acting_norm.buffers(), self.network.norm.buffers(), strict=True):
            own.copy_(new)

    # ---- learning ------------------------------------------------------------------------------------

    def prepare(self, rollout: Batch, weighing: Weighing = PLAIN) -> Batch:
        """It learns from a replay."""
        raise NotImplementedError("an off-policy student does not learn from rollouts")

    def update(self, batch: Batch, weighing: Weighing, rng: np.random.Generator) -> Learnt:
        """One step of the critics, and where it is due of the actor and of α, each by an optimiser of its own.

        The actor's loss is own · policy · own loss + Σ weight · mean|Q| · term; without the first, terms are taken as
        they are. Those that want the critics' judgement speak to the critics. Returns the losses' means, unweighted and
        without mean|Q|, and each example's loss in the critics; without a loss of its own, in the terms.
        """
        self.updates += 1
        if self._recorded is None:
            return self._update(batch, weighing, Noise(rng, self.device))
        due = (self.updates % self.settings.actor_every == 0, self.updates % self.settings.target_every == 0)
        return self._recorded(batch, weighing, rng, due, self.settings)

    def _update(self, batch: Batch, weighing: Weighing, noise: Noise) -> Learnt:
        self._observe(batch, weighing)
        return self._learn(self._see(batch), batch, weighing, noise)

    def _learn(self, seen: Seen, batch: Batch, weighing: Weighing, noise: Noise) -> Learnt:
        """The same of what the networks see of a batch."""
        means, each = {}, None
        terms = [pair for pair in weighing.terms if not judging.of_critics(pair[1])]
        if weighing.own:
            each, found = self._learn_values(seen, batch, weighing, noise)
            means |= {"td": _mean(each, batch), **found}
        every = self.settings.actor_every if weighing.own else 1
        if self.updates % every == 0 and (weighing.own * weighing.policy or terms):
            losses = self._learn_policy(seen, batch, weighing._replace(terms=terms), noise)
            means |= {name: _mean(loss, batch) for name, loss in losses.items()}
            losses.pop(ALIKE, None)
            each = sum(losses.values(), torch.zeros_like(batch.reward)) if each is None else each
        if weighing.own and self.updates % self.settings.target_every == 0:
            self._follow(self.settings.tau)
        return Learnt(means, batch.reward.new_zeros(len(batch.reward)) if each is None else each)

    def _observe(self, batch: Batch, weighing: Weighing) -> None:
        """Take in what rewards are like, and observations but under an actor that stands still."""
        norm = self.network.norm
        if isinstance(norm, ObservationNorm) and not (self.settings.freeze_norm or weighing.still):
            norm.update(batch.obs)
        if self.settings.worth:
            self.network.notice(batch.reward / sum(self.settings.gamma**k for k in range(self.settings.n_step)))

    @torch.no_grad()
    def _see(self, batch: Batch) -> Seen:
        assert batch.next_obs is not None, "an off-policy student needs successors"
        norm = self.network.norm
        return Seen(norm(batch.obs), norm(batch.next_obs), self._scaled(batch.reward))

    def _scaled(self, reward: Tensor) -> Tensor:
        """Rewards as the critics know them."""
        worth, gamma = self.settings.worth, self.settings.gamma
        return self.network.scaled(reward, worth, gamma) if worth else reward

    def _learn_values(
        self, seen: Seen, batch: Batch, weighing: Weighing, noise: Noise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of the critics, after one of V where there is one. Each example's error, and other losses' means."""
        s, rate, found = self.settings, self.settings.lr * weighing.lr_scale, {}
        if self.network.value is not None:
            error = judging.value_error(self, seen.obs, batch.action)
            self._descend("value", weighing.own * _mean(error, batch), rate)
            found["value"] = _mean(error.detach(), batch)
        target = self._target(seen, batch, noise)
        features = self.network.critic.features(seen.obs, batch.action)
        each = self.critic.loss(self.network.critic.read(features), target)
        total = weighing.own * _mean(each, batch)
        if s.decorrelate:
            penalty = decorrelation(features, s.decorrelate_by).sum(0)
            total = total + s.decorrelate * _mean(penalty, batch)
            found["decorrelation"] = _mean(penalty.detach(), batch)
        for weight, term in weighing.terms:
            if judging.of_critics(term):
                loss = judging.judged(self, seen.obs, seen.next_obs, batch, term, noise)
                total, found[term.name] = total + weight * _mean(loss, batch), _mean(loss.detach(), batch)
        self._descend("critic", total, rate)
        return each.detach(), found

    @torch.no_grad()
    def _target(self, seen: Seen, batch: Batch, noise: Noise) -> Tensor:
        if self.network.value is not None:  # in-sample: no action is asked about that the data has not
            return actor_critic.bootstrapped(seen.reward, batch.discount, self.network.value(seen.next_obs))
        settings, normal = self.settings, noise.normal(*batch.action.shape)
        members = noise.members(settings.critics, settings.asked) if settings.asked else None
        if self._soft:
            ahead = drawn(self.settings.predicts, self.network.actor(seen.next_obs), normal)
            action, entropy = ahead.action, self.alpha * ahead.log_prob
            entropy = entropy if settings.backup_entropy else None  # pyright: ignore[reportAttributeAccessIssue]
        else:
            std, clip = settings.target_noise, settings.target_clip  # pyright: ignore[reportAttributeAccessIssue]
            action = actor_critic.smoothed_action(self.targets["actor"].module(seen.next_obs), normal, std, clip)
            entropy = None
        action, entropy = judging.as_the_data(batch, action, entropy)
        out = self.targets["critic"].module(seen.next_obs, action)
        return self.critic.target(Successor(out, seen.reward, batch.discount, entropy, members))

    def _learn_policy(self, seen: Seen, batch: Batch, weighing: Weighing, noise: Noise) -> dict[str, Tensor]:
        """One step of the actor, and of α with it. Returns each example's losses by name."""
        features = self.network.actor.features(seen.obs)
        out = self.network.actor.head(features)
        total, losses, scale = out.new_zeros(()), {}, 1.0
        if self.settings.decorrelate:
            losses[ALIKE] = decorrelation(features, self.settings.decorrelate_by)
            total = total + self.settings.decorrelate * _mean(losses[ALIKE], batch)
        if weighing.own * weighing.policy:
            losses["actor"], q, log_prob = self._climb(seen, out, noise)
            total = total + weighing.own * weighing.policy * _mean(losses["actor"], batch)
            scale = q_scale(q, self.settings.q_floor)
            if log_prob is not None:
                self._learn_alpha(log_prob, batch, weighing.lr_scale)
        if any(judging.wants_advantage(term) for _, term in weighing.terms):
            batch = judging.with_advantage(self, seen.obs, out, batch, noise)
        said = Prediction(self.settings.predicts, out)
        for weight, term in weighing.terms:
            losses[term.name] = term(said, batch)
            total = total + weight * scale * _mean(losses[term.name], batch)
        rate = self.settings.actor_lr or self.settings.lr
        self._descend("actor", total, rate * weighing.lr_scale * weighing.actor_lr)
        return {name: loss.detach() for name, loss in losses.items()}

    def _climb(self, seen: Seen, out: Tensor, noise: Noise) -> tuple[Tensor, Tensor, Tensor | None]:
        """The actor's own loss, the value Q of its actions, and where they are drawn their log-probabilities."""
        if self._soft:
            now = drawn(self.settings.predicts, out, noise.normal(len(out), self.spec.actions))
            q = self.valued(seen.obs, now.action)
            return actor_critic.soft_actor(now.log_prob, q, self.alpha), q, now.log_prob
        limit = getattr(self.settings, "clip", 0.0)
        if not limit:
            q = self.valued(seen.obs, out)
            return actor_critic.deterministic_actor(q), q, None
        action = out.detach().requires_grad_()
        q = self.valued(seen.obs, action)
        (slope,) = torch.autograd.grad(q.sum(), action)
        return actor_critic.clipped_dpg(out, slope, limit), q, None

    def valued(self, obs: Tensor | History, action: Tensor) -> Tensor:
        """What the actor climbs, [B]."""
        values = self.critic.values(self._judge(obs, action))
        reads = self.settings.reads
        return values[0] if reads == "first" else values.mean(0) if reads == "mean" else values.amin(0)

    def drawn(self, out: Tensor, noise: Noise, n: int = 1) -> Drawn:
        """Actions of what the actor said [B, K], [n, B, A]: draws, or where it tells means these."""
        if self.settings.predicts == SQUASHED:
            normal = noise.normal(n, len(out), self.spec.actions)
            return drawn(SQUASHED, out.expand(n, *out.shape), normal)
        return Drawn(out.expand(n, *out.shape), out, out.new_zeros(n, len(out)))

    @property
    def alpha(self) -> Tensor:
        """What a nat of entropy is worth."""
        assert self.network.entropy is not None
        return self.network.entropy.log_alpha.detach().exp()

    def _learn_alpha(self, log_prob: Tensor, batch: Batch, lr_scale: float) -> None:
        settings = self.settings
        assert self.network.entropy is not None
        if not settings.learn_alpha:  # pyright: ignore[reportAttributeAccessIssue]
            return
        wanted = -settings.entropy * self.spec.actions  # pyright: ignore[reportAttributeAccessIssue]
        loss = _mean(actor_critic.temperature_loss(self.network.entropy.log_alpha, log_prob, wanted), batch)
        rate = settings.alpha_lr or settings.lr  # pyright: ignore[reportAttributeAccessIssue]
        self._descend("entropy", loss, rate * lr_scale)

    def compile(self) -> None:
        """Replay updates on a GPU as recorded CUDA graphs from now on."""
        self._recorded = CapturedUpdate(self._update, self.device)

    def _descend(self, name: str, loss: Tensor, lr: float) -> None:
        part = self.online[name]
        assert part.grad is not None
        part.grad.zero_()
        loss.backward()
        if self.settings.max_grad_norm and name != "entropy":
            clip_norm(part.grad, self.settings.max_grad_norm, self._optimizers[name])
        self._optimizers[name].step(part.data, part.grad, lr)

    @torch.no_grad()
    def _follow(self, tau: float) -> None:
        """Move the lagging networks towards the online ones."""
        for name, target in self.targets.items():
            target.data.lerp_(self.online[name].data, tau)

    def target_ends(self, batch: Batch, rng: np.random.Generator) -> tuple[float, float] | None:
        """Shares of the targets' mass on bounded critics' ends; None before rewards' scale is known."""
        if self.settings.worth and not self.network.largest_reward:
            return None
        return ends(self.critic, self._target(self._see(batch), batch, Noise(rng, self.device)))

    # ---- what is changed from outside ----------------------------------------------------------------

    def refresh(self, what: frozenset[str]) -> None:
        """Renew what lags behind (the target networks), or the optimisers' memory."""
        if LAGGING in what:
            self._follow(1.0)
        if OPTIMIZER in what:
            self.forget_moments()

    def load(self, weights: dict[str, Tensor]) -> None:
        """Go on from these weights with empty optimisers; the target networks are synchronised."""
        with torch.no_grad():
            self.network.load_state_dict(weights)
        self.refresh(frozenset({LAGGING, OPTIMIZER}))
        self.publish()

    # ---- keeping -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """Everything an update changes: flat vectors of parameters and moments, and what was seen of the task."""
        parts = {name: part.data for name, part in self.online.items()}
        targets = {f"target.{name}": target.data for name, target in self.targets.items()}
        seen = dict(self.network.named_buffers())
        return {**parts, **targets, **self.moments(), **seen, **self.counted_so_far()}

    def adopt(self, state: dict[str, Tensor]) -> str:
        """Take over the optimisers' memory in another's `state()`, where the networks are as they were."""
        return self.adopt_by_part(state, {name: part.data for name, part in self.online.items()})

    def trail(self, state: dict[str, Tensor]) -> None:
        """Take over the target networks in another's `state()`."""
        for name, target in self.targets.items():
            target.data.copy_(state.get(f"target.{name}", target.data))

    def freeze(self, prefixes: Sequence[str]) -> tuple[int, int]:
        """Leave parameters with these prefixes alone from now on. Returns how many of how many are frozen."""
        sizes = [part.data.numel() for part in self.online.values()]  # in the order of the network's parameters
        bounds = list(accumulate(sizes))
        parts = {name: slice(end - n, end) for name, n, end in zip(self.online, sizes, bounds, strict=True)}
        return self.freeze_by_part(prefixes, parts)

    def cost(self, copies: int) -> Cost:
        """Floating-point operations."""
        return cost_of_actor_critic(self)


def _mean(each: Tensor, batch: Batch) -> Tensor:
    """Over the batch, by its weights."""
    return each.mean() if batch.weight is None else (each * batch.weight).mean()
