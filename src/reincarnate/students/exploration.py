"""How a value student explores: ε over a newborn's life, actions by it, and stretches that somebody else flies."""

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from reincarnate.envs.balloon.features import OBSERVATION
from reincarnate.envs.balloon.walk import PressureWalk
from reincarnate.envs.checks import Unsound
from reincarnate.errors import UserError
from reincarnate.losses.log_probs import masked
from reincarnate.types import NOTHING, ActorOutput, Policy, Prediction, TaskSpec, TimeStep

Explorer = Literal["uniform", "pressure"]


@dataclass(frozen=True)
class Exploration:
    """ε of a newborn: 1 while it waits, then linearly to `end` over `steps` env steps."""

    steps: int
    end: float

    def epsilon(self, env_steps: int, newborn: bool, wait: int) -> float:
        """ε at this many env steps into a phase that learns nothing for `wait` of them."""
        if not newborn:
            return self.end
        return max(self.end, 1.0 - (1.0 - self.end) * max(0, env_steps - wait) / max(1, self.steps))


GREEDY_VALUE = "greedy_value"  # a note of a step: the largest value of what was acted on


def epsilon_greedy(
    policy: Policy,
    step: TimeStep,
    carry: Tensor,
    actions: int,
    epsilon: float,
    rng: np.random.Generator,
    noted: bool = False,
) -> ActorOutput:
    """The best actions [n] by what a policy says of them, or with probability ε any that is allowed.

    A policy without memory is only asked where its word is needed, but where the largest value of each row is to be
    `noted`. Callers are without gradient.
    """
    n, remembers = step.begins.shape[0], carry.shape[-1] > 0
    if n == 1 and step.mask is None and not remembers and not noted:
        return ActorOutput(_of_one(policy, step, carry, actions, epsilon, rng), carry)
    chosen = rng.integers(actions, size=n)
    greedy = rng.random(n) >= epsilon
    everywhere = greedy.all()
    if step.mask is not None:
        chosen = (rng.random((n, actions)) * step.mask.numpy()).argmax(-1)
    if everywhere or remembers or noted:
        said, carry = policy.predict(step, carry)
        best, values = best_and_value(said.x, step.mask)
        notes = {GREEDY_VALUE: values} if noted else NOTHING
        return ActorOutput(best if everywhere else np.where(greedy, best, chosen), carry, notes)
    if greedy.any():
        some = torch.from_numpy(greedy)
        mask = None if step.mask is None else step.mask[some]
        said, _ = policy.predict(TimeStep(step.obs[some], step.begins[some], mask=mask), carry[some])
        chosen[greedy] = best_of(said.x, mask)
    return ActorOutput(chosen, carry)


def _of_one(
    policy: Policy, step: TimeStep, carry: Tensor, actions: int, epsilon: float, rng: np.random.Generator
) -> np.ndarray:
    """The same of one row: draws of numbers take a third of those of arrays of one, and are the same."""
    chosen = rng.integers(actions)
    if rng.random() < epsilon:
        return np.array([chosen])
    return best_of(policy.predict(step, carry)[0].x, None)


def best_of(x: Tensor, mask: Tensor | None) -> np.ndarray:
    """The best action of each row, of those that are allowed."""
    return best_and_value(x, mask)[0]


def best_and_value(x: Tensor, mask: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
    """The best action of each row [n], of those that are allowed, and what is said of it [n].

    The one place where acting comes back to the host.
    """
    host = to_host(x := masked(x, mask))
    values = np.maximum.reduce(host, -1)
    if not math.isfinite(np.add.reduce(values)):  # a NaN is the greatest of its row
        sound(x.amax(-1))
    return host.argmax(-1), values


def sound(x: Tensor) -> None:
    """Raises Unsound where what a student says is NaN or infinite: it must not act by it, nor be scored."""
    if not math.isfinite(total := float(to_host(x.sum()))) and not bool(torch.isfinite(x).all()):
        raise Unsound(f"the student predicts {total:g}")


def to_host(tensor: Tensor) -> np.ndarray:
    """A tensor's numbers for an environment."""
    return tensor.cpu().numpy()


class Noised(Protocol):
    """A student whose layers may be noisy."""

    def initial(self, n: int) -> Tensor:
        """Its memory of n new episodes [n, H]."""
        ...

    def predict_under(self, step: TimeStep, carry: Tensor, noise: Tensor | None) -> tuple[Prediction, Tensor]:
        """What it says with this noise in its layers; None: without any."""
        ...


class UnderNoise:
    """A student's acting network under one draw of noise, as a policy."""

    view, frozen = "student", False

    def __init__(self, student: Noised, noise: Tensor):
        self._student, self._noise, self.initial = student, noise, student.initial

    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What it says under this noise."""
        return self._student.predict_under(step, carry, self._noise)


# ---- Marco Polo ----------------------------------------------------------------------------------------


@runtime_checkable
class Walker(Protocol):
    """Who acts in stretches of exploration, for n copies at once; `which` (bool [n]) are asked, `obs` is theirs."""

    def begin(self, which: np.ndarray, rng: np.random.Generator) -> None:
        """Episodes begin there."""
        ...

    def act(self, which: np.ndarray, obs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Actions, one for each copy that is asked."""
        ...


class Uniform:
    """Any action, anew at each step."""

    def __init__(self, actions: int):
        self._actions = actions

    def begin(self, which: np.ndarray, rng: np.random.Generator) -> None:
        """Nothing to remember."""

    def act(self, which: np.ndarray, obs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Actions of the copies that are asked."""
        return rng.integers(self._actions, size=int(which.sum()))


class MarcoPolo:
    """In some episodes stretches of the student's own actions alternate with stretches that an explorer acts in.

    Bellemare et al. (2020), methods; the numbers are those of the Balloon Learning Environment 1.0.1
    (`marco_polo_exploration.py`): 0.8 of the episodes, 4 hours (80 steps) and 2 hours (40), the student's own first.
    What is remembered of each copy begins anew with its episode.
    """

    def __init__(self, spec: TaskSpec, share: float, own: int, other: int, explorer: Explorer):
        self._spec, self._share, self._own, self._other, self._explorer = spec, share, own, other, explorer
        self._walker: Walker | None = None
        self._age, self._explores = np.zeros(0, np.int64), np.zeros(0, bool)

    def __call__(self, step: TimeStep, actions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The student's actions [n], with the explorer's where it is its turn."""
        begins = step.begins.numpy()
        if self._walker is None or len(begins) != len(self._age):
            self._walker = self._made(len(begins))
            self._age, self._explores = np.zeros(len(begins), np.int64), np.zeros(len(begins), bool)
        if begins.any():
            self._age[begins] = 0
            self._explores[begins] = rng.random(int(begins.sum())) < self._share
            self._walker.begin(begins, rng)
        turn = self._explores & (self._age % (self._own + self._other) >= self._own)
        self._age += 1
        if not turn.any():
            return actions
        chosen = self._walker.act(turn, step.obs.numpy()[turn], rng)
        if step.mask is not None:
            allowed = step.mask.numpy()[turn]
            other = (rng.random(allowed.shape) * allowed).argmax(-1)
            chosen = np.where(np.take_along_axis(allowed, chosen[:, None], 1)[:, 0], chosen, other)
        changed = actions.copy()
        changed[turn] = chosen
        return changed

    def _made(self, n: int) -> Walker:
        return PressureWalk(n) if self._explorer == "pressure" else Uniform(self._spec.actions)


def check_explorer(explorer: Explorer, spec: TaskSpec) -> None:
    """Raises UserError where an explorer cannot read what a task shows."""
    if explorer == "pressure" and spec.obs_shape != (OBSERVATION,):
        raise UserError(
            f"--student.explorer pressure walks at random through a balloon's pressures; {spec.id} shows "
            f"{spec.obs_shape}: use uniform"
        )
